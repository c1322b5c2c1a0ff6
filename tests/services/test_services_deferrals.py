"""Noes that come while the keys are away are kept, hold before anything is decided again, and are carried out once."""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select, update

from builders import (
    NOW_S,
    SOURCE,
    a_consent,
    a_gateway,
    a_keyring_place,
    a_person,
    an_officer,
    another,
    by,
    id_of,
    incoming,
    may_write,
    ref,
    sealed,
    take,
    with_source,
)
from consent_gateway.clock import FixedClock
from consent_gateway.db import tables
from consent_gateway.domain.consents import ConsentKind
from consent_gateway.domain.ids import RecipientId
from consent_gateway.domain.registers import Principal
from consent_gateway.domain.subjects import Choice
from consent_gateway.errors import ConflictError, KeyServiceError, NoesFirstError
from consent_gateway.policies.signals.detect import SignalKind
from consent_gateway.services.keys import epoch_roll
from consent_gateway.services.keys.epoch_destruction import DRAIN_SECONDS, EPOCHS
from consent_gateway.services.keys.key_jobs import Runner
from consent_gateway.services.keys.key_pages import PAGES
from consent_gateway.services.log import deferrals
from consent_gateway.services.log.deferrals import Kept, Letter
from consent_gateway.services.registry import registers
from consent_gateway.services.threads.key_keeper import KeyKeeper
from consent_gateway.services.work import approvals
from consent_gateway.services.work.gateway import Gateway
from consent_gateway.services.work.items import ChoiceItem, SignalItem
from consent_gateway.vault.keyring import Keyring

CRM = Principal("crm_system", RecipientId("self"), frozenset({"ingest"}))
OVER = 0.0


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return a_keyring_place(tmp_path)


@pytest.fixture
def crm(store: Any, clock: FixedClock, path: Path) -> Gateway:
    gateway = a_gateway(store, keyring=Keyring.create(path, sealed(path)), clock=clock)
    with gateway.work() as work:
        registers.seed(work)
    with_source(gateway)
    take(gateway, [a_person(n) for n in range(3)])
    take(gateway, [a_consent(ref(n)) for n in range(3)])
    return gateway


@contextmanager
def keys_away(*gateways: Gateway) -> Iterator[None]:
    """The keys' time is over in these processes."""
    for gateway in gateways:
        gateway.vault.custody._ends = OVER
    yield
    for gateway in gateways:
        gateway.vault.custody._ends = None


def letter(gateway: Gateway, kind: str, items: Sequence[Any], **changes: Any) -> Letter | None:
    with gateway.look(CRM) as work:
        return deferrals.of_rows(work, kind, SOURCE, incoming(items), "0" * 64, **changes)


def put_off(gateway: Gateway, kind: str, items: Sequence[Any], kept: Kept | None = None, **changes: Any) -> bytes:
    found, uid = letter(gateway, kind, items, **changes), secrets.token_bytes(16)
    assert found is not None
    with gateway.work(CRM) as work:
        deferrals.keep(work, uid, found, kept)
    return uid


def a_no(number: int, **changes: Any) -> Any:
    values = {"kind": ConsentKind.WITHDRAWN, "at": NOW_S, "evidence": None} | changes
    return a_consent(values.pop("subject", ref(number)), **values)


def entries(gateway: Gateway, kind: str) -> list[dict[str, Any]]:
    with gateway.store.reading() as session:
        found = session.execute(select(tables.audit_pending.c.entry).order_by(tables.audit_pending.c.id)).scalars()
        read = [json.loads(entry) for entry in found]
    return [entry["fields"] | {"actor": entry["actor"]} for entry in read if entry["kind"] == kind]


def left(gateway: Gateway) -> list[Any]:
    with gateway.store.reading() as session:
        return list(session.execute(select(tables.deferrals)))


# -- kept, and carried out -----------------------------------------------------------------------------------------


