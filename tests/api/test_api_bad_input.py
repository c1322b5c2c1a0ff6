"""What comes in wrong: each gets a clear error with the field, or a quarantine reason; nothing is half-done; no 500."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from consent_gateway.api import wire
from consent_gateway.api.bodies import parse_model
from consent_gateway.api.wire.base import Day, Instant
from consent_gateway.clock import FixedClock
from consent_gateway.errors import InputError
from edge import CSV, JSON, NDJSON, Edge, running

NOON = datetime(2026, 11, 18, 12, 0, tzinfo=UTC)
LAWS = settings(
    derandomize=True, deadline=None, max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
WHO = {"email": "anna@example.org"}
GIVEN = {"subject": WHO, "purpose": "direct_marketing", "kind": "given", "at": "2026-01-31T12:00:00Z"}


def prepare(edge: Edge) -> None:
    post = edge.admin.post
    assert post("/v1/sources", json={"id": "crm", "name": "CRM", "channel": "web", "party": "first"}).is_success
    assert post("/v1/traits", json={"id": "visits", "type": "integer"}).is_success
    assert post("/v1/traits", json={"id": "city", "type": "text"}).is_success
    assert post("/v1/subjects", json={"source": "crm", "items": [WHO, {"email": "bert@example.org"}]}).is_success


@pytest.fixture(scope="module")
def edge(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Edge]:
    with running(tmp_path_factory.mktemp("bad"), clock=FixedClock(NOON)) as made:
        prepare(made)
        yield made


def rows(edge: Edge, kind: str, body: bytes, headers: dict[str, str] = NDJSON) -> dict[str, Any]:
    """Import rows and return the answer, whose sums must hold."""
    reply = edge.admin.post(f"/v1/imports/{kind}?source=crm", content=body, headers=headers)
    assert reply.status_code == 200, reply.text
    answer = dict(reply.json())
    assert answer["received"] == answer["accepted"] + answer["duplicates"] + answer["rejected"]
    assert answer["rejected"] == len(answer["rejections"])
    return answer


def refusal(edge: Edge, kind: str, row: Any) -> list[tuple[str, str]]:
    """The reasons for which one row is refused, as path and code."""
    body = row if isinstance(row, bytes) else json.dumps(row).encode()
    answer = rows(edge, kind, body)
    assert answer["rejected"] == answer["received"] == 1, answer
    return [(reason["path"], reason["code"]) for reason in answer["rejections"][0]["reasons"]]


def problem(reply: Any, status: int, code: str) -> list[tuple[str, str]]:
    assert (reply.status_code, reply.json()["code"]) == (status, code), reply.text
    return [(error["path"], error["code"]) for error in reply.json()["errors"]]


# -- rows --------------------------------------------------------------------------------------------------------

BAD_ROWS: dict[str, tuple[str, Any, tuple[str, str]]] = {
    "unknown field": ("subjects", {**WHO, "nick": "x"}, ("$.nick", "extra_forbidden")),
    "yes for true": ("choices", {"subject": WHO, "choice": "gpc", "active": "yes", "at": GIVEN["at"]}, ("$.active", "bool_type")),
    "one for true": ("choices", {"subject": WHO, "choice": "gpc", "active": 1, "at": GIVEN["at"]}, ("$.active", "bool_type")),
    "null for true": ("choices", {"subject": WHO, "choice": "gpc", "active": None, "at": GIVEN["at"]}, ("$.active", "bool_type")),
    "text for a number": ("events", {"subject": WHO, "type": "visit", "at": GIVEN["at"], "key": "k", "value": "7"}, ("$.value", "int_type")),
    "unknown purpose": ("consents", {**GIVEN, "purpose": "world_domination"}, ("$.purpose", "unknown_purpose")),
    "unknown channel": ("consents", {**GIVEN, "channel": "pigeon"}, ("$.channel", "enum")),
    "unknown recipient": ("consents", {**GIVEN, "recipient": "nobody"}, ("$.recipient", "unknown_recipient")),
    "unknown notice": ("consents", {**GIVEN, "notice": "nothing"}, ("$.notice", "unknown_notice")),
    "unknown kind": ("consents", {**GIVEN, "kind": "assumed"}, ("$.kind", "enum")),
    "unknown choice": ("choices", {"subject": WHO, "choice": "all", "active": True, "at": GIVEN["at"]}, ("$.choice", "enum")),
    "unknown property": ("consents", {**GIVEN, "properties": ["implied"]}, ("$.properties[0]", "literal_error")),
    "unknown subject": ("consents", {**GIVEN, "subject": {"email": "no@example.org"}}, ("$.subject", "unknown_subject")),
    "foreign contact point": ("consents", {**GIVEN, "contact_point": {"email": "bert@example.org"}}, ("$.contact_point", "unknown_contact_point")),
    "two identifiers": ("consents", {**GIVEN, "subject": {**WHO, "member_no": "M-1"}}, ("$.subject", "value_error")),
    "no identifier": ("consents", {**GIVEN, "subject": {}}, ("$.subject", "value_error")),
    "future": ("consents", {**GIVEN, "at": "2026-11-18T12:05:01Z"}, ("$.at", "future_date")),
    "long ago": ("consents", {**GIVEN, "at": "1989-12-31T23:59:59Z"}, ("$.at", "impossible_date")),
    "no such day": ("consents", {**GIVEN, "at": "2026-02-30T12:00:00Z"}, ("$.at", "datetime_from_date_parsing")),
    "no such hour": ("consents", {**GIVEN, "at": "2026-01-31T25:00:00Z"}, ("$.at", "datetime_parsing")),
    "no offset": ("consents", {**GIVEN, "at": "2026-01-31T12:00:00"}, ("$.at", "timezone_aware")),
    "year 9999": ("consents", {**GIVEN, "at": "9999-12-31T23:59:59-12:00"}, ("$.at", "value_error")),
    "ends before it begins": ("consents", {**GIVEN, "valid_until": "2026-01-01T00:00:00Z"}, ("$.valid_until", "impossible_date")),
    "future event": ("events", {"subject": WHO, "type": "visit", "at": "2030-01-01T00:00:00Z", "key": "k"}, ("$.at", "future_date")),
    "phone without country": ("subjects", {"phone": "01512 3456789"}, ("$.phone", "phone_no_country")),
    "no e-mail address": ("subjects", {"email": "anna at example"}, ("$.email", "email_invalid")),
    "born tomorrow": ("subjects", {**WHO, "birth_date": "2026-11-19"}, ("$.birth_date", "birth_date_future")),
    "born on no day": ("subjects", {**WHO, "birth_date": "1980-02-30"}, ("$.birth_date", "birth_date_invalid")),
    "born in no month": ("subjects", {**WHO, "birth_date": "1980-13"}, ("$.birth_date", "birth_date_invalid")),
    "no such country": ("subjects", {**WHO, "country": "XX"}, ("$.country", "region_unknown")),
    "nothing to go by": ("subjects", {"given_name": "Anna"}, ("$", "no_identifier")),
    "unknown trait": ("subjects", {**WHO, "traits": {"shoe": 44}}, ("$.traits", "unknown_trait")),
    "trait of another type": ("subjects", {**WHO, "traits": {"visits": "many"}}, ("$.traits.visits", "wrong_type")),
    "two signs": ("subjects", {**WHO, "traits": {"visits": "--5"}}, ("$.traits.visits", "wrong_type")),
    "5,000 digits": ("subjects", {**WHO, "traits": {"visits": "9" * 5000}}, ("$.traits.visits", "wrong_type")),
    "a huge trait": ("subjects", {**WHO, "traits": {"visits": 2**64}}, ("$.traits.visits", "wrong_type")),
    "an address as a trait": (
        "subjects", {**WHO, "traits": {"city": "anna@example.org"}}, ("$.traits.city", "identifying_trait"),
    ),
    "a number as a trait": (
        "subjects", {**WHO, "traits": {"city": "call 4930901820"}}, ("$.traits.city", "identifying_trait"),
    ),
    "NUL in a trait": ("subjects", {**WHO, "traits": {"city": "a\0b"}}, ("$.traits.city", "wrong_type")),
    "NUL in a key": ("events", {"subject": WHO, "type": "visit", "at": GIVEN["at"], "key": "a\0b"}, ("$.key", "string_pattern_mismatch")),
    "NUL in a name": ("subjects", {**WHO, "given_name": "A\0na"}, ("$.given_name", "name_control_character")),
    "NUL in an address": ("subjects", {"email": "a\0@example.org"}, ("$.email", "email_invalid")),
    "a huge integer": ("events", {"subject": WHO, "type": "visit", "at": GIVEN["at"], "key": "k", "value": 10**30}, ("$.value", "less_than_equal")),
    "not an object": ("subjects", [1], ("$", "model_type")),
    "not JSON": ("subjects", b"{'email':1}", ("$@1", "not_json")),
    "two values": ("subjects", b"{} {}", ("$@4", "not_json")),
    "a duplicate key": ("subjects", b'{"email":"a@example.org","email":"b@example.org"}', ("$..email", "duplicate_key")),
    "NaN": ("events", b'{"value":NaN}', ("$@9", "not_json")),
    "a lone surrogate": ("subjects", b'{"given_name":"\\ud800"}', ("$", "not_json")),
    "10,000 deep": ("subjects", b"[" * 10_000 + b"]" * 10_000, ("$", "too_deep")),
    "10,000 deep evidence": ("consents", b'{"evidence":' + b'{"a":' * 10_000 + b"1" + b"}" * 10_000 + b"}", ("$", "too_deep")),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD_ROWS)
def test_a_bad_row_is_quarantined_with_its_reason(edge: Edge, name: str) -> None:
    kind, row, (path, code) = BAD_ROWS[name]
    found = refusal(edge, kind, row)
    assert path in [p for p, _ in found], found
    if not code.startswith(("datetime", "email", "birth", "phone", "region", "name", "not_json")):
        assert (path, code) in found
    listed = edge.admin.get("/v1/quarantine").json()["items"][-1]
    assert [(r["path"], r["code"]) for r in listed["reasons"]] == found
    assert not {"sealed", "raw", "content"} & set(listed)


def test_one_bad_row_does_not_spoil_the_others(edge: Edge) -> None:
    lines = [
        {"email": "q1@example.org"},
        {"email": 1},
        {"email": "q2@example.org", "nick": "x"},
        {"email": "q3@example.org"},
    ]
    answer = rows(edge, "subjects", b"\n".join(json.dumps(line).encode() for line in lines))
    assert (answer["created"], answer["rejected"]) == (2, 2)
    assert [rejection["row"] for rejection in answer["rejections"]] == [2, 3]


def test_a_refused_row_never_comes_back(edge: Edge) -> None:
    """Reasons name fields and rules; neither the answer nor the list repeats what was sent."""
    secret = "canary.person@secret.example"
    answer = rows(edge, "subjects", json.dumps({"email": secret, secret: 1, "birth_date": secret}).encode())
    listed = edge.admin.get("/v1/quarantine").text
    assert secret not in json.dumps(answer)
    assert secret not in listed


def test_a_row_whose_identifiers_belong_to_two_people_is_for_a_human(edge: Edge) -> None:
    rows(
        edge, "subjects", b'{"member_no":"T-1","email":"t1@example.org"}\n{"member_no":"T-2","email":"t2@example.org"}'
    )
    assert refusal(edge, "subjects", {"member_no": "T-1", "email": "t2@example.org"}) == [("$", "identity_conflict")]
    for who in ({"member_no": "T-1"}, {"email": "t1@example.org"}):
        assert edge.admin.post("/v1/subjects/lookup", json={"identifier": who}).status_code == 200


def test_the_same_file_twice_changes_nothing(edge: Edge) -> None:
    files = {
        "subjects": b'{"email":"twice@example.org","given_name":"Zweimal"}',
        "events": b'{"subject":{"email":"twice@example.org"},"type":"visit","at":"2026-01-01T00:00:00Z","key":"e-1"}',
        "contacts": b'{"subject":{"email":"twice@example.org"},"channel":"email","at":"2026-01-01T00:00:00Z",'
        b'"campaign":"spring","key":"c-1"}',
    }
    for kind, file in files.items():
        first, second = rows(edge, kind, file), rows(edge, kind, file)
        assert (first["accepted"], first["duplicates"]) == (1, 0)
        assert (second["accepted"], second["duplicates"]) == (0, 1)


def test_blank_lines_count_as_lines_and_not_as_rows(edge: Edge) -> None:
    answer = rows(edge, "subjects", b'\n  \n{"email":"blank@example.org"}\r\n\n{"email":7}\n')
    assert (answer["received"], answer["created"]) == (2, 1)
    assert answer["rejections"][0]["row"] == 5


# -- CSV ---------------------------------------------------------------------------------------------------------


def csv(edge: Edge, body: bytes) -> dict[str, Any]:
    return rows(edge, "subjects", body, CSV)


def test_csv_with_bom_crlf_quotes_and_spaces_in_the_header(edge: Edge) -> None:
    body = '\ufeffmember_no, email ,given_name,family_name\r\nC-1,c1@example.org,"Anna ""Ann""","Arnold, née Braun"\r\n'
    assert csv(edge, body.encode())["created"] == 1


