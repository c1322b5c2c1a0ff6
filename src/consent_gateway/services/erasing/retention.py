"""Delete what no purpose needs any more: events, contacts, evidence, signals, refused rows, and whole people.

The periods come from the registers: that of a purpose (`processing`), and that of a source, which caps it
(`domain.retention`). A day's run goes over everything page by page, each page one transaction with the rows of
audiences recomputed; it can die at any point and be repeated. What of, and when it is over:

- an event: the period of its source, from the event; a contact: that of its purpose or else of its source, and never
  before caps have stopped counting it;
- the evidence of a fact: the period of its purpose, from the no or the end that closed the consent; the fact stays;
- a signal: the period of its source; of somebody nobody knows `STRANGER_SECONDS` at most;
- a refused row: 30 days; its reasons stay;
- what a quota counted: when no window counts it any more;
- a registered field of somebody who stays: when no purpose needs it any more (`services.erasing.field_retention`);
- a person: when every source that told about them is over, and every event, contact and consent of theirs. That is an
  erasure (`services.erasing.erasure`) with the reason `retention`. A consent that is in force keeps its person. Of whom
  nobody knows which source told about them, the longest period of all sources counts, from when they came.

Nobody who is held loses anything (`services.erasing.holds`); whole people wait for the hold to end. What has no period
is kept and shown as a gap. Suppressions, tombstones and opt-outs of strangers stay: they are what keeps a no in force.
The log stays: it names nobody whom an erasure has reached.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from consent_gateway.audit.entries import EntryKind
from consent_gateway.db import audience_rows, holds, intake, merges, quotas, records, subjects
from consent_gateway.db import retention as rows
from consent_gateway.db.engine import Session
from consent_gateway.db.retention import Found, Run
from consent_gateway.domain.ids import SubjectId
from consent_gateway.domain.retention import Periods, field_periods, periods
from consent_gateway.services.erasing.erasure import Erasure, erase_or_defer
from consent_gateway.services.erasing.field_retention import FieldCut, field_cuts, sweep_fields
from consent_gateway.services.erasing.retained import Outcome, held, is_needed
from consent_gateway.services.identity.audience_rows import whole_rows
from consent_gateway.services.work.gateway import Gateway, Work

DAY = 86_400
STRANGER_SECONDS = 30 * DAY
QUARANTINE_SECONDS = 30 * DAY
_PAGE = 500
_STALE_SECONDS = 3_600
_LISTED = 30


@dataclass(frozen=True, slots=True)
class Cutoffs:
    """Up to which instant (seconds) what is of a purpose or source is over."""

    purposes: Mapping[str, int]
    sources: Mapping[str, int]
    latest_contact: int
    now: int
    fields: Sequence[FieldCut] = ()
    unsourced: int = -1  # of people of whom nobody knows which source told: the longest period of all sources


@dataclass(frozen=True, slots=True)
class Status:
    """How it stands: the newest runs, and which purposes and sources have no period."""

    runs: list[Run]
    purposes: dict[str, str]
    sources: dict[str, str]
    gaps: dict[str, list[str]]
    fields: dict[str, dict[str, str]]
    unsourced: int


def run(gateway: Gateway, *, dry_run: bool = False) -> Outcome:
    """Delete everything that is over now, or only count it; each run that deletes is an entry in the log."""
    outcome = Outcome(dry_run)
    for _ in pages(gateway, outcome):
        pass
    return outcome


def pages(gateway: Gateway, outcome: Outcome) -> Iterator[None]:
    """Do a run page by page, so that whoever has other work too can do it in between; fills `outcome`."""
    dry_run = outcome.dry_run
    with gateway.look() as work:
        cut, started = cutoffs(work), work.now
    for kind, find, drop in _steps(cut):
        yield from _sweep(gateway, outcome, kind, find, drop)
    if cut.fields:
        yield from sweep_fields(gateway, outcome, cut.fields)
    yield from _sweep_people(gateway, outcome, cut)
    with gateway.work() as work:
        before = work.now - QUARANTINE_SECONDS
        outcome.counts["quarantine"] = rows.quarantine_over(work.session, before)
        if not dry_run:
            intake.empty_quarantine(work.session, before)
            outcome.counts["quotas"] = quotas.forget_all(work.session, work.now - DAY)
            said: dict[str, object] = dict(outcome.as_dict())
            said |= {"by_field": dict(sorted(outcome.fields.items()))} if outcome.fields else {}
            work.record(EntryKind.RETENTION_RUN, said)
            rows.finish(work.session, started // DAY, started, work.now, outcome.as_dict())
    if not dry_run:
        gateway.residue_since = gateway.residue_since or started


def due(gateway: Gateway) -> Iterator[None]:
    """Return the pages of the run of today (UTC); none if somebody has done it or is at it."""
    with gateway.work() as work:
        mine = rows.claim(work.session, work.now // DAY, work.now, work.now - _STALE_SECONDS)
    return pages(gateway, Outcome(dry_run=False)) if mine else iter(())


def status(work: Work) -> Status:
    """Return the newest runs, the periods, and what has none."""
    registered = records.processing(work.session)
    sources = work.registers.sources
    found = _periods(work)
    fields = sorted(work.registers.fields.values(), key=lambda f: f.id)
    by_field = {f.id: field_periods(f, found, work.now) for f in fields}
    said = {p: registered[p].retention for p in sorted(registered) if registered[p].retention}
    return Status(
        rows.runs(work.session, _LISTED),
        {str(p): text for p, text in said.items()},
        {s.id: s.retention for s in sorted(sources.values(), key=lambda s: s.id) if s.retention},
        {
            "purposes": sorted(p for p in work.registers.purposes.purposes if p not in found.purposes),
            "sources": sorted(s for s in sources if s not in found.sources),
            "fields": sorted(f.id for f in fields if set(f.purposes) - by_field[f.id].keys()),
        },
        {f.id: {str(p): period.text for p, period in by_field[f.id].items()} for f in fields},
        rows.unsourced(work.session),
    )


def cutoffs(work: Work) -> Cutoffs:
    """Return up to when everything is over, as the registers say now."""
    found = _periods(work)
    sources = [found.sources.get(s) for s in work.registers.sources]
    longest = [period.cutoff(work.now) for period in sources if period is not None]
    return Cutoffs(
        {purpose: period.cutoff(work.now) for purpose, period in found.purposes.items()},
        {source: period.cutoff(work.now) for source, period in found.sources.items()},
        work.now - work.gateway.rules.cap.window_seconds,
        work.now,
        field_cuts(work.registers, found, work.now),
        min(longest) if longest and len(longest) == len(sources) else -1,
    )


def _periods(work: Work) -> Periods:
    registers = work.registers
    registered = records.processing(work.session)
    return periods(registers.purposes, registered, registers.sources.values(), work.now)


# -- rows ----------------------------------------------------------------------------------------------------------

Find = Callable[[Session, int, int], list[Found]]
Drop = Callable[[Session, Iterable[int]], int]


def _steps(cut: Cutoffs) -> list[tuple[str, Find, Drop]]:
    def contacts(session: Session, after: int, limit: int) -> list[Found]:
        return rows.contacts_over(session, cut.sources, cut.purposes, cut.latest_contact, after, limit)

    def signals(session: Session, after: int, limit: int) -> list[Found]:
        return rows.signals_over(session, cut.sources, cut.now - STRANGER_SECONDS, after, limit)

    return [
        ("events", lambda s, a, n: rows.events_over(s, cut.sources, a, n), rows.drop_events),
        ("contacts", contacts, rows.drop_contacts),
        ("evidence", lambda s, a, n: rows.evidence_over(s, cut.purposes, a, n), rows.drop_evidence),
        ("signals", signals, rows.drop_signals),
    ]


def _sweep(gateway: Gateway, outcome: Outcome, kind: str, find: Find, drop: Drop) -> Iterator[None]:
    after = 0
    while True:
        with gateway.store.reading() as session:
            page = find(session, after, _PAGE)
        if not page:
            return
        after = page[-1].id
        with gateway.work() as work:
            free = _not_held(work, outcome, page)
            if outcome.dry_run:
                outcome.counts[kind] += len(free)
            else:
                outcome.counts[kind] += drop(work.session, [found.id for found in free])
                _recompute(work, {found.subject_id for found in free if found.subject_id is not None})
        yield


def _not_held(work: Work, outcome: Outcome, page: Sequence[Found]) -> list[Found]:
    """Lock whom a page is about and leave out who is held: a hold that is being placed is waited for."""
    people = {found.subject_id for found in page if found.subject_id is not None}
    spared = held(work, people)
    free = [found for found in page if found.subject_id not in spared]
    outcome.counts["held"] += len(page) - len(free)
    return free


def _recompute(work: Work, ids: Iterable[SubjectId]) -> None:
    """Write the audience rows of people anew, whole."""
    people = merges.clusters(work.session, set(ids))
    audience_rows.rows(work.session, list(people), [])  # locked, in the order of their ids, before the truth is read
    work.catch_up()
    audience_rows.update_rows(work.session, whole_rows(work, people))


# -- people --------------------------------------------------------------------------------------------------------


def _sweep_people(gateway: Gateway, outcome: Outcome, cut: Cutoffs) -> Iterator[None]:
    after = 0
    while True:
        with gateway.look() as work:
            ids = subjects.ids_after(work.session, after, _PAGE)
            over = _people_over(work, ids, cut) if ids else []
        if not ids:
            return
        after = ids[-1]
        for head in over:
            _erase(gateway, outcome, head, cut)
        yield


def _erase(gateway: Gateway, outcome: Outcome, head: SubjectId, cut: Cutoffs) -> None:
    """Erase one person, looked at again under their lock: something may have come in since."""
    with gateway.work() as work:
        is_held = head in held(work, [head])
        if _people_over(work, [head], cut) != [head]:
            return
        if outcome.dry_run:
            outcome.counts["waiting" if is_held else "people"] += 1
            return
        if holds.waiting_of(work.session, [head]) is not None and is_held:
            outcome.counts["waiting"] += 1
            return
        done = erase_or_defer(work, head, "retention")
        outcome.counts["people" if isinstance(done, Erasure) else "waiting"] += 1


def _people_over(work: Work, ids: Sequence[SubjectId], cut: Cutoffs) -> list[SubjectId]:
    """Return the heads among `ids` of the people of whom nothing is needed any more, in any of their subjects."""
    people = {head: found for head, found in merges.clusters(work.session, ids).items() if head in set(ids)}
    members = [i for found in people.values() for i in found]
    needed = _needed(work.session, members, cut)
    return [head for head, found in people.items() if needed.isdisjoint(found)]


def _needed(session: Session, ids: Sequence[SubjectId], cut: Cutoffs) -> set[SubjectId]:
    told, did = rows.sources_of(session, ids), rows.latest_events(session, ids)
    came = rows.came_at(session, [i for i in ids if i not in told])
    facts, contacted = rows.facts_of(session, ids), rows.latest_contacts(session, ids)
    needed = set()
    for i in ids:
        instants = [*told.get(i, {}).items(), *did.get(i, {}).items()]
        open_source = any(at > cut.sources.get(source, -1) for source, at in instants)
        recent = any(_is_recent(contact, cut) for contact in contacted.get(i, ()))
        said = _by_purpose(facts.get(i, ())).items()
        consents = any(is_needed(of, cut.purposes.get(purpose, -1)) for purpose, of in said)
        if came.get(i, -1) > cut.unsourced or open_source or recent or consents:
            needed.add(i)
    return needed


def _is_recent(contact: tuple[str, str | None, int], cut: Cutoffs) -> bool:
    source, purpose, at = contact
    over = cut.sources.get(source, -1) if purpose is None else cut.purposes.get(purpose, -1)
    return at > min(over, cut.latest_contact)


def _by_purpose(facts: Iterable[rows.Fact]) -> dict[str, list[rows.Fact]]:
    found: dict[str, list[rows.Fact]] = {}
    for fact in facts:
        found.setdefault(fact.purpose, []).append(fact)
    return found
