"""Who may do what, generated from the OpenAPI document: every operation under every kind of wrong key."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from edge import Edge, running

METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE")
SCOPES = (
    "admin",
    "ingest",
    "decide",
    "audience",
    "erase",
    "hold",
    "identity",
    "audit",
    "policy",
    "approve",
    "reveal",
    "reveal_plain",
    "disclose",
    "access",
)
PUBLIC = {
    "/health/live",
    "/health/ready",
    "/checkpoint",
    "/v1/audit/checkpoint",
    "/v1/audit/vkey",
    "/.well-known/gpc.json",
    "/v1/receipts/keys",
}
TOKENED = {("GET", "/v1/consents/confirmations/{token}"), ("POST", "/v1/consents/confirmations/{token}")}  # no key
PAGES = {"/docs", "/problems", "/problems/{code}", "/openapi.json"}
SECURITY = {
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-origin",
}
PARAMETERS = {
    "kind": "subjects",
    "pseudonym": "p1-" + "0" * 32,
    "audience": "0" * 32,
    "uid": "0" * 32,
    "path": "0/000",
    "token": "A" * 43,
    "notice": "privacy",
    "pack": "gdpr",
    "recipient": "nobody",
    "version": "1",
    "hold": "1",
    "approval": "0" * 32,
    "job": "1",
    "epoch": "7",
    "generation": "7",
}
NEEDED = {
    ("GET", "/v1/controller"): "ingest",
    ("POST", "/v1/controller"): "admin",
    ("GET", "/v1/purposes"): "ingest",
    ("GET", "/v1/purposes/record"): "audit",
    ("GET", "/v1/retention"): "audit",
    ("POST", "/v1/purposes"): "admin",
    ("GET", "/v1/notices"): "ingest",
    ("POST", "/v1/notices"): "admin",
    ("GET", "/v1/notices/{notice}"): "ingest",
    ("POST", "/v1/notices_shown"): "ingest",
    ("POST", "/v1/sensitive"): "ingest",
    ("POST", "/v1/consents/history"): "decide",
    ("POST", "/v1/consents/state"): "decide",
    ("GET", "/v1/sources"): "ingest",
    ("POST", "/v1/sources"): "admin",
    ("GET", "/v1/recipients"): "ingest",
    ("POST", "/v1/recipients"): "admin",
    ("GET", "/v1/exports"): "ingest",
    ("POST", "/v1/exports"): "admin",
    ("GET", "/v1/fields"): "ingest",
    ("POST", "/v1/fields"): "admin",
    ("GET", "/v1/traits"): "ingest",
    ("POST", "/v1/traits"): "admin",
    ("GET", "/v1/segments"): "audience",
    ("POST", "/v1/segments"): "audience",
    ("POST", "/v1/imports/{kind}"): "ingest",
    ("POST", "/v1/subjects"): "ingest",
    ("POST", "/v1/consents"): "ingest",
    ("POST", "/v1/consents/receipt"): "ingest",
    ("POST", "/v1/choices"): "ingest",
    ("POST", "/v1/events"): "ingest",
    ("POST", "/v1/contacts"): "ingest",
    ("POST", "/v1/signals"): "ingest",
    ("GET", "/v1/signal-mappings"): "ingest",
    ("POST", "/v1/signal-mappings"): "admin",
    ("GET", "/v1/subjects/{pseudonym}/signals"): "decide",
    ("POST", "/v1/subjects/lookup"): "decide",
    ("GET", "/v1/subjects/{pseudonym}/bundle"): "access",
    ("POST", "/v1/subjects/{pseudonym}/erase"): "erase",
    ("GET", "/v1/subjects/{pseudonym}/holds"): "hold",
    ("POST", "/v1/subjects/{pseudonym}/holds"): "hold",
    ("POST", "/v1/subjects/{pseudonym}/holds/{hold}/lift"): "hold",
    ("POST", "/v1/tombstones/lift"): "identity",
    ("POST", "/v1/subjects/{pseudonym}/reveal"): "reveal",
    ("POST", "/v1/reveals"): "reveal",
    ("GET", "/v1/quotas"): "admin",
    ("POST", "/v1/quotas"): "admin",
    ("POST", "/v1/canaries"): "admin",
    ("POST", "/v1/recipients/{recipient}/epochs"): "admin",
    ("GET", "/v1/pseudonyms/epochs"): "audience",
    ("POST", "/v1/pseudonyms/convert"): "audience",
    ("POST", "/v1/subjects/merge"): "identity",
    ("POST", "/v1/subjects/unmerge"): "identity",
    ("GET", "/v1/merges"): "identity",
    ("GET", "/v1/quarantine"): "ingest",
    ("POST", "/v1/decisions"): "decide",
    ("POST", "/v1/decisions/batch"): "decide",
    ("POST", "/v1/audiences"): "audience",
    ("GET", "/v1/audiences/{audience}"): "audience",
    ("GET", "/v1/audiences/{audience}/members"): "audience",
    ("GET", "/v1/audiences/{audience}/proof/{pseudonym}"): "audience",
    ("POST", "/v1/audiences/{audience}/customer-match"): "disclose",
    ("GET", "/v1/audit/epochs"): "audit",
    ("POST", "/v1/audit/epochs"): "approve",
    ("GET", "/v1/audit/entries"): "audit",
    ("GET", "/v1/audit/entries/{uid}"): "audit",
    ("GET", "/v1/audit/entries/{uid}/bytes"): "audit",
    ("GET", "/v1/audit/entries/{uid}/receipt"): "audit",
    ("GET", "/tile/{path}"): "audit",
    ("HEAD", "/tile/{path}"): "audit",
    ("GET", "/v1/audit/tile/{path}"): "audit",
    ("HEAD", "/v1/audit/tile/{path}"): "audit",
    ("GET", "/v1/policies"): "policy",
    ("GET", "/v1/policies/{pack}/{version}"): "policy",
    ("POST", "/v1/policies"): "policy",
    ("POST", "/v1/policies/{pack}/{version}/shadow"): "policy",
    ("GET", "/v1/policies/{pack}/{version}/shadow"): "policy",
    ("POST", "/v1/policies/{pack}/{version}/activate"): "policy",
    ("POST", "/v1/policies/diff"): "policy",
    ("POST", "/v1/decisions/{uid}/replay"): "audit",
    ("GET", "/v1/keys"): "keys",
    ("GET", "/v1/keys/jobs/{job}"): "keys",
    ("POST", "/v1/keys/jobs"): "keys",
    ("POST", "/v1/keys/epochs/{epoch}/destroy"): "keys",
    ("POST", "/v1/keys/generations/{generation}/destroy"): "keys",
    ("POST", "/v1/keys/own/renew"): "keys",
    ("GET", "/v1/approvals"): "approve",
    ("GET", "/v1/approvals/{approval}"): "approve",
    ("POST", "/v1/approvals"): "approve",
    ("POST", "/v1/approvals/{approval}/approve"): "approve",
    ("POST", "/v1/approvals/{approval}/refuse"): "approve",
}


@pytest.fixture(scope="module")
def edge(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Edge]:
    with running(tmp_path_factory.mktemp("matrix")) as made:
        yield made


@pytest.fixture(scope="module")
def wrong(edge: Edge) -> dict[str, str | None]:
    """Every kind of key that is not one."""
    revoked = edge.issue("revoked", *SCOPES)
    edge.revoke("revoked")
    return {
        "none": None,
        "malformed": "x",
        "short": "cg__",
        "long": "cg_" + "x" * 5000,
        "unknown": "cg_operator_" + "A" * 43,
        "cut": edge.key[:-1],
        "longer": edge.key + "A",
        "other case": edge.key.swapcase(),
        "revoked": revoked,
    }


def operations(edge: Edge) -> list[tuple[str, str]]:
    return [(verb.upper(), path) for path, item in edge.openapi["paths"].items() for verb in item]


def fill(path: str) -> str:
    for name, value in PARAMETERS.items():
        path = path.replace("{" + name + "}", value)
    assert "{" not in path
    return path


def call(client: httpx.Client, method: str, path: str) -> httpx.Response:
    """One request; the body is an object that no operation takes, because a stranger's body must not be judged."""
    if method != "POST":
        return client.request(method, fill(path))
    if path.startswith("/v1/imports"):
        return client.post(
            fill(path) + "?source=nobody", content=b"no,such\n1,2\n", headers={"content-type": "text/csv"}
        )
    return client.post(fill(path), json={"no": "such"})