def test_csv_line_breaks_inside_quotes_stay_in_their_record(edge: Edge) -> None:
    answer = csv(edge, b'member_no,given_name\r\nC-2,"Anna\r\nMaria"\r\nC-3,Bert\r\n')
    assert answer["received"] == 2
    assert answer["created"] == 1
    assert answer["rejections"][0]["row"] == 1
    assert answer["rejections"][0]["reasons"][0]["path"] == "$.given_name"


@pytest.mark.parametrize(
    "cell", ["=1+1", "+49|x", "-1|x", "@SUM(A1)", '=HYPERLINK("http://x")', "\t=1", "=cmd|' /C calc'!A0"]
)
def test_formula_cells_are_data_and_come_back_nowhere(edge: Edge, cell: str) -> None:
    """Nothing that the gateway writes repeats a cell; as an identifier it is refused or normalised, never run."""
    quoted = '"' + cell.replace('"', '""') + '"'
    for column in ("email", "phone", "given_name", "trait.city", "trait.visits"):
        reply = edge.admin.post(
            "/v1/imports/subjects?source=crm", content=f"device_id,{column}\nformula-1,{quoted}\n".encode(), headers=CSV
        )
        assert reply.status_code == 200
        assert cell not in reply.text
    assert cell not in edge.admin.get("/v1/quarantine").text