def test_a_withdrawal_without_keys_is_kept_and_holds_when_they_are_back(crm: Gateway) -> None:
    assert may_write(crm, ref(1))
    with keys_away(crm):
        with pytest.raises(KeyServiceError):
            take(crm, [a_no(1)])
        uid = put_off(crm, "consents", [a_no(1)])
        with pytest.raises(KeyServiceError):
            deferrals.carry_out(crm)
        assert len(left(crm)) == 1
    assert deferrals.carry_out(crm) == 1
    assert not may_write(crm, ref(1))
    assert may_write(crm, ref(2))
    assert left(crm) == []
    assert deferrals.carry_out(crm) == 0
    (kept,), (settled,) = entries(crm, "intake.deferred"), entries(crm, "intake.settled")
    assert (kept["kind"], kept["rows"], kept["actor"]) == ("consents", 1, "crm_system")
    assert settled == {
        "deferral": uid.hex(), "outcome": "done", "accepted": 1, "rejected": 0, "actor": "system",
    }  # fmt: skip


def test_nothing_is_decided_until_it_holds_on_any_replica(crm: Gateway, path: Path) -> None:
    """One replica lost the key service, the other did not: between the two the no must not be overlooked (P2)."""
    sound = another(crm, path)
    assert may_write(sound, ref(1))
    with keys_away(crm):
        put_off(crm, "consents", [a_no(1)])
        for number in (1, 2):
            with pytest.raises(NoesFirstError) as refused:
                may_write(sound, ref(number))
            assert refused.value.retry_after == 1
        KeyKeeper(sound, lambda error: pytest.fail(repr(error))).look()
        assert not may_write(sound, ref(1))
        assert may_write(sound, ref(2))
    assert not may_write(crm, ref(1))


