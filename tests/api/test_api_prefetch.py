"""Whoever opens the link of a second step changes nothing: hundreds of ways that mail scanners and browsers have."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import product
from typing import Any

import pytest

from builders import PEOPLE_TABLES, dump
from consent_gateway.clock import FixedClock
from edge import Edge, running

PATH = "/v1/consents/confirmations/"
WHO = {"email": "anna@example.org"}
METHODS = ("GET", "HEAD", "OPTIONS")
FORMS = ("{}", "{}?utm_source=mail", "{}?confirm=1&_method=POST", "{}/", "{}?", "/{}", "{}#now", "{}%20")
HEADERS: tuple[dict[str, str], ...] = (
    {},
    {"accept": "text/html,application/xhtml+xml"},
    {"accept": "application/json"},
    {"purpose": "prefetch"},
    {"sec-purpose": "prefetch;prerender"},
    {"x-moz": "prefetch"},
    {"x-purpose": "preview"},
    {"user-agent": "SafeLinks"},
    {"user-agent": "Mozilla/5.0 (compatible; link scanner)", "referer": "https://mail.example.org/"},
    {"x-http-method-override": "POST"},
    {"x-method-override": "POST", "content-type": "application/x-www-form-urlencoded"},
    {"origin": "https://mail.example.org", "access-control-request-method": "POST"},
    {"sec-fetch-mode": "navigate", "sec-fetch-dest": "document", "sec-fetch-user": "?1"},
    {"list-unsubscribe-post": "List-Unsubscribe=One-Click"},
    {"range": "bytes=0-0"},
)


@pytest.fixture(scope="module")
def edge(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Edge]:
    noon = FixedClock(datetime(2026, 11, 18, 12, 0, tzinfo=UTC))
    with running(tmp_path_factory.mktemp("prefetch"), clock=noon) as made:
        post = made.admin.post
        assert post("/v1/sources", json={"id": "crm", "name": "CRM", "channel": "web", "party": "first"}).is_success
        assert post("/v1/subjects", json={"source": "crm", "items": [WHO | {"country": "DE"}]}).is_success
        yield made


def ask(edge: Edge) -> str:
    item = {"subject": WHO, "purpose": "direct_marketing", "channel": "email", "kind": "pending", "confirm": True}
    item |= {"at": "2026-11-18T11:00:00Z", "properties": ["affirmative"]}
    reply = edge.admin.post("/v1/consents", json={"source": "crm", "items": [item]})
    found: str = reply.json()["confirmations"][0]["token"]
    return found


def what_people_left(edge: Edge) -> dict[str, Any]:
    names = {table.name for table in PEOPLE_TABLES} - {"audit_pending"}  # the sequencer empties it on its own
    return {name: rows for name, rows in dump(edge.gateway.store).items() if name in names}


def visits(edge: Edge, token: str, ways: Any) -> set[int]:
    bare = edge.client(None)
    return {
        bare.request(method, PATH + form.format(token), headers=headers).status_code for method, form, headers in ways
    }


def test_no_way_to_open_the_link_changes_anything(edge: Edge) -> None:
    token = ask(edge)
    before = what_people_left(edge)
    ways = list(product(METHODS, FORMS, HEADERS))
    assert len(ways) >= 300
    statuses = visits(edge, token, ways)
    assert 200 in statuses
    assert not {s for s in statuses if s >= 500}
    assert what_people_left(edge) == before
    assert edge.client(None).post(PATH + token).json()["confirmed"] is True
    after = what_people_left(edge)
    assert {name for name in before if before[name] != after[name]} >= {"consent_events", "consent_confirmations"}


def test_nor_after_it_was_confirmed(edge: Edge) -> None:
    token = ask(edge)
    assert edge.client(None).post(PATH + token).is_success
    before = what_people_left(edge)
    assert 409 in visits(edge, token, product(METHODS, FORMS[:2], HEADERS))
    assert what_people_left(edge) == before
