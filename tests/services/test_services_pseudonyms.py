"""Epochs of pseudonyms over a store: a roll, the overlap, the move, and one answer for whatever means nobody."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import event, select

from builders import (
    EMAIL_MARKETING,
    NOW,
    NOW_S,
    a_consent,
    a_person,
    a_recipient,
    by,
    id_of,
    ref,
    take,
    twin,
    with_source,
)
from consent_gateway.clock import FixedClock
from consent_gateway.db import tables
from consent_gateway.domain.decisions import Outcome
from consent_gateway.domain.epochs import MAX_OVERLAP_SECONDS, Epochs
from consent_gateway.domain.ids import RecipientId
from consent_gateway.domain.purposes import RecipientKind
from consent_gateway.domain.registers import Principal
from consent_gateway.domain.segments import Everyone
from consent_gateway.errors import GatewayError, InputError, NotFoundError, TooLargeError
from consent_gateway.services.disclosing import audiences, pseudonyms
from consent_gateway.services.disclosing.decisions import Ask, Decision, decide, decide_batch
from consent_gateway.services.erasing import erasure
from consent_gateway.services.persons import merges, subjects
from consent_gateway.services.registry import registers
from consent_gateway.services.work.gateway import Gateway, Work
from consent_gateway.vault.keys import LocalKeyProvider

WEEK = 7 * 86_400
HOUSE, RIVAL = RecipientId("house"), RecipientId("rival")
PEOPLE = 4


@pytest.fixture
def crm(gateway: Gateway) -> Gateway:
    """Four people who agreed to e-mail; the house has two systems in one sector, the rival stands alone."""
    with_source(gateway)
    with gateway.work() as work:
        registers.put_recipient(work, a_recipient("house"))
        registers.put_recipient(work, a_recipient("house_archive", sector="house"))
        registers.put_recipient(work, a_recipient("rival"))
    take(gateway, [a_person(n) for n in range(1, PEOPLE + 1)])
    take(gateway, [a_consent(ref(n)) for n in range(1, PEOPLE + 1)])
    return gateway


def key_of(recipient: str) -> Principal:
    return Principal(f"{recipient}_key", RecipientId(recipient), frozenset({"decide", "audience"}))


def name(gateway: Gateway, number: int, recipient: str = "house") -> str:
    with gateway.look(key_of(recipient)) as work:
        return subjects.lookup(work, ref(number), None)


def roll(gateway: Gateway, recipient: str = "house", overlap: int = WEEK) -> Epochs:
    with gateway.work() as work:
        return pseudonyms.roll(work, RecipientId(recipient), overlap)


def convert(gateway: Gateway, names: list[str], recipient: str = "house") -> list[str | None]:
    with gateway.work(key_of(recipient)) as work:
        return pseudonyms.convert(work, names).names


def later(gateway: Gateway, seconds: int) -> Gateway:
    return replace(gateway, clock=FixedClock(NOW + timedelta(seconds=seconds)))


def reason(gateway: Gateway, text: str, recipient: str = "house") -> str:
    """What a recipient hears about a pseudonym: the whole answer, without its time and number."""
    use, actor = replace(EMAIL_MARKETING, recipient=RecipientId(recipient)), key_of(recipient)
    with gateway.work(actor) as work:
        (found,) = decide(work, [Ask(use, by("pseudonym", text), actor)])
    assert isinstance(found, Decision)
    return repr(found.answer)


def known(gateway: Gateway, text: str, recipient: str = "house") -> bool:
    return "unknown_subject" not in reason(gateway, text, recipient)


def entries(gateway: Gateway, kind: str) -> list[dict[str, Any]]:
    """The fields of every pending entry of a kind."""
    with gateway.look() as work:
        rows = [json.loads(row) for row in work.session.execute(select(tables.audit_pending.c.entry)).scalars()]
    return [row["fields"] for row in rows if row["kind"] == kind]


# -- the roll ------------------------------------------------------------------------------------------------------


def test_answers_use_the_current_epoch_and_former_names_count_for_the_overlap(crm: Gateway) -> None:
    old = name(crm, 1)
    assert old.startswith("p1-")
    assert roll(crm) == Epochs(2, {1: NOW_S + WEEK})
    new = name(crm, 1)
    assert new.startswith("p2-")
    assert [known(crm, text) for text in (old, new)] == [True, True]
    assert [known(later(crm, WEEK - 1), text) for text in (old, new)] == [True, True]
    assert [known(later(crm, WEEK), text) for text in (old, new)] == [False, True]


def test_a_roll_is_for_the_whole_sector_and_for_nobody_else(crm: Gateway) -> None:
    before = name(crm, 1, "rival")
    roll(crm, "house_archive", 0)
    assert name(crm, 1, "house") == name(crm, 1, "house_archive")
    assert name(crm, 1, "house").startswith("p2-")
    assert name(crm, 1, "rival") == before
    assert known(crm, before, "rival")


def test_every_replica_sees_a_roll_with_its_next_transaction(crm: Gateway) -> None:
    other, old = twin(crm), name(crm, 1)
    assert known(other, old)
    roll(crm, overlap=0)
    assert not known(other, old)
    assert name(other, 1) == name(crm, 1)


def test_two_rolls_are_two_epochs(crm: Gateway) -> None:
    first = name(crm, 1)
    roll(crm, overlap=WEEK)
    second = name(crm, 1)
    assert roll(later(crm, 60), overlap=60) == Epochs(3, {1: NOW_S + 120, 2: NOW_S + 120})
    assert [known(later(crm, 119), text) for text in (first, second)] == [True, True]
    assert [known(later(crm, 120), text) for text in (first, second)] == [False, False]
    with crm.look() as work:
        rows = work.session.execute(select(tables.pseudonym_epochs).order_by(tables.pseudonym_epochs.c.epoch)).all()
    assert [tuple(row) for row in rows] == [
        ("house", 1, None, NOW_S + 120),
        ("house", 2, NOW_S, NOW_S + 120),
        ("house", 3, NOW_S + 60, None),
    ]


def test_a_roll_is_in_the_log(crm: Gateway) -> None:
    roll(crm, "house_archive", 60)
    fields = {"recipient": "house_archive", "sector": "house", "epoch": 2, "overlap_seconds": 60}
    assert entries(crm, "pairwise_epoch.created") == [fields]


@pytest.mark.parametrize("overlap", [-1, MAX_OVERLAP_SECONDS + 1])
def test_an_overlap_out_of_range_is_refused(crm: Gateway, overlap: int) -> None:
    with pytest.raises(InputError) as caught:
        roll(crm, overlap=overlap)
    assert caught.value.fields[0].path == "$.overlap_seconds"


def test_only_a_recipient_has_epochs(crm: Gateway) -> None:
    with pytest.raises(NotFoundError):
        roll(crm, "nobody")
    assert entries(crm, "pairwise_epoch.created") == []


def test_an_audience_ends_with_its_epoch(crm: Gateway) -> None:
    """Its manifest commits to names of that epoch: they are read out while they count, and not renamed."""
    with crm.work() as work:
        found = audiences.resolve(work, Everyone(), replace(EMAIL_MARKETING, recipient=HOUSE)).row
    roll(crm, overlap=60)
    (chunk,) = audiences.stream_members(crm, found.id)
    assert len(chunk) == PEOPLE
    assert all(known(crm, text) for text in chunk)
    with pytest.raises(NotFoundError):
        next(audiences.stream_members(later(crm, 60), found.id))
    with crm.work() as work:
        again = audiences.resolve(work, Everyone(), replace(EMAIL_MARKETING, recipient=HOUSE)).row
    assert (found.epoch, again.epoch) == (1, 2)


# -- the move ------------------------------------------------------------------------------------------------------


def test_old_names_become_new_ones_in_their_order(crm: Gateway) -> None:
    old = [name(crm, n) for n in range(1, PEOPLE + 1)]
    roll(crm)
    new = [name(crm, n) for n in range(1, PEOPLE + 1)]
    assert convert(crm, [*reversed(old), old[0], new[1]]) == [*reversed(new), new[0], new[1]]
    assert convert(later(crm, WEEK), old) == [None] * PEOPLE


def test_a_sector_moves_together_and_nobody_moves_for_others(crm: Gateway) -> None:
    old = name(crm, 1)
    roll(crm)
    assert convert(crm, [old], "house_archive") == [name(crm, 1)]
    assert convert(crm, [old, name(crm, 1)], "rival") == [None, None]


def test_merged_people_keep_one_name_each(crm: Gateway) -> None:
    """A table that held two rows holds two rows after the move: who is one person is not the recipient's to learn."""
    old = [name(crm, n) for n in (1, 2)]
    with crm.work() as work:
        merges.merge(work, [ref(1), ref(2)], "same person")
    roll(crm)
    new = convert(crm, old)
    assert len(set(new)) == 2
    assert all(text is not None and known(crm, text) for text in new)


