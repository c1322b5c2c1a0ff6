"""An erasure that hands the person's bundle out: in its first answer alone, and never in the way of the erasure."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select
from test_api_erasure import KEY, import_one

from consent_gateway.audit.bundle_files import parse_bundle
from consent_gateway.audit.bundles import verify_bundle
from consent_gateway.audit.entries import EntryKind, parse_entry
from consent_gateway.audit.verifier import verify_receipt
from consent_gateway.db import tables
from consent_gateway.errors import StoreError
from consent_gateway.services.log import bundles
from edge import Edge, running

SCOPES = ("erase", "access")


@pytest.fixture
def edge(tmp_path: Path, store_url: str) -> Iterator[Edge]:
    with running(tmp_path, store_url) as made:
        yield made


def erased(edge: Edge, who: str, *scopes: str, **more: Any) -> Any:
    desk = edge.client(edge.issue("rights_" + "".join(scopes or SCOPES), *(scopes or SCOPES)))
    return desk.post(f"/v1/subjects/{who}/erase", json={"bundle": True}, **more)


def test_the_answer_has_all_up_to_the_erasure(edge: Edge) -> None:
    who = import_one(edge, 1)
    ask = {"subject": {"pseudonym": who}, "purpose": "direct_marketing", "channel": "email", "recipient": "self"}
    for _ in range(3):  # some of which the log has not taken yet
        assert edge.admin.post("/v1/decisions", json=ask).status_code == 200
    reply = erased(edge, who)
    assert reply.status_code == 200, reply.text
    body = reply.json()
    told = body["bundle"]
    assert (body["erased"], told["reason"], told["ok"], told["after"]) == (True, None, True, 1)
    data = told["content"].encode()
    finding = verify_bundle(edge.gateway.signer.vkey, data)
    assert (finding.ok, finding.details["not_covered"]) == (True, 0), str(finding)
    (chain,) = parse_bundle(data).chains
    said = [parse_entry(entry.logged.entry) for entry in chain.entries]
    assert [entry.kind for entry in said].count(EntryKind.DECISION_MADE) == 3
    assert (said[-1].kind, said[-1].fields) == (EntryKind.BUNDLE_DISCLOSED, {"for": "erasure"})
    assert told["entries"] == len(said)
    edge.settle()
    receipt, entry = (edge.admin.get(told[name]).content for name in ("receipt", "bytes"))
    assert verify_receipt(edge.gateway.signer.vkey, receipt, entry).ok
    ended = verify_bundle(edge.gateway.signer.vkey, data, erasures=[(entry, receipt)])
    assert (ended.ok, ended.details["erased"]) == (
        True, {"index": ended.details["erased"]["index"], "after": 1, "chains_missing": 0, "chains_open": 0},  # type: ignore[index]
    )  # fmt: skip
    last = parse_entry(entry)
    assert last.kind is EntryKind.SUBJECT_ERASED
    assert last.fields["chains"][0]["count"] == len(said) + 1  # type: ignore[index]
    assert edge.admin.post("/v1/subjects/lookup", json={"identifier": {"member_no": "M1"}}).status_code == 404


def test_it_is_in_the_first_answer_alone_and_nowhere_in_the_store(edge: Edge) -> None:
    who = import_one(edge, 1)
    desk = edge.client(edge.issue("rights", *SCOPES))
    first = desk.post(f"/v1/subjects/{who}/erase", json={"bundle": True}, headers=KEY)
    again = desk.post(f"/v1/subjects/{who}/erase", json={"bundle": True}, headers=KEY)
    assert again.headers["idempotent-replayed"] == "true"
    one, two = first.json(), again.json()
    content = one["bundle"].pop("content")
    secret = json.loads(content)["chains"][0]["secret"]
    assert (two["bundle"]["content"], two["bundle"]["reason"]) == (None, "not_kept")
    assert one | {"bundle": None} == two | {"bundle": None}
    with edge.gateway.look() as work:
        kept = [bytes(r) for r in work.session.execute(select(tables.idempotency_keys.c.response)).scalars()]
        for table in tables.metadata.sorted_tables:
            for row in work.session.execute(select(table)):
                texts = [bytes(v) if isinstance(v, (bytes, memoryview)) else str(v).encode() for v in row]
                assert not any(secret.encode() in text or bytes.fromhex(secret) in text for text in texts), table.name
    assert any(b"not_kept" in reply for reply in kept)
    assert secret.encode() not in edge.log.getvalue()


def test_without_the_scope_nobody_is_erased_and_without_asking_there_is_none(edge: Edge) -> None:
    who = import_one(edge, 1)
    refused = erased(edge, who, "erase")
    assert (refused.status_code, "access" in refused.json()["detail"]) == (403, True)
    assert edge.admin.post(f"/v1/subjects/{who}/erase", json={"bundle": True}).status_code == 403
    assert erased(edge, who, "access").status_code == 403
    edge.settle()
    done = edge.admin.post(f"/v1/subjects/{who}/erase", json={"bundle": False})
    assert (done.status_code, done.json()["bundle"]) == (200, None)


@pytest.mark.parametrize("fault", ["a bug", "the store"])
def test_a_bundle_that_fails_keeps_nobody(edge: Edge, monkeypatch: pytest.MonkeyPatch, fault: str) -> None:
    who = import_one(edge, 1)

    def fails(*_: object) -> None:
        raise {"a bug": ZeroDivisionError, "the store": StoreError}[fault]

    monkeypatch.setattr(bundles, "_made", fails)
    reply = erased(edge, who)
    assert reply.status_code == 200, reply.text
    told = reply.json()["bundle"]
    code = {"a bug": "internal_error", "the store": "store_unavailable"}[fault]
    assert (reply.json()["erased"], told["content"], told["reason"], told["after"]) == (True, None, code, None)
    assert (b"http.unhandled" in edge.log.getvalue()) == (fault == "a bug")


def test_an_erasure_that_waits_hands_the_bundle_out_too(edge: Edge) -> None:
    who = import_one(edge, 1)
    held = edge.client(edge.issue("legal", "hold")).post(f"/v1/subjects/{who}/holds", json={"reason": "legal_claim"})
    assert held.status_code == 200
    reply = erased(edge, who, headers=KEY)
    told = reply.json()["bundle"]
    assert (reply.status_code, told["ok"], told["after"]) == (202, True, None)
    assert verify_bundle(edge.gateway.signer.vkey, told["content"].encode()).ok
    with edge.gateway.look() as work:
        (kept,) = work.session.execute(select(tables.idempotency_keys.c.response)).scalars()
    assert json.loads(bytes(kept))["bundle"]["reason"] == "not_kept"


def test_while_the_keys_are_away_there_is_none(tmp_path: Path) -> None:
    with running(tmp_path) as edge:
        who = import_one(edge, 1)
        desk = edge.client(edge.issue("rights", *SCOPES))
        edge.gateway.vault.custody._ends = 0.0
        reply = desk.post(f"/v1/subjects/{who}/erase", json={"bundle": True}, headers=KEY)
        told = reply.json()["bundle"]
        assert (reply.status_code, told["content"], told["reason"]) == (202, None, "key_service_unavailable")
        edge.gateway.vault.custody._ends = None


def test_a_tombstone_file_that_cannot_be_written_does_not_lose_the_bundle(tmp_path: Path) -> None:
    """The erasure stands, so that this is the last chance: the problem has the file in it."""
    with running(tmp_path) as edge:
        who = import_one(edge, 1)
        desk = edge.client(edge.issue("rights", *SCOPES))
        file = tmp_path / "tombstones.log"
        file.chmod(0o644)
        refused = desk.post(f"/v1/subjects/{who}/erase", json={"bundle": True}, headers=KEY)
        assert (refused.status_code, refused.headers["retry-after"]) == (503, "5")
        assert refused.headers["content-type"] == "application/problem+json"
        body = refused.json()
        assert (body["code"], body["bundle"]["reason"]) == ("tombstones_unavailable", None)
        assert verify_bundle(edge.gateway.signer.vkey, body["bundle"]["content"].encode()).ok
        file.chmod(0o600)
        done = desk.post(f"/v1/subjects/{who}/erase", json={"bundle": True}, headers=KEY)
        assert (done.status_code, done.json()["erased"], done.json()["bundle"]["reason"]) == (200, True, "not_kept")


def test_nobody_is_nobody(edge: Edge) -> None:
    assert erased(edge, "p1-" + "0" * 32).status_code == 404
