"""Signals taken in: they restrict or fill, are kept with the person, and hold for whoever turns up later."""

from __future__ import annotations

import json
from typing import Any

import pytest
from sqlalchemy import select

from builders import (
    NOW_S,
    a_consent,
    a_person,
    a_recipient,
    answer_for,
    by,
    choose,
    id_of,
    incoming,
    may_write,
    ref,
    subject_id,
    take,
    with_source,
)
from consent_gateway.db import consents, merges, tables
from consent_gateway.domain.consents import ConsentEvent, ConsentKind, ConsentProperty
from consent_gateway.domain.ids import PurposeId, RecipientId
from consent_gateway.domain.purposes import Channel, RecipientKind
from consent_gateway.domain.subjects import Choice, Flag
from consent_gateway.errors import InputError
from consent_gateway.policies.signals.detect import SignalKind
from consent_gateway.policies.signals.effects import PurposeRule, TcfMapping
from consent_gateway.services.deciding.questions import Use
from consent_gateway.services.erasing import erasure
from consent_gateway.services.identity.reconcile import reconcile
from consent_gateway.services.ledger import signal_mappings, signals
from consent_gateway.services.ledger.consents import record_consents
from consent_gateway.services.ledger.signal_records import signals_of
from consent_gateway.services.registry import registers
from consent_gateway.services.work.gateway import Gateway
from consent_gateway.services.work.items import SignalItem, SubjectItem, SubjectRef
from consent_gateway.services.work.vault import GATEWAY_ITSELF, open_bytes
from signals_encoder import Tc, gpp, us

ADA = ref(1)
DEVICE = by("device_id", "dev-0123456789abcdef")
ADS = PurposeId("direct_marketing")
DAY = 86_400
RULES = TcfMapping((PurposeRule((1, 3), ADS, Channel.EMAIL),), {8: RecipientId("adnet"), 20: None})
YES = {"consents": {1, 3}, "vendors": {8, 20}, "disclosed": {8, 20}, "created": NOW_S * 10, "updated": NOW_S * 10}


def a_signal(subject: SubjectRef, raw: str, **changes: Any) -> SignalItem:
    return SignalItem(**({"subject": subject, "raw": raw, "at": NOW_S} | changes))


@pytest.fixture
def crm(gateway: Gateway) -> Gateway:
    """Ada, an advertising network, and what the operator says TCF numbers mean."""
    with_source(gateway)
    with gateway.work() as work:
        registers.put_recipient(work, a_recipient("adnet", kind=RecipientKind.AD_PLATFORM))
        signal_mappings.set_mapping(work, RULES)
    take(gateway, [a_person(1)])
    return gateway


def flags(gateway: Gateway, subject: SubjectRef = ADA) -> Flag:
    who = id_of(gateway, subject)
    with gateway.look() as work:
        found = consents.choice_flags(work.session, [who]).get(who, Flag(0))
    assert bool(found & Flag.GPC) == bool(found & Flag.GPC_SEEN)  # no signal was ever taken back here
    return found & ~Flag.GPC_SEEN


def ledger(gateway: Gateway, subject: SubjectRef = ADA) -> list[ConsentEvent]:
    who = id_of(gateway, subject)
    with gateway.look() as work:
        return consents.ledger(work.session, [who]).get(who, [])


def said(gateway: Gateway, subject: SubjectRef = ADA) -> set[tuple[str | None, ConsentKind]]:
    return {(e.recipient, e.kind) for e in ledger(gateway, subject)}


def entries(gateway: Gateway, kind: str) -> list[dict[str, Any]]:
    with gateway.store.reading() as session:
        rows = [json.loads(row) for row in session.execute(select(tables.audit_pending.c.entry)).scalars()]
    return [row["fields"] for row in rows if row["kind"] == kind]


def stored(gateway: Gateway) -> list[Any]:
    with gateway.store.reading() as session:
        return list(session.execute(select(tables.signals).order_by(tables.signals.c.id)))


# -- choices -----------------------------------------------------------------------------------------------------