def test_without_the_refusal_the_person_would_be_written_to(
    crm: Gateway, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The planted bug: the registers say that nothing waits, and the test above goes red."""
    monkeypatch.setattr("consent_gateway.db.deferrals.any_waiting", lambda _: False)
    with keys_away(crm):
        put_off(crm, "consents", [a_no(1)])
        assert may_write(another(crm, path), ref(1))


def test_a_yes_that_was_given_after_the_no_stays_the_later_one(crm: Gateway, clock: FixedClock, path: Path) -> None:
    sound = another(crm, path)
    with keys_away(crm):
        put_off(crm, "consents", [a_no(1, at=NOW_S - 60)])
        clock.advance(timedelta(minutes=10))
        take(sound, [a_consent(ref(1), at=NOW_S + 300)])
    deferrals.carry_out(sound)
    assert may_write(sound, ref(1))


def test_they_are_carried_out_in_the_order_they_came(crm: Gateway) -> None:
    """A choice that is switched on, and two withdrawals: the ledger has them in the order of their calls."""
    with keys_away(crm):
        put_off(crm, "consents", [a_no(1)])
        put_off(crm, "consents", [a_no(2)])
        put_off(crm, "consents", [a_no(0)])
    deferrals.carry_out(crm)
    whose = [id_of(crm, ref(n)) for n in (1, 2, 0)]
    with crm.store.reading() as session:
        table = tables.consent_events
        written = select(table.c.subject_id).where(table.c.kind == "withdrawn").order_by(table.c.id)
        assert list(session.execute(written).scalars()) == whose


def test_a_no_with_a_fast_clock_holds_from_when_it_came(crm: Gateway, clock: FixedClock) -> None:
    with keys_away(crm):
        put_off(crm, "consents", [a_no(1, at=NOW_S + 10**6)])
        clock.advance(timedelta(hours=1))
    deferrals.carry_out(crm)
    with crm.store.reading() as session:
        table = tables.consent_events
        assert session.execute(select(table.c.at).where(table.c.kind == "withdrawn")).scalars().all() == [NOW_S]


def test_choices_signals_and_strangers_are_kept_too(crm: Gateway) -> None:
    stranger = by("email", "nobody.yet@example.org")
    with keys_away(crm):
        put_off(crm, "choices", [ChoiceItem(ref(1), Choice.OBJECTION, active=True, at=NOW_S)])
        put_off(crm, "choices", [ChoiceItem(stranger, Choice.OBJECTION, active=True, at=NOW_S)])
        put_off(crm, "signals", [SignalItem(ref(2), "1", NOW_S, SignalKind.GPC)])
        put_off(crm, "consents", [a_no(0)], gpc=True)
    assert deferrals.carry_out(crm) == 4
    assert not may_write(crm, ref(1))
    take(crm, [a_person(9, identifiers={"email": "nobody.yet@example.org", "member_no": "M00009"})])
    take(crm, [a_consent(ref(9), at=NOW_S - 10)])
    assert not may_write(crm, ref(9))
    with crm.store.reading() as session:
        table = tables.choice_events
        gpc = set(session.execute(select(table.c.subject_id).where(table.c.choice == "gpc")).scalars())
    assert gpc == {id_of(crm, ref(2)), id_of(crm, ref(0))}


def test_an_erasure_is_kept_and_carried_out(crm: Gateway) -> None:
    someone = id_of(crm, ref(1))
    with crm.look() as work:
        name = crm.vault.pseudonym(someone, RecipientId("self"), work.registers)
    with keys_away(crm), crm.work(CRM) as work:
        deferrals.keep(work, secrets.token_bytes(16), deferrals.of_erasure(name, "request"))
    assert deferrals.carry_out(crm) == 1
    with crm.store.reading() as session:
        assert session.execute(select(tables.subjects.c.id).where(tables.subjects.c.id == someone)).scalar() is None
    assert [e["outcome"] for e in entries(crm, "intake.settled")] == ["done"]
    assert left(crm) == []


# -- what is not kept ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "items"),
    [
        ("consents", [a_consent(ref(1))]),
        ("consents", [a_no(1), a_consent(ref(2))]),
        ("consents", [a_no(1, purpose="no_such_purpose")]),
        ("consents", [a_no(1, subject=by("email", "not an address"))]),
        ("consents", [a_no(1, contact_point=by("phone", "12"))]),
        ("choices", [ChoiceItem(ref(1), Choice.OBJECTION, active=False, at=NOW_S)]),
        ("signals", [SignalItem(ref(1), "no signal at all", NOW_S)]),
        ("signals", [SignalItem(ref(1), "1", NOW_S + 10**7, SignalKind.GPC)]),
        ("subjects", [a_person(1)]),
    ],
)
def test_a_call_with_anything_but_readable_noes_waits_with_its_sender(
    crm: Gateway, kind: str, items: Sequence[Any]
) -> None:
    assert letter(crm, kind, items) is None


def test_a_source_that_is_not_registered_is_refused_while_its_sender_listens(crm: Gateway) -> None:
    with crm.look(CRM) as work:
        assert deferrals.of_rows(work, "consents", "nowhere", incoming([a_no(1)]), "0" * 64) is None


# -- once, whole, in its place -------------------------------------------------------------------------------------


def test_a_repeated_call_is_carried_out_once_and_gets_the_first_answer(crm: Gateway) -> None:
    kept = Kept("key-1", b"i" * 32, 202, b'{"deferred":1}')
    with keys_away(crm):
        put_off(crm, "consents", [a_no(1)], kept)
        put_off(crm, "consents", [a_no(1)], kept)
    assert deferrals.carry_out(crm) == 2
    assert [e["outcome"] for e in entries(crm, "intake.settled")] == ["done", "repeated"]
    name = crm.vault.reply_name("key-1")
    with crm.store.reading() as session:
        (row,) = session.execute(select(tables.idempotency_keys))
        assert (row.principal, row.key, row.status, bytes(row.response)) == ("crm_system", name, 202, kept.content)
        assert bytes(row.request_digest) == crm.vault.digest(kept.identity)
        noes = session.execute(select(tables.consent_events).where(tables.consent_events.c.kind == "withdrawn"))
        assert len(list(noes)) == 1


@pytest.mark.parametrize("column", ["uid", "principal", "recipient", "at", "sealed"])
def test_a_row_that_was_altered_is_set_aside_and_holds_up_nobody(crm: Gateway, column: str) -> None:
    """Whoever can write into the store moves a letter to another key, instant or row: it does not open there."""
    with keys_away(crm):
        put_off(crm, "consents", [a_no(1)])
        put_off(crm, "consents", [a_no(2)])
        table = tables.deferrals
        wrong = {
            "uid": bytes(16), "principal": "other", "recipient": "other", "at": NOW_S - 1, "sealed": left(crm)[1].sealed,
        }  # fmt: skip
        with crm.store.transaction() as session:
            session.execute(update(table).where(table.c.id == left(crm)[0].id).values({column: wrong[column]}))
    assert deferrals.carry_out(crm) == 2
    assert [row.refused for row in left(crm)] == ["vault_failure"]
    assert may_write(crm, ref(1))
    assert not may_write(crm, ref(2))
    outcomes = [(e["outcome"], e.get("reason")) for e in entries(crm, "intake.settled")]
    assert outcomes == [("refused", "vault_failure"), ("done", None)]


def test_what_no_rule_lets_pass_is_set_aside_with_its_reason(crm: Gateway) -> None:
    with keys_away(crm), crm.work(CRM) as work:
        deferrals.keep(work, secrets.token_bytes(16), deferrals.of_erasure("p1-" + "0" * 32, "request"))
    deferrals.carry_out(crm)
    assert [row.refused for row in left(crm)] == ["not_found"]
    with crm.look() as work:
        assert not work.registers.deferred


def test_a_store_that_fails_in_the_middle_loses_nothing(crm: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    with keys_away(crm):
        put_off(crm, "consents", [a_no(1)])

    def broken(*_: Any) -> None:
        raise RuntimeError("the disk is full")

    with monkeypatch.context() as patched:
        patched.setattr("consent_gateway.db.deferrals.remove", broken)
        with pytest.raises(RuntimeError):
            deferrals.carry_out(crm)
    with pytest.raises(NoesFirstError):
        may_write(crm, ref(1))
    assert deferrals.carry_out(crm) == 1
    assert not may_write(crm, ref(1))


def test_the_letter_hides_what_it_says(crm: Gateway) -> None:
    with keys_away(crm):
        put_off(crm, "consents", [a_no(1, subject=by("email", "canary.person@example.org"))])
    (row,) = left(crm)
    assert b"canary" not in repr(tuple(row)).encode()


# -- epochs --------------------------------------------------------------------------------------------------------


def test_no_epoch_goes_while_a_letter_waits_in_it_and_none_is_put_into_one_that_goes(
    crm: Gateway, clock: FixedClock, path: Path
) -> None:
    first, second = an_officer(crm, "first", "approve", "keys"), an_officer(crm, "second", "approve", "keys")
    asleep = another(crm, path)
    put_off(asleep, "consents", [a_no(1)])
    with crm.work() as work:
        job = epoch_roll.start(work)
    Runner(crm, PAGES).run(job.id)
    clock.advance(timedelta(seconds=DRAIN_SECONDS))
    with crm.work(first) as work:
        made = EPOCHS.propose(work, 1)
    with crm.work(second) as work:
        approvals.approve(work, made.id)
    with pytest.raises(ConflictError, match="1 calls that were put off"), crm.work(first) as work:
        EPOCHS.decide(work, 1)
    deferrals.carry_out(crm)
    with crm.work(first) as work:
        EPOCHS.decide(work, 1)
    with pytest.raises(KeyServiceError, match="too old"):
        put_off(asleep, "consents", [a_no(2)])
    assert asleep.vault.provider.refresh()
    put_off(asleep, "consents", [a_no(2)])
    deferrals.carry_out(crm)
    assert not may_write(crm, ref(2))