@pytest.mark.parametrize(
    ("body", "path", "code"),
    [
        (b"given_name\nAnna\n", "$", "missing_column"),
        (b"email,shoe_size\na@example.org,44\n", "$.shoe_size", "unknown_column"),
        (b"email,Email\na@example.org,b@example.org\n", "$.Email", "unknown_column"),
        (b"email,email\na@example.org,b@example.org\n", "$", "repeated_column"),
        (b"email;phone\na;b\n", "$.?", "unknown_column"),
        (b'email,given_name\na@example.org,"Anna\n', "$", "malformed_csv"),
        (b'email,given_name\na@example.org,An"na"x\n"b"c,d\n', "$", "malformed_csv"),
        (b"email\n" + b"9" * 140_000 + b"\n", "$", "malformed_csv"),
        (b"email\n", "$", "empty"),
        (b"\n\n", "$", "missing_column"),
        (b"email\nanna@example.org\x00\n", "$", "nul_byte"),
        (b"email\nann\xff@example.org\n", "$", "not_utf8"),
        (b"\xff\xfee\x00m\x00", "$", "not_utf8"),
    ],
)  # fmt: skip
def test_a_csv_that_is_none_is_refused_whole(edge: Edge, body: bytes, path: str, code: str) -> None:
    reply = edge.admin.post("/v1/imports/subjects?source=crm", content=body, headers=CSV)
    assert reply.status_code == 400
    assert (path, code) in [(e["path"], e["code"]) for e in reply.json()["errors"]]


