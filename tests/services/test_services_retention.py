"""What is over goes on its day, nothing else does, and nobody who is held loses anything."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import func, select

from builders import (
    NOW_S,
    SOURCE,
    a_consent,
    a_person,
    a_recipient,
    a_source,
    answer_for,
    by,
    choose,
    dump,
    id_of,
    ref,
    take,
)
from consent_gateway.clock import FixedClock
from consent_gateway.db import quotas, tables
from consent_gateway.domain.consents import ConsentKind
from consent_gateway.domain.holds import HoldReason
from consent_gateway.domain.ids import PurposeId
from consent_gateway.domain.purposes import RecipientKind, Source
from consent_gateway.domain.quotas import QuotaKind
from consent_gateway.domain.records import Processing
from consent_gateway.domain.subjects import Choice
from consent_gateway.services.erasing import holds, retention
from consent_gateway.services.erasing.holds import carry_out_due
from consent_gateway.services.erasing.retained import KINDS, Outcome
from consent_gateway.services.erasing.retention import due, run
from consent_gateway.services.identity.reconcile import reconcile
from consent_gateway.services.persons.merges import merge
from consent_gateway.services.registry import records, registers
from consent_gateway.services.threads.worker import Worker
from consent_gateway.services.work.gateway import Gateway
from consent_gateway.services.work.items import ContactItem, EventItem, SignalItem
from fakes import faults_of

DAY = 86_400
MARKETING = PurposeId("direct_marketing")


@pytest.fixture
def crm(gateway: Gateway) -> Gateway:
    """Three people from a source that is kept for 30 days, for a purpose that is kept for a year."""
    register(gateway, source="P30D", purpose="P1Y")
    take(gateway, [a_person(n) for n in (1, 2, 3)])
    return gateway


def register(
    gateway: Gateway,
    *,
    source: str = "",
    purpose: str = "",
    name: str = SOURCE,
    purposes: tuple[PurposeId, ...] = (MARKETING,),
) -> None:
    held = a_source(name)
    with gateway.work() as work:
        registers.put_source(
            work, Source(held.id, held.name, held.channel, held.party, None, purposes, retention=source)
        )
        records.put_processing(work, MARKETING, Processing(retention=purpose))


def later(gateway: Gateway, *, days: int = 0, seconds: int = 0) -> None:
    clock = gateway.clock
    assert isinstance(clock, FixedClock)
    clock.advance(timedelta(days=days, seconds=seconds))


def ran(gateway: Gateway, *, dry_run: bool = False) -> dict[str, int]:
    """What a run deleted, without the zeros; the audience rows are true afterwards."""
    counts = run(gateway, dry_run=dry_run).as_dict()
    assert reconcile(gateway).clean
    return {kind: count for kind, count in counts.items() if count}


def rows(gateway: Gateway, name: str) -> int:
    with gateway.look() as work:
        table = tables.metadata.tables[name]
        return work.session.execute(select(func.count()).select_from(table)).scalar_one()


def known(gateway: Gateway, number: int) -> bool:
    return answer_for(gateway, ref(number)).reason_code != "unknown_subject"


def entries(gateway: Gateway, kind: str) -> list[dict[str, Any]]:
    with gateway.look() as work:
        raw = work.session.execute(select(tables.audit_pending.c.entry).order_by(tables.audit_pending.c.id)).scalars()
        found = [json.loads(bytes(e)) for e in raw]
    return [e["fields"] for e in found if e["kind"] == kind]


def hold(gateway: Gateway, number: int, until: int | None = None) -> None:
    who = id_of(gateway, ref(number))
    with gateway.work() as work:
        holds.place(work, who, HoldReason.LEGAL_CLAIM, until)


# -- rows ----------------------------------------------------------------------------------------------------------


def test_an_event_goes_on_its_day(crm: Gateway) -> None:
    take(crm, [EventItem(ref(1), "buy", NOW_S - 10 * DAY, "old"), EventItem(ref(1), "buy", NOW_S, "new")])
    later(crm, days=19, seconds=DAY - 1)
    assert ran(crm) == {}
    later(crm, seconds=1)
    assert ran(crm, dry_run=True) == {"events": 1}
    assert rows(crm, "events") == 2
    assert ran(crm) == {"events": 1}
    assert ran(crm) == {}
    assert rows(crm, "events") == 1


def test_a_contact_has_the_period_of_its_purpose_and_is_counted_by_caps_until_then(crm: Gateway) -> None:
    register(crm, source="P1D", purpose="P2D")
    named = [ContactItem(ref(n), "email", NOW_S, "spring", f"k{n}", "direct_marketing") for n in (1, 2)]
    take(crm, [*named, ContactItem(ref(3), "email", NOW_S, "spring", "k3")])
    later(crm, days=6)
    assert ran(crm, dry_run=True) == {}  # a rolling cap of seven days still counts them
    later(crm, days=1)
    with crm.look() as work:
        assert retention.cutoffs(work).latest_contact == work.now - 7 * DAY
    found = ran(crm)
    assert found["contacts"] == 3


def test_evidence_goes_a_period_after_the_end_and_the_fact_stays(crm: Gateway) -> None:
    register(crm, source="P9Y", purpose="P1Y", purposes=())
    take(crm, [a_consent(ref(n), at=NOW_S - DAY) for n in (1, 2)])
    take(crm, [a_consent(ref(1), kind=ConsentKind.WITHDRAWN, at=NOW_S, evidence=None)])
    later(crm, days=364)
    assert ran(crm) == {}
    later(crm, days=1)
    before = [answer_for(crm, ref(n)).reason_code for n in (1, 2)]
    assert ran(crm) == {"evidence": 1}
    assert ran(crm) == {}
    assert rows(crm, "consent_events") == 3
    assert [answer_for(crm, ref(n)).reason_code for n in (1, 2)] == before


@pytest.mark.parametrize(
    "elsewhere",
    [
        {"kind": ConsentKind.WITHDRAWN, "channel": "sms"},
        {"kind": ConsentKind.WITHDRAWN, "recipient": "ads"},
        {"kind": ConsentKind.WITHDRAWN, "contact_point": by("email", "other@example.org")},
        {"kind": ConsentKind.REQUESTED},
    ],
    ids=["channel", "recipient", "address", "asked"],
)
def test_what_ends_another_consent_ends_neither_evidence_nor_person(crm: Gateway, elsewhere: dict[str, Any]) -> None:
    """GDPR Art 7(1): the yes is still in force and has to be shown; it keeps its person too."""
    register(crm, source="P1D", purpose="P30D")
    with crm.work() as work:
        registers.put_recipient(work, a_recipient("ads", kind=RecipientKind.AD_PLATFORM))
    take(crm, [a_person(1, identifiers={"member_no": "M00001", "email": "other@example.org"})])
    take(crm, [a_consent(ref(1), at=NOW_S - DAY)])
    take(crm, [a_consent(ref(1), at=NOW_S, evidence=None, **elsewhere)])
    later(crm, days=40)
    assert ran(crm) == {"people": 2}
    assert known(crm, 1)
    with crm.look() as work:
        kept = work.session.execute(select(tables.consent_events.c.evidence)).scalars().all()
    assert [e is not None for e in kept] == [True, False]


def test_evidence_goes_a_period_after_the_time_of_the_consent_was_over(crm: Gateway) -> None:
    register(crm, source="P9Y", purpose="P30D", purposes=())
    until = NOW_S + 10 * DAY
    take(crm, [a_consent(ref(n), at=NOW_S - DAY, valid_until=until) for n in (1, 2)])
    take(crm, [a_consent(ref(2), kind=ConsentKind.RENEWED, at=NOW_S)])  # may rest on the former
    later(crm, days=40, seconds=-1)
    assert ran(crm) == {}
    later(crm, seconds=1)
    assert ran(crm) == {"evidence": 1}
    assert ran(crm) == {}
    assert rows(crm, "consent_events") == 3


def test_signals_of_strangers_go_after_thirty_days_and_their_noes_stay(crm: Gateway) -> None:
    register(crm, source="P9Y", purpose="P9Y")
    take(crm, [SignalItem(by("device_id", "device-0000-0001"), "1", NOW_S), SignalItem(ref(1), "1", NOW_S)])
    waiting = rows(crm, "waiting_opt_outs")
    later(crm, days=30, seconds=-1)
    assert ran(crm) == {}
    later(crm, seconds=1)
    assert ran(crm) == {"signals": 1}
    assert rows(crm, "signals") == 1
    assert rows(crm, "waiting_opt_outs") == waiting > 0


def test_signals_have_the_period_of_their_source(crm: Gateway) -> None:
    register(crm, source="P2D", purpose="P9Y", name="site")
    register(crm, source="P9Y", purpose="P9Y")
    take(crm, [SignalItem(ref(1), "1", NOW_S)], source="site")
    take(crm, [SignalItem(ref(2), "1", NOW_S)])
    later(crm, days=2)
    assert ran(crm) == {"signals": 1}


def test_what_no_quota_counts_any_more_goes(crm: Gateway) -> None:
    with crm.work() as work:
        quotas.count(work.session, "gone", QuotaKind.REVEAL, [b"u" * 16], work.now)
    later(crm, seconds=DAY - 1)
    assert ran(crm) == {}
    later(crm, seconds=1)
    assert ran(crm) == {"quotas": 1}
    assert rows(crm, "quota_units") == 0


def test_refused_rows_are_emptied(crm: Gateway) -> None:
    register(crm, source="P9Y", purpose="P9Y")
    take(crm, [a_person(9, identifiers={"email": "not an address"})])
    later(crm, days=30, seconds=1)
    assert ran(crm, dry_run=True) == {"quarantine": 1}
    assert ran(crm) == {"quarantine": 1}
    assert ran(crm) == {}
    assert rows(crm, "quarantine") == 1


def test_what_has_no_period_is_kept_and_shown(gateway: Gateway) -> None:
    register(gateway)
    take(gateway, [a_person(1)])
    take(gateway, [EventItem(ref(1), "buy", NOW_S, "k")])
    take(gateway, [ContactItem(ref(1), "email", NOW_S, "c", "k")])
    later(gateway, days=4000)
    assert ran(gateway) == {}
    with gateway.look() as work:
        found = retention.status(work)
    assert found.gaps["sources"] == [SOURCE]
    assert MARKETING in found.gaps["purposes"]


# -- people --------------------------------------------------------------------------------------------------------


def test_whom_nothing_needs_any_more_is_erased(crm: Gateway) -> None:
    later(crm, days=30, seconds=-1)
    assert ran(crm) == {}
    take(crm, [a_person(3)])  # the source still has them
    later(crm, seconds=1)
    assert ran(crm, dry_run=True) == {"people": 2}
    assert ran(crm) == {"people": 2}
    assert [known(crm, n) for n in (1, 2, 3)] == [False, False, True]
    assert {e["reason"] for e in entries(crm, "subject.erased")} == {"retention"}
    assert ran(crm) == {}
    refused = take(crm, [a_person(1)])
    assert refused.rejections[0].reasons[0].code == "erased"


def test_an_event_a_contact_or_a_consent_keeps_a_person(crm: Gateway) -> None:
    take(crm, [EventItem(ref(1), "buy", NOW_S + 0, "k")])
    take(crm, [ContactItem(ref(2), "email", NOW_S, "spring", "k", "direct_marketing")])
    take(crm, [a_consent(ref(3))])
    later(crm, days=29)
    take(crm, [EventItem(ref(1), "buy", NOW_S + 29 * DAY, "k2")])
    later(crm, days=1)
    assert ran(crm) == {"events": 1}
    later(crm, days=28)
    assert ran(crm) == {}
    later(crm, days=1)
    assert ran(crm) == {"events": 1, "people": 1}
    later(crm, days=365 - 59)
    assert ran(crm) == {"contacts": 1, "people": 1}
    later(crm, days=4000)
    assert ran(crm) == {}  # a yes without an end is in force
    take(crm, [a_consent(ref(3), kind=ConsentKind.WITHDRAWN, at=int(crm.clock().timestamp()), evidence=None)])
    later(crm, days=364)
    assert ran(crm) == {}
    later(crm, days=2)
    found = ran(crm)
    assert found["people"] == 1
    assert rows(crm, "subjects") == 0


def test_a_consent_with_an_end_keeps_until_its_period_is_over(crm: Gateway) -> None:
    take(crm, [a_consent(ref(1), valid_until=NOW_S + 100 * DAY)])
    later(crm, days=300)
    assert ran(crm) == {"people": 2}
    later(crm, days=164)
    assert ran(crm) == {}
    later(crm, days=1)
    assert ran(crm) == {"evidence": 1, "people": 1}


def test_a_purpose_without_a_period_keeps_its_people(crm: Gateway) -> None:
    register(crm, source="P30D", purpose="")
    take(crm, [a_consent(ref(1), kind=ConsentKind.WITHDRAWN, evidence=None)])
    later(crm, days=4000)
    assert ran(crm) == {"people": 2}
    assert known(crm, 1)


def test_of_whom_no_source_is_known_the_longest_period_counts_from_when_they_came(crm: Gateway) -> None:
    register(crm, source="P90D", purpose="P1Y", name="shop")
    with crm.store.transaction() as session:
        session.execute(tables.subject_sources.delete())
    later(crm, days=60)
    take(crm, [a_person(3)])  # now a source is known of 3: its period counts for them, as of everybody
    with crm.look() as work:
        assert retention.status(work).unsourced == 2
    later(crm, days=30, seconds=-1)
    assert ran(crm) == {}
    later(crm, seconds=1)
    assert ran(crm) == {"people": 3}


def test_while_a_source_has_no_period_nobody_goes_of_whom_no_source_is_known(crm: Gateway) -> None:
    register(crm, name="shop", purposes=())
    with crm.store.transaction() as session:
        session.execute(tables.subject_sources.delete())
    later(crm, days=4000)
    assert ran(crm) == {}


def test_every_source_must_be_over(crm: Gateway) -> None:
    register(crm, source="P90D", purpose="P1Y", name="shop")
    take(crm, [a_person(1)], source="shop")
    later(crm, days=30)
    assert ran(crm) == {"people": 2}
    later(crm, days=60)
    assert ran(crm) == {"people": 1}


def test_merged_people_go_together_or_not_at_all(crm: Gateway) -> None:
    with crm.work() as work:
        merge(work, [ref(1), ref(2)], "duplicate")
    later(crm, days=10)
    take(crm, [a_person(2)])
    later(crm, days=20)
    assert ran(crm) == {"people": 1}
    assert known(crm, 1)
    later(crm, days=10)
    assert ran(crm) == {"people": 1}
    assert rows(crm, "subjects") == 0


def test_suppressions_and_tombstones_stay(crm: Gateway) -> None:
    choose(crm, ref(1), Choice.OBJECTION)
    later(crm, days=30)
    assert ran(crm) == {"people": 3}
    before = rows(crm, "tombstones"), rows(crm, "suppressions")
    assert before == (6, 3)
    later(crm, days=9000)
    ran(crm)
    assert (rows(crm, "tombstones"), rows(crm, "suppressions")) == before


# -- holds ---------------------------------------------------------------------------------------------------------


def test_nobody_who_is_held_loses_anything(crm: Gateway) -> None:
    take(crm, [EventItem(ref(n), "buy", NOW_S, f"k{n}") for n in (1, 2)])
    with crm.work() as work:
        merge(work, [ref(1), ref(3)], "duplicate")
    hold(crm, 3, NOW_S + 40 * DAY)  # on one subject: it holds the whole person
    later(crm, days=30)
    assert ran(crm) == {"events": 1, "people": 1, "held": 1, "waiting": 1}
    assert rows(crm, "events") == 1
    assert ran(crm) == {"held": 1, "waiting": 1}
    assert len(entries(crm, "erasure.deferred")) == 1
    later(crm, days=10)
    assert carry_out_due(crm) == 1
    assert rows(crm, "subjects") == 0
    assert ran(crm) == {}


# -- runs ----------------------------------------------------------------------------------------------------------


def test_each_run_is_an_entry_and_a_dry_run_changes_nothing(crm: Gateway) -> None:
    take(crm, [EventItem(ref(1), "buy", NOW_S, "k")])
    later(crm, days=30)
    before = dump(crm.store)
    assert run(crm, dry_run=True).as_dict()["people"] == 3
    assert dump(crm.store) == before
    found = run(crm).as_dict()
    assert list(found) == list(KINDS)
    assert entries(crm, "retention.run") == [found]
    with crm.look() as work:
        (kept,) = retention.status(work).runs
    assert kept.counts == found
    assert kept.day == (NOW_S + 30 * DAY) // DAY
    assert crm.residue_since is not None


def test_a_day_has_one_run_whoever_asks(crm: Gateway) -> None:
    list(due(crm))
    assert len(entries(crm, "retention.run")) == 1
    assert list(due(crm)) == []
    assert len(entries(crm, "retention.run")) == 1
    later(crm, seconds=DAY // 2)  # midnight, UTC
    list(due(crm))
    assert len(entries(crm, "retention.run")) == 2


def test_a_run_that_died_is_taken_up_after_an_hour(crm: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retention, "_PAGE", 1)
    take(crm, [EventItem(ref(n), "buy", NOW_S, f"k{n}") for n in (1, 2, 3)])
    later(crm, days=30)
    pages = due(crm)
    next(pages)
    faults = faults_of(crm.store)
    with faults.cut(at=1), pytest.raises(BaseException):  # noqa: B017
        list(pages)
    assert rows(crm, "events") == 2
    assert list(due(crm)) == []
    later(crm, seconds=3_600)
    list(due(crm))
    assert rows(crm, "events") == rows(crm, "subjects") == 0
    assert reconcile(crm).clean


def test_something_that_comes_in_while_a_run_goes_on_saves_its_person(
    crm: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    later(crm, days=30)
    found = retention._people_over

    def with_news(*arguments: Any) -> Any:
        answer = found(*arguments)
        if len(answer) == 3:
            monkeypatch.setattr(retention, "_people_over", found)
            take(crm, [a_person(2)])
        return answer

    monkeypatch.setattr(retention, "_people_over", with_news)
    outcome = Outcome(dry_run=False)
    list(retention.pages(crm, outcome))
    assert outcome.counts["people"] == 2
    assert known(crm, 2)


def test_the_worker_does_it_page_by_page(crm: Gateway) -> None:
    later(crm, days=30)
    worker = Worker(crm, lambda error: pytest.fail(str(error)))
    worker._round(tally=False, housekeep=True)
    for _ in range(8):
        worker._round(tally=False, housekeep=False)
    assert rows(crm, "subjects") == 0
    assert len(entries(crm, "retention.run")) <= 1  # integrated meanwhile, or pending
    worker._round(tally=False, housekeep=True)
    with crm.look() as work:
        assert len(retention.status(work).runs) == 1


@pytest.mark.parametrize("now", ["2024-02-29T12:00:00", "2026-03-29T01:00:00", "2026-10-25T01:00:00"])
def test_days_are_days_over_leap_days_and_changes_of_clocks(crm: Gateway, now: str) -> None:
    clock = crm.clock
    assert isinstance(clock, FixedClock)
    clock.instant = datetime.fromisoformat(now).replace(tzinfo=UTC)
    start = int(clock.instant.timestamp())
    register(crm, source="P1M", purpose="P9Y")
    take(crm, [EventItem(ref(1), "buy", start, "k")])
    clock.advance(timedelta(days=28))
    assert "events" not in ran(crm)
    clock.advance(timedelta(days=4))
    assert ran(crm)["events"] == 1
