"""Recompute audience rows from the truth, and say where they differ.

The audience row is derived; its one write path keeps it true as things happen. This is the independent second
computation: from profiles, identifiers, the ledger, choices, events and contacts, person by person. Derived too is what
a contact point says of itself, that it is suppressed: the truth is the list, which is asked by the sealed identifiers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from consent_gateway.audit.entries import EntryKind
from consent_gateway.db import audience_rows, merges, strangers, subjects
from consent_gateway.db.subjects import Token
from consent_gateway.domain.ids import SubjectId
from consent_gateway.services.identity import lasting_names
from consent_gateway.services.identity.audience_rows import whole_rows
from consent_gateway.services.work.gateway import Gateway, Work
from consent_gateway.services.work.vault import CONTACT, open_group
from consent_gateway.vault.failures import VaultError
from consent_gateway.vault.normal_forms import Normalised
from consent_gateway.vault.normalisers import stored

PAGE = 500


@dataclass(slots=True)
class Report:
    """How many rows were compared, how many differed, and in which columns; no row is named."""

    compared: int = 0
    differing: int = 0
    missing: int = 0
    stray: int = 0  # rows that belong to nobody, or to somebody who is served as another
    links: int = 0  # links that are not what the merges in force say
    suppressed: int = 0  # contact points that do not say of themselves what the suppression list says
    unread: int = 0  # people whose key does not open: their contact points are not compared
    columns: dict[str, int] = field(default_factory=dict)
    repaired: bool = False

    @property
    def clean(self) -> bool:
        """Tell whether every row was as the truth has it."""
        return self.differing == self.missing == self.stray == self.links == self.suppressed == 0


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
    names = ("compared", "differing", "missing", "stray", "links", "suppressed", "unread")
    work.record(EntryKind.RECONCILE_RUN, {name: getattr(report, name) for name in names})


def truth(work: Work, ids: Sequence[SubjectId]) -> dict[SubjectId, dict[str, Any]]:
    """Return the audience rows of the people to whom `ids` belong as the truth has them, by the head of each."""
    return whole_rows(work, merges.connected(work.session, ids))


def _page(work: Work, ids: Sequence[SubjectId], report: Report) -> None:
    _check_links(work, ids, report)
    _check_suppressed(work, ids, report)
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


def _check_suppressed(work: Work, ids: Sequence[SubjectId], report: Report) -> None:
    """Compare what a page's contact points say of themselves with the list, by the identifiers in the vault."""
    points = subjects.contact_points(work.session, ids, work.registers.index.counts.number)
    listed = strangers.any_suppressed(work.session)
    if not listed and not any(point.suppressed for held in points.values() for point in held):
        return
    forms = _forms(work, sorted(points), report) if listed else {}
    blocked = lasting_names.suppressed(work, [form for found in forms.values() for form in found])
    closed = {work.token(form) for form in blocked}
    known = [point for i in (forms if listed else points) for point in points.get(i, ())]
    wrong = [p for p in known if p.suppressed is not (Token(p.kind, p.token) in closed)]
    report.suppressed += len(wrong)
    if report.repaired:
        subjects.mark_suppressed(work.session, {p.id: not p.suppressed for p in wrong})


def _forms(work: Work, ids: Sequence[SubjectId], report: Report) -> dict[SubjectId, list[Normalised]]:
    """Return the identifiers of the people whose data key opens."""
    wraps = subjects.wrapped_keys(work.session, ids)
    groups = subjects.sealed(work.session, ids, CONTACT)
    found = {}
    for i in wraps.keys() & groups.keys():
        try:
            content = open_group(work.gateway.vault.unwrap(i, wraps[i]), groups[i])
        except VaultError:
            report.unread += 1
            continue
        found[i] = [stored(kind, value) for kind, value in content["points"]]
    return found