def without_ids(reply: httpx.Response) -> dict[str, Any]:
    if reply.request.method == "HEAD":
        assert not reply.content
        return {}
    body = reply.json()
    assert body.pop("request_id") == reply.headers["x-request-id"]
    assert body.pop("instance").startswith("urn:uuid:")
    return body


def assert_problem(reply: httpx.Response, status: int) -> None:
    assert reply.status_code == status, (reply.request.method, reply.request.url, reply.text)
    assert reply.headers["content-type"] == "application/problem+json"
    for name, value in SECURITY.items():
        assert reply.headers[name] == value
    assert reply.headers["cache-control"] == "no-store"
    if reply.request.method != "HEAD":
        body = reply.json()
        assert body["status"] == status
        assert {"type", "title", "detail", "instance", "code", "hint", "errors", "request_id"} <= body.keys()


def test_the_table_of_scopes_names_every_operation(edge: Edge) -> None:
    assert {o for o in operations(edge) if o[1] not in PUBLIC} == set(NEEDED) | TOKENED


def test_a_token_that_is_none_opens_nothing_with_or_without_a_key(edge: Edge) -> None:
    answers = []
    for method, path in sorted(TOKENED):
        for client in (edge.client(None), edge.client("x"), edge.admin):
            for token in ("A" * 43, "A", "%00", "A" * 4000, "%F0%9F"):
                reply = client.request(method, path.replace("{token}", token))
                assert_problem(reply, 404)
                answers.append(reply.json()["code"])
    assert set(answers) == {"not_found"}


