"""A store that does not answer under a running gateway: 503 in time, a no is kept, and it goes on by itself."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from backups import back_up, restore
from consent_gateway.db.engine import Store
from edge import Edge, running
from replicas import waits
from stalling import COMMIT, Proxy, stalling
from templates import fresh_database

DEADLINE = 1.0
LATE = 6.0  # seconds: the deadline, and what a busy machine adds
ANNA = {"email": "anna@example.org"}
BOB = {"email": "bob@example.org"}
GPC = {"source": "crm", "items": [{"subject": ANNA, "raw": "1", "kind": "gpc", "at": "2026-01-31T12:00:00Z"}]}
ASK = {"subject": ANNA, "purpose": "direct_marketing", "channel": "email", "recipient": "self"}
SOURCE = {"id": "crm", "name": "CRM", "channel": "web", "party": "first"}
A_NO = {
    "subject": ANNA,
    "purpose": "direct_marketing",
    "channel": "email",
    "kind": "withdrawn",
    "at": "2026-01-31T12:00:00Z",
}
A_YES = A_NO | {"kind": "given", "properties": ["affirmative", "evidence"], "evidence": {"form": 1}}


@dataclass
class Site:
    """A running gateway, and how its store is made to hang."""

    edge: Edge
    proxy: Proxy | None

    @contextmanager
    def hanging(self) -> Iterator[None]:
        """PostgreSQL accepts and says nothing; the file of SQLite is locked by somebody who does not let go."""
        if self.proxy is not None:
            self.proxy.freeze()
            yield
            self.proxy.thaw()
            return
        with closing(sqlite3.connect(str(self.edge.gateway.store.engine.url.database), isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            yield
            other.execute("ROLLBACK")

    def ask(self) -> httpx.Response:
        return self.edge.admin.post("/v1/decisions", json=ASK)

    def say(self, row: dict[str, object], **headers: str) -> httpx.Response:
        return self.edge.admin.post("/v1/consents", json={"source": "crm", "items": [row]}, headers=headers)

    def history(self) -> list[str]:
        found = self.edge.admin.post("/v1/consents/history", json={"subject": ANNA})
        return [event["kind"] for event in found.json()["items"]]

    def heals(self) -> None:
        """It does without anybody's help, and what was kept is carried out."""
        waits(lambda: self.edge.admin.get("/health/ready").is_success)
        waits(lambda: not self.edge.admin.get("/v1/keys").json()["deferred"]["waiting"])


@contextmanager
def a_site(place: Path, url: str) -> Iterator[Site]:
    where = nullcontext((None, url)) if url.startswith("sqlite") else stalling(url)
    more = {"store_deadline_seconds": DEADLINE, "log_check_seconds": 1}
    with where as (proxy, through), running(place / "store", through, **more) as edge:
        assert edge.admin.post("/v1/sources", json=SOURCE).is_success
        items = [who | {"country": "DE", "birth_date": "1980-05-17"} for who in (ANNA, BOB)]
        assert edge.admin.post("/v1/subjects", json={"source": "crm", "items": items}).is_success
        edge.settle()
        yield Site(edge, proxy)


@pytest.fixture
def site(tmp_path: Path, store_url: str) -> Iterator[Site]:
    with a_site(tmp_path, store_url) as made:
        yield made


@pytest.fixture
def behind(tmp_path: Path, postgres_server: str) -> Iterator[Site]:
    """A site on PostgreSQL, with the proxy before it."""
    with fresh_database(postgres_server) as url, a_site(tmp_path, url) as made:
        yield made


def timed(act: Callable[[], httpx.Response]) -> httpx.Response:
    begun = time.monotonic()
    reply = act()
    assert time.monotonic() - begun < LATE
    return reply


def refused(reply: httpx.Response) -> str:
    assert reply.status_code == 503, reply.text
    assert int(reply.headers["retry-after"]) >= 1
    return str(reply.json()["code"])


