"""Taking in signals: decode, keep, and let them restrict or fill the ledger; one transaction with their log entries.

- A choice that a signal switches on (`gpc`, `sale_share_opt_out`, `limit_sensitive`) is a choice event like any
  other. No signal switches one off; that it is absent later changes nothing (11 CCR 7025(c)).
- What a TC string says about mapped purposes and recipients becomes consent events: a no is a withdrawal, a yes fills
  where nothing else is known (`imported`) and ends 13 months after the string was made (TCF Policies). The string is
  their evidence, sealed.
- Somebody nobody knows: every no waits under the keyed hash of the identifier, as all opt-outs do, and holds when the
  person turns up. The contact point is not put on the suppression list: a signal speaks of uses, not of writing.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from consent_gateway.audit.commitments import NO_DETAILS
from consent_gateway.audit.entries import EntryKind
from consent_gateway.db.subjects import Token
from consent_gateway.domain.consents import ConsentKind, ConsentProperty
from consent_gateway.domain.ids import SubjectId
from consent_gateway.domain.subjects import Choice
from consent_gateway.errors import FieldProblem, SignalError, StoreError
from consent_gateway.policies.signals.detect import SignalKind, decode, kind_of
from consent_gateway.policies.signals.effects import Effects, Statement, TcfMapping, effects_of
from consent_gateway.policies.signals.gpc import GpcSignal
from consent_gateway.services.identity import lasting_names
from consent_gateway.services.identity.people import UNKNOWN, Resolver
from consent_gateway.services.ledger.choices import append_choices
from consent_gateway.services.ledger.consents import append_facts
from consent_gateway.services.ledger.opt_outs import keep_for_stranger, settled_instant
from consent_gateway.services.ledger.signal_mappings import mapping_of
from consent_gateway.services.ledger.signal_records import Heard, keep_signals
from consent_gateway.services.rows.intake import Incoming, Intake, Refusals, keep_counts, require_size, require_source
from consent_gateway.services.work.gateway import Work
from consent_gateway.services.work.items import ChoiceItem, ConsentItem, SignalItem
from consent_gateway.vault.envelope import derive_audit_key
from consent_gateway.vault.normal_forms import Normalised

MAX_STATEMENTS = 20_000  # of one call; a row beyond them is refused, as any row
_THIRTEEN_MONTHS = (365 + 28) * 86_400  # never longer than 13 months, whichever they are
_CLEAR_ACT = ConsentProperty.AFFIRMATIVE | ConsentProperty.EVIDENCE


@dataclass(frozen=True, slots=True)
class _Signal:
    """One row understood: what kind it is, when it holds, and what it does."""

    item: SignalItem
    kind: SignalKind
    at: int
    effects: Effects

    def summary(self) -> dict[str, object]:
        """Return what is said about it in the log and to whoever asks: no value of the string."""
        given = sum(s.given for s in self.effects.statements)
        said = {
            "choices": [choice.value for choice in self.effects.choices],
            "given": given,
            "denied": len(self.effects.statements) - given,
            "undecoded": list(self.effects.undecoded),
            "violations": list(self.effects.violations),
        }
        return {name: value for name, value in said.items() if value}

    def heard(self, subject_id: SubjectId | None, kind: str | None, token: Token | None = None) -> Heard:
        """Return it as it is kept, with the kind of the identifier that it came with."""
        item = self.item
        return Heard(self.kind, item.raw, self.at, self.summary(), subject_id, kind, token, item.displayed)


def record_signals(
    work: Work, source: str, rows: Sequence[Incoming[SignalItem]], content_sha256: str
) -> Intake:  # fmt: skip
    """Take in signals; each is decoded whole or refused with its place, and has its own entry in the log."""
    source_id = require_source(work, source)
    require_size(rows)
    refusals = Refusals()
    intake = Intake("signals", source_id, len(rows))
    understood = _understood(work, refusals, refusals.readable(rows))
    resolver = Resolver(work, [signal.item.subject for _, signal in understood], writing=True)
    accepted: list[tuple[_Signal, SubjectId]] = []
    for row, signal in understood:
        found = resolver.resolve(signal.item.subject)
        if not isinstance(found, FieldProblem):
            accepted.append((signal, found))
        elif _keep(work, resolver, source_id, found, signal):
            intake.suppressed += 1
        else:
            refusals.refuse(row, found)
            continue
        intake.accepted += 1
    intake.created = len(accepted)
    intake.entries = _carry_out(work, resolver, source_id, accepted)
    intake.rejections = refusals.quarantine(work, "signals", source_id)
    keep_counts(work, intake, content_sha256)
    return intake


def says_no(work: Work, item: SignalItem) -> bool:
    """Tell whether a signal denies or switches anything on; SignalError if it cannot be decoded.

    Without a store there is no mapping: then only what denies under any says no.
    """
    try:
        mapping = mapping_of(work)
    except StoreError:
        mapping = TcfMapping()
    signal = _read(work, item, mapping)
    return signal is not None and bool(signal.effects.denials or signal.effects.choices)


# -- understanding -----------------------------------------------------------------------------------------------


def _understood(
    work: Work, refusals: Refusals, rows: Sequence[tuple[Incoming[SignalItem], SignalItem]]
) -> list[tuple[Incoming[SignalItem], _Signal]]:
    mapping = mapping_of(work)
    found = []
    left = MAX_STATEMENTS
    for row, item in rows:
        try:
            signal = _read(work, item, mapping)
        except SignalError as error:
            refusals.refuse(row, FieldProblem("$.raw", error.code, error.detail))
            continue
        if signal is None:
            refusals.refuse(row, FieldProblem("$.raw", "no_signal", "any value but an exact 1 is no signal"))
        elif len(signal.effects.statements) > left:
            message = f"the rows before and this one make more than {MAX_STATEMENTS} statements: send it on its own"
            refusals.refuse(row, FieldProblem("$.raw", "too_many", message))
        else:
            left -= len(signal.effects.statements)
            found.append((row, signal))
    return found


def _read(work: Work, item: SignalItem, mapping: TcfMapping) -> _Signal | None:
    """Return a row understood, None for a `Sec-GPC` that is not one; SignalError if it cannot be decoded."""
    kind = item.kind or kind_of(item.raw)
    decoded = decode(item.raw, kind)
    if isinstance(decoded, GpcSignal) and not decoded.on:
        return None
    at = settled_instant(work, item.at, opting_out=True)
    settled = at if isinstance(at, int) else work.now
    effects = effects_of(decoded, mapping)
    if not _yes_holds(work, item.at, settled, effects):
        effects = _without_yes(effects)
    return _Signal(item, kind, settled, effects)


def _yes_holds(work: Work, said_at: int, at: int, effects: Effects) -> bool:
    """A yes needs an instant that can be, and a string that is neither from the future nor past its 13 months."""
    if isinstance(settled_instant(work, said_at, opting_out=False), FieldProblem) or effects.updated is None:
        return False
    ahead = work.now + work.gateway.rules.max_future_seconds
    return effects.updated <= ahead and at < effects.updated + _THIRTEEN_MONTHS


def _without_yes(effects: Effects) -> Effects:
    return replace(effects, statements=effects.denials)


# -- carrying out ------------------------------------------------------------------------------------------------


def _carry_out(
    work: Work, resolver: Resolver, source: str, accepted: Sequence[tuple[_Signal, SubjectId]]
) -> list[bytes]:
    if not accepted:
        return []
    keep_signals(work, source, [s.heard(who, _named_by(resolver, s)) for s, who in accepted])
    deks = work.gateway.vault.keys(work.session, sorted({who for _, who in accepted}))
    entries = []
    for signal, who in accepted:
        fields = {"signal": signal.kind.value, "source": source, "given_at": signal.at, **signal.summary()}
        payload = NO_DETAILS
        entries.append(
            work.record_about(EntryKind.SIGNAL_RECEIVED, fields, who, derive_audit_key(deks[who]), payload)
        )  # fmt: skip
    entries += append_facts(
        work, source, [(_fact(s, said), who) for s, who in accepted for said in s.effects.statements]
    )  # fmt: skip
    chosen = [(_choice(s, choice), who) for s, who in accepted for choice in s.effects.choices]
    return entries + append_choices(work, source, chosen)


def _named_by(resolver: Resolver, signal: _Signal) -> str | None:
    forms = resolver.forms(signal.item.subject)
    return forms[0].kind if forms else None


def _choice(signal: _Signal, choice: Choice) -> ChoiceItem:
    return ChoiceItem(signal.item.subject, choice, active=True, at=signal.at)


def _fact(signal: _Signal, said: Statement) -> ConsentItem:
    until = None if signal.effects.updated is None else signal.effects.updated + _THIRTEEN_MONTHS
    return ConsentItem(
        subject=signal.item.subject,
        purpose=said.purpose,
        kind=ConsentKind.GIVEN if said.given else ConsentKind.WITHDRAWN,
        at=signal.at,
        channel=said.channel,
        valid_until=until if said.given else None,
        properties=_CLEAR_ACT if said.given else ConsentProperty(0),
        recipient=said.recipient,
        method="signal_tcf",
        evidence=signal.item.raw.encode(),
        imported=said.given,
    )


# -- strangers ---------------------------------------------------------------------------------------------------


def _keep(work: Work, resolver: Resolver, source: str, found: FieldProblem, signal: _Signal) -> bool:
    """Keep what a signal of somebody nobody knows says no to, and the signal; False if there is nothing to keep."""
    forms = resolver.forms(signal.item.subject)
    if found is not UNKNOWN or not forms or not (signal.effects.denials or signal.effects.choices):
        return False
    for fact in _waiting_facts(signal, source):
        keep_for_stranger(work, found, forms, fact, suppress=False)
    fields = {"signal": signal.kind.value, "source": source, "given_at": signal.at, **signal.summary()}
    work.record(EntryKind.SIGNAL_RECEIVED, fields | {"effect": "waiting"})
    keep_signals(work, source, [signal.heard(None, token.kind, token) for token in _not_erased(work, forms)])
    return True


def _waiting_facts(signal: _Signal, source: str) -> Iterator[dict[str, Any]]:
    common = {"at": signal.at, "source": source}
    for choice in signal.effects.choices:
        yield {"choice": choice.value, **common}
    for said in signal.effects.denials:
        use = {"purpose": said.purpose, "channel": said.channel, "recipient": said.recipient}
        yield {**use, "kind": ConsentKind.WITHDRAWN.value, **common}


def _not_erased(work: Work, forms: Sequence[Normalised]) -> list[Token]:
    """Return the lasting tokens of identifiers, without those of erased people: nothing is kept about them."""
    gone = lasting_names.erased(work, forms)
    return [lasting_names.names(work, form)[0] for form in forms if form not in gone]
