"""Let somebody who was erased come back: a tombstone is lifted by an act of the person from after the erasure.

Who says so, and how it is proven: a key of our own with the scope `identity` names identifiers, what the person did
and when, and the proof; a source of our own party heard it. The proof itself stays with the caller, for there is
nobody under whose key it could be kept; a keyed digest of it is in the log, and the consent that follows brings its
own evidence. Where any of the tombstones is of an erasure by right, two keys are needed (`domain.approvals`): the
first call proposes, another key approves exactly these identifiers, this act and this instant, the same call lifts.

Only tombstones of the named identifiers are lifted, and the suppressions that the erasure left, no other. A lifted
tombstone stays: facts and rows from before the erasure are still refused (`lasting_names.returned`). What was lifted is
a line of the tombstone file, in the order of the erasures, so that a restored backup erases the former person again and
lets the new one be.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from consent_gateway.audit.entries import EntryKind
from consent_gateway.db import erasures, strangers, subjects, tombstones
from consent_gateway.db.erasures import ErasureRow
from consent_gateway.db.tombstones import Tombstone
from consent_gateway.domain.approvals import Action, Approval, Subject
from consent_gateway.domain.purposes import OWN, Party
from consent_gateway.domain.tombstones import OwnAct, is_later, needs_four_eyes
from consent_gateway.errors import FieldProblem, ForbiddenError, InputError
from consent_gateway.services.identity import lasting_names
from consent_gateway.services.identity.people import normal_form
from consent_gateway.services.rows.intake import require_source
from consent_gateway.services.work import approvals
from consent_gateway.services.work.gateway import Work
from consent_gateway.vault.normal_forms import Normalised
from consent_gateway.vault.tombstones import LASTING, LIFTED, Burial, encode

_EMPTY = (b"", b"{}")


@dataclass(frozen=True, slots=True)
class Act:
    """What a person did: heard by `source`, at an instant in seconds, proven by `evidence` (one JSON object)."""

    kind: OwnAct
    at: int
    source: str
    evidence: bytes


@dataclass(frozen=True, slots=True)
class Lift:
    """Which kinds of identifiers are free again, and the entry in the log; or the approval that is waited for."""

    kinds: tuple[str, ...] = ()
    uid: bytes | None = None
    waiting: Approval | None = None


def lift(work: Work, act: Act, identifiers: Mapping[str, str], region: str | None = None) -> Lift:
    """Lift the tombstones of identifiers, or say which approval is missing; those without a tombstone change nothing.

    ForbiddenError for a key that is not our own. InputError for an identifier that cannot be one, no proof, a source
    that is not of our own party, an instant ahead of now, and an act that is not from after the erasure.
    """
    if work.actor.recipient != OWN:
        raise ForbiddenError("only a key of our own lets somebody come back: it is for everyone")
    _check_act(work, act)
    forms = _forms(identifiers, region)
    by_token = {work.gateway.vault.tombstone(f.kind, value): f for f in forms for value in f.values()}
    stones = tombstones.standing(work.session, by_token, lock=True)
    if any(not is_later(act.at, stone.erased_at) for stone in stones.values()):
        message = "the person did this before they were erased"
        raise InputError(fields=(FieldProblem("$.act.at", "before_erasure", message),))
    approval = None
    if any(needs_four_eyes(stone.reason) for stone in stones.values()):
        approval, approved = _approval(work, _subject_of(work, act, stones))
        if not approved:
            return Lift(waiting=approval)
    uid = _record(work, act, stones, approval)
    if stones:
        _lift(work, uid, list(stones.values()), [by_token[token] for token in stones])
    return Lift(tuple(sorted({stone.kind for stone in stones.values()})), uid)


# -- the parts -----------------------------------------------------------------------------------------------------


def _check_act(work: Work, act: Act) -> None:
    source = work.registers.sources[require_source(work, act.source)]
    if source.party is not Party.FIRST:
        message = "only what we heard ourselves brings somebody back"
        raise InputError(fields=(FieldProblem("$.source", "not_first_party", message),))
    if act.evidence in _EMPTY:
        raise InputError(fields=(FieldProblem("$.act.evidence", "no_evidence", "say what proves it"),))
    if act.at > work.now + work.gateway.rules.max_future_seconds:
        raise InputError(fields=(FieldProblem("$.act.at", "future_date", "the instant lies in the future"),))


def _forms(identifiers: Mapping[str, str], region: str | None) -> list[Normalised]:
    found = [normal_form(kind, text, region, f"$.identifiers.{kind}") for kind, text in identifiers.items()]
    problems = tuple(form for form in found if isinstance(form, FieldProblem))
    if problems or not found:
        none = FieldProblem("$.identifiers", "no_identifier", "name at least one identifier")
        raise InputError(fields=problems or (none,))
    return [form for form in found if isinstance(form, Normalised)]


def _subject_of(work: Work, act: Act, stones: Mapping[bytes, Tombstone]) -> Subject:
    """Return what an approval is about: these tombstones, this proof, this act; nothing of it is personal."""
    digest = work.gateway.vault.digest(b"".join([*sorted(stones), act.evidence])).hex()
    return {
        "act": act.kind.value,
        "source": act.source,
        "proof": f"p{digest[:32]}",
        "at": act.at,
        "identifiers": len(stones),
    }


def _approval(work: Work, subject: Subject) -> tuple[Approval, bool]:
    """Use up the approval of a lift, True with it; without one propose it, or return the proposal that is there."""
    found = approvals.open_for(work, Action.LIFT_TOMBSTONES, subject)
    if found is None:
        return approvals.propose(work, Action.LIFT_TOMBSTONES, subject), False
    if found.approved_by is None:
        return found, False
    return approvals.use(work, Action.LIFT_TOMBSTONES, subject), True


def _record(work: Work, act: Act, stones: Mapping[bytes, Tombstone], approval: Approval | None) -> bytes:
    said: dict[str, object] = {
        "source": act.source,
        "act": act.kind.value,
        "acted_at": act.at,
        "evidence": work.gateway.vault.digest(act.evidence).hex(),
        "kinds": sorted({stone.kind for stone in stones.values()}),
        "tombstones": len(stones),
        "erased_for": sorted({stone.reason for stone in stones.values()}),
    }
    return work.record(EntryKind.TOMBSTONE_LIFTED, said | ({} if approval is None else {"approval": approval.id}))


def _lift(work: Work, uid: bytes, stones: Sequence[Tombstone], forms: Sequence[Normalised]) -> None:
    tombstones.lift(work.session, [stone.token for stone in stones], work.now)
    names = [name for form in forms for name in lasting_names.names(work, form)]
    strangers.unsuppress_erased(work.session, names)
    burial = Burial(
        uid,
        work.now,
        None,
        LIFTED,
        tuple((stone.kind, stone.token) for stone in stones),
        tuple((name.kind, LASTING, name.value) for name in dict.fromkeys(names)),
        subjects.last_id(work.session),
    )
    erasures.add(work.session, [ErasureRow(uid, work.now, encode(burial))])
    work.buried = True