NATIONAL, CALIFORNIA = 7, 8


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        ("1", Flag.GPC),
        ("0, 1", Flag.GPC),
        ("1YYN", Flag.SALE_SHARE_OPT_OUT),
        ("1YNN", Flag(0)),
        ("1---", Flag(0)),
        ("DBABTA~1YYN", Flag.SALE_SHARE_OPT_OUT),
        (gpp({CALIFORNIA: us([0, 0, 0, 1] + [0] * 16)}), Flag.SALE_SHARE_OPT_OUT),
        (gpp({CALIFORNIA: us([0, 0, 0, 2, 1] + [0] * 15)}), Flag.SALE_SHARE_OPT_OUT),
        (gpp({CALIFORNIA: us([0, 0, 0, 2, 2] + [2] * 15)}), Flag(0)),
        (gpp({CALIFORNIA: us([0] * 5 + [1] + [0] * 14)}), Flag.LIMIT_SENSITIVE),
        (gpp({CALIFORNIA: us([0] * 20, gpc=True)}), Flag.GPC),
        (gpp({CALIFORNIA: us([0] * 20, gpc=False)}), Flag(0)),
        (gpp({NATIONAL: us([0] * 8 + [1] + [0] * 23, version=2)}), Flag.SALE_SHARE_OPT_OUT),
        (gpp({NATIONAL: us([0] * 9 + [2] * 16 + [0] * 7, version=2)}), Flag(0)),
        (gpp({NATIONAL: us([0] * 9 + [1] * 16 + [0] * 7, version=2)}), Flag.LIMIT_SENSITIVE),
        (gpp({9: us([0, 0, 0, 1] + [0] * 13), 8: us([0] * 20, gpc=True)}), Flag.SALE_SHARE_OPT_OUT | Flag.GPC),
        (gpp({40: "AAAA", 6: "1NYN"}), Flag.SALE_SHARE_OPT_OUT),
    ],
)
def test_what_each_signal_switches_on(crm: Gateway, raw: str, expected: Flag) -> None:
    taken = take(crm, [a_signal(ADA, raw)])
    assert (taken.accepted, taken.created, taken.rejected) == (1, 1, 0)
    assert flags(crm) == expected
    assert reconcile(crm).clean


@pytest.mark.parametrize(
    "raw", ["1YNN", gpp({8: us([2] * 20, gpc=False)}), gpp({7: us([2] * 32, version=2, gpc=False)})]
)
def test_no_signal_switches_a_choice_off(crm: Gateway, raw: str) -> None:
    """Not opted out is not an opt-in, and an absent signal takes nothing back (11 CCR 7025(c))."""
    for choice in (Choice.GPC, Choice.SALE_SHARE_OPT_OUT, Choice.LIMIT_SENSITIVE):
        choose(crm, ADA, choice, at=NOW_S - DAY)
    before = flags(crm)
    take(crm, [a_signal(ADA, raw)])
    assert flags(crm) == before == Flag.GPC | Flag.SALE_SHARE_OPT_OUT | Flag.LIMIT_SENSITIVE


def test_an_opt_out_with_an_impossible_instant_holds_from_now_on(crm: Gateway) -> None:
    for at in (0, NOW_S + 400 * DAY):
        assert take(crm, [a_signal(ADA, "1YYN", at=at)]).accepted == 1
    assert flags(crm) == Flag.SALE_SHARE_OPT_OUT
    assert [row.at for row in stored(crm)] == [NOW_S, NOW_S]


# -- TCF ---------------------------------------------------------------------------------------------------------