def test_csv_rows_of_another_width_are_named(edge: Edge) -> None:
    answer = csv(edge, b"email,country\nw1@example.org\nw2@example.org,DE,x\nw3@example.org,DE\n")
    assert [(r["row"], r["reasons"][0]["code"]) for r in answer["rejections"]] == [
        (1, "wrong_width"),
        (2, "wrong_width"),
    ]


def test_only_subjects_come_as_csv(edge: Edge) -> None:
    reply = edge.admin.post("/v1/imports/consents?source=crm", content=b"email\na\n", headers=CSV)
    assert problem(reply, 400, "invalid_input") == [("Content-Type", "not_csv")]


# -- whole requests ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"", "invalid_input"), (b"{", "malformed_body"), (b"\xff\xfe", "malformed_body"), (b"\x00", "malformed_body"),
        (b"[" * 10_000, "malformed_body"), (b"[" * 10_000 + b"]" * 10_000, "malformed_body"),
        (b'{"a":' * 10_000 + b"1" + b"}" * 10_000, "malformed_body"), (b'{"id":"\\ud800"}', "malformed_body"),
        (b'{"id":1,"id":2}', "malformed_body"), (b'{"id":NaN}', "malformed_body"), (b'{"id":1e999}', "malformed_body"),
        (b"[]", "invalid_input"), (b"null", "invalid_input"), (b'"x"', "invalid_input"), (b"true", "invalid_input"),
        (b'{"id":' + b"9" * 5000 + b"}", "malformed_body"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("path", ["/v1/purposes", "/v1/decisions", "/v1/subjects", "/v1/audiences"])
def test_bodies_that_are_not_what_is_asked_for(edge: Edge, path: str, body: bytes, code: str) -> None:
    assert problem(edge.admin.post(path, content=body, headers=JSON), 400, code)


def test_a_line_of_a_gigabyte_is_refused_by_its_announcement(edge: Edge) -> None:
    """The size alone is enough: not a byte of the body is sent, and the answer is there."""
    host, _, port = edge.url.removeprefix("http://").partition(":")
    with socket.create_connection((host, int(port)), timeout=10) as plain:
        head = (
            f"POST /v1/imports/subjects?source=crm HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {edge.key}\r\n"
            "Content-Type: text/csv\r\nContent-Length: 1073741824\r\n\r\n"
        )
        plain.sendall(head.encode())
        assert b"413" in plain.recv(64)


def test_a_line_of_a_gigabyte_that_is_streamed_is_cut(edge: Edge) -> None:
    """Of a body without an announced size the gateway reads its limit and a little more, and then ends."""
    sent = 0
    host, _, port = edge.url.removeprefix("http://").partition(":")
    with socket.create_connection((host, int(port)), timeout=10) as plain:
        head = (
            f"POST /v1/imports/subjects?source=crm HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {edge.key}\r\n"
            "Content-Type: application/x-ndjson\r\nTransfer-Encoding: chunked\r\n\r\n"
        )
        plain.sendall(head.encode())
        chunk = b"10000\r\n" + b"9" * 65_536 + b"\r\n"
        try:
            while sent < 1 << 30:
                plain.sendall(chunk)
                sent += 65_536
        except OSError:  # the gateway closed the connection
            pass
    assert sent < 64 << 20


def test_limits_hold_at_their_edge(edge: Edge) -> None:
    item = b'{"email":"limit@example.org"}\n'
    exact = edge.admin.post("/v1/imports/subjects?source=crm", content=item * 1000, headers=NDJSON)
    above = edge.admin.post("/v1/imports/subjects?source=crm", content=item * 1001, headers=NDJSON)
    assert exact.json()["received"] == 1000
    assert problem(above, 413, "too_large") == []
    twin = {"source": "crm", "items": [{"email": "limit@example.org"}] * 1001}
    assert problem(edge.admin.post("/v1/subjects", json=twin), 400, "invalid_input") == [("$.items", "too_long")]
    line = b'{"email":"' + b"x" * (1 << 20) + b'"}'
    reply = edge.admin.post("/v1/imports/subjects?source=crm", content=line, headers=NDJSON)
    assert problem(reply, 400, "malformed_body") == [("$", "line_too_long")]
    many = {"purpose": "direct_marketing", "channel": "email", "subjects": [WHO] * 1001}
    assert problem(edge.admin.post("/v1/decisions/batch", json=many), 400, "invalid_input") == [
        ("$.subjects", "too_long")
    ]


@pytest.mark.parametrize(
    ("path", "where", "code"),
    [
        ("/v1/imports/subjects", None, None),
        ("/v1/imports/subjects?source=", "$.source", "unknown_source"),
        ("/v1/imports/subjects?source=nobody", "$.source", "unknown_source"),
        ("/v1/imports/subjects?source=%00", "$.source", "unknown_source"),
        ("/v1/imports/subjects?source=crm&source=crm", "?source", "duplicate_query_key"),
        ("/v1/imports/subjects?source=%ff", "?", "malformed_query"),
    ],
)
def test_a_source_must_be_registered(edge: Edge, path: str, where: str | None, code: str | None) -> None:
    reply = edge.admin.post(path, content=b'{"email":"s@example.org"}', headers=NDJSON)
    assert reply.status_code == 400
    if where:
        assert (where, code) in [(e["path"], e["code"]) for e in reply.json()["errors"]]


@pytest.mark.parametrize("after", ["x", "1.5", "", "9" * 5000, "true"])
def test_a_page_begins_at_a_number(edge: Edge, after: str) -> None:
    problem(edge.admin.get("/v1/quarantine", params={"after": after}), 400, "invalid_input")


@pytest.mark.parametrize("after", [-(10**30), -1, 0, 2**31, 2**63 - 1, 2**63, 10**30])
def test_any_whole_number_is_a_page(edge: Edge, after: int) -> None:
    assert edge.admin.get("/v1/quarantine", params={"after": after, "limit": after}).status_code == 200


@pytest.mark.parametrize(
    ("question", "path", "code"),
    [
        ({"purpose": "nothing"}, "$.purpose", "unknown_purpose"),
        ({"recipient": "nobody"}, "$.recipient", "unknown_recipient"),
        ({"channel": "pigeon"}, "$.channel", "enum"),
        ({"explain": "yes"}, "$.explain", "bool_type"),
        ({"subject": {"phone": "01512 3456789"}}, "$.subject.phone", None),
        ({"subject": {"email": "nothing"}}, "$.subject.email", None),
        ({"subject": {}}, "$.subject", "value_error"),
        ({"basis": "faith"}, "$.basis", "enum"),
        ({"message": {"unsubscribe": "yes"}}, "$.message.unsubscribe", "bool_type"),
    ],
)
def test_a_question_names_what_is_wrong_with_it(
    edge: Edge, question: dict[str, Any], path: str, code: str | None
) -> None:
    body = {"purpose": "direct_marketing", "channel": "email", "subject": WHO} | question
    found = problem(edge.admin.post("/v1/decisions", json=body), 400, "invalid_input")
    assert path in [p for p, _ in found]
    assert code is None or (path, code) in found


def test_a_lookup_names_what_is_wrong_with_the_identifier(edge: Edge) -> None:
    found = problem(
        edge.admin.post("/v1/subjects/lookup", json={"identifier": {"phone": "01512 3456789"}}), 400, "invalid_input"
    )
    assert [path for path, _ in found] == ["$.identifier.phone"]
    known = edge.admin.post("/v1/subjects/lookup", json={"identifier": {"phone": "01512 3456789", "region": "DE"}})
    assert known.status_code == 404


@pytest.mark.parametrize(
    "segment",
    [
        {"text": "visits >="}, {"text": ""}, {"text": "shoe >= 1"}, {"text": 'visits >= "x"'}, {"text": "(" * 5000},
        {"text": 'city == "a\0b"'}, {"text": "not " * 2000 + "everyone"}, {"expression": {}}, {"expression": {"all": []}},
        {"expression": {"trait": "city", "op": "==", "value": "a\0b"}}, {"expression": {"trait": "visits", "op": "LIKE", "value": 1}},
        {"expression": {"trait": "visits", "op": ">=", "value": 10**30}}, {"expression": {"trait": "visits; drop table", "op": ">=", "value": 1}},
        {}, {"text": "everyone", "expression": {"everyone": True}},
    ],
)  # fmt: skip
def test_segments_that_are_none(edge: Edge, segment: dict[str, Any]) -> None:
    use = {"purpose": "direct_marketing", "channel": "email"}
    assert problem(edge.admin.post("/v1/audiences", json=use | segment), 400, "invalid_input") is not None
    assert problem(edge.admin.post("/v1/segments", json={"id": "s"} | segment), 400, "invalid_input") is not None
    assert edge.admin.get("/v1/segments").json() == {"items": []}


def test_a_refused_request_leaves_nothing_behind(edge: Edge) -> None:
    """One bad field, and the register, the people and the log are as before."""
    edge.settle()
    before = (edge.admin.get("/v1/purposes").content, edge.admin.get("/v1/audit/checkpoint").content)
    good = {
        "id": "half", "kind": "direct_marketing", "title": "t", "title_zh": "t", "dpv_iri": "https://w3id.org/dpv#X",
        "basis": "consent", "channels": ["email"],
    }  # fmt: skip
    for change in (
        {"parent": "nobody"},
        {"channels": ["email", "pigeon"]},
        {"kind": "x"},
        {"id": "Half"},
        {"title": "a\0"},
    ):
        assert edge.admin.post("/v1/purposes", json=good | change).status_code == 400
    edge.settle()
    assert before == (edge.admin.get("/v1/purposes").content, edge.admin.get("/v1/audit/checkpoint").content)


# -- anything at all -----------------------------------------------------------------------------------------------


@LAWS
@given(
    st.lists(st.binary(max_size=40) | st.sampled_from([b"email", b",", b'"', b"\r\n", b"a@example.org"]), max_size=12)
)
def test_no_csv_fails_inside(edge: Edge, parts: list[bytes]) -> None:
    reply = edge.admin.post(
        "/v1/imports/subjects?source=crm", content=b"email,given_name\n" + b"".join(parts), headers=CSV
    )
    assert reply.status_code in (200, 400)


JSON_VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=8,
)
FIELDS = st.sampled_from(["email", "phone", "member_no", "country", "birth_date", "given_name", "traits", "language"])


