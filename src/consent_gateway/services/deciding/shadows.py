"""A candidate beside the law: what it would have answered to the questions that were really asked.

`Decider.watched` answers by class and minute, like the answer itself, so that a watched question costs one look-up. A
piece of work counts what it asked; the counts join the gateway's when it commits, and the store's when the worker comes
by. What a process had not written yet when it was killed is missing: it is a report, and no answer depends on it.
"""

from __future__ import annotations

import threading
from collections import Counter
from dataclasses import dataclass
from typing import Any, NamedTuple

from consent_gateway.db import policies as rows
from consent_gateway.db.engine import Session, Store
from consent_gateway.domain.audiences import withhold
from consent_gateway.policies.diff import Change

ERROR = "error"


class Seen(NamedTuple):
    """One kind of question under one candidate: the use, how its answer differs, and the two reasons."""

    sha256: str
    purpose: str
    channel: str
    recipient: str
    change: str
    reason: str
    would_be: str


class Tally:
    """What this process has counted and not written yet. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts: Counter[Seen] = Counter()

    def add(self, counts: Counter[Seen]) -> None:
        """Add the counts of a piece of work that committed."""
        with self._lock:
            self._counts.update(counts)

    def held(self, sha256: str) -> Counter[Seen]:
        """Return what is not written yet about one candidate."""
        with self._lock:
            return Counter({seen: n for seen, n in self._counts.items() if seen.sha256 == sha256})

    def write(self, store: Store) -> None:
        """Write what was counted; if the store refuses, it is counted still."""
        with self._lock:
            counts, self._counts = self._counts, Counter()
        if not counts:
            return
        try:
            with store.transaction() as session:
                # In one order everywhere, so that two replicas wait for each other and not in a circle.
                found = [seen._asdict() | {"questions": counts[seen]} for seen in sorted(counts)]
                rows.add_shadow_counts(session, found)
        except Exception:
            self.add(counts)
            raise


@dataclass(frozen=True, slots=True)
class Line:
    """One kind of question and how often it was asked; None: fewer than the k-floor."""

    seen: Seen
    questions: int | None


def report(session: Session, tally: Tally, sha256: str, k_floor: int) -> list[Line]:
    """Return what a candidate would have answered, the most frequent first; small counts are withheld."""
    counts = tally.held(sha256)
    for row in rows.shadow_counts(session, sha256):
        counts[Seen(**{name: row[name] for name in Seen._fields})] += row["questions"]
    names = {repr(seen): seen for seen in counts}
    hidden = withhold({name: counts[seen] for name, seen in names.items()}, k_floor)
    lines = [Line(seen, None if name in hidden else counts[seen]) for name, seen in names.items()]
    return sorted(lines, key=lambda line: (-(line.questions or 0), line.seen))


def as_data(lines: list[Line]) -> dict[str, Any]:
    """Return a report as JSON values: totals and shares by change (null where a part is withheld), and the lines."""
    totals = {name: _total(lines, name) for name in (*Change, ERROR)}
    shown = [n for n in totals.values() if n is not None]
    asked = sum(shown) if len(shown) == len(totals) else None
    return {
        "questions": asked,
        "changes": {str(name): n for name, n in totals.items()},
        "shares": {str(name): n / asked if n is not None and asked else None for name, n in totals.items()},
        "lines": [line.seen._asdict() | {"questions": line.questions} for line in lines],
    }


def _total(lines: list[Line], change: str) -> int | None:
    parts = [line.questions for line in lines if line.seen.change == change]
    return None if None in parts else sum(part for part in parts if part is not None)
