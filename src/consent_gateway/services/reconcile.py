"""Recompute audience rows from the truth, and say where they differ.

The audience row is derived; its one write path keeps it true as things happen. This is the independent second
computation: from profiles, identifiers, the ledger, choices, events and contacts, person by person.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from consent_gateway.audit.entries import EntryKind
from consent_gateway.db import audience_rows, merges, subjects
from consent_gateway.domain.ids import SubjectId
from consent_gateway.services.audience_rows import whole_rows
from consent_gateway.services.gateway import Gateway, Work

PAGE = 500


@dataclass(slots=True)
class Report:
    """How many rows were compared, how many differed, and in which columns; no row is named."""

    compared: int = 0
    differing: int = 0
    missing: int = 0
    stray: int = 0  # rows that belong to nobody, or to somebody who is served as another
    links: int = 0  # links that are not what the merges in force say
    columns: dict[str, int] = field(default_factory=dict)
    repaired: bool = False

    @property
    def clean(self) -> bool:
        """Tell whether every row was as the truth has it."""
        return self.differing == self.missing == self.stray == self.links == 0


def reconcile(gateway: Gateway, *, repair: bool = False) -> Report:
    """Compare every audience row with the truth, page by page; with `repair`, write what should be there."""
    report = Report(repaired=repair)
    after = 0
    while True:
        with gateway.work() as work:
            ids = subjects.ids_after(work.session, after, PAGE)
            if not ids:
                _finish(work, report)
                return report
            _page(work, ids, report)
        after = ids[-1]


def _finish(work: Work, report: Report) -> None:
    stray = subjects.stray_rows(work.session)
    report.stray = len(stray)
    if report.repaired:
        subjects.drop_rows(work.session, stray)
    names = ("compared", "differing", "missing", "stray", "links")
    work.record(EntryKind.RECONCILE_RUN, {name: getattr(report, name) for name in names})


def truth(work: Work, ids: Sequence[SubjectId]) -> dict[SubjectId, dict[str, Any]]:
    """Return the audience rows of the people to whom `ids` belong as the truth has them, by the head of each."""
    return whole_rows(work, merges.connected(work.session, ids))


def _page(work: Work, ids: Sequence[SubjectId], report: Report) -> None:
    _check_links(work, ids, report)
    wanted = {i: row for i, row in truth(work, ids).items() if i in set(ids)}
    stored = audience_rows.rows(work.session, list(wanted))
    for i, row in wanted.items():
        held = stored.get(i)
        report.compared += 1
        if held is None:
            report.missing += 1
            if report.repaired:
                audience_rows.insert_rows(work.session, [row])
            continue
        wrong = {name: value for name, value in row.items() if held[name] != value}
        if wrong:
            report.differing += 1
            for name in wrong:
                report.columns[name] = report.columns.get(name, 0) + 1
            if report.repaired:
                audience_rows.update_rows(work.session, {i: wrong})


def _check_links(work: Work, ids: Sequence[SubjectId], report: Report) -> None:
    """Compare the links of a page with the merges they follow from."""
    people = merges.connected(work.session, ids)
    page = set(ids)
    wanted = {(i, head) for head, members in people.items() for i in members if i != head and i in page}
    stored = {(i, head) for i, head in merges.heads(work.session, ids).items()}
    if wanted == stored:
        return
    report.links += len(wanted ^ stored)
    if report.repaired:
        merges.relink(work.session, people)