@LAWS
@given(st.dictionaries(FIELDS | st.text(max_size=5), JSON_VALUES, max_size=5))
def test_no_row_fails_inside(edge: Edge, row: dict[str, Any]) -> None:
    answer = edge.admin.post("/v1/imports/subjects?source=crm", content=json.dumps(row).encode(), headers=NDJSON)
    assert answer.status_code in (200, 400)


@pytest.mark.parametrize("store_url", [pytest.param("postgres", marks=pytest.mark.postgres)], indirect=True)
def test_text_that_postgresql_cannot_keep_is_refused_and_not_a_failure(tmp_path: Path, store_url: str) -> None:
    """NUL in any text: SQLite would keep it, PostgreSQL would fail inside; both must say so at the edge."""
    with running(tmp_path, store_url, clock=FixedClock(NOON)) as made:
        prepare(made)
        for name in ("NUL in a trait", "NUL in a key", "NUL in a name", "NUL in an address", "a huge trait"):
            test_a_bad_row_is_quarantined_with_its_reason(made, name)
        test_a_refused_request_leaves_nothing_behind(made)
        for segment in ({"text": 'city == "a\0b"'}, {"expression": {"trait": "city", "op": "==", "value": "a\0b"}}):
            test_segments_that_are_none(made, segment)
        for path in ("/v1/audiences/%00", "/v1/audiences/%00/members", "/v1/audit/entries/%00"):
            assert made.admin.get(path).status_code == 404
        notice = {"id": "n", "version": 1, "language": "en", "title": "t", "text": "a\0b"}
        assert made.admin.post("/v1/notices", json=notice).status_code == 400
        source = {"id": "n", "name": "a\0b", "channel": "web", "party": "first"}
        assert made.admin.post("/v1/sources", json=source).status_code == 400
        recipient = {"id": "n", "name": "a\0b", "kind": "processor", "country": "DE", "contract": True}
        assert made.admin.post("/v1/recipients", json=recipient).status_code == 400
        assert (
            made.admin.post("/v1/traits", json={"id": "n", "type": "integer", "description": "\0"}).status_code == 400
        )
        for after in (2**63, 10**30, -(10**30)):
            test_any_whole_number_is_a_page(made, after)


