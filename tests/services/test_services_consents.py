"""What a consent fact must be to come in, and what the kinds of facts change: each refusal names its place."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import func, select

from builders import (
    ALL_PROPERTIES,
    DAY,
    EMAIL_MARKETING,
    EVIDENCE,
    NOW_S,
    a_consent,
    a_person,
    answer_for,
    by,
    id_of,
    may_write,
    ref,
    take,
    with_source,
    withdraw,
)
from consent_gateway.db import tables
from consent_gateway.domain.consents import ConsentKind, ConsentProperty
from consent_gateway.domain.ids import NoticeId
from consent_gateway.services.erasing.erasure import erase
from consent_gateway.services.identity.reconcile import reconcile
from consent_gateway.services.ledger import consent_checks, notices
from consent_gateway.services.work.gateway import Gateway

GIVEN, RENEWED, PENDING = ConsentKind.GIVEN, ConsentKind.RENEWED, ConsentKind.PENDING
WITHDRAWN, EXPIRED, INVALIDATED = ConsentKind.WITHDRAWN, ConsentKind.EXPIRED, ConsentKind.INVALIDATED
REQUESTED, DEFERRED = ConsentKind.REQUESTED, ConsentKind.DEFERRED
SHOWN: dict[str, Any] = {"notice": "privacy", "notice_version": 1, "method": "form"}
CHILD, PARENT, TEENAGER, STRANGER = ref(2), ref(1), ref(3), ref(99)


@pytest.fixture
def shop(gateway: Gateway) -> Gateway:
    with_source(gateway)
    with gateway.work() as work:
        notices.put_notice(work, NoticeId("privacy"), 1, "en", "Privacy", "We write to you.")
    people = [a_person(1), a_person(2, birth_date="2018-02-03"), a_person(3, birth_date="2010-02-03")]
    take(gateway, [*people, a_person(4, birth_date=None)])
    return gateway


def ledger_size(gateway: Gateway) -> int:
    with gateway.look() as work:
        return work.session.execute(select(func.count()).select_from(tables.consent_events)).scalar() or 0


def refused(gateway: Gateway, **changes: Any) -> tuple[str, str] | None:
    """Why one fact about person 1 is refused, None if it is taken; what is refused is not stored."""
    before = ledger_size(gateway)
    taken = take(gateway, [a_consent(changes.pop("subject", PARENT), **changes)])
    assert ledger_size(gateway) == before + taken.accepted
    assert taken.accepted + taken.rejected == 1
    return None if taken.accepted else (taken.rejections[0].reasons[0].path, taken.rejections[0].reasons[0].code)


# -- what is refused -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"purpose": "world_domination"}, ("$.purpose", "unknown_purpose")),
        ({"notice": "secret"}, ("$.notice", "unknown_notice")),
        ({"notice": "privacy", "notice_version": 2}, ("$.notice", "unknown_notice")),
        ({"notice": "privacy", "notice_version": 1, "language": "fr"}, ("$.language", "unknown_language")),
        ({"notice": "privacy", "language": "fr"}, ("$.language", "unknown_language")),
        ({"notice_version": 1}, ("$.notice_version", "notice_missing")),
        ({"at": NOW_S + DAY}, ("$.at", "future_date")),
        ({"valid_until": NOW_S - DAY}, ("$.valid_until", "impossible_date")),
        ({"kind": EXPIRED, "valid_until": NOW_S + DAY}, ("$.valid_until", "not_a_grant")),
        ({"kind": REQUESTED, "valid_until": NOW_S + DAY}, ("$.valid_until", "not_a_grant")),
    ],
)
def test_what_cannot_be_is_refused_by_name(shop: Gateway, changes: dict[str, Any], reason: tuple[str, str]) -> None:
    assert refused(shop, **changes) == reason


@pytest.mark.parametrize("kind", [GIVEN, RENEWED, PENDING])
@pytest.mark.parametrize("claim", [ConsentProperty.EVIDENCE, ConsentProperty.WRITTEN])
def test_a_live_claim_needs_its_proof(shop: Gateway, kind: ConsentKind, claim: ConsentProperty) -> None:
    plain: dict[str, Any] = {"kind": kind, "properties": claim, "evidence": None}
    assert refused(shop, **plain) == ("$.evidence", "missing_evidence")
    for missing in SHOWN:
        partly = {name: value for name, value in SHOWN.items() if name != missing}
        if missing != "notice":
            assert refused(shop, **plain, **partly) == ("$.evidence", "missing_evidence")
    assert refused(shop, **plain | {"evidence": b""}) == ("$.evidence", "missing_evidence")
    assert refused(shop, **plain, **SHOWN) is None
    assert refused(shop, **plain | {"evidence": b'{"form":1}'}) is None
    assert refused(shop, **plain | {"properties": ConsentProperty.AFFIRMATIVE}) is None  # it claims nothing


def test_ends_and_questions_claim_nothing_and_need_no_proof(shop: Gateway) -> None:
    for kind in (EXPIRED, INVALIDATED, REQUESTED, DEFERRED):
        assert refused(shop, kind=kind, evidence=None) is None


@pytest.mark.parametrize(
    ("guardian", "code"),
    [
        (STRANGER, "unknown_subject"),
        (CHILD, "guardian_is_child"),
        (by("email", "person2@example.org"), "guardian_is_child"),
        (TEENAGER, "guardian_is_minor"),
        (ref(4), "guardian_age_unknown"),
    ],
)
def test_a_guardian_is_a_known_adult_and_not_the_child(shop: Gateway, guardian: Any, code: str) -> None:
    assert refused(shop, subject=CHILD, guardian=guardian) == ("$.guardian", code)


def test_a_guardian_whose_identifier_is_not_one_is_named_by_its_place(shop: Gateway) -> None:
    place, code = refused(shop, subject=CHILD, guardian=by("email", "nobody")) or ("", "")
    assert place == "$.guardian.email"
    assert code


def test_the_claim_of_a_guardian_needs_one(shop: Gateway) -> None:
    claim: dict[str, Any] = {"subject": CHILD, "properties": ConsentProperty.GUARDIAN}
    for evidence in (None, b'{"form":1}', b'{"guardian":""}', b'["guardian"]', b"not json"):
        assert refused(shop, **claim, evidence=evidence) == ("$.guardian", "missing_guardian")
    assert refused(shop, **claim, evidence=b'{"guardian":"identity card seen"}') is None
    assert refused(shop, **claim, evidence=None, guardian=PARENT) is None


def test_a_child_is_written_to_with_the_word_of_its_guardian_alone(shop: Gateway) -> None:
    take(shop, [a_consent(CHILD, properties=ALL_PROPERTIES & ~ConsentProperty.GUARDIAN)])
    assert not answer_for(shop, CHILD).permitted
    take(shop, [a_consent(CHILD, guardian=PARENT, at=NOW_S - 60)])
    assert answer_for(shop, CHILD).permitted


def test_an_erased_guardian_is_forgotten_and_the_consent_stays(shop: Gateway) -> None:
    take(shop, [a_consent(CHILD, guardian=PARENT, evidence=None, **SHOWN)])
    with shop.work() as work:
        erase(work, id_of_guardian(shop), "request")
    with shop.look() as work:
        assert list(work.session.execute(select(tables.consent_events.c.guardian)).scalars()) == [0]
    assert answer_for(shop, CHILD).permitted
    assert reconcile(shop).clean


def id_of_guardian(gateway: Gateway) -> Any:
    return id_of(gateway, PARENT)


@pytest.mark.parametrize(
    "odd",
    [
        {"notice": "secret"},
        {"notice": "privacy", "notice_version": 9},
        {"notice": "privacy", "language": "fr"},
        {"notice_version": 4},
        {"guardian": STRANGER},
        {"guardian": TEENAGER},
        {"evidence": None},
        {"valid_until": NOW_S - DAY},
        {"at": NOW_S + DAY},
        {"place": "shop-7"},
    ],
)
def test_a_no_is_taken_whatever_else_is_wrong_with_it(shop: Gateway, odd: dict[str, Any]) -> None:
    take(shop, [a_consent(PARENT)])
    assert may_write(shop, PARENT)
    assert refused(shop, kind=WITHDRAWN, **({"at": NOW_S} | odd)) is None
    assert not may_write(shop, PARENT)


# -- what the kinds change -----------------------------------------------------------------------------------------


def reason(gateway: Gateway) -> str:
    return answer_for(gateway, PARENT, EMAIL_MARKETING).reason_code


def test_a_life_of_a_consent(shop: Gateway) -> None:
    for kind in (REQUESTED, DEFERRED):
        take(shop, [a_consent(PARENT, kind=kind, at=NOW_S - 90)])
        assert reason(shop) == "no_prior_consent"
    take(shop, [a_consent(PARENT, at=NOW_S - 80, valid_until=NOW_S - 40)])
    assert reason(shop) == "consent_expired"
    take(shop, [a_consent(PARENT, kind=RENEWED, at=NOW_S - 50, valid_until=NOW_S + DAY)])
    assert may_write(shop, PARENT)
    take(shop, [a_consent(PARENT, kind=EXPIRED, at=NOW_S - 40)])
    assert reason(shop) == "consent_expired"
    take(shop, [a_consent(PARENT, at=NOW_S - 30)])
    assert may_write(shop, PARENT)
    take(shop, [a_consent(PARENT, kind=INVALIDATED, at=NOW_S - 20)])
    assert reason(shop) == "no_prior_consent"
    withdraw(shop, PARENT)
    assert reason(shop) == "consent_withdrawn"
    assert reconcile(shop).clean


def test_a_withdrawal_is_overcome_by_new_evidence_alone(shop: Gateway) -> None:
    take(shop, [a_consent(PARENT)])
    take(shop, [a_consent(PARENT, kind=WITHDRAWN, at=NOW_S - 100)])
    for late, at in (({"at": NOW_S - 200}, 0), ({"kind": RENEWED}, 90), ({"imported": True}, 80)):
        take(shop, [a_consent(PARENT, **({"at": NOW_S - at} | late))])
        assert reason(shop) == "consent_withdrawn"
    claimless = ALL_PROPERTIES & ~consent_checks.CLAIMS & ~ConsentProperty.GUARDIAN
    take(shop, [a_consent(PARENT, at=NOW_S - 60, evidence=None, properties=claimless)])
    assert reason(shop) == "consent_withdrawn"
    take(shop, [a_consent(PARENT, at=NOW_S - 50)])
    assert may_write(shop, PARENT)


@pytest.mark.parametrize(("proof", "told"), [({}, "consent_not_demonstrable"), (SHOWN, "consent_valid")])
def test_an_import_without_proof_is_kept_and_not_believed(shop: Gateway, proof: dict[str, Any], told: str) -> None:
    taken = take(shop, [a_consent(PARENT, imported=True, evidence=None, **proof)])
    assert (taken.accepted, taken.rejected) == (1, 0)
    assert reason(shop) == told
    with shop.look() as work:
        stored = work.session.execute(select(tables.consent_events.c.properties)).scalar()
    assert stored == ALL_PROPERTIES  # as it was claimed
    assert reconcile(shop).clean


def test_the_place_and_the_guardian_are_kept(shop: Gateway) -> None:
    take(shop, [a_consent(CHILD, guardian=PARENT, place="/signup", evidence=EVIDENCE)])
    c = tables.consent_events.c
    with shop.look() as work:
        assert list(work.session.execute(select(c.place, c.guardian)).all()) == [("/signup", id_of_guardian(shop))]


# -- each check goes red -------------------------------------------------------------------------------------------


def test_a_gateway_that_believes_every_claim_is_noticed(shop: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(consent_checks, "is_proven", lambda _item: True)
    with pytest.raises(AssertionError):
        test_a_live_claim_needs_its_proof(shop, GIVEN, ConsentProperty.EVIDENCE)


def test_a_gateway_that_takes_anybody_for_a_guardian_is_noticed(shop: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(consent_checks, "_adult", lambda _work, found: found)
    with pytest.raises(AssertionError):
        test_a_guardian_is_a_known_adult_and_not_the_child(shop, TEENAGER, "guardian_is_minor")
