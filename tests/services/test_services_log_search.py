"""Searching the log: with the index, without it, and half-way, what is found is what a plain look at every entry finds."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from builders import a_consent, a_person, answer_for, by, dump, ref, subject_id, take, twin, with_source
from consent_gateway.audit.entries import Entry, EntryKind, entry_bytes, parse_entry
from consent_gateway.db import log_index, log_store, tables
from consent_gateway.domain.ids import RecipientId
from consent_gateway.domain.purposes import OWN
from consent_gateway.domain.registers import Principal
from consent_gateway.errors import ForbiddenError
from consent_gateway.services.erasing.erasure import erase
from consent_gateway.services.identity.people import PSEUDONYM
from consent_gateway.services.log import log_search
from consent_gateway.services.log.audit_log import Sequencer
from consent_gateway.services.log.log_search import Page, Query, catch_up, index_some, rebuild, search, search_about
from consent_gateway.services.work.gateway import Gateway
from edge import Edge, running

pytestmark = pytest.mark.planted_entry  # the entries of the log that is searched say what no use case says
SIZE = 256 * 5 + 100
KINDS = (EntryKind.DECISION_MADE, EntryKind.KEY_ISSUED, EntryKind.ADMIN_ACTION)
QUERIES = st.builds(
    Query,
    st.sampled_from([None, *KINDS, EntryKind.LOG_CREATED]),
    st.sampled_from([None, "crm", "shop", "nobody"]),
    st.sampled_from([None, "marketing", "rare", "crm"]),
    st.sampled_from([None, "test", "x" * 200]),
    st.sampled_from([None, 0, 3_000, 9_000, 10**15]),
    st.sampled_from([None, 0, 3_001, 8_000, 10**15]),
)


def made_up(number: int) -> bytes:
    """An entry like others; times go forth and back a little, as those of transactions do."""
    fields: dict[str, object] = (
        {"purpose": ["marketing", "service"][number % 2]} if number % 3 else {"purpose": {"a": 1}}
    )
    if number == 700:
        fields["purpose"] = "rare"
    if number % 5 == 0:
        fields["action"] = "test" if number % 10 else "x" * 200
    at = max(0, number * 10 + (number * 7919) % 400 - 200)
    actor = ["crm", "shop", "system"][number % 3]
    return entry_bytes(Entry(KINDS[number * number % 7 % 3], at, actor, number.to_bytes(16, "big"), fields))


@pytest.fixture
def log(gateway: Gateway) -> Gateway:
    """A log of entries of every sort."""
    entries = [made_up(n) for n in range(SIZE)]
    with gateway.store.transaction() as session:
        log_store.append(session, [(n.to_bytes(16, "big"), entry, None) for n, entry in enumerate(entries)])
    Sequencer(gateway).drain()
    return gateway


def everything(gateway: Gateway) -> list[tuple[int, bytes]]:
    with gateway.look() as work:
        size = (log_store.checkpoint(work.session) or (0, b""))[0]
        return list(enumerate(log_index.entries_between(work.session, 0, size)))


def plainly(entries: list[tuple[int, bytes]], query: Query) -> list[int]:
    """The reference: the meaning of a query, written down once more."""
    found = []
    for at, data in entries:
        entry = parse_entry(data)
        asked = (
            query.kind in (None, entry.kind),
            query.actor in (None, entry.actor),
            query.purpose in (None, entry.fields.get("purpose")),
            query.action in (None, entry.fields.get("action")),
            query.since is None or entry.at >= query.since,
            query.until is None or entry.at < query.until,
        )
        if all(asked):
            found.append(at)
    return found[::-1]


def pages(gateway: Gateway, query: Query, limit: int) -> list[int]:
    found: list[int] = []
    below: int | None = None
    while True:
        with gateway.look() as work:
            page = search(work.session, query, below, limit)
        assert len(page.entries) <= limit
        found += [index for index, _ in page.entries]
        if page.next is None:
            return found
        assert below is None or page.next < below
        below = page.next


@settings(max_examples=40, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(QUERIES, st.integers(1, 50), st.integers(0, 3))
def test_with_any_part_of_the_index_the_pages_are_what_matches(
    log: Gateway, query: Query, limit: int, indexed: int
) -> None:
    with log.store.transaction() as session:
        log_index.clear(session)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(log_search, "_INDEX_BLOCKS", 2)
        patched.setattr(log_search, "_FIRST", 1)
        patched.setattr(log_search, "_AT_ONCE", 2)
        patched.setattr(log_search, "_LOOKED_AT", 2)
        patched.setattr(log_search, "_UNINDEXED", 300)
        for _ in range(indexed):
            index_some(log)
        assert pages(log, query, limit) == plainly(everything(log), query)


def test_the_index_is_of_the_log_and_can_be_made_again(log: Gateway) -> None:
    assert catch_up(log) == SIZE // 256
    assert index_some(log) == 0
    first = {name: rows for name, rows in dump(log.store).items() if name.startswith("audit_index")}
    assert rebuild(log) == SIZE // 256
    assert {name: rows for name, rows in dump(log.store).items() if name.startswith("audit_index")} == first
    assert len(first["audit_index"]) < 30 * SIZE // 256  # a few rows for 256 entries


def test_two_workers_index_once(log: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second read its blocks before the first had written them."""
    other, put = twin(log), log_index.put

    def raced(session: log_index.Session, found: list[log_index.Block]) -> int:
        monkeypatch.setattr(log_index, "put", put)
        return put(session, found)

    with log.store.reading() as session:
        made = [log_search._block(0, log_index.entries_between(session, 0, 256))]
    monkeypatch.setattr(log_index, "put", raced)
    assert catch_up(other) == SIZE // 256
    with log.store.transaction() as session:
        assert put(session, made) == 0
    assert pages(log, Query(KINDS[0]), 100) == plainly(everything(log), Query(KINDS[0]))