# -- a whole body that is read strictly ------------------------------------------------------------------------------


class _Dated(wire.Strict):
    at: Instant
    day: Day


@pytest.mark.parametrize(
    ("at", "day", "wrong"),
    [
        ("2026-01-31T12:00:00Z", "2026-01-31", []),
        ("2026-01-31T12:00:00+05:30", "0001-01-01", []),
        ("2026-01-31T12:00:00", "2026-01-31", ["$.at"]),
        (1_770_000_000, 20_000, ["$.at", "$.day"]),
        ("1770000000", "1770000000", ["$.at", "$.day"]),
        ("2026-02-30T12:00:00Z", "2026-02-30", ["$.at", "$.day"]),
        ("9999-12-31T23:59:59-14:00", "2026-01-31T00:00:00", ["$.at", "$.day"]),
        ("2026-" + "9" * 400, "2026-1-1", ["$.at", "$.day"]),
    ],
)
def test_instants_and_days_are_read_alike_in_a_whole_body(at: Any, day: Any, wrong: list[str]) -> None:
    body = json.dumps({"at": at, "day": day}).encode()
    if not wrong:
        assert parse_model(_Dated, body).at.utcoffset() is not None
        return
    with pytest.raises(InputError) as found:
        parse_model(_Dated, body)
    assert [problem.path for problem in found.value.fields] == wrong
    assert "9999" not in str([problem.message for problem in found.value.fields])