def test_everybody_is_answered_in_time_and_a_no_is_kept(site: Site) -> None:
    assert site.say(A_YES).is_success
    bob = site.edge.admin.post("/v1/subjects/lookup", json={"identifier": BOB}).json()["pseudonym"]
    with site.hanging():
        assert refused(timed(site.ask)) == "store_unavailable"
        assert refused(timed(lambda: site.say(A_YES))) == "store_unavailable"
        assert refused(timed(lambda: site.edge.admin.get("/health/ready"))) == "store_unavailable"
        assert site.edge.admin.get("/health/live").is_success
        kept = timed(lambda: site.say(A_NO))
        assert (kept.status_code, kept.json()["deferred"], kept.json()["accepted"]) == (202, 1, 0), kept.text
        signal = timed(lambda: site.edge.admin.post("/v1/signals", json=GPC))
        assert (signal.status_code, signal.json()["deferred"]) == (202, 1), signal.text
        erased = timed(lambda: site.edge.admin.post(f"/v1/subjects/{bob}/erase", json={"reason": "request"}))
        assert erased.status_code == 202, erased.text
        assert erased.json()["pending"]
        stranger = timed(lambda: site.edge.client("cg_" + "0" * 43).post("/v1/signals", json=GPC))
        assert stranger.status_code in (401, 503), "a key that was never seen cannot be known now"
    site.heals()
    assert site.history() == ["given", "withdrawn"]
    assert site.ask().json()["outcome"] == "deny"
    assert site.edge.admin.post("/v1/subjects/lookup", json={"identifier": BOB}).status_code == 404
    assert site.edge.admin.get("/v1/keys").json()["deferred"]["refused"] == 0
    uid = kept.json()["entries"][0]["uid"]
    waits(lambda: site.edge.admin.get(f"/v1/audit/entries/{uid}").is_success)
    assert {line["reason"] for line in logged(site.edge, "log.halted")} == {"silent"}


def logged(edge: Edge, event: str) -> list[dict[str, object]]:
    lines = [httpx.Response(200, content=line).json() for line in edge.log.getvalue().splitlines()]
    return [line for line in lines if line["event"] == event]


@pytest.mark.postgres
def test_those_who_come_later_do_not_wait_for_those_who_wait(behind: Site) -> None:
    """Forty at once on eight threads: their waits do not add up, and the noes among them are all kept."""
    site = behind
    with site.hanging(), ThreadPoolExecutor(40) as crowd:
        begun = time.monotonic()
        noes = [crowd.submit(site.say, A_NO) for _ in range(20)]
        others = [crowd.submit(site.say, A_YES) for _ in range(20)]
        assert {reply.result().status_code for reply in noes} == {202}
        assert {refused(reply.result()) for reply in others} == {"store_unavailable"}
        assert time.monotonic() - begun < LATE
    site.heals()
    assert set(site.history()) == {"withdrawn"}


@pytest.mark.postgres
def test_what_is_in_doubt_is_found_out_with_the_same_key(behind: Site) -> None:
    """The answer to the COMMIT is lost; the same request later is carried out once, whatever became of the first."""
    assert behind.proxy is not None
    headers = {"idempotency-key": "in-doubt"}
    behind.edge.settle()
    behind.proxy.freeze_at(COMMIT, heard=True)
    first = timed(lambda: behind.say(A_YES, **headers))
    assert refused(first) in {"commit_in_doubt", "store_unavailable"}, "unless the worker was asked first"
    behind.proxy.thaw()
    behind.heals()
    again = behind.say(A_YES, **headers)
    assert again.is_success, again.text
    assert behind.history() == ["given"]
    third = behind.say(A_YES, **headers)
    assert (third.content, third.headers["idempotent-replayed"]) == (again.content, "true")


@pytest.mark.postgres
def test_a_store_that_is_another_one_when_it_answers_again(tmp_path: Path, postgres_server: str) -> None:
    """The failover went to a standby that was behind: nothing is written to it, and the no waits for the right one."""
    with fresh_database(postgres_server) as url, a_site(tmp_path, url) as site:
        real = Store(url)
        back_up(real, tmp_path / "behind")
        assert site.ask().is_success
        site.edge.settle()
        back_up(real, tmp_path / "right")
        with site.hanging():
            refused(site.ask())
            assert site.say(A_NO).status_code == 202
            restore(real, tmp_path / "behind")
        waits(lambda: site.ask().json().get("code") == "log_halted")
        assert site.edge.settings.spool_file().stat().st_size > 0
        with site.hanging():
            refused(site.ask())
            restore(real, tmp_path / "right")
        site.heals()
        assert site.history() == ["withdrawn"]
        real.dispose()
