"""P10: one person asked alone, a batch, and an audience give the same answer, whatever the rows and the hour."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from sqlalchemy import select

from builders import (
    DAY,
    EMAIL_MARKETING,
    NOW,
    NOW_S,
    a_consent,
    a_gateway,
    a_person,
    a_recipient,
    answer_for,
    by,
    ref,
    take,
    with_source,
    withdraw,
)
from consent_gateway.clock import FixedClock
from consent_gateway.db import tables
from consent_gateway.db.audience_rows import update_rows
from consent_gateway.domain.audiences import loss
from consent_gateway.domain.consents import FOREVER
from consent_gateway.domain.decisions import Answer
from consent_gateway.domain.ids import PurposeId, RecipientId, SubjectId
from consent_gateway.domain.purposes import Basis, Channel, Mark, PurposeKind, RecipientKind
from consent_gateway.domain.segments import Everyone
from consent_gateway.domain.subjects import Flag, month_of
from consent_gateway.errors import InputError
from consent_gateway.services.deciding.questions import Message, Use
from consent_gateway.services.deciding.rules import CapRule, Rules
from consent_gateway.services.disclosing import audiences
from consent_gateway.services.disclosing.decisions import MAX_BATCH, Ask, Decision, decide, decide_batch
from consent_gateway.services.registry import registers
from consent_gateway.services.work.gateway import SYSTEM, Gateway, Work
from consent_gateway.services.work.items import ContactItem

PEOPLE = 8
MONTH = month_of(NOW_S)
RULES = settings(derandomize=True, deadline=None, suppress_health_check=list(HealthCheck))
USES = [
    Use(PurposeId(purpose), channel, RecipientId(recipient))
    for purpose, channel, recipient in (
        ("direct_marketing", Channel.EMAIL, "self"),
        ("direct_marketing", Channel.SMS, "mailer"),
        ("personalised_marketing", Channel.PUSH, "self"),
        ("third_party_audience_sharing", Channel.ONLINE_ADS, "partner"),
        ("third_party_audience_sharing", Channel.ONLINE_ADS, "adnet"),
        ("segmentation_for_marketing", Channel.NONE, "self"),
        ("service_message", Channel.EMAIL, "self"),  # no slot of its own
        ("post_sale", Channel.EMAIL, "self"),  # soft opt-in
        ("ask", Channel.IN_APP, "self"),  # asks for consent to sharing
        ("ask", Channel.EMAIL, "self"),
        ("confirm", Channel.SMS, "self"),
        ("loyalty", Channel.NONE, "partner"),
    )
]
SLOTS = 13
untils = st.sampled_from([0, -1, -2, -3, NOW_S - 1, NOW_S, NOW_S + 1, FOREVER, FOREVER])
noes = st.none() | st.sampled_from([NOW_S, NOW_S - 300, NOW_S - 301, NOW_S - 200 * DAY, NOW_S - 400 * DAY])
times = st.sampled_from([None, NOW_S, NOW_S - DAY, NOW_S - DAY + 1, NOW_S - 7 * DAY, NOW_S - 7 * DAY + 1])
rows = st.fixed_dictionaries(
    {
        "regions": st.sampled_from(["", "DE", "US-CA", "CN", "GB", "FR|US-CA", "US-TX", "US-FL", "XX"]),
        "birth_month": st.sampled_from([None, MONTH - 12 * 40, *(MONTH - 12 * a - 1 + d for a in (13, 16) for d in (0, 1))]),
        "flags": st.one_of(
            st.sampled_from([0, Flag.HAS_EMAIL | Flag.HAS_PHONE | Flag.HAS_DEVICE]).map(int),
            st.integers(0, 2 * max(Flag) - 1),
        ),
        "email_facts": st.sampled_from([0, 46, 47]) | st.integers(0, 63),
        "phone_facts": st.integers(0, 63),
        **dict.fromkeys(tables.LAST_NOES, noes),
        **{f"c{n}": untils for n in range(SLOTS)},
        # bits 0 to 6: properties; 15: ourselves; 16 and 17: the two third parties
        **{f"p{n}": st.sampled_from([0, 127, 127 | 1 << 15, 127 | 7 << 15, 127 | 1 << 16, 5 | 1 << 15]) for n in range(SLOTS)},
        **{f"{channel}_{n}": times for channel in ("email", "sms", "push") for n in (1, 2, 3)},
    }
)  # fmt: skip


@pytest.fixture
def crm(gateway: Gateway, clock: FixedClock) -> Iterator[Gateway]:
    """People with identifiers and keys, and recipients of every kind; their audience rows are each test's own."""
    with_source(gateway)
    with gateway.work() as work:
        registers.put_recipient(work, a_recipient("mailer"))
        registers.put_recipient(work, a_recipient("partner", kind=RecipientKind.THIRD_PARTY, country="US"))
        registers.put_recipient(work, a_recipient("adnet", kind=RecipientKind.AD_PLATFORM, transfer_mechanism="scc"))
        more_purposes(work)
    take(gateway, [a_person(n) for n in range(1, PEOPLE + 1)])
    yield gateway
    clock.instant = NOW


