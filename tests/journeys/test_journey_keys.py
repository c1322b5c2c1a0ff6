"""Work on keys over HTTP, end to end: a server in a process of its own, two officers, and readers who never fail."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import httpx
import pytest

from builders import a_consent, a_person, a_source, ref, take
from consent_gateway.domain.approvals import PROPOSAL_SECONDS, USE_SECONDS
from consent_gateway.services.keys.epoch_destruction import DRAIN_SECONDS
from consent_gateway.services.keys.index_rotation import GRACE_SECONDS
from consent_gateway.services.registry import registers
from consent_gateway.services.work import principals
from consent_gateway.setup import create_store
from dying import clocked
from edge import client, serving, store_settings

PEOPLE, RATE = 60, 30
QUESTION = {"purpose": "direct_marketing", "channel": "email"}
POLLS = 1200


@dataclass
class Readers:
    """Threads that ask about everybody for as long as they may; what failed, and how many answers there were."""

    url: str
    key: str
    failed: list[tuple[int, str]] = field(default_factory=list)
    answers: int = 0
    stopping: threading.Event = field(default_factory=threading.Event)

    def read(self) -> None:
        number = 0
        with client(self.url, self.key) as api:
            while not self.stopping.is_set():
                number = number % PEOPLE + 1
                named = {"member_no": f"M{number:05}"}
                for path, body in (
                    ("/v1/decisions", QUESTION | {"subject": named}),
                    ("/v1/subjects/lookup", {"identifier": named}),
                ):
                    reply = api.post(path, json=body)
                    if not reply.is_success:
                        self.failed.append((reply.status_code, reply.text))
                    self.answers += reply.is_success
                self.stopping.wait(0.02)

    def __enter__(self) -> Self:
        self.threads = [threading.Thread(target=self.read) for _ in range(2)]
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stopping.set()
        for thread in self.threads:
            thread.join(60)


@dataclass
class Office:
    """Two officers with a key each, and the clock of the server."""

    first: httpx.Client
    second: httpx.Client
    reader_key: str
    clock: Path

    def later(self, seconds: float) -> None:
        self.clock.write_text(str(float(self.clock.read_text()) + seconds))

    def state(self) -> Any:
        return self.first.get("/v1/keys").json()

    def begin(self, kind: str, rate: int | None = RATE) -> Any:
        reply = self.first.post("/v1/keys/jobs", json={"kind": kind, "rate": rate})
        assert reply.status_code == 200, reply.text
        return reply.json()

    def job(self, number: int) -> Any:
        return self.second.get(f"/v1/keys/jobs/{number}").json()

    def step(self, path: str, step: str, *, by: httpx.Client | None = None) -> httpx.Response:
        return (by or self.first).post(f"/v1/keys/{path}/destroy", json={"step": step})

    def approve(self, approval: str, action: str, *, by: httpx.Client | None = None) -> httpx.Response:
        return (by or self.second).post(f"/v1/approvals/{approval}/approve", json={"action": action})


def until(found: Callable[[], Any]) -> Any:
    """Wait until it is something; bounded."""
    for _ in range(POLLS):
        if value := found():
            return value
        threading.Event().wait(0.05)
    raise TimeoutError


def finished(office: Office, number: int) -> Any:
    job = office.job(number)
    return job if job["finished_at"] else None


@pytest.fixture
def office(store_url: str, tmp_path: Path) -> Iterator[Office]:
    directory, clock = tmp_path / "store", tmp_path / "ahead"
    clock.write_text("0")
    gateway, _ = create_store(store_settings(directory, store_url))
    scopes = {"first": {"keys", "approve"}, "second": {"keys", "approve"}, "reader": {"decide", "audience"}}
    with gateway.work() as work:
        registers.put_source(work, a_source())
        keys = {name: principals.issue(work, name, "self", frozenset(held)) for name, held in scopes.items()}
    take(gateway, [a_person(n) for n in range(1, PEOPLE + 1)])
    take(gateway, [a_consent(ref(n)) for n in range(1, PEOPLE + 1)])
    gateway.store.dispose()
    more = {} if store_url.startswith("sqlite") else {"CONSENT_GATEWAY_DATABASE_URL": store_url}
    with ExitStack() as stack:
        server = stack.enter_context(serving(directory, tmp_path / "log", program=clocked(clock), **more))
        first, second = (stack.enter_context(client(server.url, keys[name])) for name in ("first", "second"))
        yield Office(first, second, keys["reader"], clock)


def test_a_key_goes_from_its_roll_to_its_destruction_and_no_reader_fails(office: Office) -> None:
    with Readers(str(office.first.base_url), office.reader_key) as readers:
        _an_epoch(office)
        _a_generation(office)
    assert readers.failed == []
    assert readers.answers > 2 * PEOPLE
    _what_is_refused(office)


def _an_epoch(office: Office) -> None:
    assert office.step("epochs/1", "propose").status_code == 409, "it is the current one"
    begun = office.begin("epoch_roll")
    assert (begun["kind"], begun["from_number"], begun["to_number"], begun["rate"]) == ("epoch_roll", 1, 2, RATE)
    assert office.begin("epoch_roll")["id"] == begun["id"], "to begin what is under way is to get it"
    seen = [0.0]
    while not finished(office, begun["id"]):
        seen.append(office.job(begun["id"])["progress"])
        assert seen[-1] >= seen[-2]
        threading.Event().wait(0.1)
    assert len(set(seen)) > 2, "how far it is can be seen"
    assert {e["epoch"]: e["data_keys"] for e in office.state()["epochs"]} == {1: 0, 2: PEOPLE}
    approval = office.step("epochs/1", "propose").json()["approval"]
    assert office.step("epochs/1", "decide").status_code == 409, "whoever reads has a minute to end"
    office.later(DRAIN_SECONDS)
    until(lambda: office.state()["processes"] == [[1, 2]])
    assert office.step("epochs/1", "decide").status_code == 403, "nobody approved"
    assert office.approve(approval, "destroy_key_epoch", by=office.first).status_code == 403, "the same principal"
    assert office.approve(approval, "destroy_index_generation").status_code == 409, "it is for something else"
    assert office.approve(approval, "destroy_key_epoch").json()["state"] == "approved"
    assert office.step("epochs/1", "decide", by=office.second).json()["state"] == "decided"
    (gone,) = until(lambda: [d for d in office.state()["destroyed"] if d["destroyed_at"]])
    assert (gone["epoch"], gone["approval"]) == (1, approval)
    assert [e["epoch"] for e in office.state()["epochs"]] == [2]


def _a_generation(office: Office) -> None:
    begun = office.begin("index_generation")
    assert (begun["from_number"], begun["to_number"], begun["total"]) == (1, 2, 4 * PEOPLE)
    until(lambda: office.job(begun["id"])["rests_until"])
    index = office.state()["index"]
    assert (index["counts"], index["leaving"], index["left"], index["missing"]) == (2, 1, 2 * PEOPLE, 0)
    assert office.step("generations/1", "propose").status_code == 409, "its rows are there"
    office.later(GRACE_SECONDS)
    done = until(lambda: finished(office, begun["id"]))
    assert (done["done"], done["failed"], done["progress"]) == (4 * PEOPLE, 0, 1.0)
    approval = office.step("generations/1", "propose").json()["approval"]
    assert office.approve(approval, "destroy_index_generation").json()["state"] == "approved"
    assert office.step("generations/1", "decide").json()["state"] == "decided"
    until(lambda: office.state()["index"]["generations"] == [2])
    (gone,) = until(lambda: [d for d in office.state()["index"]["destroyed"] if d["destroyed_at"]])
    assert (gone["generation"], gone["approval"]) == (1, approval)


def _what_is_refused(office: Office) -> None:
    """An approval is for exactly what was proposed, by two, and for a time."""
    for _ in range(2):
        begun = office.begin("epoch_roll", rate=None)
        until(lambda number=begun["id"]: finished(office, number))
    office.later(DRAIN_SECONDS)
    assert {e["epoch"]: e["data_keys"] for e in office.state()["epochs"]}[2] == 0
    approval = office.step("epochs/2", "propose").json()["approval"]
    assert office.approve(approval, "destroy_key_epoch").json()["state"] == "approved"
    until(lambda: office.state()["processes"])
    past = sorted(e["epoch"] for e in office.state()["epochs"])[1]
    assert office.step(f"epochs/{past}", "decide").status_code == 403, "another epoch than the one approved"
    office.later(USE_SECONDS)
    refused = office.step("epochs/2", "decide")
    assert (refused.status_code, refused.json()["code"]) == (403, "forbidden"), "what was approved has a day"
    waiting = office.step("epochs/2", "propose").json()["approval"]
    office.later(PROPOSAL_SECONDS)
    late = office.approve(waiting, "destroy_key_epoch")
    assert (late.status_code, "expired" in late.json()["detail"]) == (409, True)
    assert 2 in {e["epoch"] for e in office.state()["epochs"]}
