"""Noes and rights requests that come while the keys are away: taken in, kept, and carried out when they are back (P1).

After the keys' time is over nobody can be found: identifiers are keyed hashes, pseudonyms are ciphertext. Everything
else waits until the key service answers again. A no must not: who says it is not going to say it twice. So a call whose
rows all say no, and an erasure, is sealed into the letterbox (`vault.letterbox`), bound to its row here, with an entry
in the log in the same transaction, and answered with 202: it is kept, and not carried out yet.

What makes that enough:

- As long as one waits, nothing is decided: `Decider.ask` refuses, on every replica, with keys or without. The
  registers say whether one waits, and their version grows with the first. So nobody is sent anything between the
  return of the keys and the moment the no holds (P2).
- They are carried out in the order they came, one a transaction, as the key that brought them and at the instant they
  came: a yes that was given after the no stays the later one. What was carried out is gone in the same transaction.
- A letter dies with its key epoch; no epoch is decided to be destroyed while a letter waits in it, and no letter is put
  into one that is (`Registers.doomed_epoch`, held until the commit).
- One that cannot be carried out (who brought it may not, or the person is unknown, or the letter does not open) is set
  aside with the reason, counted in `keys status`, and forgotten with the quarantine.

A call with anything else in it is refused as before: who gives consent can wait, and say it again.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import msgspec

from consent_gateway.audit.entries import EntryKind
from consent_gateway.db import deferrals as rows
from consent_gateway.db import intake as intake_rows
from consent_gateway.db.deferrals import Deferral
from consent_gateway.domain.consents import NO
from consent_gateway.domain.ids import RecipientId
from consent_gateway.domain.registers import Principal
from consent_gateway.errors import GatewayError, KeyServiceError, RaceError, SignalError, UnavailableError
from consent_gateway.services.erasing import erasure
from consent_gateway.services.identity.people import PSEUDONYM, named_by, normal_form
from consent_gateway.services.ledger import signals
from consent_gateway.services.ledger.choices import record_choices, says_no
from consent_gateway.services.ledger.consents import record_consents
from consent_gateway.services.ledger.opt_outs import settled_instant
from consent_gateway.services.rows.intake import Incoming, Intake
from consent_gateway.services.work.gateway import SYSTEM, Gateway, Work
from consent_gateway.services.work.items import ChoiceItem, ConsentItem, SignalItem, SubjectRef
from consent_gateway.vault.derivation import frame
from consent_gateway.vault.letterbox import open_letter
from consent_gateway.vault.normal_forms import Normalised

_ERASURE = "erasure"
_DOMAIN = b"consent-gateway/deferral"
_ITEMS: dict[str, Any] = {"consents": list[ConsentItem], "choices": list[ChoiceItem], "signals": list[SignalItem]}
_USES: dict[str, Callable[..., Intake]] = {
    "consents": record_consents,
    "choices": record_choices,
    "signals": signals.record_signals,
}


@dataclass(frozen=True, slots=True)
class Letter:
    """A call as it is kept: its kind, and the rows with their numbers, or whom to erase and why."""

    kind: str
    source: str = ""
    content_sha256: str = ""
    gpc: bool = False
    numbers: tuple[int, ...] = ()
    raws: tuple[bytes, ...] = ()
    items: bytes = b"[]"  # JSON
    pseudonym: str = ""
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Kept:
    """What a repeated call is answered with: its idempotency key, what the call was, and the reply."""

    key: str
    identity: bytes
    status: int
    content: bytes


@dataclass(frozen=True, slots=True)
class _Sealed:
    letter: Letter
    kept: Kept | None


def of_rows(
    work: Work, kind: str, source: str, rows_: Sequence[Incoming[Any]], content_sha256: str, *, gpc: bool = False
) -> Letter | None:
    """Return a call of rows as a letter; None unless every row can be read, says no, and names what is registered."""
    if kind not in _USES or source not in work.registers.sources:
        return None
    if not all(row.item is not None and not row.problems and _is_no(work, row.item) for row in rows_):
        return None
    items = [_as_of_now(work, row.item) for row in rows_]
    numbers, raws = tuple(row.row for row in rows_), tuple(row.raw for row in rows_)
    return Letter(kind, source, content_sha256, gpc, numbers, raws, msgspec.json.encode(items))


def of_erasure(pseudonym: str, reason: str) -> Letter:
    """Return an erasure as a letter."""
    return Letter(_ERASURE, pseudonym=pseudonym, reason=reason)


def keep(work: Work, uid: bytes, letter: Letter, kept: Kept | None = None) -> None:
    """Put a letter off under the uid (16 bytes, fresh and random) of its entry.

    `KeyServiceError` if the letterbox that this process knows is of an epoch that is to be destroyed.
    """
    work.changed_registers()  # each time: whoever read them while nothing waited reads them anew
    _insert(work, sealed_row(work, uid, letter, kept), letter.kind, rows_of(letter))


def sealed_row(work: Work, uid: bytes, letter: Letter, kept: Kept | None) -> dict[str, Any]:
    """Return the row of a letter, sealed for whoever brings it now; errors as `keep`."""
    box = work.gateway.vault.custody.letterbox
    if box.epoch <= work.registers.doomed_epoch:
        raise KeyServiceError("The keys that this process knows are too old to keep anything under", retry_after=1)
    actor = work.actor
    context = _context(uid, actor.id, actor.recipient, work.now)
    sealed = box.seal(context, msgspec.json.encode(_Sealed(letter, kept)))
    who = {"principal": actor.id, "recipient": str(actor.recipient), "at": work.now}
    return {"uid": uid, **who, "epoch": box.epoch, "sealed": sealed}


def rows_of(letter: Letter) -> int:
    """Return how many rows a letter has; an erasure is one."""
    return len(letter.numbers) or 1


def put(work: Work, row: dict[str, Any], kind: str, count: int) -> None:
    """Insert a row that was sealed before, and record that it waits; the caller said that registers change."""
    _insert(work, row, kind, count)


def _insert(work: Work, row: dict[str, Any], kind: str, count: int) -> None:
    rows.add(work.session, **row)
    fields = {"kind": kind, "rows": count, "letter": hashlib.sha256(row["sealed"]).hexdigest()}
    work.record(EntryKind.INTAKE_DEFERRED, fields, uid=row["uid"])


def carry_out(gateway: Gateway) -> int:
    """Carry out everything that waits, in its order; returns how much. `KeyServiceError` while keys are away."""
    with gateway.look() as work:
        if not work.registers.deferred:
            return 0
    done = 0
    while _one(gateway):
        done += 1
    with gateway.work() as work:
        work.changed_registers()  # whoever decides sees that nothing waits, or that something came meanwhile
    return done


# -- putting off -------------------------------------------------------------------------------------------------


def _is_no(work: Work, item: object) -> bool:
    if isinstance(item, ConsentItem):
        known = item.purpose in work.registers.purposes.purposes
        return known and item.kind in NO and _is_named(item.subject) and _is_named(item.contact_point)
    if isinstance(item, ChoiceItem):
        return says_no(item) and _is_named(item.subject)
    return isinstance(item, SignalItem) and _denies(work, item) and _is_named(item.subject)


def _is_named(ref: SubjectRef | None) -> bool:
    """Tell whether a reference can be read: what would be refused is refused while its sender is listening."""
    if ref is None or ref.kind == PSEUDONYM:
        return True
    return isinstance(normal_form(ref.kind, ref.value, ref.region, "$"), Normalised)


def _denies(work: Work, item: SignalItem) -> bool:
    """Tell whether a signal denies anything; one of an impossible instant could become possible until it is read."""
    try:
        return signals.says_no(work, item) and isinstance(settled_instant(work, item.at, opting_out=False), int)
    except SignalError:
        return False


def _as_of_now(work: Work, item: Any) -> Any:
    """Return a row with the instant that it holds from: an impossible one is judged by the clock of now."""
    return replace(item, at=settled_instant(work, item.at, opting_out=True))


def _context(uid: bytes, principal: str, recipient: str, at: int) -> bytes:
    return frame(_DOMAIN, uid, principal.encode(), recipient.encode(), at.to_bytes(8, "big"))


# -- carrying out ------------------------------------------------------------------------------------------------


def _one(gateway: Gateway) -> bool:
    """Carry out the oldest one; False if nothing waits."""
    found = None
    try:
        with gateway.work() as work:
            found = rows.oldest(work.session)
            if found is None:
                return rows.any_waiting(work.session)
            _settle(work, found, _carried_out(work, found))
    except RaceError:
        return True  # another writer was in the way, and nothing was done
    except UnavailableError:
        raise
    except GatewayError as error:
        _set_aside(gateway, found, error.code)
    return True


def _carried_out(work: Work, found: Deferral) -> dict[str, object]:
    sealed = _opened(work, found)
    work.actor = _as_it_came(found)
    if sealed.kept is not None and not _first(work, sealed.kept):
        return {"outcome": "repeated"}
    letter = sealed.letter
    if letter.kind == _ERASURE:
        erasure.erase_or_defer(work, named_by(work, letter.pseudonym), letter.reason)
        return {"outcome": "done"}
    items = msgspec.json.decode(letter.items, type=_ITEMS[letter.kind])
    incoming = [Incoming(n, raw, item) for n, raw, item in zip(letter.numbers, letter.raws, items, strict=True)]
    more = {} if letter.kind == "signals" else {"gpc": letter.gpc}
    taken = _USES[letter.kind](work, letter.source, incoming, letter.content_sha256, **more)
    return {"outcome": "done", "accepted": taken.accepted, "rejected": taken.rejected}


def _opened(work: Work, found: Deferral) -> _Sealed:
    """Return a letter; `VaultError` if it does not open, `KeyringError` if only a newer keyring can tell."""
    vault = work.gateway.vault
    vault.require_epoch(max(work.registers.least_epoch, found.epoch))
    context = _context(found.uid, found.principal, found.recipient, found.at)
    content = open_letter(vault.provider.keyring, context, found.sealed)
    return msgspec.json.decode(content, type=_Sealed)


def _first(work: Work, kept: Kept) -> bool:
    """Keep the reply for calls that repeat this one; False if this one repeats another."""
    name = work.gateway.vault.reply_name(kept.key)
    if intake_rows.find_reply(work.session, work.actor.id, name) is not None:
        return False
    digest = work.gateway.vault.digest(kept.identity)
    row = {"request_digest": digest, "status": kept.status, "response": kept.content, "at": work.now}
    intake_rows.put_reply(work.session, {"principal": work.actor.id, "key": name, **row})
    return True


def _as_it_came(found: Deferral) -> Principal:
    """Return who brought it, without a key: it was a key's when it came, whatever became of that since."""
    return Principal(found.principal, RecipientId(found.recipient), frozenset())


def _settle(work: Work, found: Deferral, outcome: dict[str, object]) -> None:
    rows.remove(work.session, found.id)
    work.actor = SYSTEM
    work.record(EntryKind.INTAKE_SETTLED, {"deferral": found.uid.hex(), **outcome})


def _set_aside(gateway: Gateway, found: Deferral | None, code: str) -> None:
    with gateway.work() as work:
        held = rows.oldest(work.session)
        if found is None or held is None or held.id != found.id:
            return  # another process has it
        rows.refuse(work.session, found.id, code)
        fields = {"deferral": found.uid.hex(), "outcome": "refused", "reason": code}
        work.record(EntryKind.INTAKE_SETTLED, fields)
