"""Two servers on one PostgreSQL: a key revoked is revoked on both, twins at both have one effect, one log comes of it."""

from __future__ import annotations

import json
import shutil
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from consent_gateway.audit.verifier import verify_directory
from edge import NDJSON, client, run_cli, serving

pytestmark = pytest.mark.postgres
SOURCE = {"id": "crm", "name": "CRM", "channel": "web", "party": "first"}


@dataclass(frozen=True)
class Pair:
    """Two replicas with a client each, and what the command line needs to reach the same store."""

    first: httpx.Client
    second: httpx.Client
    store: Path
    settings: dict[str, str]


@pytest.fixture
def pair(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Pair]:
    settings = {"CONSENT_GATEWAY_DATABASE_URL": request.getfixturevalue("store_url")}
    made = run_cli("init", "--store", tmp_path / "a", "--json", **settings)
    assert made.returncode == 0, made.stderr
    key = json.loads(made.stdout)["api_key"]
    shutil.copytree(tmp_path / "a", tmp_path / "b")  # the keyring goes to every replica
    with ExitStack() as stack:
        clients = []
        for name in ("a", "b"):
            server = stack.enter_context(serving(tmp_path / name, tmp_path / f"{name}.log", **settings))
            clients.append(stack.enter_context(client(server.url, key)))
        yield Pair(*clients, tmp_path / "a", settings)


@pytest.mark.parametrize("store_url", [pytest.param("postgres")], indirect=True)
def test_two_replicas_are_one_gateway(pair: Pair, store_url: str, tmp_path: Path) -> None:
    assert pair.first.post("/v1/sources", json=SOURCE).is_success
    # What one registered the other knows at its next request.
    assert [source["id"] for source in pair.second.get("/v1/sources").json()["items"]] == ["crm"]
    _twins_have_one_effect(pair)
    _pseudonyms_agree(pair)
    _a_revocation_holds_everywhere(pair)
    vkey = pair.first.get("/v1/audit/vkey").text.strip()
    assert pair.second.get("/v1/audit/vkey").text.strip() == vkey
    done = run_cli("audit", "export", tmp_path / "log", "--store", pair.store, **pair.settings)
    assert done.returncode == 0, done.stderr
    assert verify_directory(vkey, tmp_path / "log").ok


def _twins_have_one_effect(pair: Pair) -> None:
    gate = threading.Barrier(2)

    def send(api: httpx.Client, turn: int) -> httpx.Response:
        rows = b"\n".join(b'{"member_no":"R-%d-%d","country":"DE"}' % (turn, n) for n in range(20))
        gate.wait(10)
        headers = NDJSON | {"idempotency-key": f"twin-{turn}"}
        return api.post("/v1/imports/subjects?source=crm", content=rows, headers=headers)

    with ThreadPoolExecutor(2) as pool:
        for turn in range(10):
            replies = list(pool.map(send, (pair.first, pair.second), (turn, turn)))
            assert {reply.status_code for reply in replies} <= {200, 409}
            answers = {reply.content for reply in replies if reply.is_success}
            assert len(answers) == 1
            assert json.loads(answers.pop())["created"] == 20


def _pseudonyms_agree(pair: Pair) -> None:
    question = {"identifier": {"member_no": "R-0-0"}}
    names = [api.post("/v1/subjects/lookup", json=question).json() for api in (pair.first, pair.second)]
    assert names[0] == names[1]


def _a_revocation_holds_everywhere(pair: Pair) -> None:
    issued = run_cli("keys", "issue", "crm_key", "--scope", "ingest", "--store", pair.store, "--json", **pair.settings)
    headers = {"authorization": f"Bearer {json.loads(issued.stdout)['api_key']}"}
    for api in (pair.first, pair.second):
        assert api.get("/v1/sources", headers=headers).status_code == 200
    assert run_cli("keys", "revoke", "crm_key", "--store", pair.store, **pair.settings).returncode == 0
    for api in (pair.first, pair.second):
        assert api.get("/v1/sources", headers=headers).status_code == 401