def more_purposes(work: Work) -> None:
    """Purposes that read what the seeded ones do not: how an address was obtained, past noes, the loyalty programme."""
    held = work.registers.purposes.purposes[PurposeId("direct_marketing")]
    marks = frozenset({Mark.SIMILAR_PRODUCTS, Mark.CHARITABLE})
    for purpose, channels in (
        (replace(held, id=PurposeId("post_sale"), basis=Basis.SOFT_OPT_IN, marks=marks), [Channel.EMAIL]),
        (replace(held, id=PurposeId("loyalty"), kind=PurposeKind.LOYALTY_PROGRAMME_SHARING), [Channel.NONE]),
        (replace(held, id=PurposeId("confirm"), kind=PurposeKind.OPT_OUT_CONFIRMATION), []),
        (
            replace(
                held,
                id=PurposeId("ask"),
                kind=PurposeKind.CONSENT_REQUEST,
                requested=PurposeId("third_party_audience_sharing"),
            ),
            [Channel.IN_APP],
        ),
    ):
        registers.put_purpose(work, purpose, channels)


def subjects_of(work: Work) -> list[SubjectId]:
    found = work.session.execute(select(tables.subjects.c.id).order_by(tables.subjects.c.id)).scalars()
    return [SubjectId(i) for i in found]


def one_at_a_time(work: Work, use: Use) -> list[Answer]:
    found = [decide(work, [Ask(use, ref(n), SYSTEM)])[0] for n in range(1, PEOPLE + 1)]
    assert all(isinstance(f, Decision) for f in found)
    return [f.answer for f in found if isinstance(f, Decision)]


def same_for_all(crm: Gateway, clock: FixedClock, rules: settings) -> None:
    @rules
    @given(
        st.lists(rows, min_size=PEOPLE, max_size=PEOPLE),
        st.sampled_from(USES),
        st.sampled_from([0, 5, 11, 19]),
    )
    def check(found: list[dict[str, Any]], use: Use, hours: int) -> None:
        clock.instant = NOW.replace(minute=0) + timedelta(hours=hours)
        with crm.work() as work:
            ids = subjects_of(work)
            update_rows(work.session, dict(zip(ids, found, strict=True)))
            alone = one_at_a_time(work, use)
            together, _ = decide_batch(work, use, [ref(n) for n in range(1, PEOPLE + 1)])
            several = [d.answer for d in decide(work, [Ask(use, ref(n), SYSTEM) for n in range(1, PEOPLE + 1)])]  # type: ignore[union-attr]
            audience = audiences.resolve(work, Everyone(), use)
            asked = crm.decider.ask(use, work.registers, crm.rules, work.now)
        assert together == alone == several
        reachable = [row["flags"] & asked.reach == asked.reach for row in found]
        lost = [loss(answer, reachable=r) for answer, r in zip(alone, reachable, strict=True)]
        wanted = [i for i, (stage, _) in zip(ids, lost, strict=True) if stage is None]
        assert sorted(members(crm, audience.row.id)) == wanted
        assert audience.row.size == len(wanted)
        counted = Counter(lost) - Counter({(None, ""): len(wanted)})
        assert counted == Counter(
            {(item.stage, code): n for item in audience.waterfall.losses for code, n in item.reasons.items() if n}
        )

    check()


def members(gateway: Gateway, audience: str) -> list[int]:
    """The members as internal ids, in the order in which they are streamed."""
    with gateway.look() as work:
        row = audiences.find(work, audience)
        texts = [p for chunk in audiences.stream_members(gateway, audience) for p in chunk]
        return [gateway.vault.resolve(p, RecipientId(row.recipient), work.registers, work.now) or 0 for p in texts]


def test_alone_in_a_batch_and_in_an_audience(crm: Gateway, clock: FixedClock) -> None:
    same_for_all(crm, clock, settings(RULES, max_examples=100 if crm.store.is_sqlite else 20))


def test_both_answers_occur(crm: Gateway) -> None:
    """The comparison is of something: in the rows above some are permitted and some are not, for many reasons."""
    seen: Counter[str] = Counter()

    @settings(RULES, max_examples=30, phases=[Phase.generate])
    @given(st.lists(rows, min_size=PEOPLE, max_size=PEOPLE), st.sampled_from(USES))
    def look(found: list[dict[str, Any]], use: Use) -> None:
        with crm.work() as work:
            update_rows(work.session, dict(zip(subjects_of(work), found, strict=True)))
            seen.update("permit" if a.permitted else a.reason_code for a in one_at_a_time(work, use))

    look()
    assert seen["permit"] >= 5
    assert len(seen) >= 8


