"""Audiences: the losses add up, members are looked at again while they are read out, and each can be proven in."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import timedelta

import pytest
from sqlalchemy import select

from builders import (
    EMAIL_MARKETING,
    a_consent,
    a_gateway,
    a_person,
    a_recipient,
    choose,
    id_of,
    ref,
    subject_id,
    take,
    with_source,
    withdraw,
)
from consent_gateway.audit.manifests import member_leaves
from consent_gateway.clock import FixedClock
from consent_gateway.db import audiences as audience_rows
from consent_gateway.db import tables
from consent_gateway.domain.ids import PurposeId, RecipientId, SegmentId, TraitId
from consent_gateway.domain.purposes import Channel
from consent_gateway.domain.segments import Everyone, Segment, TraitOrigin, TraitType, parse_text
from consent_gateway.domain.subjects import Choice
from consent_gateway.errors import InputError, NotFoundError
from consent_gateway.services.deciding.questions import Use
from consent_gateway.services.deciding.rules import Rules
from consent_gateway.services.disclosing import audiences
from consent_gateway.services.disclosing.audiences import Audience
from consent_gateway.services.erasing.erasure import erase
from consent_gateway.services.registry import registers
from consent_gateway.services.work.gateway import Gateway
from consent_gateway.services.work.items import SubjectItem

PEOPLE = 12


@pytest.fixture
def crm(gateway: Gateway) -> Gateway:
    """Twelve people: nine in Ulm; ten said yes, of whom one has no address and one objected."""
    with_source(gateway)
    with gateway.work() as work:
        registers.put_trait(work, TraitId("city"), TraitType.TEXT, TraitOrigin.DECLARED, None, "")
        registers.put_recipient(work, a_recipient("mailer"))
        registers.put_recipient(work, a_recipient("printer"))
    people = [a_person(n, traits={"city": "Ulm" if n <= 9 else "Bonn"}) for n in range(1, PEOPLE + 1)]
    people[0] = SubjectItem({"member_no": "M00001"}, country="DE", birth_date="1980-05-17", traits={"city": "Ulm"})
    take(gateway, people)
    take(gateway, [a_consent(ref(n)) for n in range(1, 11)])
    choose(gateway, ref(2), Choice.OBJECTION)
    return gateway


def resolve(
    gateway: Gateway, segment: Segment | None = None, use: Use = EMAIL_MARKETING, ttl: int | None = None
) -> Audience:
    with gateway.work() as work:
        return audiences.resolve(work, segment or Everyone(), use, ttl)


def stream(gateway: Gateway, audience: Audience) -> list[str]:
    return [p for chunk in audiences.stream_members(gateway, audience.row.id) for p in chunk]


def people_of(gateway: Gateway, pseudonyms: list[str], recipient: str = "self") -> set[int | None]:
    with gateway.look() as work:
        return {gateway.vault.resolve(p, RecipientId(recipient), work.registers, work.now) for p in pseudonyms}


def ids(gateway: Gateway, numbers: range | list[int]) -> set[int | None]:
    return {id_of(gateway, ref(n)) for n in numbers}


def towards(recipient: str) -> Use:
    return Use(PurposeId("direct_marketing"), Channel.EMAIL, RecipientId(recipient))


# -- the waterfall -------------------------------------------------------------------------------------------------


def test_every_loss_is_explained_and_everything_adds_up(crm: Gateway) -> None:
    found = resolve(crm, parse_text('city == "Ulm"'))
    lines = {item.stage.value: item for item in found.waterfall.losses}
    assert found.waterfall.population == PEOPLE
    assert lines["segment"].reasons == {"not_in_segment": 3}
    assert sum(item.lost or 0 for item in lines.values()) == PEOPLE - found.row.size
    assert lines["reachable"].reasons == {"no_contact_point": 1}
    assert lines["reachable"].remaining == found.row.size == 7
    left = PEOPLE
    for item in found.waterfall.losses:
        left -= item.lost or 0
        assert item.remaining == left


def test_small_losses_are_not_shown(crm: Gateway) -> None:
    keyring = crm.vault.provider.keyring
    found = resolve(a_gateway(crm.store, keyring=keyring, rules=Rules(k_floor=4)), parse_text('city == "Ulm"'))
    lines = {item.stage.value: item for item in found.waterfall.losses}
    assert lines["segment"].lost is None  # three
    assert lines["reachable"].lost is None  # one
    shown = json.loads(found.row.waterfall)
    numbers = [n for line in shown for n in (line["lost"], *line["reasons"].values())]
    assert all(n is None or n == 0 or n >= 4 for n in numbers)
    with crm.look() as work:
        entries = list(work.session.execute(select(tables.audit_pending.c.entry)).scalars())
    logged = json.loads(entries[-1])["fields"]["waterfall"]
    assert logged == shown  # the log says no more than the answer


def test_a_segment_must_be_declared(crm: Gateway) -> None:
    with pytest.raises(InputError):
        resolve(crm, parse_text("shoe_size > 4"))


def test_a_saved_segment_is_the_segment(crm: Gateway) -> None:
    segment = parse_text('city == "Bonn"')
    with crm.work() as work:
        registers.save_segment(work, SegmentId("bonn"), segment, "")
        assert audiences.saved_segment(work, "bonn") == segment
        with pytest.raises(InputError):
            audiences.saved_segment(work, "paris")


# -- reading the members -------------------------------------------------------------------------------------------


def test_members_are_those_who_may_be_written_to(crm: Gateway) -> None:
    found = resolve(crm)
    assert people_of(crm, stream(crm, found)) == ids(crm, range(3, 11))
    assert found.row.size == 8


def leave(gateway: Gateway, number: int) -> None:
    with gateway.work() as work:
        erase(work, subject_id(work, ref(number)), "request")


@pytest.mark.parametrize(
    "gone",
    [
        lambda g: withdraw(g, ref(5)),
        lambda g: choose(g, ref(5), Choice.OBJECTION),
        lambda g: choose(g, ref(5), Choice.RESTRICTION),
        lambda g: leave(g, 5),
    ],
    ids=["withdrawn", "objection", "restriction", "erased"],
)
def test_who_leaves_after_the_audience_was_made_is_not_read_out(
    crm: Gateway, gone: Callable[[Gateway], object]
) -> None:
    found = resolve(crm)
    left = ids(crm, [5])
    gone(crm)
    assert people_of(crm, stream(crm, found)) == ids(crm, [3, 4, 6, 7, 8, 9, 10])
    assert not people_of(crm, stream(crm, found)) & left


def test_who_leaves_between_two_chunks_is_not_read_out(crm: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audiences, "CHUNK", 2)
    found = resolve(crm)
    chunks = audiences.stream_members(crm, found.row.id)
    first = next(chunks)
    left = next(n for n in range(3, 11) if ids(crm, [n]).isdisjoint(people_of(crm, first)))
    withdraw(crm, ref(left))
    rest = [p for chunk in chunks for p in chunk]
    assert len(first) == 2
    assert people_of(crm, first + rest) == ids(crm, [n for n in range(3, 11) if n != left])


def test_a_stream_without_the_second_look_is_found(crm: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    """The planted bug: whoever was a member stays one."""
    monkeypatch.setattr(
        audiences,
        "_still_permitted",
        lambda work, row, found: work.gateway.vault.pseudonymiser.bulk(found, "self", row.epoch),
    )
    with pytest.raises(AssertionError):
        test_who_leaves_after_the_audience_was_made_is_not_read_out(crm, lambda g: withdraw(g, ref(5)))


def test_an_audience_ends(crm: Gateway, clock: FixedClock) -> None:
    found = resolve(crm, ttl=600)
    clock.advance(timedelta(seconds=599))
    assert len(stream(crm, found)) == 8
    clock.advance(timedelta(seconds=1))
    with pytest.raises(NotFoundError):
        stream(crm, found)
    with crm.work() as work:
        assert audience_rows.drop_expired(work.session, work.now) == 1
        assert audience_rows.chunk(work.session, found.row.id, 0) is None
        assert audience_rows.get(work.session, found.row.id) == found.row  # that it was, stays


def test_an_audience_cannot_outlive_the_operators_limit(crm: Gateway) -> None:
    found = resolve(crm, ttl=10**9)
    assert found.row.expires_at - found.row.created_at == crm.rules.audience_ttl_seconds


def test_no_such_audience(crm: Gateway) -> None:
    with crm.look() as work, pytest.raises(NotFoundError):
        audiences.find(work, "f" * 32)


def test_an_audience_of_nobody(crm: Gateway) -> None:
    found = resolve(crm, parse_text('city == "Rome"'))
    assert found.row.size == 0
    assert stream(crm, found) == []


# -- pseudonyms and the manifest -----------------------------------------------------------------------------------


def test_two_recipients_cannot_join_what_they_see(crm: Gateway) -> None:
    ours, theirs = (resolve(crm, use=towards(r)) for r in ("mailer", "printer"))
    first, second = stream(crm, ours), stream(crm, theirs)
    assert len(first) == len(second) == 8
    assert set(first).isdisjoint(second)
    assert people_of(crm, first, "mailer") == people_of(crm, second, "printer")
    assert people_of(crm, first, "printer") == {None}  # and what is another's means nobody


def test_two_recipients_cannot_join_their_members_by_their_order(crm: Gateway) -> None:
    """The order is drawn by hashes of audience and name: the nth of one list and the nth of another are any two."""
    ours, theirs = (resolve(crm, use=towards(r)) for r in ("mailer", "printer"))
    for audience in (ours, theirs):
        blocks = bytes.fromhex("".join(name.split("-")[1] for name in stream(crm, audience)))
        leaves = member_leaves(bytes.fromhex(audience.row.id), blocks)
        assert leaves == sorted(leaves)


def test_the_entry_commits_to_the_manifest_and_names_nobody(crm: Gateway) -> None:
    found = resolve(crm)
    with crm.look() as work:
        statement = select(tables.audit_pending.c.entry).where(tables.audit_pending.c.uid == found.row.entry_uid)
        entry = json.loads(work.session.execute(statement).scalar_one())
    assert entry["fields"]["manifest_root"] == found.row.manifest_root.hex()
    assert entry["fields"]["size"] == 8
    assert entry["commitments"] == {}
