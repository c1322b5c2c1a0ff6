"""One person's ledger as it is read, and what a replaced notice does to everyone who was asked under it."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import select

from builders import (
    DAY,
    NOW_S,
    a_consent,
    a_person,
    a_recipient,
    answer_for,
    choose,
    incoming,
    may_write,
    ref,
    take,
    with_source,
    withdraw,
)
from consent_gateway.db import tables
from consent_gateway.domain.consents import ConsentKind, ConsentState
from consent_gateway.domain.ids import NoticeId, PurposeId, RecipientId
from consent_gateway.domain.purposes import Channel, RecipientKind
from consent_gateway.domain.registers import Principal
from consent_gateway.domain.subjects import Choice
from consent_gateway.errors import ConflictError, ForbiddenError, InputError, NotFoundError
from consent_gateway.services.identity import audience_rows
from consent_gateway.services.identity.reconcile import reconcile
from consent_gateway.services.ledger import notices
from consent_gateway.services.persons import history
from consent_gateway.services.registry import registers
from consent_gateway.services.work.gateway import Gateway
from consent_gateway.services.work.items import NoticeShownItem

PRIVACY = NoticeId("privacy")
UNDER_ONE: dict[str, Any] = {"notice": "privacy", "notice_version": 1}
RENEWED, REQUESTED = ConsentKind.RENEWED, ConsentKind.REQUESTED


@pytest.fixture
def shop(gateway: Gateway) -> Gateway:
    with gateway.work() as work:
        registers.put_recipient(work, a_recipient("partner", kind=RecipientKind.THIRD_PARTY))
    publish(gateway, 1)
    with_source(gateway)
    take(gateway, [a_person(1), a_person(2)])
    return gateway


def publish(gateway: Gateway, version: int, language: str = "en", **more: Any) -> str:
    with gateway.work() as work:
        return notices.put_notice(work, PRIVACY, version, language, "Privacy", f"Text {version} {language}.", **more)


def state(gateway: Gateway, purpose: str = "direct_marketing", recipient: str | None = None) -> history.State:
    with gateway.work() as work:
        found, _ = history.states(work, ref(1))
    wanted = (purpose, Channel.EMAIL, recipient)
    (one,) = [s for s in found if (s.purpose, s.channel, s.recipient) == wanted]
    return one


def raw(gateway: Gateway, **which: Any) -> tuple[ConsentState, str]:
    told = state(gateway, **which)
    return told.standing.state(NOW_S), told.why


# -- history and state ---------------------------------------------------------------------------------------------


def test_the_history_tells_everything_in_pages(shop: Gateway) -> None:
    take(shop, [a_consent(ref(1), kind=REQUESTED, at=NOW_S - 90)])
    take(shop, [a_consent(ref(1), place="store-7", language="en", **UNDER_ONE), a_consent(ref(2))])
    withdraw(shop, ref(1))
    with shop.work() as work:
        rows, texts, _ = history.history(work, ref(1), 0, 2)
        rest, _, _ = history.history(work, ref(1), rows[-1].id, 2)
    assert [r.kind for r in (*rows, *rest)] == ["requested", "given", "withdrawn"]
    assert rows[1].place == "store-7"
    assert len(texts["privacy", 1, "en"]) == 64


def test_the_state_tells_what_was_said_and_what_holds(shop: Gateway) -> None:
    assert raw(shop) == (ConsentState.NONE, "nothing_was_said")
    take(shop, [a_consent(ref(1), at=NOW_S - 90, valid_until=NOW_S - 50)])
    assert raw(shop) == (ConsentState.EXPIRED, "its_time_is_over")
    take(shop, [a_consent(ref(1), at=NOW_S - 40)])
    assert raw(shop) == (ConsentState.GIVEN, "the_latest_said")
    assert state(shop).answer.permitted
    choose(shop, ref(1), Choice.OBJECTION)
    assert raw(shop)[0] is ConsentState.GIVEN  # what the person said of it stands
    assert state(shop).answer == answer_for(shop, ref(1))  # and the objection is above it
    assert not state(shop).answer.permitted
    take(shop, [a_consent(ref(1), purpose="marketing", channel=None, kind=ConsentKind.WITHDRAWN, at=NOW_S)])
    assert raw(shop) == (ConsentState.WITHDRAWN, "a_wider_no")


def test_a_named_recipient_has_a_state_of_its_own(shop: Gateway) -> None:
    sharing = "third_party_audience_sharing"
    take(shop, [a_consent(ref(1), purpose=sharing, recipient="partner")])
    assert raw(shop, purpose=sharing, recipient="partner") == (ConsentState.GIVEN, "the_latest_said")
    assert raw(shop, purpose=sharing) == (ConsentState.NONE, "nothing_was_said")
    take(shop, [a_consent(ref(1), purpose=sharing, kind=ConsentKind.REFUSED, at=NOW_S)])
    assert raw(shop, purpose=sharing, recipient="partner") == (ConsentState.REFUSED, "a_general_no")


def test_only_imports_and_a_no_behind_are_named(shop: Gateway) -> None:
    take(shop, [a_consent(ref(1), imported=True)])
    assert raw(shop) == (ConsentState.GIVEN, "only_imports_are_known")
    take(shop, [a_consent(ref(1), kind=ConsentKind.REFUSED, at=NOW_S - 9 * DAY)])
    take(shop, [a_consent(ref(1), at=NOW_S - 8 * DAY, valid_until=NOW_S - DAY)])
    assert raw(shop) == (ConsentState.WITHDRAWN, "no_behind_an_ended_grant")


def test_reading_is_recorded_and_ours_alone(shop: Gateway) -> None:
    with shop.work() as work:
        history.history(work, ref(1), 0, 1)
        history.states(work, ref(1))
    with shop.look() as work:
        entries = list(work.session.execute(select(tables.audit_pending.c.entry)).scalars())
    assert sum(b'"kind":"ledger.read"' in e for e in entries) == 2
    assert not any(b"M00001" in e for e in entries)
    stranger = Principal("partner", RecipientId("partner"), frozenset({"decide"}))
    with shop.work(stranger) as work, pytest.raises(ForbiddenError):
        history.states(work, ref(1))
    with shop.work() as work, pytest.raises(NotFoundError):
        history.states(work, ref(77))


def test_who_is_erased_while_they_are_read_is_nobody(shop: Gateway) -> None:
    """Between two statements the rows of a person go, their key first (READ COMMITTED)."""
    with shop.store.transaction() as session:
        session.execute(tables.subject_keys.delete())
    for read in (lambda work: history.history(work, ref(1), 0, 1), lambda work: history.states(work, ref(1))):
        with shop.work() as work, pytest.raises(NotFoundError):
            read(work)


def test_what_was_shown_is_kept_of_whom(shop: Gateway) -> None:
    good = NoticeShownItem(ref(1), "privacy", 1, "en", NOW_S - 5, "/signup")
    with shop.work() as work:
        taken = notices.record_shown(work, "crm", incoming_of(good, version=9), "0" * 64)
        views = history.shown(work, ref(1))
    assert (taken.accepted, [r.reasons[0].code for r in taken.rejections]) == (1, ["unknown_notice"])
    assert [(v["notice"], v["notice_version"], v["language"], v["place"]) for v in views] == [
        ("privacy", 1, "en", "/signup")
    ]


def incoming_of(good: NoticeShownItem, version: int) -> list[Any]:
    from_good = NoticeShownItem(good.subject, good.notice, version, good.language, good.at)
    return incoming([good, from_good])


# -- notices that are replaced -------------------------------------------------------------------------------------


def told(gateway: Gateway, number: int = 1) -> str:
    return answer_for(gateway, ref(number)).reason_code


def test_a_material_version_outdates_and_a_renewal_repairs(shop: Gateway) -> None:
    take(shop, [a_consent(ref(1), **UNDER_ONE), a_consent(ref(2))])
    publish(shop, 2)
    assert told(shop) == "consent_valid"
    publish(shop, 3, material=True)
    assert told(shop) == "consent_outdated"
    assert told(shop, 2) == "consent_valid"  # was asked under no notice
    assert state(shop).standing.outdated
    assert reconcile(shop).clean
    take(shop, [a_consent(ref(1), kind=RENEWED, at=NOW_S - 5, notice="privacy", notice_version=3)])
    assert told(shop) == "consent_valid"
    assert reconcile(shop).clean


@pytest.mark.parametrize(
    ("about", "told_after"),
    [("marketing", "consent_outdated"), ("direct_marketing", "consent_outdated"), ("service_message", "consent_valid")],
)
def test_a_material_version_is_about_its_purposes(shop: Gateway, about: str, told_after: str) -> None:
    take(shop, [a_consent(ref(1), **UNDER_ONE)])
    publish(shop, 2, material=True, purposes=[PurposeId(about)])
    assert told(shop) == told_after
    assert reconcile(shop).clean


def test_a_yes_under_the_old_version_that_comes_late_is_outdated(shop: Gateway) -> None:
    publish(shop, 2, material=True)
    take(shop, [a_consent(ref(1), **UNDER_ONE)])
    assert told(shop) == "consent_outdated"
    assert not may_write(shop, ref(1))


def test_an_opt_out_law_asks_for_no_new_consent(shop: Gateway) -> None:
    take(shop, [a_person(3, country="US-TX")])
    take(shop, [a_consent(ref(3), **UNDER_ONE)])
    publish(shop, 2, material=True)
    assert may_write(shop, ref(3))


def test_a_version_weighs_the_same_in_every_language(shop: Gateway) -> None:
    publish(shop, 2, material=True)
    with pytest.raises(ConflictError):
        publish(shop, 2, "zh")
    with pytest.raises(ConflictError):
        publish(shop, 2, material=False)
    publish(shop, 2, "zh", material=True)
    with pytest.raises(InputError):
        publish(shop, 3, material=True, purposes=[PurposeId("world_domination")])


def test_the_text_to_show_is_the_newest_in_the_language_that_fits(shop: Gateway) -> None:
    publish(shop, 2)
    publish(shop, 2, "zh")
    with shop.look() as work:
        assert notices.text_of(work, "privacy", None, "zh-CN")["text"] == "Text 2 zh."
        assert notices.text_of(work, "privacy", None, "fr")["text"] == "Text 2 en."
        assert notices.text_of(work, "privacy", 1, None)["version"] == 1
        with pytest.raises(NotFoundError):
            notices.text_of(work, "secret", None, None)


def test_a_publication_that_recomputes_nobody_is_noticed(shop: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(notices, "refresh_standings", lambda *_: None)
    with pytest.raises(AssertionError):
        test_a_material_version_outdates_and_a_renewal_repairs(shop)


def test_a_fold_that_forgets_the_notices_is_noticed(shop: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    real = audience_rows.fold
    monkeypatch.setattr(audience_rows, "fold", lambda *args: real(*args[:5]))
    with pytest.raises(AssertionError):
        test_a_yes_under_the_old_version_that_comes_late_is_outdated(shop)