def test_a_planted_difference_is_found(
    sqlite_gateway: Gateway, clock: FixedClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The planted bug: the scan takes everybody for an adult."""
    original = audiences.classes
    with_source(sqlite_gateway)
    with sqlite_gateway.work() as work:
        for name in ("mailer", "partner", "adnet"):
            registers.put_recipient(work, a_recipient(name))
        more_purposes(work)
    take(sqlite_gateway, [a_person(n) for n in range(1, PEOPLE + 1)])

    def ageless(*args: Any) -> Iterator[Any]:
        yield from ((key._replace(age=18), ids) for key, ids in original(*args))

    monkeypatch.setattr(audiences, "classes", ageless)
    with pytest.raises(AssertionError):
        same_for_all(
            sqlite_gateway,
            clock,
            settings(RULES, max_examples=200, phases=[Phase.generate], report_multiple_bugs=False),
        )


# -- single decisions ----------------------------------------------------------------------------------------------


def test_the_same_question_at_the_same_instant_has_the_same_answer(crm: Gateway) -> None:
    take(crm, [a_consent(ref(1))])
    first = answer_for(crm, ref(1))
    assert first.permitted
    assert answer_for(crm, ref(1)) == first
    assert first.facts_digest
    assert first.packs


@pytest.mark.parametrize(
    "who", [by("email", "nobody@example.org"), by("pseudonym", "p1-" + "0" * 32), by("pseudonym", "x")]
)
def test_nobody_is_denied_and_that_is_recorded(crm: Gateway, who: Any) -> None:
    with crm.work() as work:
        (found,) = decide(work, [Ask(EMAIL_MARKETING, who, SYSTEM)])
        assert isinstance(found, Decision)
        assert (found.answer.permitted, found.answer.reason_code) == (False, "unknown_subject")
        assert [uid for uid, *_ in work.entries] == [found.uid]


def test_a_question_that_is_wrong_fails_alone(crm: Gateway) -> None:
    strange = Use(PurposeId("nothing"), Channel.EMAIL, RecipientId("self"))
    foreign = Use(PurposeId("direct_marketing"), Channel.EMAIL, RecipientId("nobody"))
    asks = [Ask(u, ref(1), SYSTEM) for u in (strange, EMAIL_MARKETING, foreign)]
    asks.append(Ask(EMAIL_MARKETING, by("email", "not an address"), SYSTEM))
    with crm.work() as work:
        found = decide(work, asks)
        assert [isinstance(f, InputError) for f in found] == [True, False, True, True]
        assert len(work.entries) == 1


def test_a_batch_has_a_limit_and_one_entry(crm: Gateway) -> None:
    with crm.work() as work:
        answers, uid = decide_batch(work, EMAIL_MARKETING, [ref(1), ref(2), by("email", "x@example.org"), ref(1)])
        assert [a.reason_code == "unknown_subject" for a in answers] == [False, False, True, False]
        assert answers[0] == answers[3]
        assert [u for u, *_ in work.entries] == [uid]
        with pytest.raises(InputError):
            decide_batch(work, EMAIL_MARKETING, [ref(1)] * (MAX_BATCH + 1))


def test_a_withdrawal_changes_the_very_next_answer(crm: Gateway) -> None:
    take(crm, [a_consent(ref(1))])
    assert answer_for(crm, ref(1)).permitted
    withdraw(crm, ref(1))
    assert not answer_for(crm, ref(1)).permitted


def test_a_message_without_its_duties_is_another_question(crm: Gateway) -> None:
    take(crm, [a_consent(ref(1))])
    bare = Use(EMAIL_MARKETING.purpose, Channel.EMAIL, EMAIL_MARKETING.recipient, Message(unsubscribe=False))
    assert answer_for(crm, ref(1)).permitted
    assert not answer_for(crm, ref(1), bare).permitted


def test_a_cap_is_exact_at_its_edge(crm: Gateway) -> None:
    take(crm, [a_consent(ref(1))])
    edge = NOW_S - 7 * DAY
    for n, at in enumerate((NOW_S - 5, NOW_S - 5 * DAY, edge)):
        take(crm, [ContactItem(ref(1), "email", at, "spring", f"k{n}")])
    assert answer_for(crm, ref(1)).permitted  # the third is exactly a window old
    take(crm, [ContactItem(ref(1), "email", edge + 1, "spring", "k9")])
    assert not answer_for(crm, ref(1)).permitted


@pytest.mark.parametrize("limit", [1, 2, 3, 4])
def test_a_cap_of_any_size_takes_exactly_that_many(sqlite_gateway: Gateway, limit: int) -> None:
    gateway = a_gateway(
        sqlite_gateway.store,
        keyring=sqlite_gateway.vault.provider.keyring,
        rules=Rules(k_floor=1, cap=CapRule(limit, DAY)),
    )
    with_source(gateway)
    take(gateway, [a_person(1)])
    take(gateway, [a_consent(ref(1))])
    answers = []
    for n in range(limit + 1):
        answers.append(answer_for(gateway, ref(1)).permitted)
        take(gateway, [ContactItem(ref(1), "email", NOW_S - DAY + 1 + n, "spring", f"k{n}")])
    assert answers == [True] * limit + [False]