def test_an_index_that_lost_a_row_is_seen_by_the_comparison(log: Gateway) -> None:
    """The planted bug: the comparison above would not miss an index that misses something."""
    catch_up(log)
    with log.store.transaction() as session:
        session.execute(tables.audit_index.delete().where(tables.audit_index.c.term == "actor:crm"))
    query = Query(actor="crm")
    assert pages(log, query, 50) != plainly(everything(log), query)


def test_a_damaged_entry_stops_neither_the_index_nor_a_search(log: Gateway) -> None:
    """It is the verifier that finds it; here it is only not listed."""
    with log.store.transaction() as session:
        for at in (7, *range(256, 512)):
            session.execute(
                tables.audit_entries.update().where(tables.audit_entries.c.idx == at).values(entry=b"{\xff")
            )
    wanted = [at for at, _ in everything(log) if at != 7 and not 256 <= at < 512][::-1]
    assert pages(log, Query(), 100) == wanted
    catch_up(log)
    assert pages(log, Query(), 100) == wanted


# -- by person -----------------------------------------------------------------------------------------------------


@pytest.fixture
def crm(gateway: Gateway) -> Gateway:
    """Two people, of whom something was recorded."""
    with_source(gateway)
    take(gateway, [a_person(1), a_person(2)])
    take(gateway, [a_consent(ref(1)), a_consent(ref(2), channel="sms")])
    for number in (1, 2):
        answer_for(gateway, ref(number))
    Sequencer(gateway).drain()
    return gateway


def about(
    gateway: Gateway, who: object, query: Query | None = None, limit: int = 100, below: int | None = None
) -> Page:
    with gateway.work() as work:
        page = search_about(work, who, query or Query(), below, limit)  # type: ignore[arg-type]
    Sequencer(gateway).drain()
    return page


def kinds(page: Page) -> list[str]:
    return [parse_entry(entry).kind.value for _, entry in page.entries]


def last(gateway: Gateway) -> Entry:
    return parse_entry(everything(gateway)[-1][1])


def test_a_person_is_found_by_identifier_and_pseudonym_and_the_search_is_recorded(crm: Gateway) -> None:
    with crm.look() as work:
        name = crm.vault.pseudonym(subject_id(work, ref(1)), OWN, work.registers)
    one = about(crm, ref(1))
    assert kinds(one) == ["decision.made", "consent.recorded"]
    assert last(crm).kind is EntryKind.LOG_SEARCHED
    assert last(crm).fields == {"by": ref(1).kind, "found": True}
    assert set(last(crm).commitments) >= {"subject"}
    assert name not in str(last(crm))
    again = about(crm, type(ref(1))(PSEUDONYM, name))
    assert kinds(again) == ["log.searched", *kinds(one)]  # who searched is found, too
    assert kinds(about(crm, ref(1), Query(EntryKind.CONSENT_RECORDED))) == ["consent.recorded"]


