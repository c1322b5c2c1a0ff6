"""Reading an audience out: slowly, under a key that may end, and with the question that the audience was asked."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from builders import (
    EMAIL_MARKETING,
    NOW,
    a_consent,
    a_person,
    answer_for,
    id_of,
    may_write,
    ref,
    subject_id,
    take,
    twin,
    with_source,
    withdraw,
)
from consent_gateway.clock import FixedClock
from consent_gateway.db.audience_rows import update_rows
from consent_gateway.domain.purposes import OWN, Basis
from consent_gateway.domain.registers import Principal
from consent_gateway.domain.segments import Everyone
from consent_gateway.errors import AuthenticationError, GatewayError, NotFoundError
from consent_gateway.services.deciding.questions import Message, Use
from consent_gateway.services.disclosing import audiences
from consent_gateway.services.registry import registers
from consent_gateway.services.work import principals
from consent_gateway.services.work.gateway import SYSTEM, Gateway
from edge import running

PEOPLE = 6
READERS = 20  # more than a pool has connections
Stream = Callable[..., Iterator[list[str]]]


@pytest.fixture(autouse=True)
def _short_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audiences, "CHUNK", 2)


@pytest.fixture
def crm(gateway: Gateway) -> Gateway:
    """Six people in Germany who agreed to e-mail."""
    return filled(gateway)


def filled(gateway: Gateway) -> Gateway:
    with_source(gateway)
    take(gateway, [a_person(n) for n in range(1, PEOPLE + 1)])
    take(gateway, [a_consent(ref(n)) for n in range(1, PEOPLE + 1)])
    return gateway


def resolve(gateway: Gateway, use: Use = EMAIL_MARKETING) -> str:
    with gateway.work() as work:
        return audiences.resolve(work, Everyone(), use).row.id


def read(gateway: Gateway, audience: str) -> list[str]:
    return [p for chunk in audiences.stream_members(gateway, audience) for p in chunk]


def name_of(gateway: Gateway, number: int) -> str:
    with gateway.look() as work:
        return gateway.vault.pseudonym(subject_id(work, ref(number)), OWN, work.registers)


# -- slow readers --------------------------------------------------------------------------------------------------


def slow_readers_hold_nothing(gateway: Gateway, readers: int) -> None:
    """Each has its first chunk and takes its time with the second."""
    audience = resolve(gateway)
    streams = [audiences.stream_members(gateway, audience) for _ in range(readers)]
    chunks = [next(stream) for stream in streams]
    assert [len(chunk) for chunk in chunks] == [2] * readers
    assert gateway.store.engine.pool.checkedout() == 0  # type: ignore[attr-defined]
    waiting = next(ref(n) for n in range(1, PEOPLE + 1) if name_of(gateway, n) not in chunks[0])
    withdraw(gateway, waiting)
    assert not may_write(gateway, waiting)
    assert gateway.store.truncate_log()  # no reader keeps old pages of the write-ahead log
    assert [sum(map(len, stream)) for stream in streams] == [PEOPLE - 2 - 1] * readers


def test_slow_readers_hold_nothing(crm: Gateway) -> None:
    slow_readers_hold_nothing(crm, READERS)


def test_a_stream_that_hands_over_inside_its_snapshot_is_found(crm: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    """The planted bug: the snapshot of a chunk stays open until the next one is wanted."""
    original = audiences.stream_members

    def hoarding(gateway: Gateway, audience: str) -> Iterator[list[str]]:
        with gateway.look():
            yield from original(gateway, audience)

    monkeypatch.setattr(audiences, "stream_members", hoarding)
    with pytest.raises(AssertionError):
        slow_readers_hold_nothing(crm, 2)


def test_a_reader_who_leaves_leaves_nothing_behind(crm: Gateway) -> None:
    stream = audiences.stream_members(crm, resolve(crm))
    next(stream)
    del stream
    assert crm.store.engine.pool.checkedout() == 0  # type: ignore[attr-defined]


# -- a key that ends -----------------------------------------------------------------------------------------------


def a_reader(gateway: Gateway) -> Principal:
    with gateway.work() as work:
        key = principals.issue(work, "reader", "self", frozenset({"audience"}))
        return work.registers.principals[principals.digest(key)]


def ends_with(error: type[GatewayError], stream: Iterator[list[str]]) -> bool:
    try:
        next(stream)
    except error:
        return True
    return False


def a_revoked_key_reads_no_further(gateway: Gateway) -> None:
    reader, other = a_reader(gateway), twin(gateway)
    audience = resolve(gateway)
    assert len([p for chunk in audiences.stream_members(gateway, audience, reader) for p in chunk]) == PEOPLE
    stream = audiences.stream_members(gateway, audience, reader)
    assert len(next(stream)) == 2
    with other.work() as work:
        principals.revoke(work, "reader")
    assert ends_with(AuthenticationError, stream)
    with pytest.raises(AuthenticationError):
        next(audiences.stream_members(gateway, audience, reader))


def test_a_revoked_key_reads_no_further(crm: Gateway) -> None:
    a_revoked_key_reads_no_further(crm)


def test_a_stream_that_asks_for_the_key_once_is_found(sqlite_gateway: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    """The planted bug: the key is checked before the first chunk, and never again."""
    original = audiences.stream_members

    def trusting(gateway: Gateway, audience: str, actor: Principal) -> Iterator[list[str]]:
        with gateway.look(actor):
            pass
        return original(gateway, audience)

    monkeypatch.setattr(audiences, "stream_members", trusting)
    with pytest.raises(AssertionError):
        a_revoked_key_reads_no_further(filled(sqlite_gateway))


def test_an_audience_that_expires_is_read_no_further(crm: Gateway, clock: FixedClock) -> None:
    with crm.work() as work:
        audience = audiences.resolve(work, Everyone(), EMAIL_MARKETING, 60).row.id
    stream = audiences.stream_members(crm, audience)
    next(stream)
    clock.advance(timedelta(seconds=60))
    assert ends_with(NotFoundError, stream)


def revoking_after_the_first_chunk(gateway: Gateway) -> Callable[..., list[str] | None]:
    original = audiences._read_chunk

    def reading(own: Gateway, audience: str, number: int, actor: Principal) -> list[str] | None:
        found = original(own, audience, number, actor)
        if number == 0:
            with gateway.work() as work:
                principals.revoke(work, "reader")
        return found

    return reading


def test_a_response_that_was_cut_short_does_not_look_complete(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with running(tmp_path / "store", clock=FixedClock(NOW)) as edge:
        audience = resolve(filled(edge.gateway))
        path = f"/v1/audiences/{audience}/members"
        reader = edge.client(edge.issue("reader", "audience"))
        assert len(reader.get(path).text.splitlines()) == PEOPLE
        monkeypatch.setattr(audiences, "_read_chunk", revoking_after_the_first_chunk(edge.gateway))
        with reader.stream("GET", path) as reply:
            assert reply.status_code == 200
            with pytest.raises(httpx.RemoteProtocolError):  # the body ends without its last chunk
                reply.read()
        assert reader.get(path).status_code == 401
        monkeypatch.undo()
        whole = edge.admin.get(path).text
        assert len(whole.splitlines()) == PEOPLE
    lines = [json.loads(line) for line in edge.log.getvalue().splitlines()]
    assert [line["route"] for line in lines if line["level"] == "error"] == ["/v1/audiences/{audience}/members"]
    assert not any(json.loads(line)["pseudonym"] in repr(lines) for line in whole.splitlines())


# -- the question --------------------------------------------------------------------------------------------------

BARE = replace(EMAIL_MARKETING, message=Message(postal_address=False))


def the_stream_asks_what_the_audience_asked(gateway: Gateway) -> None:
    """In Germany the message needs no postal address; the first person turns out to live in Texas as well."""
    bare, whole = resolve(gateway, BARE), resolve(gateway)
    assert len(read(gateway, bare)) == len(read(gateway, whole)) == PEOPLE
    take(gateway, [a_person(1, country="US-TX")])
    assert not answer_for(gateway, ref(1), BARE).permitted
    assert may_write(gateway, ref(1))
    assert len(read(gateway, whole)) == PEOPLE
    assert len(read(gateway, bare)) == PEOPLE - 1


def test_the_stream_asks_what_the_audience_asked(crm: Gateway) -> None:
    the_stream_asks_what_the_audience_asked(crm)


def test_a_stream_that_forgets_the_message_is_found(sqlite_gateway: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    original = audiences.use_of
    monkeypatch.setattr(audiences, "use_of", lambda row: replace(original(row), message=Message()))
    with pytest.raises(AssertionError):
        the_stream_asks_what_the_audience_asked(filled(sqlite_gateway))


def test_every_question_comes_back_as_it_was(sqlite_gateway: Gateway) -> None:
    messages = st.builds(Message, *[st.booleans()] * 4)
    with sqlite_gateway.work() as work:
        purpose = work.registers.purposes.purposes[EMAIL_MARKETING.purpose]
        registers.put_purpose(work, replace(purpose, bases=tuple(Basis)), [])

    @settings(derandomize=True, deadline=None, max_examples=25)
    @given(messages, st.none() | st.sampled_from(Basis))
    def check(message: Message, basis: Basis | None) -> None:
        use = replace(EMAIL_MARKETING, message=message, basis=basis)
        audience = resolve(sqlite_gateway, use)
        with sqlite_gateway.look() as work:
            assert audiences.use_of(audiences.find(work, audience)) == use

    check()


def test_who_can_no_longer_be_reached_is_not_read_out(crm: Gateway) -> None:
    audience = resolve(crm)
    row: dict[str, Any] = {"flags": 0}
    with crm.work() as work:
        update_rows(work.session, {id_of(crm, ref(2)): row})
    assert len(read(crm, audience)) == PEOPLE - 1


def test_the_gateway_itself_needs_no_key(crm: Gateway) -> None:
    assert [len(c) for c in audiences.stream_members(crm, resolve(crm), SYSTEM)] == [2, 2, 2]