def test_a_yes_fills_with_the_string_as_its_evidence(crm: Gateway) -> None:
    raw = Tc(**YES).text()
    take(crm, [a_signal(ADA, raw)])
    assert said(crm) == {("adnet", ConsentKind.GIVEN), (None, ConsentKind.GIVEN)}
    for event in ledger(crm):
        assert event.imported
        assert event.properties == ConsentProperty.AFFIRMATIVE | ConsentProperty.EVIDENCE
        assert event.valid_until is not None
        assert NOW_S + 390 * DAY < event.valid_until <= NOW_S + 396 * DAY
    who = id_of(crm, ADA)
    with crm.store.reading() as session:
        sealed = session.execute(select(tables.consent_events.c.evidence)).scalars().first()
        dek = crm.vault.keys(session, [who])[who]
    assert sealed is not None
    assert raw.encode() not in sealed
    assert open_bytes(dek, who, sealed) == raw.encode()
    assert may_write(crm, ADA)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"consents": {1}}, {("adnet", "withdrawn"), (None, "withdrawn")}),
        ({"vendors": {20}}, {("adnet", "withdrawn"), (None, "given")}),
        ({"disclosed": {20}}, {(None, "given")}),  # a vendor that was not shown was not spoken about
        ({"restrictions": {(3, 0): {8}}}, {("adnet", "withdrawn"), (None, "given")}),
        ({"restrictions": {(3, 1): {8}}}, {("adnet", "given"), (None, "given")}),
        ({"restrictions": {(2, 0): {8}}}, {("adnet", "given"), (None, "given")}),
        ({"publisher": {1}}, {("adnet", "given"), (None, "given"), (None, "withdrawn")}),
        # A string that breaks a rule of v2.3 gives nothing, and its no's count.
        ({"policy": 3}, set()),
        ({"service_specific": False}, set()),
        ({"interests": {3}}, set()),
        ({"disclosed": None}, set()),
        ({"policy": 3, "vendors": {20}}, {("adnet", "withdrawn")}),
        ({"disclosed": None, "consents": set()}, {("adnet", "withdrawn"), (None, "withdrawn")}),
        # Nor does one from the future, or one past its 13 months.
        ({"updated": (NOW_S + 30 * DAY) * 10}, set()),
        ({"updated": (NOW_S - 397 * DAY) * 10}, set()),
        ({"updated": (NOW_S - 397 * DAY) * 10, "vendors": {20}}, {("adnet", "withdrawn")}),
    ],
)
def test_what_a_tc_string_says_about_mapped_uses(crm: Gateway, changes: dict[str, Any], expected: set[Any]) -> None:
    take(crm, [a_signal(ADA, Tc(**(YES | changes)).text())])
    assert {(recipient, kind.value) for recipient, kind in said(crm)} == expected
    assert reconcile(crm).clean


def test_the_same_string_inside_a_gpp_string_says_the_same(crm: Gateway) -> None:
    take(crm, [a_signal(ADA, gpp({2: Tc(**YES).text(), 8: us([0, 0, 0, 1] + [0] * 16)}))])
    assert said(crm) == {("adnet", ConsentKind.GIVEN), (None, ConsentKind.GIVEN)}
    assert flags(crm) == Flag.SALE_SHARE_OPT_OUT


def test_a_yes_overrules_no_no_and_a_no_ends_a_yes(crm: Gateway) -> None:
    take(crm, [a_consent(ADA)])
    assert may_write(crm, ADA)
    take(crm, [a_signal(ADA, Tc(**(YES | {"consents": set()})).text())])
    assert not may_write(crm, ADA)
    take(crm, [a_signal(ADA, Tc(**YES).text(), at=NOW_S + 60)])
    assert answer_for(crm, ADA).reason_code == "consent_withdrawn"


def test_a_yes_with_an_impossible_instant_is_no_yes(crm: Gateway) -> None:
    take(crm, [a_signal(ADA, Tc(**YES).text(), at=at) for at in (0, NOW_S + 400 * DAY)])
    assert said(crm) == set()


def test_nothing_is_mapped_that_was_not_registered(crm: Gateway) -> None:
    wrong = TcfMapping((PurposeRule((1,), PurposeId("nowhere")),), {1: RecipientId("nobody"), 2: RecipientId("self")})
    with pytest.raises(InputError) as refused, crm.work() as work:
        signal_mappings.set_mapping(work, wrong)
    paths = [field.path for field in refused.value.fields]
    assert paths == ["$.purposes[0].purpose", "$.vendors[0].recipient", "$.vendors[1].recipient"]
    with crm.look() as work:
        assert signal_mappings.mapping_of(work) == RULES


def test_a_mapping_is_replaced_as_a_whole_and_its_change_is_in_the_log(crm: Gateway) -> None:
    other = TcfMapping((PurposeRule((2, 4), ADS), PurposeRule((1,), ADS, Channel.SMS)), {5: None})
    with crm.work() as work:
        signal_mappings.set_mapping(work, other)
        assert signal_mappings.mapping_of(work) == other
    assert entries(crm, "signal.mapped")[-1] == {"framework": "tcf", "purposes": 2, "vendors": 1}
    take(crm, [a_signal(ADA, Tc(**YES).text())])
    assert said(crm) == set()  # vendor 5 was not shown