def test_every_operation_refuses_every_wrong_key_alike(edge: Edge, wrong: dict[str, str | None]) -> None:
    """Unknown, malformed and revoked look the same, and nobody learns what the body should have been."""
    for method, path in NEEDED:
        answers = []
        for key in wrong.values():
            reply = call(edge.client(key), method, path)
            assert_problem(reply, 401)
            assert reply.headers["www-authenticate"].startswith("Bearer")
            answers.append(without_ids(reply))
        assert all(answer == answers[0] for answer in answers), (method, path)


def test_other_schemes_and_doubled_headers_do_not_authenticate(edge: Edge) -> None:
    bare = edge.client(None)
    for value in (f"Basic {edge.key}", edge.key, f"Bearer  {edge.key}", f"Bearer {edge.key} x"):
        assert_problem(bare.get("/v1/sources", headers={"authorization": value}), 401)
    doubled = [("authorization", "Bearer x"), ("authorization", f"Bearer {edge.key}")]
    assert_problem(bare.get("/v1/sources", headers=doubled), 401)


@pytest.mark.parametrize("held", SCOPES[1:])
def test_a_scope_opens_its_operations_and_no_other(edge: Edge, held: str) -> None:
    client = edge.client(edge.issue(f"only_{held}", held))
    for (method, path), needed in NEEDED.items():
        reply = call(client, method, path)
        if needed == held:
            assert reply.status_code in (200, 400, 404), (method, path, reply.text)
        else:
            assert_problem(reply, 403)
            assert method == "HEAD" or needed in reply.json()["detail"]


def test_admin_may_do_everything(edge: Edge) -> None:
    for method, path in NEEDED:
        assert call(edge.admin, method, path).status_code in (200, 400, 404)


def test_undeclared_methods_are_refused(edge: Edge) -> None:
    declared = set(operations(edge))
    paths = {path for _, path in declared} | PAGES
    for path in sorted(paths):
        for method in METHODS:
            if (method, path) in declared or (path in PAGES and method == "GET"):
                continue
            url = fill(path.replace("{code}", "not_found"))
            reply = edge.admin.request(method, url)
            assert_problem(reply, 405)
            assert method not in reply.headers["allow"].split(", ")


@pytest.mark.parametrize(
    "path",
    [
        "/nope", "/v1", "/v1/", "/v1/nope", "/v1/subjects/x", "/v1/imports", "/v1/imports/nope?source=x", "/v2/sources",
        "/v1/sources/..", "/v1/%2e%2e/health/live", "/static/../pyproject.toml", "/.env", "/metrics",
        "/schema", "/openapi", "/openapi/swagger", "/openapi/openapi.json", "/openapi/nope", "/problems/nope",
        "/v1/audiences/%00", "/v1/audit/entries/%F0%9F", "/tile/0/../../x", "/tile/99/000", "/tile/0/x999/x999/000",
    ],
)  # fmt: skip
def test_unknown_paths_are_unknown(edge: Edge, path: str) -> None:
    for method in ("GET", "POST") if "imports" not in path else ("POST",):
        more = {"content": b"email\n", "headers": {"content-type": "text/csv"}} if "imports/" in path else {}
        reply = edge.admin.request(method, path, **more)
        assert reply.status_code in (404, 405)
        assert_problem(reply, reply.status_code)
        if method == "GET":
            assert reply.status_code == 404


def test_every_reply_carries_the_security_headers(edge: Edge) -> None:
    """Successes too: also the pages for people, whose policy is their own and allows no script."""
    for path in sorted(PUBLIC | PAGES):
        reply = edge.client(None).get(path.replace("{code}", "not_found"))
        assert reply.status_code == 200
        for name, value in SECURITY.items():
            assert reply.headers[name] == value
        policy = reply.headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "script-src" not in policy
        assert "<script" not in reply.text
    assert edge.admin.get("/v1/sources").headers["cache-control"] == "no-store"


def test_nobody_is_told_what_serves(edge: Edge) -> None:
    for path in ("/health/live", "/nope", "/v1/sources"):
        headers = edge.admin.get(path).headers
        assert not {"server", "x-powered-by", "date"} & set(headers)


def test_a_planted_hole_is_found(edge: Edge, monkeypatch: pytest.MonkeyPatch) -> None:
    """The matrix goes red when one operation forgets to look at the key."""
    monkeypatch.setitem(NEEDED, ("GET", "/v1/audit/vkey"), "audit")
    with pytest.raises(AssertionError):
        test_every_operation_refuses_every_wrong_key_alike(edge, {"none": None})