def test_pages_about_a_person(crm: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log_search, "_ABOUT", 1)
    first = about(crm, ref(2), limit=1)
    assert kinds(first) == ["decision.made"]
    second = about(crm, ref(2), limit=1, below=first.next)
    assert kinds(second) == ["consent.recorded"]
    assert kinds(about(crm, ref(2), Query(EntryKind.KEY_ISSUED), limit=1)) == []


def test_the_erased_and_nobody_look_alike(crm: Gateway) -> None:
    with crm.work() as work:
        erase(work, subject_id(work, ref(1)), "request")
    Sequencer(crm).drain()
    replies = []
    for who in (ref(1), by("email", "nobody@example.org")):
        replies.append(about(crm, who))
        assert last(crm).fields == {"by": who.kind, "found": False}
        assert "subject" not in last(crm).commitments
    assert replies == [Page((), None)] * 2


def test_strangers_count_and_another_recipient_asks_nothing(crm: Gateway) -> None:
    crm.rules.lookup_quota  # noqa: B018 - there is one
    theirs = Principal("mailer", RecipientId("mailer"), frozenset({"audit"}))
    with pytest.raises(ForbiddenError), crm.work(theirs) as work:
        search_about(work, ref(1), Query())


# -- over HTTP --------------------------------------------------------------------------------------


@pytest.fixture
def edge(tmp_path: Path) -> Iterator[Edge]:
    with running(tmp_path, lookup_quota_per_hour=2) as made:
        made.admin.post("/v1/sources", json={"id": "crm", "name": "CRM", "channel": "web", "party": "first"})
        made.admin.post(
            "/v1/subjects", json={"source": "crm", "items": [{"email": "anna@example.org", "country": "DE"}]}
        )
        made.settle()
        yield made


def test_over_http(edge: Edge) -> None:
    auditor = edge.client(edge.issue("auditor", "audit"))
    edge.settle()
    found = auditor.get("/v1/audit/entries", params={"kind": "subject.imported", "from": "2026-01-01T00:00:00Z"}).json()
    assert [item["entry"]["kind"] for item in found["items"]] == ["subject.imported"]
    assert found["next"] is None
    one = auditor.get("/v1/audit/entries", params={"limit": 1}).json()
    following = auditor.get("/v1/audit/entries", params={"limit": 1, "cursor": one["next"]}).json()
    assert following["items"][0]["index"] == one["items"][0]["index"] - 1
    ndjson = {"accept": "application/x-ndjson"}
    lines = auditor.get("/v1/audit/entries", params={"limit": 2}, headers=ndjson).text.splitlines()
    assert [json.loads(line)["index"] for line in lines] == list(range(len(lines)))[::-1]
    uid = json.loads(lines[0])["entry"]["uid"]
    assert auditor.get(f"/v1/audit/entries/{uid}/bytes").content in lines[0].encode()
    anna = edge.admin.post("/v1/subjects/lookup", json={"identifier": {"email": "anna@example.org"}}).json()[
        "pseudonym"
    ]
    edge.settle()
    by_person = auditor.get("/v1/audit/entries", params={"subject": anna}).json()
    assert [item["entry"]["kind"] for item in by_person["items"]] == ["pseudonym.read"]
    assert auditor.get("/v1/audit/entries", params={"subject": "p1-" + "0" * 32}).json() == {"items": [], "next": None}
    edge.settle()
    streamed = auditor.get("/v1/audit/entries", params={"subject": anna}, headers=ndjson)
    assert [json.loads(line)["entry"]["kind"] for line in streamed.text.splitlines()] == [
        "log.searched",
        "pseudonym.read",
    ]


@pytest.mark.parametrize(
    ("name", "value", "code"),
    [
        ("kind", "no.kind", "unknown_kind"),
        ("from", "yesterday", "not_an_instant"),
        ("to", "2026-01-01", "not_an_instant"),
    ],
)
def test_what_cannot_be_asked_is_named(edge: Edge, name: str, value: str, code: str) -> None:
    reply = edge.admin.get("/v1/audit/entries", params={name: value})
    assert reply.status_code == 400
    assert [(e["path"], e["code"]) for e in reply.json()["errors"]] == [(f"?{name}", code)]
    assert value not in reply.text