def test_a_row_beyond_the_statements_of_one_call_is_refused_and_the_others_hold(
    crm: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(signals, "MAX_STATEMENTS", 3)
    yes = Tc(**YES).text()  # two statements
    taken = take(
        crm,
        [
            a_signal(ADA, yes),
            a_signal(ADA, yes),
            a_signal(ADA, Tc(**YES | {"disclosed": {8}}).text()),
            a_signal(ADA, "1"),
        ],
    )
    assert (taken.received, taken.accepted, taken.rejected) == (4, 3, 1)
    (refused,) = taken.rejections
    assert (refused.row, [(r.path, r.code) for r in refused.reasons]) == (2, [("$.raw", "too_many")])
    assert (len(ledger(crm)), flags(crm)) == (3, Flag.GPC)
    again = take(crm, [a_signal(ADA, yes)])
    assert (again.accepted, again.rejected) == (1, 0)


# -- refused -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("item", "code"),
    [
        (a_signal(ADA, "nonsense"), "undecodable_signal"),
        (a_signal(ADA, Tc().text()[:20]), "undecodable_signal"),
        (a_signal(ADA, "DBABTA~1YNN~1YNN"), "undecodable_signal"),
        (a_signal(ADA, "1YYN", kind=SignalKind.TCF), "undecodable_signal"),
        (a_signal(ADA, "0"), "no_signal"),
        (a_signal(ADA, "1YYN", kind=SignalKind.GPC), "no_signal"),
        (a_signal(by("email", "nobody@example.org"), "1YNN"), "unknown_subject"),
        (a_signal(by("pseudonym", "p1-" + "0" * 32), "1"), "unknown_subject"),
        (a_signal(by("email", "not an address"), "1"), "not_an_address"),
    ],
)
def test_what_is_refused_is_kept_in_quarantine_and_changes_nothing(crm: Gateway, item: SignalItem, code: str) -> None:
    taken = take(crm, [item, a_signal(ADA, "1YYN")])
    assert (taken.received, taken.accepted, taken.rejected) == (2, 1, 1)
    (reason,) = taken.rejections[0].reasons
    if code != "not_an_address":
        assert reason.code == code
    assert item.raw not in reason.message or len(item.raw) < 5
    assert flags(crm) == Flag.SALE_SHARE_OPT_OUT
    assert len(stored(crm)) == 1


# -- kept, logged, erased ----------------------------------------------------------------------------------------


def test_every_signal_is_kept_sealed_with_what_it_did(crm: Gateway) -> None:
    raw = gpp({8: us([0, 0, 0, 1] + [0] * 16), 40: "AAAA"})
    take(crm, [a_signal(ADA, raw, at=NOW_S - 60, displayed=True), a_signal(ADA, "1")])
    who = id_of(crm, ADA)
    first, second = stored(crm)
    assert (first.subject_id, first.kind, first.at, first.received_at, first.displayed) == (
        who,
        "gpp",
        NOW_S - 60,
        NOW_S,
        True,
    )
    assert (second.kind, second.displayed, second.identifier_kind) == ("gpc", None, "member_no")
    with crm.look() as work:
        dek = work.gateway.vault.keys(work.session, [who])[who]
        assert open_bytes(dek, who, bytes(first.sealed)) == raw.encode()
        shown = signals_of(work, who, 10)
    assert [s["effects"] for s in shown] == [
        {"choices": ["gpc"]},
        {"choices": ["sale_share_opt_out"], "undecoded": ["40"]},
    ]
    assert all("sealed" not in s and "token" not in s for s in shown)
    logged = entries(crm, "signal.received")
    assert [e["signal"] for e in logged] == ["gpp", "gpc"]
    assert raw not in json.dumps(entries(crm, "right.exercised") + logged)


def test_a_header_on_another_call_is_kept_too(crm: Gateway) -> None:
    with crm.work() as work:
        record_consents(work, "crm", incoming([a_consent(ADA)]), "0" * 64, gpc=True)
    assert flags(crm) == Flag.GPC
    assert [row.kind for row in stored(crm)] == ["gpc"]


def test_erasing_a_person_deletes_their_signals(crm: Gateway) -> None:
    take(crm, [a_person(2)])
    take(crm, [a_signal(ADA, Tc(**YES).text()), a_signal(ref(2), "1")])
    who = id_of(crm, ADA)
    with crm.work() as work:
        erasure.erase(work, who, "request")
    assert [row.subject_id for row in stored(crm)] == [id_of(crm, ref(2))]


