"""Intake: every row that comes in is accepted, recognised as known, or quarantined with its reasons. None is lost.

A batch is a list of `Incoming` rows: what the edge could read of each (`item`), or why it could not (`problems`), and
the raw bytes, which go into the quarantine sealed if the row is rejected. `received == accepted + duplicates +
rejected` holds for every answer.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from consent_gateway.db import intake as intake_rows
from consent_gateway.db import subjects as subject_rows
from consent_gateway.db.subjects import Token
from consent_gateway.domain.ids import SourceId
from consent_gateway.errors import FieldProblem, InputError
from consent_gateway.services.identity import lasting_names
from consent_gateway.services.identity.people import BEFORE_ERASURE, identifiers_in, people_in
from consent_gateway.services.work.gateway import Work
from consent_gateway.services.work.own_key import own_key
from consent_gateway.services.work.vault import GATEWAY_ITSELF, seal_bytes

Item = TypeVar("Item")
MAX_ITEMS = 1000


@dataclass(frozen=True, slots=True)
class Incoming(Generic[Item]):
    """One row: its number in the batch, what was read of it, or what is wrong with it."""

    row: int
    raw: bytes
    item: Item | None
    problems: tuple[FieldProblem, ...] = ()


@dataclass(frozen=True, slots=True)
class Rejection:
    """A row that was refused, and where it is kept."""

    row: int
    reasons: tuple[FieldProblem, ...]
    quarantine_id: int


@dataclass(frozen=True, slots=True)
class Confirmation:
    """The token of a pending row, to be sent to the person; it cannot be shown again."""

    row: int
    token: str
    expires_at: int


@dataclass(slots=True)
class Intake:
    """The counts of one batch, and every rejection."""

    kind: str
    source: SourceId
    received: int
    created: int = 0
    updated: int = 0
    joined: int = 0
    duplicates: int = 0
    suppressed: int = 0
    accepted: int = 0
    rejections: list[Rejection] = field(default_factory=list)
    confirmations: list[Confirmation] = field(default_factory=list)
    entries: list[bytes] = field(default_factory=list)  # uids in the log: one a row for consents, one a batch else

    @property
    def rejected(self) -> int:
        """How many rows were refused."""
        return len(self.rejections)

    def counts(self) -> dict[str, int]:
        """Return the numbers, for the answer and the audit entry."""
        names = ("received", "accepted", "created", "updated", "joined", "duplicates", "suppressed", "rejected")
        return {name: getattr(self, name) for name in names}


class Refusals:
    """Collects refused rows of a batch and quarantines them at the end."""

    def __init__(self) -> None:
        self._rows: dict[int, tuple[bytes, tuple[FieldProblem, ...]]] = {}

    def refuse(self, row: Incoming[Item], *problems: FieldProblem) -> None:
        """Refuse one row."""
        self._rows[row.row] = (row.raw, problems)

    def readable(self, rows: Sequence[Incoming[Item]]) -> list[tuple[Incoming[Item], Item]]:
        """Return the rows that could be read; refuse the others."""
        good = []
        for row in rows:
            if row.item is None or row.problems:
                self.refuse(row, *row.problems)
            else:
                good.append((row, row.item))
        return good

    def quarantine(self, work: Work, kind: str, source: SourceId, *, content: bool = True) -> list[Rejection]:
        """Keep every refused row, sealed under the gateway's own key, with its reasons in the clear.

        Without `content`, and of what is from before an erasure, only the reasons are kept: nothing allows to hold it.
        """
        if not self._rows:
            return []
        # The last lock that an intake takes: an erasure that is under way ends first, and one that begins finds these.
        intake_rows.hold_quarantine(work.session, keeping=True)
        dek = own_key(work)
        ordered = sorted(self._rows.items())
        emptied = {
            row for row, (_, problems) in ordered if not content or BEFORE_ERASURE.code in {p.code for p in problems}
        }
        tokens = {row: None if row in emptied else _tokens_in(work, raw) for row, (raw, _) in ordered}
        ids = intake_rows.put_quarantine(
            work.session,
            [
                {
                    "source": source,
                    "kind": kind,
                    "reference": str(row),
                    "reasons": json.dumps([_reason(p) for p in problems]),
                    # Not even sealed if it names somebody who was erased: that is not kept a second time.
                    "sealed": b"" if tokens[row] is None else seal_bytes(dek, GATEWAY_ITSELF, raw),
                    "at": work.now,
                }
                for row, (raw, problems) in ordered
            ],
        )
        pairs = [(token, i) for (row, _), i in zip(ordered, ids, strict=True) for token in tokens[row] or ()]
        intake_rows.tie_quarantine(work.session, pairs)
        return [Rejection(row, problems, i) for (row, (_, problems)), i in zip(ordered, ids, strict=True)]


def _tokens_in(work: Work, raw: bytes) -> list[Token] | None:
    """Return the ties of a refused row: lasting tokens of every identifier in it, and of whom its pseudonyms name.

    By them an erasure reaches it. None: it names somebody who was erased.
    """
    forms, named = identifiers_in(raw), people_in(work, raw)
    if (forms and lasting_names.erased(work, forms)) or named - subject_rows.existing(work.session, named):
        return None
    return [lasting_names.names(work, form)[0] for form in forms] + [lasting_names.of_subject(work, i) for i in named]


def require_source(work: Work, source: str) -> SourceId:
    """Return the registered source; InputError names the field if there is none."""
    if source not in work.registers.sources:
        raise InputError(fields=(FieldProblem("$.source", "unknown_source", "no such source is registered"),))
    work.hold_registers()
    return SourceId(source)


def require_size(rows: Sequence[object]) -> None:
    """Refuse a batch that is too large before anything is done."""
    if len(rows) > MAX_ITEMS:
        raise InputError(fields=(FieldProblem("$.items", "too_many", f"at most {MAX_ITEMS} rows a call"),))


def keep_counts(work: Work, intake: Intake, content_sha256: str) -> None:
    """Remember the counts of one call."""
    row = {
        "source": intake.source,
        "kind": intake.kind,
        "content_digest": work.gateway.vault.digest(content_sha256.encode()).hex(),
        "counts": json.dumps(intake.counts()),
        "at": work.now,
    }
    intake_rows.put_import(work.session, row)


def problem(path: str, code: str, message: str) -> FieldProblem:
    """Return one thing that is wrong with one field."""
    return FieldProblem(path, code, message)


def _reason(found: FieldProblem) -> dict[str, str]:
    return {"path": found.path, "code": found.code, "message": found.message}


def count_codes(rejections: Iterable[Rejection]) -> dict[str, int]:
    """Return how many rows were refused for each reason."""
    counts: dict[str, int] = {}
    for rejection in rejections:
        for reason in rejection.reasons:
            counts[reason.code] = counts.get(reason.code, 0) + 1
    return counts