def test_the_move_opens_no_key_and_reads_no_identity(crm: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    old = [name(crm, n) for n in range(1, PEOPLE + 1)]
    roll(crm)

    def refuse(*_: object) -> bytes:
        raise AssertionError("a data key was opened")

    monkeypatch.setattr(LocalKeyProvider, "unwrap", refuse)
    with statements(crm) as seen:
        assert None not in convert(crm, old)
    about_people = [sql for sql in seen if re.search(r"identifiers|sealed_groups|subject_keys|audience_rows", sql)]
    assert about_people == []


def test_the_move_is_in_the_log_with_counts_and_without_names(crm: Gateway) -> None:
    old = [name(crm, n) for n in (1, 2)]
    roll(crm)
    names = [*old, name(crm, 3), "p1-" + "1" * 32, "p9-" + "1" * 32, "?"]
    convert(crm, names)
    counts = {"from": {"1": 2, "2": 1}, "names": 6, "refused": 3}
    assert entries(crm, "pseudonyms.converted") == [{"recipient": "house", "sector": "house", "epoch": 2} | counts]
    with crm.look() as work:
        written = b"".join(map(bytes, work.session.execute(select(tables.audit_pending.c.entry)).scalars()))
    assert not any(text.partition("-")[2].encode() in written for text in [*old, *names[:5]])


def test_more_than_a_call_takes_is_refused(crm: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pseudonyms, "MAX_CONVERTED", 2)
    assert convert(crm, ["a", "b"]) == [None, None]
    with pytest.raises(TooLargeError):
        convert(crm, ["a", "b", "c"])


# -- one answer for whatever means nobody --------------------------------------------------------------------------


@pytest.fixture
def nobodies(crm: Gateway) -> dict[str, str]:
    """Every kind of text that means nobody, after a roll without overlap."""
    ended, gone = name(crm, 1), name(crm, 4)
    roll(crm, overlap=0)
    erased = name(crm, 4)
    with crm.work() as work:
        erasure.erase(work, id_of(crm, ref(4)), "request")
    own = name(crm, 1)
    return {
        "erased": erased,
        "ended": ended,
        "ended and erased": gone,
        "foreign": name(crm, 1, "rival"),
        "forged": own[:-1] + ("0" if own[-1] != "0" else "1"),
        "epoch edited": own.replace("p2-", "p3-"),
        "epoch too large": own.replace("p2-", "p4294967296-"),
        "upper case": own.upper(),
        "cut": own[:-1],
        "longer": own + "0",
        "very long": own * 5000,
        "empty": "",
        "not ASCII": own.replace("p", "р"),  # a Cyrillic letter
    }


def test_whatever_means_nobody_is_answered_alike(crm: Gateway, nobodies: dict[str, str]) -> None:
    answers = {reason(crm, text) for text in nobodies.values()}
    assert len(answers) == 1
    assert answers != {reason(crm, name(crm, 1))}
    assert convert(crm, list(nobodies.values())) == [None] * len(nobodies)


@contextmanager
def statements(gateway: Gateway) -> Iterator[list[str]]:
    """Every statement that the store is sent meanwhile."""
    seen: list[str] = []

    def listen(_connection: Any, _cursor: Any, sql: str, *_more: Any) -> None:
        seen.append(sql)

    event.listen(gateway.store.engine, "before_cursor_execute", listen)
    try:
        yield seen
    finally:
        event.remove(gateway.store.engine, "before_cursor_execute", listen)


def asked_one(work: Work, text: str) -> object:
    return decide(work, [Ask(replace(EMAIL_MARKETING, recipient=HOUSE), by("pseudonym", text), work.actor)])


def asked_batch(work: Work, text: str) -> object:
    return decide_batch(work, replace(EMAIL_MARKETING, recipient=HOUSE), [by("pseudonym", text)])


def looked_up(work: Work, text: str) -> object:
    return subjects.lookup(work, by("pseudonym", text), None)


def moved(work: Work, text: str) -> object:
    return pseudonyms.convert(work, [text])


Way = Callable[[Work, str], object]
WAYS = [asked_one, asked_batch, looked_up, moved]


def sent(gateway: Gateway, way: Way, text: str) -> list[str]:
    """The statements of one call, whether it is answered or refused."""
    with statements(gateway) as seen:
        try:
            with gateway.work(key_of("house")) as work:
                way(work, text)
        except GatewayError:
            pass
    return seen


@pytest.mark.parametrize("way", WAYS)
def test_whatever_means_nobody_takes_the_same_way(crm: Gateway, nobodies: dict[str, str], way: Way) -> None:
    """Time is not measured here; the statements are: a made-up name costs the queries of somebody who is gone."""
    sent(crm, way, name(crm, 1))  # the first answer keeps the packs for a replay
    ways = {kind: sent(crm, way, text) for kind, text in nobodies.items()}
    expected = ways.pop("erased")
    assert len(expected) > 1
    assert {kind: found for kind, found in ways.items() if found != expected} == {}


def test_a_way_that_stops_early_is_seen(
    crm: Gateway, nobodies: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The planted bug: a forged name is refused before anything is asked."""

    def early(work: Work, text: str) -> object:
        found = work.gateway.vault.resolve(text, work.actor.recipient, work.registers, work.now)
        return None if found is None else asked_one(work, text)

    with pytest.raises(AssertionError):
        test_whatever_means_nobody_takes_the_same_way(crm, nobodies, early)


def test_one_decryption_for_every_text(crm: Gateway, nobodies: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    maker = crm.vault.pseudonymiser
    made: list[int] = []
    original = maker._cipher

    def counted(recipient: str, epoch: int) -> Any:
        made.append(epoch)
        return original(recipient, epoch)

    monkeypatch.setattr(type(maker), "_cipher", lambda _self, recipient, epoch: counted(recipient, epoch))
    with crm.look(key_of("house")) as work:
        for text in (*nobodies.values(), name(crm, 1)):
            made.clear()
            work.gateway.vault.resolve(text, HOUSE, work.registers, work.now)
            assert len(made) == 1


def test_a_permitted_name_is_still_permitted(crm: Gateway) -> None:
    """So that the tests above do not hold because everything is refused."""
    assert f"{Outcome.PERMIT!r}" in reason(crm, name(crm, 1))


def test_rolled_names_of_a_third_party_keep_its_place_in_consents(crm: Gateway) -> None:
    with crm.work() as work:
        registers.put_recipient(work, a_recipient("partner", kind=RecipientKind.THIRD_PARTY))
        bit = work.registers.recipients[RecipientId("partner")].scope_bit
        pseudonyms.roll(work, RecipientId("partner"), 0)
        assert work.registers.recipients[RecipientId("partner")].scope_bit == bit