def test_signals_of_everyone_who_was_merged_into_a_person_are_theirs(crm: Gateway) -> None:
    take(crm, [a_person(2)])
    take(crm, [a_signal(ADA, "1YYN"), a_signal(ref(2), "1")])
    first, second = id_of(crm, ADA), id_of(crm, ref(2))
    with crm.work() as work:
        merges.relink(work.session, {first: [first, second]})
    for subject in (ADA, ref(2)):
        with crm.look() as work:
            assert [s["kind"] for s in signals_of(work, subject_id(work, subject), 10)] == ["gpc", "usp"]
    with crm.work() as work:
        erasure.erase(work, subject_id(work, ADA), "request")
    assert stored(crm) == []


# -- strangers ---------------------------------------------------------------------------------------------------


def arrives(gateway: Gateway, **identifiers: str) -> SubjectRef:
    take(gateway, [SubjectItem({"member_no": "M00009", **identifiers}, "US-CA", birth_date="1980-05-17")])
    return ref(9)


def test_a_signal_of_a_device_nobody_knows_holds_once_its_person_is_known(crm: Gateway) -> None:
    taken = take(crm, [a_signal(DEVICE, "1", displayed=False), a_signal(DEVICE, gpp({8: us([0, 0, 0, 1] + [0] * 16)}))])
    assert (taken.accepted, taken.suppressed, taken.created) == (2, 2, 0)
    waiting = stored(crm)
    assert [(row.subject_id, row.identifier_kind) for row in waiting] == [(None, "device_id")] * 2
    with crm.look() as work:
        own = work.gateway.vault.keys(work.session, [GATEWAY_ITSELF])[GATEWAY_ITSELF]
    assert open_bytes(own, GATEWAY_ITSELF, bytes(waiting[0].sealed)) == b"1"
    assert [e["effect"] for e in entries(crm, "signal.received")] == ["waiting"] * 2

    eve = arrives(crm, device_id=DEVICE.value)
    assert flags(crm, eve) == Flag.GPC | Flag.SALE_SHARE_OPT_OUT
    assert reconcile(crm).clean
    who = id_of(crm, eve)
    linked = stored(crm)
    assert [(row.subject_id, row.linked_at) for row in linked] == [(who, NOW_S)] * 2
    with crm.look() as work:
        dek = work.gateway.vault.keys(work.session, [who])[who]
    assert open_bytes(dek, who, bytes(linked[0].sealed)) == b"1"
    with crm.work() as work:
        erasure.erase(work, who, "request")
    assert stored(crm) == []


def test_a_device_that_joins_a_known_person_brings_its_signals(crm: Gateway) -> None:
    take(crm, [a_signal(DEVICE, "1")])
    take(crm, [SubjectItem({"member_no": "M00001", "device_id": DEVICE.value}, "DE")])
    assert flags(crm) == Flag.GPC
    assert [row.subject_id for row in stored(crm)] == [id_of(crm, ADA)]


def test_a_tcf_no_of_a_stranger_waits_and_a_yes_does_not(crm: Gateway) -> None:
    mail = by("email", "eve@example.org")
    no = Tc(**(YES | {"consents": set()})).text()
    assert take(crm, [a_signal(mail, Tc(**YES).text())]).rejected == 1
    assert take(crm, [a_signal(mail, no)]).suppressed == 1
    eve = arrives(crm, email="eve@example.org")
    assert said(crm, eve) == {("adnet", ConsentKind.WITHDRAWN), (None, ConsentKind.WITHDRAWN)}
    assert answer_for(crm, eve, Use(ADS, Channel.EMAIL, RecipientId("self"))).reason_code != "suppressed"


def test_a_signal_suppresses_no_contact_point(crm: Gateway) -> None:
    take(crm, [a_signal(by("email", "eve@example.org"), "1")])
    with crm.store.reading() as session:
        assert list(session.execute(select(tables.suppressions))) == []
    assert flags(crm, arrives(crm, email="eve@example.org")) == Flag.GPC


def test_nothing_is_kept_about_somebody_who_was_erased(crm: Gateway) -> None:
    take(crm, [SubjectItem({"member_no": "M00001", "device_id": DEVICE.value}, "DE")])
    with crm.work() as work:
        erasure.erase(work, subject_id(work, ADA), "request")
    assert take(crm, [a_signal(DEVICE, "1")]).accepted == 1
    assert stored(crm) == []
    with crm.store.reading() as session:
        assert list(session.execute(select(tables.waiting_opt_outs))) == []
