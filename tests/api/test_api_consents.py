"""The second step and the ledger over HTTP: opened by anybody, nothing changes; a token reaches no log and no table."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import func, select

from consent_gateway.clock import FixedClock
from consent_gateway.db import tables
from edge import Edge, running

NOON = datetime(2026, 11, 18, 12, 0, tzinfo=UTC)
WHO = {"email": "canary.anna@example.org"}
HTML = {"accept": "text/html,application/xhtml+xml"}
PATH = "/v1/consents/confirmations/"
PREFETCH: tuple[dict[str, str], ...] = (
    {},
    HTML,
    {"purpose": "prefetch"},
    {"sec-purpose": "prefetch;prerender"},
    {"user-agent": "SafeLinks"},
)


@pytest.fixture(scope="module")
def edge(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Edge]:
    with running(tmp_path_factory.mktemp("consents"), clock=FixedClock(NOON), log_level="debug") as made:
        post = made.admin.post
        for language, text in (("en", "We <b>write</b> to you."), ("zh", "我们会写信给您。")):
            notice = {"id": "privacy", "version": 1, "language": language, "title": "Privacy & you", "text": text}
            assert post("/v1/notices", json=notice).is_success
        assert post("/v1/sources", json={"id": "crm", "name": "CRM", "channel": "web", "party": "first"}).is_success
        person = WHO | {"country": "DE", "birth_date": "1980-05-17"}
        assert post("/v1/subjects", json={"source": "crm", "items": [person]}).is_success
        yield made


def ask(edge: Edge, **more: Any) -> Any:
    item = {"subject": WHO, "purpose": "direct_marketing", "channel": "email", "kind": "pending", "confirm": True}
    item |= {"at": "2026-11-18T11:00:00Z", "properties": ["affirmative", "evidence"], "method": "form"}
    item |= {"notice": "privacy", "notice_version": 1, "language": "en", "place": "/signup"} | more
    key = {"idempotency-key": f"ask-{len(edge.log.getvalue())}"}
    reply = edge.admin.post("/v1/consents", json={"source": "crm", "items": [item]}, headers=key)
    again = edge.admin.post("/v1/consents", json={"source": "crm", "items": [item]}, headers=key)
    assert reply.content == again.content
    assert again.headers["idempotent-replayed"] == "true"
    return reply.json()["confirmations"][0]["token"]


def facts(edge: Edge) -> int:
    with edge.gateway.look() as work:
        return work.session.execute(select(func.count()).select_from(tables.consent_events)).scalar() or 0


def test_whoever_opens_the_link_changes_nothing(edge: Edge) -> None:
    token = ask(edge)
    before = facts(edge)
    bare = edge.client(None)
    for headers in PREFETCH:
        assert bare.get(PATH + token, headers=headers).status_code == 200
        assert bare.head(PATH + token, headers=headers).status_code == 405
        assert bare.options(PATH + token, headers=headers).status_code in (200, 204)
    assert facts(edge) == before
    assert bare.post(PATH + token).json()["confirmed"] is True
    assert facts(edge) == before + 1


def test_a_person_gets_a_page_with_one_button_and_nothing_personal(edge: Edge) -> None:
    bare, token = edge.client(None), ask(edge)
    page = bare.get(PATH + token, headers=HTML)
    assert page.headers["content-type"].startswith("text/html")
    for name, value in {"referrer-policy": "no-referrer", "cache-control": "no-store"}.items():
        assert page.headers[name] == value
    assert "form-action 'self'" in page.headers["content-security-policy"]
    assert "<script" not in page.text
    assert "We &lt;b&gt;write&lt;/b&gt; to you." in page.text
    assert "Direct marketing" in page.text
    assert "canary" not in page.text
    assert token not in page.text
    form = {"content-type": "application/x-www-form-urlencoded"} | HTML
    done = bare.post(PATH + token, headers=form)
    assert (done.status_code, "Confirmed" in done.text) == (200, True)
    again = bare.post(PATH + token, headers=form)
    assert (again.status_code, "Confirmed before" in again.text) == (409, True)
    assert bare.post(PATH + token).json()["code"] == "already_confirmed"


def test_a_page_names_the_controller_once_there_is_one(edge: Edge) -> None:
    bare, token = edge.client(None), ask(edge)
    assert ">us<" in bare.get(PATH + token, headers=HTML).text
    party = {"address": "Street 1, Berlin", "contact": "Privacy team"}
    assert edge.admin.post("/v1/controller", json={"name": "Acme & Co", "country": "DE", "party": party}).is_success
    assert ">Acme &amp; Co<" in bare.get(PATH + token, headers=HTML).text


def test_a_page_speaks_the_language_of_the_request(edge: Edge) -> None:
    page = edge.client(None).get(PATH + ask(edge, language="zh"), headers=HTML)
    assert '<html lang="zh">' in page.text
    assert "我们会写信给您" in page.text
    assert "直接营销" in page.text


def test_tokens_reach_no_log_and_no_table(edge: Edge) -> None:
    bare, token = edge.client(None), ask(edge)
    bare.get(PATH + token)
    bare.post(PATH + token, headers=HTML)
    bare.post(PATH + token)
    bare.get(PATH + token + "x")
    assert token.encode() not in edge.log.getvalue()
    assert b"confirmations/{token}" in edge.log.getvalue()
    with edge.gateway.look() as work:
        for table in tables.metadata.sorted_tables:
            for row in work.session.execute(select(table)):
                assert token not in repr(tuple(row)), table.name


def test_the_files_hold_no_token(edge: Edge) -> None:
    token = ask(edge)
    directory = Path(edge.settings.store_directory)
    assert not any(token.encode() in file.read_bytes() for file in directory.rglob("*") if file.is_file())


def test_the_history_and_the_state_of_a_person(edge: Edge) -> None:
    shown = {"subject": WHO, "notice": "privacy", "notice_version": 1, "language": "en", "at": "2026-11-18T10:00:00Z"}
    assert edge.admin.post("/v1/notices_shown", json={"source": "crm", "items": [shown]}).json()["accepted"] == 1
    edge.client(None).post(PATH + ask(edge))
    told = edge.admin.post("/v1/consents/history", json={"subject": WHO}).json()
    last = told["items"][-1]
    assert (last["kind"], last["status"]) == ("given", "https://w3id.org/dpv#ConsentGiven")
    assert (last["place"], last["method"], last["evidence"]) == ("/signup", "form", True)
    assert len(last["text_sha256"]) == 64
    assert "two_step" in last["properties"]
    assert told["shown"][-1]["notice"] == "privacy"
    page = edge.admin.post("/v1/consents/history", json={"subject": WHO, "limit": 1}).json()
    assert page["next"] == page["items"][0]["event"]
    state = edge.admin.post("/v1/consents/state", json={"subject": WHO}).json()
    (email,) = [s for s in state["items"] if (s["purpose"], s["channel"]) == ("direct_marketing", "email")]
    assert (email["raw"]["state"], email["raw"]["why"]) == ("given", "the_latest_said")
    assert email["raw"]["event"] == last["event"]
    assert email["effective"]["outcome"] == "permit"
    assert "canary" not in str(told) + str(state)


def test_the_text_to_show(edge: Edge) -> None:
    told = edge.admin.get("/v1/notices/privacy?language=zh-CN").json()
    assert (told["language"], told["version"], told["material"]) == ("zh", 1, False)
    assert edge.admin.get("/v1/notices/nothing").status_code == 404


@pytest.mark.parametrize("place", ["a@b.example", "/x?mail=a", "shop 7", "+4915123999888", "4915123999888", ""])
def test_a_place_is_no_person(edge: Edge, place: str) -> None:
    item = {
        "subject": WHO,
        "purpose": "direct_marketing",
        "kind": "given",
        "at": "2026-11-18T11:00:00Z",
        "place": place,
    }
    reply = edge.admin.post("/v1/consents", json={"source": "crm", "items": [item]}).json()
    assert reply["rejections"][0]["reasons"][0]["path"] == "$.place"
