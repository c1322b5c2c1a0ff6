"""A past answer computed again: the same facts, the packs that were in force then, the day it was given on (P10).

1. The entry in the log says what was asked, what was answered, and which set of packs answered.
2. Its opening, which is kept with the person, says on which facts. After an erasure it is gone, and the replay says so.
3. The opening is held against the commitment in the entry, the facts against their digest, the texts against theirs:
   what was altered since is a difference, not an answer.
4. The engine answers again, and outcome, reason and packs are compared with the entry.

Facts are read by name under this software's vocabulary (`policies.points`), so that an answer survives new facts.
Batches and audiences name their packs, but no one's facts: they can be read in the log and not computed again.
"""

from __future__ import annotations

import hmac
import json
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from consent_gateway.audit.commitments import commit
from consent_gateway.audit.entries import Entry, EntryKind, parse_entry
from consent_gateway.db import log_people, log_store, replays
from consent_gateway.db import policies as policy_rows
from consent_gateway.domain.decisions import Answer
from consent_gateway.domain.ids import SubjectId
from consent_gateway.errors import InputError, NotFoundError
from consent_gateway.policies import engine, points
from consent_gateway.policies.choices import Choices
from consent_gateway.policies.packs import load
from consent_gateway.policies.report import answer_as_data
from consent_gateway.policies.rules import PackSet
from consent_gateway.policies.vocabulary import Facts, UnknownFactError
from consent_gateway.services.deciding.law import checked, day_of, set_digest
from consent_gateway.services.work.gateway import Work

_MILLIS = 1000


class ReplayState(StrEnum):
    """What came of it."""

    SAME = "same"
    DIFFERS = "differs"
    ERASED = "opening_gone"
    NO_FACTS = "no_facts"  # the answer was given before any pack was asked
    NOT_KEPT = "not_kept"  # the facts or the packs of that time are not in the store


@dataclass(frozen=True, slots=True)
class Replay:
    """A past answer beside the one that is computed for the same facts; `differences` name what is not the same."""

    entry: Entry
    state: ReplayState
    answer: Answer | None = None
    differences: tuple[str, ...] = ()
    against: Answer | None = None


def replay(work: Work, uid: bytes, *, against_active: bool = False) -> Replay:
    """Compute a decision again; `against_active` adds what today's packs would say of the same facts.

    NotFoundError for an entry that is unknown or not yet integrated, InputError for one that is no single decision.
    Looking into a decision is itself recorded.
    """
    found = log_store.find_entry(work.session, uid)
    if found is None:
        pending = log_store.is_pending(work.session, uid)
        raise NotFoundError("the entry is acknowledged and not yet integrated: retry" if pending else "")
    entry = parse_entry(found[1])
    if entry.kind is not EntryKind.DECISION_MADE:
        raise InputError("only a single decision can be replayed: this entry is of another kind")
    done = _replay(work, entry, against_active=against_active)
    work.record(
        EntryKind.DECISION_REPLAYED,
        {"decision": uid.hex(), "state": done.state.value, "against": "active" if against_active else ""},
    )
    return done


# -- the parts ---------------------------------------------------------------------------------------------------


def _replay(work: Work, entry: Entry, *, against_active: bool) -> Replay:
    facts = _opened(work, entry)
    if isinstance(facts, Replay):
        return facts
    packs = _packs(work, entry)
    if packs is None:
        return Replay(entry, ReplayState.NOT_KEPT)
    against = engine.decide(work.law.packs, facts) if against_active else None
    return _compared(entry, packs, engine.decide(packs, facts), against)


def _opened(work: Work, entry: Entry) -> Facts | Replay:
    """Return the facts of a decision, or what is to be said instead of them."""
    if not entry.commitments:
        return Replay(entry, ReplayState.NO_FACTS)
    opening = log_people.find_opening(work.session, entry.uid, "subject")
    if opening is None:
        return Replay(entry, ReplayState.ERASED)
    if not _opens(work, entry, *opening):
        return Replay(entry, ReplayState.DIFFERS, differences=("commitment",))
    digest = str(json.loads(opening[1])["facts"])
    try:
        facts = _facts(work, digest) if digest else None
    except UnknownFactError:
        return Replay(entry, ReplayState.DIFFERS, differences=("facts",))
    return facts or Replay(entry, ReplayState.NOT_KEPT if digest else ReplayState.NO_FACTS)


def _opens(work: Work, entry: Entry, subject_id: SubjectId, payload: bytes) -> bool:
    """Tell whether the opening is what the entry committed to."""
    made = entry.commitments.get("subject", b"")
    keys = work.gateway.vault.audit_keys(work.session, subject_id)
    return any(hmac.compare_digest(commit(key, entry.uid, "subject", payload), made) for key in keys)


def _facts(work: Work, digest: str) -> Facts | None:
    stored = replays.find_facts(work.session, digest)
    if stored is None:
        return None
    table, bits = points.table_of(json.loads(stored[0])), int(stored[1], 16)
    if points.digest(table, bits) != digest:
        raise UnknownFactError("the stored facts are not those of their digest")
    return points.read(points.values_of(table, bits))


def _packs(work: Work, entry: Entry) -> PackSet | None:
    """Return the packs of an entry as they stood on its day; None if a text is lost or was altered."""
    digest = str(entry.fields.get("policy", ""))
    stored = replays.find_set(work.session, digest)
    if stored is None or set_digest(stored.encode()) != digest:
        return None
    members: dict[str, Any] = json.loads(stored)
    held = policy_rows.texts(work.session, members["texts"].values())
    texts = {name: checked(held, sha256) for name, sha256 in members["texts"].items()}
    if not all(texts.values()):
        return None
    choices = Choices("the choices of that time", tuple((*choice, 0) for choice in members["choices"]))
    return load(texts, choices).as_of(day_of(entry.at // _MILLIS))


def _compared(entry: Entry, packs: PackSet, answer: Answer, against: Answer | None) -> Replay:
    now = {
        "outcome": answer.outcome.value,
        "reason": answer.reason_code,
        "packs": " ".join(pack.name for pack in packs.packs),
    }
    differences = tuple(name for name, value in now.items() if entry.fields.get(name) != value)
    state = ReplayState.DIFFERS if differences else ReplayState.SAME
    return Replay(entry, state, answer, differences, against)


def as_data(done: Replay) -> dict[str, Any]:
    """Return a replay as JSON values; it holds no facts, only what was and is answered."""
    fields = done.entry.fields
    return {
        "uid": done.entry.uid.hex(),
        "at": datetime.fromtimestamp(done.entry.at / _MILLIS, UTC).isoformat(timespec="milliseconds"),
        "state": done.state.value,
        "differences": list(done.differences),
        "logged": {
            "outcome": fields.get("outcome"),
            "reason_code": fields.get("reason"),
            "packs": str(fields.get("packs", "")).split(),
        },
        "computed": None if done.answer is None else answer_as_data(done.answer),
        "against": None if done.against is None else answer_as_data(done.against),
    }
