"""What keeps data although a period is over: a consent in force, facts whose period runs, a hold; and the counts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from consent_gateway.db import holds, merges, subjects
from consent_gateway.db.retention import Fact
from consent_gateway.domain.consents import ENDS, NO, YES
from consent_gateway.domain.ids import SubjectId
from consent_gateway.services.work.gateway import Work

KINDS = (
    *("events", "contacts", "evidence", "signals", "quotas", "quarantine"),
    *("fields", "people", "waiting", "held", "failed"),
)


@dataclass(slots=True)
class Outcome:
    """What one run deleted, or would delete: counts by what it was; `held` were spared because of a legal hold."""

    dry_run: bool
    counts: Counter[str] = field(default_factory=Counter)
    fields: Counter[str] = field(default_factory=Counter)  # what went of people who stay, by field

    def as_dict(self) -> dict[str, int]:
        """Return the counts, zeros too, in a fixed order."""
        return {kind: self.counts[kind] for kind in KINDS}


def is_needed(facts: Sequence[Fact], over: int) -> bool:
    """Tell whether facts of one purpose keep data: a yes without an end does, and every fact whose period runs.

    `over`: up to which instant (seconds) what is of the purpose is over.
    """
    ends = [f for f in facts if f.kind in NO | ENDS]
    grants = (f for f in facts if f.kind in YES and f.valid_until is None)
    open_yes = any(not any(end.closes(grant) for end in ends) for grant in grants)
    return open_yes or any(max(f.at, f.valid_until or 0) > over for f in facts)


def held(work: Work, ids: Iterable[SubjectId]) -> set[SubjectId | None]:
    """Lock people, every subject of each, and return those of `ids` who are held: a hold that comes is waited for."""
    clusters = merges.clusters(work.session, set(ids))
    members = {i: head for head, found in clusters.items() for i in found}
    subjects.lock_all(work.session, members)
    heads = {members[hold.subject_id] for hold in holds.of_subjects(work.session, members)}
    return {i for i, head in members.items() if head in heads}
