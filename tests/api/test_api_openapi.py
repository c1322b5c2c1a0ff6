"""The OpenAPI document: whole, valid 3.1, and true, which mutations of its own examples prove."""

from __future__ import annotations

import copy
import re
from collections.abc import Iterator
from typing import Any

import pydantic
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from builders import a_pack_text
from consent_gateway.api import wire
from consent_gateway.web.schemas import sample
from edge import Edge, running

LAWS = settings(
    derandomize=True, deadline=None, max_examples=500, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
HIDDEN = {"/docs", "/problems", "/problems/{code}", "/openapi.json"}
KEYWORDS = {
    "$ref", "type", "properties", "required", "additionalProperties", "items", "anyOf", "enum", "const", "default",
    "title", "description", "pattern", "format", "minimum", "maximum", "minLength", "maxLength", "minItems", "maxItems",
    "maxProperties",
}  # fmt: skip
TYPES = {"object", "array", "string", "integer", "number", "boolean", "null"}
UID = "0" * 32


@pytest.fixture(scope="module")
def edge(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Edge]:
    with running(tmp_path_factory.mktemp("openapi")) as made:
        made.admin.post("/v1/sources", json={"id": "crm", "name": "CRM", "channel": "web", "party": "first"})
        support = GOOD["/v1/purposes"] | {"id": "support", "reveals": ["email"]}
        assert made.admin.post("/v1/purposes", json=support).is_success
        yield made


@pytest.fixture(scope="module")
def document(edge: Edge) -> dict[str, Any]:
    served = edge.client(None).get("/openapi.json")
    assert served.status_code == 200
    return dict(served.json())


# -- the document ------------------------------------------------------------------------------------------------


def test_it_is_version_3_1_with_unique_operations(document: dict[str, Any]) -> None:
    assert re.fullmatch(r"3\.1\.\d+", document["openapi"])
    assert {"title", "version"} <= document["info"].keys()
    ids = [operation["operationId"] for item in document["paths"].values() for operation in item.values()]
    assert len(ids) == len(set(ids))


def test_every_route_of_the_application_is_in_it(edge: Edge, document: dict[str, Any]) -> None:
    """No undocumented way in: what is hidden on purpose is listed here, the framework's viewers answer 404."""
    closed = {path for path in map(str, _routes(edge)) if path.startswith("/openapi") and path != "/openapi.json"}
    served = set(_routes(edge)) - closed - HIDDEN
    assert served == set(document["paths"])
    for path in closed:
        assert edge.admin.get(path.replace("{path}", "x")).status_code == 404


def _routes(edge: Edge) -> list[str]:
    return [route.path_format for route in edge.litestar.routes]


def test_path_parameters_are_declared(document: dict[str, Any]) -> None:
    for path, item in document["paths"].items():
        for operation in item.values():
            declared = {p["name"] for p in operation.get("parameters", ()) if p["in"] == "path"}
            assert declared == set(re.findall(r"{(\w+)}", path))
            assert all(p["required"] for p in operation.get("parameters", ()) if p["in"] == "path")


def test_every_operation_answers_errors_as_problems(document: dict[str, Any]) -> None:
    for item in document["paths"].values():
        for operation in item.values():
            problems = {s: r for s, r in operation["responses"].items() if not s.startswith("2")}
            assert set(problems) == {"default"}
            assert list(problems["default"]["content"]) == ["application/problem+json"]
            assert len(operation["responses"]) == 2
            assert all(response["description"] for response in operation["responses"].values())


def test_writes_name_the_idempotency_key(document: dict[str, Any]) -> None:
    for path, item in document["paths"].items():
        names = {p["name"] for p in item.get("post", {}).get("parameters", ())}
        reading = path in (
            *(
                "/v1/decisions",
                "/v1/decisions/batch",
                "/v1/policies/diff",
                "/v1/subjects/lookup",
                "/v1/consents/receipt",
            ),
            *("/v1/consents/history", "/v1/consents/state", "/v1/consents/confirmations/{token}"),
            *("/v1/subjects/{pseudonym}/reveal", "/v1/reveals", "/v1/canaries"),
            *("/v1/pseudonyms/convert", "/v1/audiences/{audience}/customer-match"),
        )
        assert ("Idempotency-Key" in names) == ("post" in item and not reading)


def schemas(node: Any) -> Iterator[dict[str, Any]]:
    """Every schema inside a schema, itself first."""
    if not isinstance(node, dict):
        return
    yield node
    for inner in node.get("properties", {}).values():
        yield from schemas(inner)
    for inner in node.get("anyOf", ()):
        yield from schemas(inner)
    yield from schemas(node.get("items"))
    yield from schemas(node.get("additionalProperties"))


def every_schema(document: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for schema in document["components"]["schemas"].values():
        yield from schemas(schema)
    for item in document["paths"].values():
        for operation in item.values():
            for holder in (operation.get("requestBody", {}), *operation["responses"].values()):
                for content in holder.get("content", {}).values():
                    yield from schemas(content["schema"])


def test_schemas_are_json_schema_2020_12_and_references_resolve(document: dict[str, Any]) -> None:
    named = document["components"]["schemas"]
    for schema in every_schema(document):
        assert set(schema) <= KEYWORDS, set(schema) - KEYWORDS
        if "$ref" in schema:
            assert schema["$ref"].removeprefix("#/components/schemas/") in named
        if "type" in schema:
            assert schema["type"] in TYPES
        if "pattern" in schema:
            re.compile(schema["pattern"])
        assert set(schema.get("required", ())) <= set(schema.get("properties", ()))


def test_what_comes_in_is_closed(document: dict[str, Any]) -> None:
    """`additionalProperties: false` on every input, as it is enforced."""
    named = document["components"]["schemas"]
    inputs = {name: schema for name, schema in named.items() if name.endswith("In")}
    assert len(inputs) >= 15
    assert all(schema["additionalProperties"] is False for schema in inputs.values())


def test_patterns_are_kept(document: dict[str, Any]) -> None:
    named = document["components"]["schemas"]
    assert named["ConsentIn"]["properties"]["purpose"]["pattern"] == r"^[a-z][a-z0-9_]{0,62}$"
    assert named["RecipientIn"]["properties"]["country"]["pattern"] == "^[A-Z]{2}$"
    assert named["PurposeIn"]["properties"]["dpv_iri"]["pattern"].startswith("^https://w3id")


def test_every_model_of_the_wire_is_documented(document: dict[str, Any]) -> None:
    models = {
        name for name, value in vars(wire).items() if isinstance(value, type) and issubclass(value, pydantic.BaseModel)
    }
    assert models - set(document["components"]["schemas"]) == {"Strict", "UseIn"}


# -- bodies that break it ------------------------------------------------------------------------------------------

GOOD: dict[str, Any] = {
    "/v1/audit/epochs": {"reason": "restored_backup"},
    "/v1/signal-mappings": {
        "purposes": [{"tcf_purposes": [1, 3], "purpose": "direct_marketing", "channel": "online_ads"}],
        "vendors": [{"tcf_vendor": 20, "recipient": "self"}],
    },
    "/v1/purposes": {
        "id": "loyalty", "kind": "direct_marketing", "title": "Loyalty", "title_zh": "会员",
        "dpv_iri": "https://w3id.org/dpv#Marketing", "basis": "consent", "parent": "marketing", "channels": [],
        "reveals": ["email"],
        "processing": {
            "data_categories": [{"type": "EmailAddress", "optional": False, "sensitive": False, "special": False}],
            "subject_categories": ["Customer"], "retention": "P2Y", "retention_criteria": "", "service": "Shop",
            "withdrawal_method": "link in each mail", "storage_locations": ["DE"], "recipients": ["self"],
        },
    },
    "/v1/controller": {
        "name": "Acme", "country": "DE", "policy_url": "https://acme.example/privacy", "officer": "dpo@acme.example",
        "party": {"address": "Street 1", "contact": "Privacy", "email": "p@acme.example", "phone": "1", "url": ""},
        "representative": "", "authority": "", "measures": "",
    },
    "/v1/notices": {"id": "privacy", "version": 1, "language": "en", "title": "Privacy", "text": "We write to you."},
    "/v1/sources": {"id": "web", "name": "Web", "channel": "web", "party": "first", "notice": None, "purposes": []},
    "/v1/recipients": {
        "id": "house", "name": "Mail house", "kind": "processor", "country": "DE", "contract": True,
        "transfer_mechanism": "none", "sector": "house", "party": {"contact": "Jo", "email": "jo@house.example"},
    },
    "/v1/traits": {"id": "visits", "type": "integer", "origin": "declared", "description": ""},
    "/v1/fields": {"id": "diet", "category": "health", "purposes": ["direct_marketing"], "retention": "P90D"},
    "/v1/exports": {"year": 2026, "people": 40_000, "sensitive_people": 0},
    "/v1/segments": {"id": "all", "text": "everyone", "description": ""},
    "/v1/consents/receipt": {
        "subject": {"email": "nobody@example.org"}, "purpose": "direct_marketing", "channel": "email",
        "format": "iso27560",
    },
    "/v1/consents/history": {"subject": {"email": "nobody@example.org"}, "after": 0, "limit": 9},
    "/v1/consents/state": {"subject": {"email": "nobody@example.org"}},
    "/v1/subjects/lookup": {"identifier": {"email": "nobody@example.org"}, "recipient": "self"},
    "/v1/subjects/{pseudonym}/erase": {"reason": "request"},
    "/v1/subjects/{pseudonym}/holds": {"reason": "legal_claim", "until": "2099-01-01T00:00:00Z"},
    "/v1/subjects/{pseudonym}/holds/{hold}/lift": {"reason": "closed"},
    "/v1/tombstones/lift": {
        "source": "crm", "identifiers": {"email": "anna@example.org", "region": "DE"},
        "act": {"kind": "account", "at": "2026-11-18T12:00:00Z", "evidence": {"form": "signup"}},
    },
    "/v1/subjects/{pseudonym}/reveal": {
        "purpose": "support", "channel": "email", "fields": ["email"], "reason": "complaint", "ticket": "CASE-1",
        "view": "masked", "recipient": "self",
    },
    "/v1/reveals": {
        "purpose": "support", "channel": "email", "fields": ["email"], "reason": "complaint", "ticket": "CASE-1",
        "subjects": ["p1-" + UID],
    },
    "/v1/quotas": {"principal": "operator", "quota": "reveal", "per_hour": 100_000, "per_day": 100_000},
    "/v1/canaries": {"source": "crm", "person": {"email": "canary@example.org", "country": "DE"}},
    "/v1/recipients/{recipient}/epochs": {"overlap_seconds": 3600},
    "/v1/audiences/{audience}/customer-match": {
        "platform": "meta", "fields": ["email"], "reason": "campaign", "ticket": "ADS-1",
    },
    "/v1/pseudonyms/convert": {"pseudonyms": ["p1-" + UID, "x"]},
    "/v1/subjects/merge": {
        "subjects": [{"email": "anna@example.org"}, {"member_no": "M-2"}], "reason": "duplicate", "dry_run": True,
    },
    "/v1/subjects/unmerge": {"merge": 999_999, "reason": "wrong_match", "dry_run": True},
    "/v1/keys/jobs": {"kind": "epoch_roll"},
    "/v1/keys/epochs/{epoch}/destroy": {"step": "decide"},
    "/v1/keys/generations/{generation}/destroy": {"step": "decide"},
    "/v1/keys/own/renew": {"step": "propose"},
    "/v1/approvals": {"action": "destroy_key_epoch", "subject": {"epoch": 1}},
    "/v1/approvals/{approval}/approve": {"action": "destroy_key_epoch"},
    "/v1/approvals/{approval}/refuse": {"action": "destroy_key_epoch"},
    "/v1/decisions": {
        "purpose": "direct_marketing", "channel": "email", "recipient": "self", "explain": False,
        "subject": {"member_no": "M-1"}, "message": {"unsubscribe": True},
    },
    "/v1/decisions/batch": {
        "purpose": "direct_marketing", "channel": "email", "recipient": "self", "subjects": [{"member_no": "M-1"}],
    },
    "/v1/audiences": {"purpose": "direct_marketing", "channel": "email", "text": "everyone", "ttl_seconds": 60},
    "/v1/policies": {"text": a_pack_text()},
    "/v1/policies/{pack}/{version}/shadow": {"on": True},
    "/v1/policies/diff": {
        "old": {"name": "active"}, "new": {"text": a_pack_text()}, "people": True, "purposes": ["direct_marketing"],
        "channels": ["email"], "recipients": ["self"],
    },
    "/v1/decisions/{uid}/replay": {"against": "active"},
    "/v1/policies/{pack}/{version}/activate": {"effective_at": "2030-01-01T00:00:00Z"},
}  # fmt: skip
# What the good bodies get that do not simply succeed: nobody is there, or the pack is in force already.
REPLIES = {
    "/v1/audit/epochs": 403,  # nobody approved one
    "/v1/subjects/lookup": 404,
    "/v1/subjects/{pseudonym}/erase": 404,
    "/v1/recipients/{recipient}/epochs": 404,
    "/v1/subjects/{pseudonym}/holds": 404,
    "/v1/subjects/{pseudonym}/holds/{hold}/lift": 404,
    "/v1/audiences/{audience}/customer-match": 403,
    "/v1/subjects/merge": 404,
    "/v1/subjects/unmerge": 404,
    "/v1/keys/epochs/{epoch}/destroy": 404,
    "/v1/keys/generations/{generation}/destroy": 404,
    "/v1/keys/own/renew": 409,
    "/v1/approvals/{approval}/approve": 404,
    "/v1/approvals/{approval}/refuse": 404,
    "/v1/consents/receipt": 404,
    "/v1/consents/history": 404,
    "/v1/consents/state": 404,
    "/v1/audiences": 201,
    "/v1/canaries": 201,
    "/v1/policies/{pack}/{version}/shadow": 409,
    "/v1/decisions/{uid}/replay": 404,
    "/v1/policies/{pack}/{version}/activate": 409,
}
ROWS: dict[str, Any] = {
    "/v1/signals": {
        "subject": {"member_no": "M1"}, "raw": "1YYN", "at": "2026-11-18T12:00:00Z", "kind": "usp", "displayed": True,
    },
    "/v1/subjects": {"email": "anna@example.org", "country": "DE", "given_name": "Anna", "traits": {},
        "subscriber": "individual", "collection": {"in_sale": True, "on": "2026-01-31"},
    },
    "/v1/consents": {
        "subject": {"email": "anna@example.org"}, "purpose": "direct_marketing", "kind": "given", "channel": "email",
        "at": "2026-01-31T12:00:00Z", "properties": ["affirmative"], "evidence": {"form": 1}, "imported": False,
    },
    "/v1/sensitive": {"subject": {"email": "anna@example.org"}, "fields": {"diet": "no nuts", "place": None}},
    "/v1/notices_shown": {
        "subject": {"email": "anna@example.org"}, "notice": "privacy", "notice_version": 1, "language": "en",
        "at": "2026-01-31T12:00:00Z", "place": "/signup",
    },
    "/v1/choices": {
        "subject": {"email": "anna@example.org"}, "choice": "objection", "active": True, "at": "2026-01-31T12:00:00Z",
    },
    "/v1/events": {
        "subject": {"email": "anna@example.org"}, "type": "visit", "at": "2026-01-31T12:00:00Z", "key": "k1", "value": 1,
    },
    "/v1/contacts": {
        "subject": {"email": "anna@example.org"}, "channel": "email", "at": "2026-01-31T12:00:00Z",
        "campaign": "spring", "key": "k1",
    },
}  # fmt: skip
WRONG: tuple[Any, ...] = (
    None,
    True,
    False,
    0,
    -1,
    2**63,
    10**30,
    1.5,
    "",
    "yes",
    "\x00",
    "x" * 400,
    [],
    {},
    [[]],
    {"a": 1},
)


def body_schema(document: dict[str, Any], path: str) -> dict[str, Any]:
    schema: dict[str, Any] = document["paths"][path]["post"]["requestBody"]["content"]["application/json"]["schema"]
    if path in ROWS:
        schema = schema["properties"]["items"]["items"]
    return dereferenced(document, schema)


def dereferenced(document: dict[str, Any], schema: dict[str, Any]) -> dict[str, Any]:
    while "$ref" in schema:
        schema = document["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
    return schema


def fits(document: dict[str, Any], schema: dict[str, Any], value: Any) -> bool:
    """A small validator of the keywords that the document uses."""
    schema = dereferenced(document, schema)
    if "anyOf" in schema:
        return any(fits(document, inner, value) for inner in schema["anyOf"])
    if "enum" in schema and value not in schema["enum"]:
        return False
    kind = schema.get("type")
    checks = {"object": _object_fits, "array": _array_fits, "string": _string_fits, "integer": _integer_fits}
    if kind in checks:
        return checks[kind](document, schema, value)
    return {"boolean": isinstance(value, bool), "null": value is None, None: True}[kind]


def _object_fits(document: dict[str, Any], schema: dict[str, Any], value: Any) -> bool:
    if not isinstance(value, dict) or len(value) > schema.get("maxProperties", 10**9):
        return False
    known, more = schema.get("properties", {}), schema.get("additionalProperties", True)
    if not set(schema.get("required", ())) <= set(value) or (more is False and not set(value) <= set(known)):
        return False
    return all(fits(document, known.get(k, more if isinstance(more, dict) else {}), v) for k, v in value.items())


def _array_fits(document: dict[str, Any], schema: dict[str, Any], value: Any) -> bool:
    if not isinstance(value, list) or not schema.get("minItems", 0) <= len(value) <= schema.get("maxItems", 10**9):
        return False
    return all(fits(document, schema["items"], item) for item in value)


def _string_fits(_: dict[str, Any], schema: dict[str, Any], value: Any) -> bool:
    if not isinstance(value, str) or not schema.get("minLength", 0) <= len(value) <= schema.get("maxLength", 10**9):
        return False
    if schema.get("format") == "date-time" and not re.match(r"\d{4}-\d{2}-\d{2}T", value):
        return False
    return "pattern" not in schema or re.search(schema["pattern"], value) is not None


def _integer_fits(_: dict[str, Any], schema: dict[str, Any], value: Any) -> bool:
    whole = isinstance(value, int) and not isinstance(value, bool)
    return whole and schema.get("minimum", value) <= value <= schema.get("maximum", value)


def places(value: Any, at: tuple[str | int, ...] = ()) -> list[tuple[str | int, ...]]:
    """Where something can be changed: every member of the body, at any depth."""
    found = [at] if at else []
    if isinstance(value, dict):
        for key, inner in value.items():
            found += places(inner, (*at, key))
    if isinstance(value, list):
        for n, inner in enumerate(value):
            found += places(inner, (*at, n))
    return found


@st.composite
def mutations(draw: st.DrawFn) -> tuple[str, Any]:
    """A good body with one thing wrong, or at least different."""
    path = draw(st.sampled_from(sorted([*GOOD, *ROWS])))
    body = copy.deepcopy(GOOD.get(path) or ROWS[path])
    at = draw(st.sampled_from(places(body)))
    holder = body
    for step in at[:-1]:
        holder = holder[step]
    how = draw(st.sampled_from(["drop", "replace", "add", "name"]))
    if how == "drop" and isinstance(holder, dict):
        del holder[at[-1]]
    elif how == "add" and isinstance(holder, dict):
        holder[draw(st.sampled_from(["unknown", "__proto__", "ID", "a.b", "", "é"]))] = 1
    elif how == "name" and isinstance(holder, dict):
        holder[f"{at[-1]}_"] = holder.pop(at[-1])
    else:
        holder[at[-1]] = draw(st.sampled_from(WRONG))
    return path, body


def filled(path: str) -> str:
    """A path with its parameters."""
    return (
        path.replace("{pseudonym}", "p1-" + UID)
        .replace("{pack}", "gdpr")
        .replace("{uid}", UID)
        .replace("{version}", "1")
        .replace("{approval}", UID)
        .replace("{epoch}", "999")
        .replace("{generation}", "999")
        .replace("{recipient}", "nobody")
        .replace("{audience}", UID)
    )


def send(edge: Edge, path: str, body: Any) -> tuple[int, list[dict[str, str]]]:
    """Send a body, as the one row of a batch where the route takes rows; return status and what is wrong."""
    url = filled(path)
    if path not in ROWS:
        reply = edge.admin.post(url, json=body)
        return reply.status_code, reply.json().get("errors", [])
    reply = edge.admin.post(url, json={"source": "crm", "items": [body]})
    if reply.status_code != 200:
        return reply.status_code, reply.json()["errors"]
    answer = reply.json()
    assert answer["received"] == answer["accepted"] + answer["duplicates"] + answer["rejected"] == 1
    return (400, answer["rejections"][0]["reasons"]) if answer["rejected"] else (200, [])


@pytest.mark.parametrize("path", sorted([*GOOD, *ROWS]))
def test_good_bodies_fit_and_are_taken(edge: Edge, document: dict[str, Any], path: str) -> None:
    body = GOOD.get(path) or ROWS[path]
    assert fits(document, body_schema(document, path), body)
    reply = edge.admin.post(filled(path), json={"source": "crm", "items": [body]} if path in ROWS else body)
    assert reply.status_code == REPLIES.get(path, 200), reply.text


@LAWS
@given(mutations())
def test_bodies_that_break_the_schema_are_refused_with_the_field(
    edge: Edge, document: dict[str, Any], mutation: tuple[str, Any]
) -> None:
    path, body = mutation
    status, errors = send(edge, path, body)
    assert status < 500
    if not fits(document, body_schema(document, path), body):
        assert status == 400, (path, body)
        assert errors
        assert all(error["path"].startswith("$") for error in errors)


def test_every_body_is_mutated(document: dict[str, Any]) -> None:
    takes = {
        path
        for path, item in document["paths"].items()
        if "application/json" in item.get("post", {}).get("requestBody", {}).get("content", {})
    }
    assert takes == set(GOOD) | set(ROWS)


def test_examples_of_the_documentation_fit_their_schema(document: dict[str, Any]) -> None:
    named = document["components"]["schemas"]
    for path in GOOD:
        schema = body_schema(document, path)
        shown = sample(schema, named)
        assert set(schema.get("required", ())) <= set(shown), path


@pytest.mark.parametrize(
    ("value", "schema"),
    [
        ({"a": 1}, {"type": "object", "properties": {}, "additionalProperties": False}),
        ({}, {"type": "object", "required": ["a"], "properties": {"a": {}}}),
        ("A", {"type": "string", "pattern": "^[a-z]$"}),
        (True, {"type": "integer"}),
        ("yes", {"type": "boolean"}),
        (None, {"anyOf": [{"type": "string"}, {"type": "array", "items": {}}]}),
    ],
)
def test_the_small_validator_can_say_no(value: Any, schema: dict[str, Any]) -> None:
    assert not fits({}, schema, value)
