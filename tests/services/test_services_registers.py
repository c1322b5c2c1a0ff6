"""Registers: what was given out keeps its meaning; keys are stored as hashes and end everywhere at once."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from datetime import timedelta
from functools import partial
from typing import Any

import pytest
from sqlalchemy import select

from builders import (
    EMAIL_MARKETING,
    a_consent,
    a_person,
    a_recipient,
    a_source,
    answer_for,
    dump,
    ref,
    take,
    twin,
    with_source,
    withdraw,
)
from consent_gateway.clock import FixedClock
from consent_gateway.db import tables
from consent_gateway.db.tables import CONSENT_SLOTS, NUMBER_SLOTS, TEXT_SLOTS
from consent_gateway.domain.ids import NoticeId, PurposeId, RecipientId, TraitId
from consent_gateway.domain.purposes import Basis, Channel, Purpose, PurposeKind, RecipientKind
from consent_gateway.domain.registers import Principal
from consent_gateway.domain.scopes import SCOPE_BITS
from consent_gateway.domain.segments import TraitOrigin, TraitType
from consent_gateway.errors import AuthenticationError, ConflictError, GatewayError, InputError, NotFoundError
from consent_gateway.services.deciding.questions import Use
from consent_gateway.services.disclosing.decisions import Ask, decide
from consent_gateway.services.identity.reconcile import reconcile
from consent_gateway.services.ledger import notices
from consent_gateway.services.registry import registers
from consent_gateway.services.work import principals
from consent_gateway.services.work.gateway import Gateway, Work
from replicas import a_replica

THIRD = RecipientKind.THIRD_PARTY


def a_purpose(name: str = "news", parent: str | None = "marketing", **changes: Any) -> Purpose:
    kind = changes.get("kind", PurposeKind.DIRECT_MARKETING)
    return Purpose(PurposeId(name), kind, name, name, "", Basis.CONSENT, PurposeId(parent) if parent else None)


def put(gateway: Gateway, *things: Callable[[Work], object]) -> None:
    with gateway.work() as work:
        for thing in things:
            thing(work)


def snapshot(gateway: Gateway) -> Any:
    with gateway.look() as work:
        return work.registers


# -- purposes and slots --------------------------------------------------------------------------------------------


def test_a_new_store_knows_the_standard_purposes_and_ourselves(gateway: Gateway) -> None:
    found = snapshot(gateway)
    assert len(found.slots) == len(set(found.slots.values())) == 10
    assert (PurposeId("direct_marketing"), Channel.EMAIL) in found.slots
    assert found.recipients[RecipientId("self")].kind is RecipientKind.SELF


def test_seeding_twice_changes_no_place(gateway: Gateway) -> None:
    before = snapshot(gateway)
    put(gateway, registers.seed)
    after = snapshot(gateway)
    assert (after.slots, after.purposes, after.recipients) == (before.slots, before.purposes, before.recipients)


def test_slots_are_given_once_and_run_out(gateway: Gateway) -> None:
    channels = list(Channel)
    put(gateway, lambda w: registers.put_purpose(w, a_purpose(), channels[:6]))
    slots = snapshot(gateway).slots
    assert sorted(slots.values()) == list(range(CONSENT_SLOTS))
    before = dump(gateway.store)
    with pytest.raises(ConflictError):
        put(gateway, lambda w: registers.put_purpose(w, a_purpose("more"), channels[:1]))
    assert dump(gateway.store) == before  # the purpose itself is not there either
    put(gateway, lambda w: registers.put_purpose(w, a_purpose(), channels[:6]))
    assert snapshot(gateway).slots == slots


def test_a_new_pair_knows_what_was_said_before_it_was_enabled(gateway: Gateway) -> None:
    with_source(gateway)
    put(gateway, lambda w: registers.put_purpose(w, a_purpose(), []))
    take(gateway, [a_person(n) for n in (1, 2)])
    take(gateway, [a_consent(ref(n), purpose="news") for n in (1, 2)])
    withdraw(gateway, ref(2), purpose="marketing")
    use = Use(PurposeId("news"), Channel.EMAIL, EMAIL_MARKETING.recipient)
    assert not answer_for(gateway, ref(1), use).permitted  # no such pair: nobody is known to have agreed
    put(gateway, lambda w: registers.put_purpose(w, a_purpose(), [Channel.EMAIL]))
    assert [answer_for(gateway, ref(n), use).permitted for n in (1, 2)] == [True, False]
    assert reconcile(gateway).clean


@pytest.mark.parametrize(
    "other", [a_purpose(kind=PurposeKind.SERVICE_MESSAGE), a_purpose(parent=None), a_purpose(parent="direct_marketing")]
)
def test_a_purpose_keeps_its_kind_and_place(sqlite_gateway: Gateway, other: Purpose) -> None:
    put(sqlite_gateway, lambda w: registers.put_purpose(w, a_purpose(), []))
    with pytest.raises(ConflictError):
        put(sqlite_gateway, lambda w: registers.put_purpose(w, other, []))


@pytest.mark.parametrize("name", ["", "No", "a b", "x" * 64])
def test_names_are_slugs(sqlite_gateway: Gateway, name: str) -> None:
    for thing in (
        lambda w: registers.put_purpose(w, a_purpose(name), []),
        lambda w: registers.put_recipient(w, a_recipient(name)),
        lambda w: registers.put_source(w, a_source(name)),
        lambda w: notices.put_notice(w, NoticeId(name), 1, "en", "", "t"),
        lambda w: principals.issue(w, name, "self", frozenset({"audit"})),
    ):
        with pytest.raises(InputError):
            put(sqlite_gateway, thing)


def test_a_wider_purpose_must_exist(sqlite_gateway: Gateway) -> None:
    with pytest.raises(InputError):
        put(sqlite_gateway, lambda w: registers.put_purpose(w, a_purpose(parent="nowhere"), []))


# -- recipients ----------------------------------------------------------------------------------------------------


def test_each_third_party_has_a_bit_of_its_own(gateway: Gateway) -> None:
    for n in range(4):
        put(gateway, lambda w, n=n: registers.put_recipient(w, a_recipient(f"p{n}", kind=THIRD)))
    put(gateway, lambda w: registers.put_recipient(w, a_recipient("mailer")))
    found = snapshot(gateway).recipients
    assert [found[RecipientId(f"p{n}")].scope_bit for n in range(4)] == [0, 1, 2, 3]
    assert found[RecipientId("mailer")].scope_bit is None
    put(gateway, lambda w: registers.put_recipient(w, a_recipient("p2", kind=THIRD, name="Renamed")))
    assert snapshot(gateway).recipients[RecipientId("p2")].scope_bit == 2


def test_bits_run_out(sqlite_gateway: Gateway) -> None:
    put(
        sqlite_gateway,
        *(lambda w, n=n: registers.put_recipient(w, a_recipient(f"p{n}", kind=THIRD)) for n in range(SCOPE_BITS)),
    )
    with pytest.raises(ConflictError):
        put(sqlite_gateway, lambda w: registers.put_recipient(w, a_recipient("last", kind=THIRD)))


@pytest.mark.parametrize("changes", [{"kind": THIRD}, {"sector": "elsewhere"}])
def test_a_recipient_keeps_its_kind_and_sector(sqlite_gateway: Gateway, changes: dict[str, Any]) -> None:
    put(sqlite_gateway, lambda w: registers.put_recipient(w, a_recipient("mailer")))
    with pytest.raises(ConflictError):
        put(sqlite_gateway, lambda w: registers.put_recipient(w, a_recipient("mailer", **changes)))


def test_consent_for_one_third_party_is_not_for_another(gateway: Gateway) -> None:
    with_source(gateway)
    for name in ("alpha", "beta"):
        put(gateway, lambda w, name=name: registers.put_recipient(w, a_recipient(name, kind=THIRD)))
    take(gateway, [a_person(1)])
    take(gateway, [a_consent(ref(1), purpose="third_party_audience_sharing", channel="online_ads", recipient="alpha")])
    answers = {}
    for name in ("alpha", "beta", "self"):
        use = Use(PurposeId("third_party_audience_sharing"), Channel.ONLINE_ADS, RecipientId(name))
        answers[name] = answer_for(gateway, ref(1), use).permitted
    assert answers == {"alpha": True, "beta": False, "self": False}


@pytest.fixture
def replica(gateway: Gateway) -> Iterator[Gateway]:
    """Another process on the same database."""
    with a_replica(gateway) as made:
        yield made


def test_replicas_that_register_at_once_give_out_each_place_once(gateway: Gateway, replica: Gateway) -> None:
    rounds, start = 6, threading.Barrier(2)
    failures: list[GatewayError] = []

    def register(own: Gateway, name: str) -> None:
        for n in range(rounds):
            start.wait()
            try:
                put(own, lambda w, n=n: registers.put_recipient(w, a_recipient(f"{name}{n}", kind=THIRD)))
                purpose, channels = a_purpose(f"{name}_p{n // 2}"), [list(Channel)[n % 2]]
                put(own, partial(registers.put_purpose, purpose=purpose, channels=channels))
            except GatewayError as error:
                failures.append(error)

    threads = [threading.Thread(target=register, args=pair) for pair in ((gateway, "a"), (replica, "b"))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {type(f) for f in failures} <= {ConflictError}  # the slots run out, and nothing else goes wrong
    with gateway.look() as work:
        found = work.session.execute(select(tables.recipients.c.scope_bit)).scalars()
        bits = [bit for bit in found if bit is not None]
    assert len(bits) == len(set(bits)) == 2 * rounds
    slots = snapshot(gateway).slots
    assert len(set(slots.values())) == len(slots) == CONSENT_SLOTS


def test_a_pair_that_is_enabled_while_people_withdraw_misses_nobody(gateway: Gateway, replica: Gateway) -> None:
    """Either the enabling sees the withdrawal, or the withdrawal sees the new slot."""
    with_source(gateway)
    put(gateway, lambda w: registers.put_purpose(w, a_purpose(), []))
    people = 8
    take(gateway, [a_person(n) for n in range(people)])
    take(gateway, [a_consent(ref(n), purpose="news", channel=None) for n in range(people)])
    start = threading.Barrier(2)

    def enable() -> None:
        for channel in (Channel.EMAIL, Channel.PUSH, Channel.IN_APP, Channel.SMS):
            start.wait()
            put(replica, lambda w, channel=channel: registers.put_purpose(w, a_purpose(), [channel]))

    thread = threading.Thread(target=enable)
    thread.start()
    for n in range(0, people, 2):
        start.wait()
        for number in (n, n + 1):
            withdraw(gateway, ref(number), purpose="marketing", channel=None)
    thread.join()
    with gateway.look() as work:
        columns = [tables.audience_rows.c[f"c{s}"] for (p, _), s in work.registers.slots.items() if p == "news"]
        states = {state for row in work.session.execute(select(*columns)) for state in row}
    assert states == {-1}
    assert reconcile(gateway).clean


# -- sources, notices, traits --------------------------------------------------------------------------------------


def test_a_source_names_what_is_registered(gateway: Gateway) -> None:
    good = a_source("shop")
    for wrong in ({"purposes": (PurposeId("nothing"),)}, {"notice": NoticeId("unpublished")}):
        values = {f: getattr(good, f) for f in ("id", "name", "channel", "party", "notice", "purposes")} | wrong
        with pytest.raises(InputError):
            put(gateway, lambda w, values=values: registers.put_source(w, type(good)(**values)))
    put(gateway, lambda w: registers.put_source(w, good))
    assert snapshot(gateway).sources[good.id] == good


def test_a_notice_that_was_published_keeps_its_words(gateway: Gateway) -> None:
    put(gateway, lambda w: notices.put_notice(w, NoticeId("privacy"), 1, "en", "Privacy", "We do."))
    put(gateway, lambda w: notices.put_notice(w, NoticeId("privacy"), 1, "en", "Privacy", "We do."))
    put(gateway, lambda w: notices.put_notice(w, NoticeId("privacy"), 1, "de", "Datenschutz", "Wir tun es."))
    put(gateway, lambda w: notices.put_notice(w, NoticeId("privacy"), 2, "en", "Privacy", "We did."))
    with pytest.raises(ConflictError):
        put(gateway, lambda w: notices.put_notice(w, NoticeId("privacy"), 1, "en", "Privacy", "We don't."))


@pytest.mark.parametrize(("title", "text"), [("Privacy", "We don't."), ("Secrecy", "We do.")])
def test_a_notice_that_is_put_again_stays_as_it_was(gateway: Gateway, clock: FixedClock, title: str, text: str) -> None:
    publish = partial(notices.put_notice, notice=NoticeId("privacy"), version=1, language="en")
    put(gateway, lambda w: publish(w, title="Privacy", text="We do."))
    before = dump(gateway.store)
    clock.advance(timedelta(days=30))
    put(gateway, lambda w: publish(w, title="Privacy", text="We do."))
    with pytest.raises(ConflictError):
        put(gateway, lambda w: publish(w, title=title, text=text))
    assert dump(gateway.store) == before  # also the instant, and the one entry in the log


def declare(name: str, kind: TraitType = TraitType.INTEGER) -> Callable[[Work], object]:
    return lambda w: registers.put_trait(w, TraitId(name), kind, TraitOrigin.DECLARED, None, "")


def test_trait_slots_run_out_by_kind(gateway: Gateway) -> None:
    put(gateway, *(declare(f"n{i}") for i in range(NUMBER_SLOTS)))
    put(gateway, *(declare(f"s{i}", TraitType.TEXT) for i in range(TEXT_SLOTS)))
    for kind in (TraitType.INTEGER, TraitType.TEXT):
        with pytest.raises(ConflictError):
            put(gateway, declare("more", kind))
    slots = [t.slot for t in snapshot(gateway).traits.values()]
    assert len(set(slots)) == len(slots) == NUMBER_SLOTS + TEXT_SLOTS


def test_a_trait_keeps_its_type(gateway: Gateway) -> None:
    put(gateway, declare("city", TraitType.TEXT))
    put(gateway, declare("city", TraitType.TEXT))
    with pytest.raises(ConflictError):
        put(gateway, declare("city"))
    with pytest.raises(InputError):
        put(
            gateway,
            lambda w: registers.put_trait(w, TraitId("x"), TraitType.INTEGER, TraitOrigin.EVENT_COUNT, None, ""),
        )


# -- principals ----------------------------------------------------------------------------------------------------


def issue(gateway: Gateway, name: str = "shop") -> str:
    with gateway.work() as work:
        return principals.issue(work, name, "self", frozenset({"ingest", "decide"}))


def principal_of(gateway: Gateway, key: str) -> Principal:
    found: Principal = snapshot(gateway).principals[principals.digest(key)]
    return found


def test_a_key_is_shown_once_and_stored_as_a_hash(gateway: Gateway) -> None:
    key = issue(gateway)
    secret = key.removeprefix("cg_shop_")
    assert len(secret) == 43  # 256 bits
    stored = repr(dump(gateway.store))
    assert secret not in stored
    assert repr(principals.digest(key)) in stored
    found = principal_of(gateway, key)
    assert (found.id, found.recipient, found.scopes) == ("shop", "self", {"ingest", "decide"})


@pytest.mark.parametrize(
    ("name", "recipient", "scopes", "error"),
    [
        ("shop", "nobody", {"decide"}, InputError),
        ("shop", "self", set(), InputError),
        ("shop", "self", {"everything"}, InputError),
        ("taken", "self", {"decide"}, ConflictError),
    ],
)
def test_a_key_that_makes_no_sense(
    sqlite_gateway: Gateway, name: str, recipient: str, scopes: set[str], error: type[GatewayError]
) -> None:
    issue(sqlite_gateway, "taken")
    with pytest.raises(error):
        put(sqlite_gateway, lambda w: principals.issue(w, name, recipient, frozenset(scopes)))


def test_a_revoked_key_does_nothing_more_on_any_replica(gateway: Gateway, replica: Gateway) -> None:
    key = issue(gateway)
    there = principal_of(replica, key)  # the other replica knows it, and has it in its cache
    with replica.work(there) as work:
        assert work.actor.id == "shop"
    put(gateway, lambda w: principals.revoke(w, "shop"))
    for begin in (replica.work, replica.look, gateway.work):
        with pytest.raises(AuthenticationError), begin(there):
            pass
    with replica.work() as work:  # a batch that others share goes on without it
        found = decide(work, [Ask(EMAIL_MARKETING, ref(1), there)])
    assert [type(f) for f in found] == [AuthenticationError]
    assert principals.digest(key) not in snapshot(replica).principals


def test_a_name_is_used_once_and_a_key_revoked_once(gateway: Gateway) -> None:
    issue(gateway)
    put(gateway, lambda w: principals.revoke(w, "shop"))
    with pytest.raises(NotFoundError):
        put(gateway, lambda w: principals.revoke(w, "shop"))
    with pytest.raises(ConflictError):
        issue(gateway)


# -- the snapshot --------------------------------------------------------------------------------------------------


def test_a_replica_sees_a_change_with_its_next_piece_of_work(gateway: Gateway) -> None:
    other = twin(gateway)
    before = snapshot(other)
    put(gateway, lambda w: registers.put_source(w, a_source("shop")))
    after = snapshot(other)
    assert "shop" not in before.sources
    assert "shop" in after.sources
    assert after.version > before.version
    assert snapshot(other) is after  # and does not read them again for nothing


def test_a_registration_that_was_undone_was_never_seen(gateway: Gateway) -> None:
    def fail() -> None:
        with gateway.work() as work:
            registers.put_source(work, a_source("shop"))
            assert "shop" in work.registers.sources
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert "shop" not in snapshot(gateway).sources
    put(gateway, lambda w: registers.put_source(w, a_source("other")))
    assert set(snapshot(gateway).sources) == {"other"}
