"""Choices: objection, restriction, opt-outs, signals; switched on, and possibly off again, by the person."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from consent_gateway.audit.commitments import NO_DETAILS
from consent_gateway.audit.entries import EntryKind
from consent_gateway.db import consents
from consent_gateway.domain.ids import SubjectId
from consent_gateway.domain.subjects import LOYALTY, Choice
from consent_gateway.errors import FieldProblem
from consent_gateway.services.identity.audience_rows import refresh_choices
from consent_gateway.services.identity.circumstances import refresh_recency
from consent_gateway.services.identity.people import Resolver
from consent_gateway.services.ledger.opt_outs import keep_for_stranger, settled_instant
from consent_gateway.services.ledger.signal_records import Heard, keep_signals
from consent_gateway.services.rows.intake import Incoming, Intake, Refusals, keep_counts, require_size, require_source
from consent_gateway.services.work.gateway import Work
from consent_gateway.services.work.items import ChoiceItem, SubjectRef
from consent_gateway.vault.envelope import derive_audit_key

_NOBODY = SubjectRef("pseudonym", "")


def record_choices(
    work: Work, source: str, rows: Sequence[Incoming[ChoiceItem]], content_sha256: str, *, gpc: bool = False
) -> Intake:
    """Append choices (objection, restriction, opt-outs, GPC, …); each has its own entry in the log."""
    source_id = require_source(work, source)
    require_size(rows)
    refusals = Refusals()
    intake = Intake("choices", source_id, len(rows))
    readable = refusals.readable(rows)
    resolver = Resolver(work, [item.subject for _, item in readable], writing=True)
    accepted: list[tuple[ChoiceItem, SubjectId]] = []
    for row, item in readable:
        found = _check(work, resolver, item)
        if isinstance(found, FieldProblem):
            if not (says_no(item) and _keep(work, resolver, source_id, found, item)):
                refusals.refuse(row, found)
                continue
            intake.suppressed += 1
        else:
            accepted.append(found)
        intake.accepted += 1
    intake.created = len(accepted)
    people = sorted({i for _, i in accepted})
    intake.entries = append_choices(work, source_id, accepted)
    if gpc:
        intake.entries += hear_signal(work, source_id, resolver, [item.subject for _, item in readable], people)
    intake.rejections = refusals.quarantine(work, "choices", source_id)
    keep_counts(work, intake, content_sha256)
    return intake


def _check(work: Work, resolver: Resolver, item: ChoiceItem) -> tuple[ChoiceItem, SubjectId] | FieldProblem:
    at = settled_instant(work, item.at, opting_out=says_no(item))
    if isinstance(at, FieldProblem):
        return at
    found = resolver.resolve(item.subject)
    return found if isinstance(found, FieldProblem) else (replace(item, at=at), found)


def says_no(item: ChoiceItem) -> bool:
    """Tell whether the choice closes something; taking part in a loyalty programme, or affirming it, does not."""
    return item.active and item.choice not in LOYALTY


def _keep(work: Work, resolver: Resolver, source: str, found: FieldProblem, item: ChoiceItem) -> bool:
    at = settled_instant(work, item.at, opting_out=True)
    fact = {"choice": item.choice.value, "at": at, "source": source}
    return keep_for_stranger(work, found, resolver.forms(item.subject), fact)


def hear_signal(
    work: Work, source: str, resolver: Resolver, named: Iterable[SubjectRef], people: Iterable[SubjectId]
) -> list[bytes]:
    """Append the signal of a call for `people` and whoever else its rows name: a row that is refused refuses no signal.

    For somebody nobody knows it waits as every no does; an address is not suppressed by it.
    """
    found = {ref: resolver.resolve(ref) for ref in named}
    for ref, who in found.items():
        if isinstance(who, FieldProblem):
            fact = {"choice": Choice.GPC.value, "at": work.now, "source": source}
            keep_for_stranger(work, who, resolver.forms(ref), fact, suppress=False)
    known = {who for who in found.values() if not isinstance(who, FieldProblem)}
    return record_signal(work, source, sorted({*people, *known}))


def record_signal(work: Work, source: str, people: Sequence[SubjectId]) -> list[bytes]:
    """Append the signal `Sec-GPC: 1` for people whose data came in a call that carried it."""
    signal = ChoiceItem(_NOBODY, Choice.GPC, active=True, at=work.now)
    effects = {"choices": [Choice.GPC.value]}
    keep_signals(work, source, [Heard("gpc", "1", work.now, effects, subject_id) for subject_id in people])
    return append_choices(work, source, [(signal, subject_id) for subject_id in people])


def append_choices(work: Work, source: str, accepted: Sequence[tuple[ChoiceItem, SubjectId]]) -> list[bytes]:
    """Append choices of known people, each with its entry, and write their rows anew; returns the entries."""
    people = sorted({subject_id for _, subject_id in accepted})
    deks = work.gateway.vault.keys(work.session, people)
    rows, entries = [], []
    for item, subject_id in accepted:
        rows.append(
            {
                "subject_id": subject_id,
                "choice": item.choice,
                "active": item.active,
                "at": item.at,
                "source": source,
                "received_at": work.now,
            }
        )
        fields = {"right": item.choice.value, "active": item.active, "source": source}
        audit_key = derive_audit_key(deks[subject_id])
        payload = NO_DETAILS
        entries.append(work.record_about(EntryKind.RIGHT_EXERCISED, fields, subject_id, audit_key, payload))
    consents.append_choices(work.session, rows)
    refresh_choices(work, people)
    refresh_recency(work, people)
    return entries
