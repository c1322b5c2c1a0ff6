"""A server in a process of its own: started by the command line, stopped, killed; what was acknowledged is there."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import httpx
import pytest

from consent_gateway.assembly import build_gateway
from consent_gateway.audit.verifier import verify_receipt
from consent_gateway.db import log_store
from consent_gateway.services.work import principals
from consent_gateway.services.work.gateway import Gateway
from edge import NDJSON, Served, client, environment, run_cli, serving, store_settings

SOURCE = {"id": "crm", "name": "CRM", "channel": "web", "party": "first"}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str, str]:
    """A store that `init` made, its first key and the log's verifier key."""
    directory = tmp_path_factory.mktemp("process") / "store"
    done = run_cli("init", "--store", directory, "--json")
    assert done.returncode == 0, done.stderr
    value = json.loads(done.stdout)
    return directory, value["api_key"], value["log_vkey"]


def size_of(api: httpx.Client) -> int:
    return int(api.get("/v1/audit/checkpoint").text.splitlines()[1])


def person(number: int) -> dict[str, Any]:
    return {
        "source": "crm",
        "items": [{"member_no": f"M-{number}", "email": f"p{number}@example.org", "country": "DE"}],
    }


def integrated(api: httpx.Client, uid: str) -> bytes:
    """Wait for an entry to be integrated and return its receipt; bounded."""
    for _ in range(200):
        reply = api.get(f"/v1/audit/entries/{uid}/receipt")
        if reply.is_success:
            return reply.content
        threading.Event().wait(0.02)
    raise TimeoutError


def test_what_was_acknowledged_survives_kill_9_and_is_answered_alike(
    made: tuple[Path, str, str], tmp_path: Path
) -> None:
    directory, key, vkey = made
    log = tmp_path / "log"
    acknowledged: list[tuple[int, bytes]] = []
    uids = []
    for turn in range(2):
        with serving(directory, log) as server, client(server.url, key) as api:
            assert api.post("/v1/sources", json=SOURCE).is_success
            for number, answer in acknowledged:
                again = api.post("/v1/subjects", json=person(number), headers={"idempotency-key": f"k-{number}"})
                assert again.content == answer
                assert again.headers["idempotent-replayed"] == "true"
            for number in range(turn * 5, turn * 5 + 5):
                reply = api.post("/v1/subjects", json=person(number), headers={"idempotency-key": f"k-{number}"})
                assert reply.json()["created"] == 1
                acknowledged.append((number, reply.content))
            question = {"purpose": "direct_marketing", "channel": "email", "subject": {"member_no": f"M-{turn}"}}
            uids.append(api.post("/v1/decisions", json=question).json()["entry"]["uid"])
            server.kill()  # right after the answer: nothing was integrated by then, or half of it
    with serving(directory, log) as server, client(server.url, key) as api:
        for uid in uids:
            receipt = integrated(api, uid)
            assert verify_receipt(vkey, receipt, api.get(f"/v1/audit/entries/{uid}/bytes").content).ok
        assert server.stop()
    assert run_cli("doctor", "--store", directory).returncode == 0
    assert run_cli("reconcile", "--store", directory).returncode == 0


def test_a_request_in_flight_when_the_server_dies_is_whole_or_nothing(
    made: tuple[Path, str, str], tmp_path: Path
) -> None:
    """Killed while batches are being written: a batch that is repeated is new as a whole or known as a whole."""
    directory, key, _ = made
    batches = {
        n: b"\n".join(b'{"member_no":"F-%d-%d","country":"DE"}' % (n, row) for row in range(300)) for n in range(40)
    }
    answered: set[int] = set()
    with serving(directory, tmp_path / "log") as server, client(server.url, key) as api:
        assert api.post("/v1/sources", json=SOURCE).is_success
        sender = threading.Thread(target=_send_all, args=(server, key, batches, answered))
        sender.start()
        while len(answered) < 5 and sender.is_alive():
            threading.Event().wait(0.005)
        server.kill()
        sender.join(30)
    with serving(directory, tmp_path / "log") as server, client(server.url, key) as api:
        for number, body in batches.items():
            reply = api.post("/v1/imports/subjects?source=crm", content=body, headers=NDJSON).json()
            assert (reply["created"], reply["duplicates"]) in ((300, 0), (0, 300))
            assert number not in answered or reply["duplicates"] == 300
        assert server.stop()
    assert len(answered) >= 5


