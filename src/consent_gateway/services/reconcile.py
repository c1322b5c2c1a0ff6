"""Recompute audience rows from the truth, and say where they differ.

The audience row is derived; its one write path keeps it true as things happen. This is the independent second
computation: from profiles, identifiers, the ledger, choices, events and contacts, person by person.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from consent_gateway.audit.entries import EntryKind
from consent_gateway.db import audience_rows, consents, events, subjects
from consent_gateway.db.subjects import Token
from consent_gateway.db.tables import CAPPED_CHANNELS
from consent_gateway.domain.ids import SubjectId
from consent_gateway.domain.subjects import Flag
from consent_gateway.services.audience_rows import contact_flags, standing_columns, trait_columns
from consent_gateway.services.events import newest_columns
from consent_gateway.services.gateway import Gateway, Work

PAGE = 500


@dataclass(slots=True)
class Report:
    """How many rows were compared, how many differed, and in which columns; no row is named."""

    compared: int = 0
    differing: int = 0
    missing: int = 0
    stray: int = 0  # rows that belong to nobody
    columns: dict[str, int] = field(default_factory=dict)
    repaired: bool = False

    @property
    def clean(self) -> bool:
        """Tell whether every row was as the truth has it."""
        return self.differing == self.missing == self.stray == 0


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
    names = ("compared", "differing", "missing", "stray")
    work.record(EntryKind.RECONCILE_RUN, {name: getattr(report, name) for name in names})


def truth(work: Work, ids: Sequence[SubjectId]) -> dict[SubjectId, dict[str, Any]]:
    """Return the audience rows of people as the truth has them."""
    profiles = subjects.profiles(work.session, ids)
    points = subjects.contact_points(work.session, ids)
    ledgers = consents.ledger(work.session, ids)
    choices = consents.choice_flags(work.session, ids)
    summaries = events.summaries(work.session, ids)
    contacts = events.newest_contacts(work.session, ids)
    declared = events.declared_traits(work.session, ids)
    reach = contact_flags(work, {i: [Token(p.kind, p.token) for p in points.get(i, [])] for i in ids})
    slots = [(p, channel, slot) for (p, channel), slot in work.registers.slots.items()]
    rows: dict[SubjectId, dict[str, Any]] = {}
    for i, (regions, born) in profiles.items():
        flags = choices.get(i, Flag(0)) | reach[i]
        row = audience_rows.blank(i) | {"regions": regions, "birth_month": born, "flags": int(flags)}
        row |= standing_columns(work.registers, ledgers.get(i, []), points.get(i, []), slots)
        row |= trait_columns(work.registers, i, summaries, declared.get(i, {}))
        row["last_activity"] = max((s[2] for (who, _), s in summaries.items() if who == i), default=None)
        for channel in CAPPED_CHANNELS:
            row |= newest_columns(channel, contacts.get((i, channel), []))
        rows[i] = row
    return rows


def _page(work: Work, ids: Sequence[SubjectId], report: Report) -> None:
    stored = audience_rows.rows(work.session, ids)
    wanted = truth(work, ids)
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
