"""No personal data where it does not belong: canary people go through every endpoint, failures too, and are looked for.

Searched are the server's output, every answer, the API description, the exported log, and each file of the store
byte by byte. The names and addresses may be in the store as ciphertext only, that is: nowhere in the clear.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from edge import CSV, JSON, NDJSON, client, run_cli, serving

CANARIES = (
    "zuleika.canary", "zuleika", "quetzalcanary", "xanthippe.canary", "xanthippe",
    "15123999888", "1512 3999888", "1512-3999888", "13812345699", "CANARY-MEMBER-77", "canary-device-4711",
    "oCanaryOpenId0815", "192.0.2.199", "1987-06-05",
)  # fmt: skip
PERSON = {
    "member_no": "CANARY-MEMBER-77", "email": "Zuleika.Canary@example.org", "phone": "+49 1512 3999888",
    "device_id": "canary-device-4711", "openid": "oCanaryOpenId0815", "country": "DE", "given_name": "Zuleika",
    "family_name": "Quetzalcanary", "birth_date": "1987-06-05",
}  # fmt: skip
OTHER = {"email": "xanthippe.canary@example.org", "given_name": "Xanthippe", "country": "FR"}
EMAIL = {"email": "zuleika.canary@example.org"}
AT = "2026-01-31T12:00:00Z"


def found_in(text: bytes) -> list[str]:
    """The canaries in some bytes, whatever their case, in the clear or in the usual disguises."""
    low = text.lower()
    hits = []
    for canary in CANARIES:
        plain = canary.lower().encode()
        disguises = {plain, plain.replace(b"@", b"%40"), plain.hex().encode(), plain.decode().encode("utf-16-le")}
        disguises |= {base64.b64encode(canary.encode()).rstrip(b"=")[:-1].lower()}
        hits += [canary for disguise in disguises if disguise in low]
    return hits


@dataclass
class Story:
    """What is left after the canaries went through: every answer, and where the files are."""

    directory: Path
    log: Path
    answers: list[httpx.Response]
    export: Path
    tokens: list[str]


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> Story:
    base = tmp_path_factory.mktemp("canaries")
    directory, log = base / "store", base / "log"
    made = run_cli("init", "--store", directory, "--json")
    key = json.loads(made.stdout)["api_key"]
    issued = run_cli(
        "keys", "issue", "desk", "--scope", "reveal", "--scope", "reveal_plain", "--store", directory, "--json"
    )
    desk_key = json.loads(issued.stdout)["api_key"]
    with serving(directory, log, CONSENT_GATEWAY_LOG_LEVEL="debug", CONSENT_GATEWAY_OTEL_EXPORTER="console",
                 CONSENT_GATEWAY_OTEL_SAMPLE_RATIO="1") as server, client(server.url, key) as api:  # fmt: skip
        answers = [*_live(api), *_fail(api)]
        tokens, confirmed = _second_steps(api)
        with client(server.url, desk_key) as desk:
            _reveal(api, desk)
        # The files as they are while the server runs: the write-ahead log is part of the store, and an erasure empties it.
        held = {f"running-{file.name}": file.read_bytes() for file in directory.iterdir()}
        answers += [*confirmed, *_leave(api)]
        held |= {f"running-left-{file.name}": file.read_bytes() for file in directory.iterdir()}
        assert server.stop()
    for name, content in held.items():
        (base / name).write_bytes(content)
    done = run_cli("audit", "export", base / "export", "--store", directory)
    assert done.returncode == 0
    return Story(directory, log, answers, base / "export", tokens)


def _live(api: httpx.Client) -> Iterator[httpx.Response]:
    post = api.post
    yield post("/v1/sources", json={"id": "crm", "name": "CRM", "channel": "web", "party": "first"})
    yield post("/v1/traits", json={"id": "city", "type": "text"})
    yield post("/v1/subjects", json={"source": "crm", "items": [PERSON]}, headers={"idempotency-key": "one"})
    yield post("/v1/subjects", json={"source": "crm", "items": [PERSON]}, headers={"idempotency-key": "one"})
    csv = ",".join(OTHER) + "\n" + ",".join(OTHER.values()) + "\n"
    yield post("/v1/imports/subjects?source=crm", content=csv.encode(), headers=CSV)
    consent = {"subject": EMAIL, "purpose": "direct_marketing", "kind": "given", "at": AT, "channel": "sms"}
    consent |= {"properties": ["affirmative", "two_step", "evidence"], "contact_point": {"phone": "+4915123999888"}}
    consent |= {"evidence": {"address": "192.0.2.199", "name": "Zuleika Quetzalcanary"}}
    yield post("/v1/consents", json={"source": "crm", "items": [consent]}, headers={"sec-gpc": "1"})
    choice = {"subject": {"phone": "01512 3999888", "region": "DE"}, "choice": "objection", "active": False, "at": AT}
    yield post("/v1/imports/choices?source=crm", content=json.dumps(choice).encode(), headers=NDJSON)
    yield post(
        "/v1/events", json={"source": "crm", "items": [{"subject": EMAIL, "type": "visit", "at": AT, "key": "1"}]}
    )
    contact = {"subject": EMAIL, "channel": "email", "at": AT, "campaign": "spring", "key": "1"}
    yield post("/v1/contacts", json={"source": "crm", "items": [contact]})
    signals = [{"subject": {"device_id": "canary-device-4711"}, "raw": "1YYN", "at": AT, "displayed": True}]
    signals += [{"subject": {"device_id": "canary-device-4712"}, "raw": "1", "at": AT}]
    signals += [{"subject": EMAIL, "raw": "zuleika.canary@example.org", "at": AT}]
    yield post("/v1/signals", json={"source": "crm", "items": signals})
    question = {"purpose": "direct_marketing", "channel": "email", "explain": True, "subject": EMAIL}
    yield post("/v1/decisions", json=question)
    batch = {"purpose": "direct_marketing", "channel": "email", "subjects": [EMAIL, {"openid": "oCanaryOpenId0815"}]}
    yield post("/v1/decisions/batch", json=batch)
    made = post("/v1/audiences", json={"purpose": "direct_marketing", "channel": "email", "text": "everyone"})
    yield made
    yield api.get(f"/v1/audiences/{made.json()['id']}/members")
    yield post("/v1/subjects/lookup", json={"identifier": EMAIL})
    yield from _ledger(api)
    yield from _registers(api)


def _ledger(api: httpx.Client) -> Iterator[httpx.Response]:
    """What is read of a person, confirmed, receipted and merged."""
    post, name = api.post, _name(api)
    notice = {"id": "privacy", "version": 1, "language": "en", "title": "Privacy", "text": "We write to you."}
    yield post("/v1/notices", json=notice)
    shown = {"subject": EMAIL, "notice": "privacy", "notice_version": 1, "language": "en", "at": AT}
    yield post("/v1/notices_shown", json={"source": "crm", "items": [shown]})
    pending = {"subject": EMAIL, "purpose": "direct_marketing", "kind": "pending", "at": AT, "channel": "email"}
    pending |= {"confirm": True, "evidence": {"name": "Zuleika Quetzalcanary"}, "properties": ["evidence"]}
    asked = post("/v1/consents", json={"source": "crm", "items": [pending]}, headers={"idempotency-key": "asked"})
    yield asked
    path = f"/v1/consents/confirmations/{asked.json()['confirmations'][0]['token']}"
    for headers in ({}, {"accept": "text/html"}):
        yield api.get(path, headers=headers)
    yield post(path, headers={"user-agent": "Zuleika's phone"})
    for headers in ({}, {"accept": "text/html"}):
        yield post(path, headers=headers)
    yield post("/v1/consents/history", json={"subject": EMAIL})
    yield post("/v1/consents/state", json={"subject": EMAIL})
    yield api.get(f"/v1/subjects/{name}/signals")
    yield post("/v1/consents/receipt", json={"subject": EMAIL, "purpose": "direct_marketing", "format": "iso27560"})
    two = {"subjects": [EMAIL, {"email": "xanthippe.canary@example.org"}], "reason": "duplicate"}
    yield post("/v1/subjects/merge", json=two | {"dry_run": True})
    merged = post("/v1/subjects/merge", json=two, headers={"idempotency-key": "merged"})
    yield merged
    yield api.get("/v1/merges")
    yield post("/v1/subjects/unmerge", json={"merge": merged.json()["merge"], "reason": "wrong_match"})


def _registers(api: httpx.Client) -> Iterator[httpx.Response]:
    """The law and the records, with the canaries where people might write them by mistake."""
    yield api.get("/v1/purposes/record", params={"format": "csv"})
    yield api.get("/v1/policies")
    yield api.post("/v1/policies", json={"text": "id: zuleika.canary@example.org"})
    yield api.post("/v1/policies/diff", json={"old": {"name": "active"}, "new": {"name": "shipped"}})
    yield api.post("/v1/policies/diff", json={"old": {"name": "zuleika.canary"}, "new": {"text": "zuleika.canary"}})
    yield api.post("/v1/decisions/zuleika.canary@example.org/replay", json={})
    yield api.post("/v1/signal-mappings", json={"purposes": [], "vendors": [], "zuleika.canary": 1})


def _name(api: httpx.Client) -> str:
    found: str = api.post("/v1/subjects/lookup", json={"identifier": EMAIL}).json()["pseudonym"]
    return found


def _fail(api: httpx.Client) -> Iterator[httpx.Response]:
    """The same people in everything that can be refused."""
    evil: list[Any] = [
        PERSON | {"zuleika.canary@example.org": 1}, PERSON | {"country": "Zuleika"}, {"email": "zuleika.canary at example"},
        PERSON | {"birth_date": "zuleika"}, PERSON | {"phone": "1512 3999888 zuleika"}, PERSON | OTHER,
        PERSON | {"traits": {"zuleika": "zuleika"}}, PERSON | {"traits": {"city": "zuleika.canary" * 9}}, ["zuleika"],
    ]  # fmt: skip
    yield api.post(
        "/v1/imports/subjects?source=crm", content=b"\n".join(json.dumps(e).encode() for e in evil), headers=NDJSON
    )
    yield api.post("/v1/imports/subjects?source=crm", content=b'{"email":"zuleika.canary@example.org', headers=NDJSON)
    yield api.post("/v1/imports/subjects?source=zuleika.canary@example.org", content=b"{}", headers=NDJSON)
    yield api.post("/v1/imports/subjects?source=crm", content=b"zuleika.canary@example.org\nx\n", headers=CSV)
    yield api.post("/v1/imports/zuleika.canary?source=crm", content=b"{}", headers=NDJSON)
    yield api.post(
        "/v1/subjects", content=b'{"zuleika.canary@example.org":1,"zuleika.canary@example.org":2}', headers=JSON
    )
    yield api.post("/v1/subjects", content=b'\xff"zuleika.canary"', headers=JSON)
    for path in ("purposes", "notices", "sources", "recipients", "traits", "segments", "subjects", "consents", "choices",
                 "events", "contacts", "signals", "notices_shown", "consents/receipt", "consents/history", "consents/state",
                 "subjects/merge", "subjects/unmerge", "signal-mappings", "policies", "controller", "subjects/lookup", "decisions", "decisions/batch", "audiences"):  # fmt: skip
        yield api.post(
            f"/v1/{path}", json={"zuleika.canary@example.org": "Quetzalcanary", "id": "Zuleika", "items": ["zuleika"]}
        )
    yield api.post(
        "/v1/decisions", json={"purpose": "direct_marketing", "channel": "email", "subject": {"email": "zuleika"}}
    )
    yield api.post("/v1/decisions", json={"purpose": "zuleika", "channel": "email", "subject": EMAIL})
    yield api.post(
        "/v1/audiences", json={"purpose": "direct_marketing", "channel": "email", "text": 'city == "zuleika'}
    )
    yield api.post("/v1/subjects/lookup", json={"identifier": {"email": "xanthippe.canary@nowhere.example"}})
    unknown = {
        "subject": {"email": "xanthippe@canary.example"},
        "purpose": "direct_marketing",
        "kind": "withdrawn",
        "at": AT,
    }
    yield api.post("/v1/consents", json={"source": "crm", "items": [unknown, unknown | {"kind": "given"}]})
    for path in ("/zuleika.canary@example.org", "/v1/audiences/zuleika.canary", "/v1/audit/entries/zuleika", "/tile/zuleika",
                 "/v1/sources?zuleika.canary@example.org=1&zuleika.canary@example.org=2", "/problems/zuleika",
                 "/v1/quarantine?after=zuleika", "/v1/quarantine"):  # fmt: skip
        yield api.get(path)
    yield api.post("/v1/subjects/zuleika.canary@example.org/erase", json={})
    yield api.get("/v1/sources", headers={"authorization": "Bearer zuleika.canary@example.org"})
    yield api.get("/v1/sources", headers={"traceparent": "zuleika", "user-agent": "zuleika", "x-request-id": "zuleika"})
    yield api.request("PUT", "/v1/sources/zuleika.canary", json={})
    yield api.post("/v1/subjects", json={"source": "crm", "items": []}, headers={"idempotency-key": "zuleika" * 20})


def _second_steps(api: httpx.Client) -> tuple[list[str], list[httpx.Response]]:
    """The canaries are asked twice, one request is confirmed, their ledger is read; returns the tokens, and the answers.

    The answers that tell a token are not among them: they are the one place where it belongs.
    """
    item = {"subject": EMAIL, "purpose": "direct_marketing", "channel": "email", "kind": "pending", "confirm": True}
    item |= {"at": AT, "properties": ["affirmative", "evidence"], "evidence": {"name": "Zuleika Quetzalcanary"}}
    tokens = []
    for key in ("ask-1", "ask-2"):
        body = {"source": "crm", "items": [item]}
        asked, again = [api.post("/v1/consents", json=body, headers={"idempotency-key": key}) for _ in range(2)]
        assert asked.content == again.content
        tokens.append(asked.json()["confirmations"][0]["token"])
    path, done = "/v1/consents/confirmations/", []
    page = {"accept": "text/html", "user-agent": "Zuleika.Canary/1"}
    for token in (tokens[0], tokens[0] + "zuleika", "zuleika.canary@example.org"):
        done += [api.request(method, path + token) for method in ("GET", "HEAD", "OPTIONS")]
        done += [api.get(path + token, headers=page), api.get(path + token, params={"token": token})]
        done += [api.post(path + token, headers=page), api.post(path + token), api.put(path + token)]
    for who in (EMAIL, {"email": "zuleika"}, {"email": "xanthippe.canary@nowhere.example"}):
        done += [api.post(f"/v1/consents/{what}", json={"subject": who}) for what in ("history", "state")]
    assert {200, 404, 405, 409} <= {answer.status_code for answer in done}
    return tokens, done


def _reveal(api: httpx.Client, desk: httpx.Client) -> None:
    """The canaries are revealed in every view, and asked for in wrong ways; the answers that may tell are not kept."""
    purpose = {
        "id": "service_delivery", "kind": "service_delivery", "title": "Delivery", "title_zh": "服务",
        "dpv_iri": "https://w3id.org/dpv#ServiceProvision", "basis": "contract", "marks": ["sensitive_fields"],
        "reveals": ["email", "phone", "member_no", "openid", "given_name", "family_name", "birth_date"],
    }  # fmt: skip
    assert api.post("/v1/purposes", json=purpose).is_success
    name, why = _name(api), {"reason": "incident", "ticket": "CASE-1"}
    body = {"purpose": "service_delivery", "channel": "email", **why}
    body["fields"] = [f for f in purpose["reveals"] if f != "phone"]
    plain = desk.post(f"/v1/subjects/{name}/reveal", json=body | {"view": "plain"})
    assert set(found_in(plain.content)) >= {"zuleika.canary", "quetzalcanary", "CANARY-MEMBER-77", "1987-06-05"}
    assert found_in(desk.post(f"/v1/subjects/{name}/reveal", json=body).content) == []
    phone = body | {"channel": "sms", "fields": ["phone"], "subjects": [name], "view": "plain"}
    assert "15123999888" in desk.post("/v1/reveals", json=phone).text
    for wrong in ({"ticket": "Zuleika"}, {"fields": ["zuleika.canary"]}, {"reason": "Zuleika Quetzalcanary"}):
        assert found_in(desk.post(f"/v1/subjects/{name}/reveal", json=body | wrong).content) == []
    assert found_in(desk.post("/v1/subjects/zuleika.canary@example.org/reveal", json=body).content) == []


def _leave(api: httpx.Client) -> Iterator[httpx.Response]:
    name = api.post("/v1/subjects/lookup", json={"identifier": {"email": "xanthippe.canary@example.org"}}).json()[
        "pseudonym"
    ]
    yield api.post(f"/v1/subjects/{name}/erase", json={"reason": "request"})
    yield api.post("/v1/subjects", json={"source": "crm", "items": [OTHER]})
    for path in (
        "/openapi.json",
        "/docs",
        "/v1/audit/checkpoint",
        "/v1/sources",
        "/v1/traits",
        "/v1/segments",
        "/health/ready",
    ):
        yield api.get(path)


def test_the_canaries_went_everywhere(story: Story) -> None:
    """Every operation was called with success, and most with failure; nothing broke."""
    assert {200, 201, 400, 401, 404} <= {answer.status_code for answer in story.answers}
    assert all(answer.status_code < 500 for answer in story.answers)
    taken = [answer for answer in story.answers[:15] if not answer.is_success]
    assert taken == []
    assert all(answer.json()["accepted"] == 1 for answer in story.answers[2:9])


@pytest.mark.parametrize(
    "path",
    [
        "/v1/notices_shown",
        "/v1/consents/confirmations/",
        "/v1/consents/history",
        "/v1/consents/state",
        "/v1/subjects/merge",
        "/v1/subjects/unmerge",
        "/v1/merges",
        "/v1/purposes/record",
        "/v1/policies/diff",
    ],
)
def test_the_canaries_were_taken_in_where_a_person_is_read_or_changed(story: Story, path: str) -> None:
    answers = [answer for answer in story.answers if answer.request.url.path.startswith(path)]
    assert any(answer.is_success for answer in answers), [answer.text for answer in answers]


def test_a_token_is_in_no_log_span_entry_answer_or_file(story: Story) -> None:
    """Not even the answers kept for idempotency keys, whose rows are in the store, tell one."""
    assert len(set(story.tokens)) == 2
    log = story.log.read_bytes()
    assert b"/v1/consents/confirmations/{token}" in log
    assert b"http.route" in log
    files = [*story.directory.iterdir(), *story.directory.parent.glob("running-*")]
    files += [file for file in story.export.rglob("*") if file.is_file()]
    told = [log, *(file.read_bytes() for file in files), *(answer.content for answer in story.answers)]
    for token in story.tokens:
        hidden = {token.encode(), token.encode().hex().encode(), base64.b64encode(token.encode())[:40]}
        assert not [n for n, text in enumerate(told) if any(form in text for form in hidden)]


def test_no_answer_repeats_them(story: Story) -> None:
    for answer in story.answers:
        head = b"\n".join(name + b": " + value for name, value in answer.headers.raw)
        assert found_in(head + answer.content) == [], answer.request.url.path


def test_no_log_span_or_metric_has_them(story: Story) -> None:
    text = story.log.read_bytes()
    assert b'"event":"http.request"' in text
    assert b'"http.route"' in text or b"http.route" in text
    assert found_in(text) == []


def test_the_exported_log_has_none_of_them(story: Story) -> None:
    files = [file for file in story.export.rglob("*") if file.is_file()]
    assert files
    assert all(found_in(file.read_bytes()) == [] for file in files)


def test_no_file_of_the_store_has_them_in_the_clear(story: Story) -> None:
    """Neither while it runs (with the write-ahead log) nor after it ended."""
    running = list(story.directory.parent.glob("running-*"))
    files = [*story.directory.iterdir(), *running]
    assert {"gateway.sqlite3", "keyring.json"} <= {file.name for file in files}
    assert {"running-gateway.sqlite3-wal", "running-left-gateway.sqlite3-wal"} <= {file.name for file in running}
    for file in files:
        assert found_in(file.read_bytes()) == [], file.name


@pytest.mark.parametrize(
    "text",
    [
        b"..zuleika.canary@example.org..", b"+4915123999888", "Zuleika".encode("utf-16-le"), b"ZULEIKA.CANARY%40example.org",
        base64.b64encode(b"Quetzalcanary".lower()), b"quetzalcanary".hex().encode(),
    ],
)  # fmt: skip
def test_the_search_finds_what_is_planted(text: bytes) -> None:
    assert found_in(b"\x00" + text + b"\x00") != []
    assert found_in(b"nobody is here") == []