def _send_all(server: Served, key: str, batches: dict[int, bytes], answered: set[int]) -> None:
    with client(server.url, key) as api:
        for number, body in batches.items():
            try:
                reply = api.post("/v1/imports/subjects?source=crm", content=body, headers=NDJSON)
            except httpx.TransportError:
                return
            if reply.is_success:
                answered.add(number)


def test_a_server_that_is_asked_to_stop_finishes_and_ends_well(made: tuple[Path, str, str], tmp_path: Path) -> None:
    """SIGTERM under requests: none of them is answered with a failure, everything acknowledged is integrated."""
    directory, key, _ = made
    failures: list[int] = []
    with serving(directory, tmp_path / "log") as server, client(server.url, key) as api:
        question = {"purpose": "direct_marketing", "channel": "email", "subject": {"member_no": "M-1"}}
        answers = []
        stopping = threading.Event()

        def ask() -> None:
            with client(server.url, key) as own:
                while not stopping.is_set():
                    try:
                        reply = own.post("/v1/decisions", json=question)
                    except httpx.TransportError:
                        return  # the server does not listen any more
                    (answers if reply.is_success else failures).append(reply.status_code)

        asking = [threading.Thread(target=ask) for _ in range(4)]
        for thread in asking:
            thread.start()
        while len(answers) < 40:
            threading.Event().wait(0.005)
        before = size_of(api)
        assert server.stop()
        stopping.set()
        for thread in asking:
            thread.join(30)
    assert failures == []
    log = (tmp_path / "log").read_text()
    assert [json.loads(line)["event"] for line in log.splitlines()][-1] == "gateway.stopped"
    done = run_cli("doctor", "--store", directory, "--json")
    detail = next(f["detail"] for f in json.loads(done.stdout) if f["check"] == "audit log")
    assert ", 0 pending" in detail
    assert int(detail.split()[0]) >= before


def test_every_line_of_the_log_is_one_known_event(made: tuple[Path, str, str], tmp_path: Path) -> None:
    directory, key, _ = made
    with serving(directory, tmp_path / "log") as server, client(server.url, key) as api:
        api.get("/v1/sources?secret=canary")
        api.get("/canary-path-91")
        live = api.get("/health/live", headers={"x-forwarded-proto": "https", "x-forwarded-for": "192.0.2.91"})
        assert not {"strict-transport-security", "server", "date"} & set(live.headers)
        httpx.request("BREW", f"{server.url}/health/live", trust_env=False)
        assert server.stop()
    lines = [json.loads(line) for line in (tmp_path / "log").read_text().splitlines()]
    assert {line["event"] for line in lines} >= {"gateway.started", "http.request", "gateway.stopped"}
    assert "event.unnamed" not in {line["event"] for line in lines}
    assert "canary" not in json.dumps(lines)
    assert "192.0.2.91" not in json.dumps(lines)


def test_a_worker_of_its_own_integrates_what_was_left(made: tuple[Path, str, str]) -> None:
    """`consent-gateway worker` beside no server at all: it drains the log and ends when it is asked to."""
    gateway = build_gateway(store_settings(made[0]))
    with gateway.work() as work:
        principals.issue(work, "left_behind", "self", frozenset({"audit"}))
    assert pending(gateway) == 1
    command = [sys.executable, "-m", "consent_gateway", "worker", "--store", str(made[0])]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, env=environment())
    assert process.stdout is not None
    assert b"gateway.started" in process.stdout.readline()
    process.terminate()
    output, _ = process.communicate(timeout=30)
    assert process.returncode == 0
    assert b"gateway.stopped" in output
    assert pending(gateway) == 0
    gateway.store.dispose()


def pending(gateway: Gateway) -> int:
    with gateway.store.reading() as session:
        return log_store.pending_count(session)
