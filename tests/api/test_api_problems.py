"""Problem details: every failure becomes one, and no value of the request comes back in it."""

from __future__ import annotations

import json
import logging
from typing import Any, Literal

import msgspec
import pydantic
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from litestar import Litestar, get, post
from litestar.exceptions import HTTPException, NotAuthorizedException, TooManyRequestsException
from litestar.params import FromPath, FromQuery, JSONBody
from litestar.testing import create_test_client

from consent_gateway.api import problems
from consent_gateway.api.problems import (
    FieldTextError,
    exception_handlers,
    field_problems,
    from_exception,
    plain_name,
)
from consent_gateway.errors import (
    AuthenticationError,
    FieldProblem,
    GatewayError,
    InputError,
    InternalError,
    MalformedBodyError,
    StoreError,
    catalogue,
)

REQUEST = "00000000-0000-4000-a000-000000000001"
ALICE = "alice.liddell@example.org"
LAWS = settings(derandomize=True, deadline=None, max_examples=200)


class Item(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(strict=True, extra="forbid")
    email: str = pydantic.Field(max_length=5)
    kind: Literal["a", "b"] = "a"
    zone: str = "UTC"

    @pydantic.field_validator("zone")
    @classmethod
    def _zone(cls, value: str) -> str:
        if value == "Mars":
            raise FieldTextError("must name a zone on Earth")
        if value != "UTC":
            raise ValueError(f"{value} is no zone")
        return value


class Batch(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(strict=True, extra="forbid")
    items: list[Item]
    traits: dict[str, int] = {}


class Point(msgspec.Struct, forbid_unknown_fields=True):
    x: int
    tags: list[Literal["on", "off"]] = []


@post("/v1/items", status_code=200)
async def items(data: JSONBody[Batch]) -> dict[str, int]:
    return {"n": len(data.items)}


@get("/v1/fail/{how:str}")
async def fail(how: FromPath[str]) -> None:
    raise FAILURES[how]


@get("/v1/items")
async def listed(limit: FromQuery[int]) -> int:
    return limit


FAILURES: dict[str, Exception] = {
    "bug": RuntimeError(f"row of {ALICE}"),
    "store": StoreError("The store is busy.", retry_after=7),
    "key": AuthenticationError(),
    "http401": NotAuthorizedException(detail=ALICE),
    "http429": TooManyRequestsException(detail=ALICE),
    "http418": HTTPException(detail=ALICE, status_code=418),
    "http500": HTTPException(detail=ALICE, status_code=500),
    "decode": msgspec.DecodeError(ALICE),
}


@pytest.fixture(scope="module")
def client() -> Any:
    with create_test_client([items, fail, listed], exception_handlers=exception_handlers()) as made:
        yield made


@pytest.mark.parametrize("kind", list(catalogue()))
def test_every_error_of_the_catalogue_renders(kind: type[GatewayError]) -> None:
    problem = problems.render(kind("d", fields=(FieldProblem("$.a", "c", "m"),)), REQUEST)
    body = json.loads(problem.body)
    headers = dict(problem.headers)
    assert problem.status == body["status"] == kind.status
    assert body["type"] == f"/problems/{kind.code}"
    assert (body["title"], body["detail"], body["hint"], body["code"]) == (kind.title, "d", kind.hint, kind.code)
    assert body["instance"] == f"urn:uuid:{REQUEST}"
    assert body["errors"] == [{"path": "$.a", "code": "c", "message": "m"}]
    assert headers[b"content-type"] == b"application/problem+json"
    assert int(headers[b"content-length"]) == len(problem.body)
    assert (b"retry-after" in headers) == (kind.status in (429, 503))
    assert (b"www-authenticate" in headers) == (kind.status == 401)


@pytest.mark.parametrize(
    ("how", "status", "code"),
    [
        ("bug", 500, "internal_error"),
        ("store", 503, "store_unavailable"),
        ("key", 401, "unauthenticated"),
        ("http401", 401, "unauthenticated"),
        ("http429", 503, "unavailable"),
        ("http418", 400, "invalid_input"),
        ("http500", 500, "internal_error"),
        ("decode", 400, "malformed_body"),
    ],
)
def test_every_exception_gets_its_problem_without_foreign_text(client: Any, how: str, status: int, code: str) -> None:
    reply = client.get(f"/v1/fail/{how}?q={ALICE}")
    assert (reply.status_code, reply.json()["code"]) == (status, code)
    assert reply.headers["content-type"] == "application/problem+json"
    assert "alice" not in reply.text


def test_retry_after_is_the_error_s_own(client: Any) -> None:
    assert client.get("/v1/fail/store").headers["retry-after"] == "7"
    assert client.get("/v1/fail/key").headers["www-authenticate"].startswith("Bearer")


def test_unknown_paths_and_methods(client: Any) -> None:
    missing = client.get(f"/v1/{ALICE}")
    assert (missing.status_code, missing.json()["code"]) == (404, "not_found")
    assert "alice" not in missing.text
    wrong = client.delete("/v1/items")
    assert (wrong.status_code, wrong.json()["code"]) == (405, "method_not_allowed")
    assert wrong.headers["allow"] == "GET, OPTIONS, POST"
    assert client.post("/v1/fail/bug").headers["allow"] == "GET, OPTIONS"


def test_validation_errors_name_every_field_and_no_value(client: Any) -> None:
    reply = client.post(
        "/v1/items",
        json={
            "items": [
                {"email": "a"},
                {"kind": ALICE},
                {"email": ALICE, ALICE: 1, "extra": 2},
                {"email": 7, "zone": "Mars"},
                {"email": "b", "zone": ALICE},
            ],
            "traits": {ALICE: ALICE, "4915112345678": "x"},
        },
    )
    assert reply.status_code == 400
    found = {error["path"]: (error["code"], error["message"]) for error in reply.json()["errors"]}
    assert found == {
        "$.items[1].email": ("missing", "is required"),
        "$.items[1].kind": ("literal_error", "must be one of 'a' or 'b'"),
        "$.items[2].email": ("string_too_long", "must have at most 5 characters"),
        "$.items[2].?": ("extra_forbidden", "is not a known field"),
        "$.items[2].extra": ("extra_forbidden", "is not a known field"),
        "$.items[3].email": ("string_type", "must be a string"),
        "$.items[3].zone": ("value_error", "must name a zone on Earth"),
        "$.items[4].zone": ("value_error", "is not valid"),
        "$.traits.?": ("int_parsing", "must be an integer"),
    }
    assert "alice" not in reply.text
    assert "49151" not in reply.text


def test_a_bad_query_value_is_not_quoted(client: Any) -> None:
    reply = client.get("/v1/items", params={"limit": ALICE})
    assert (reply.status_code, reply.json()["code"]) == (400, "invalid_input")
    assert "alice" not in reply.text


def test_the_number_of_errors_is_capped() -> None:
    with pytest.raises(pydantic.ValidationError) as caught:
        Batch.model_validate({"items": [{}] * 500})
    assert len(field_problems(caught.value)) == problems.MAX_FIELDS


@pytest.mark.parametrize(
    ("text", "path", "code", "message"),
    [
        (b'{"x":"alice"}', "$.x", "wrong_type", "must be int"),
        (b"{}", "$.x", "missing", "is required"),
        (b'{"x":1,"y":2}', "$.y", "extra_forbidden", "is not a known field"),
        (b'{"x":1,"alice@example.org":2}', "$.?", "extra_forbidden", "is not a known field"),
        (b'{"x":1,"tags":["alice@example.org"]}', "$.tags[0]", "invalid", "is not valid"),
        (b'{"x":1,"tags":["alice` - at `$.q` "]}', "$.tags[0]", "invalid", "is not valid"),
    ],
)
def test_msgspec_errors_keep_the_path_and_lose_the_value(text: bytes, path: str, code: str, message: str) -> None:
    with pytest.raises(msgspec.ValidationError) as caught:
        msgspec.json.decode(text, type=Point)
    error = from_exception(caught.value)
    assert isinstance(error, InputError)
    assert error.fields == (FieldProblem(path, code, message),)


def test_a_decode_error_is_a_malformed_body() -> None:
    with pytest.raises(msgspec.DecodeError) as caught:
        msgspec.json.decode(b"{", type=Point)
    assert isinstance(from_exception(caught.value), MalformedBodyError)


@LAWS
@given(st.text(max_size=60) | st.from_regex(r"\+?[0-9]{7,15}|[a-z]{1,9}@[a-z]{1,9}\.[a-z]{2}", fullmatch=True))
def test_plain_names_are_short_and_cannot_be_contact_data(text: str) -> None:
    name = plain_name(text)
    assert name in (text, "?")
    if name != "?":
        assert name.replace("-", "_").isidentifier()
        assert name.isascii()
        assert len(name) <= 40


def test_the_unforeseen_is_kept_for_the_log() -> None:
    kept: list[Any] = []

    async def remember(error: Exception, scope: Any) -> None:
        kept.append(scope["state"])

    app_arguments = {"exception_handlers": exception_handlers(), "after_exception": [remember]}
    with create_test_client([fail], **app_arguments) as made:  # type: ignore[arg-type]
        made.get("/v1/fail/bug")
        made.get("/v1/fail/key")
    assert isinstance(kept[0][problems.ERROR_KEY], RuntimeError)
    assert problems.ERROR_KEY not in kept[1]


def test_a_handler_that_quotes_is_noticed() -> None:
    """The canary above goes red for the framework's own handlers, which quote path and value."""
    with create_test_client([items, listed], raise_server_exceptions=False) as made:
        assert "alice" in made.get("/v1/items", params={"limit": ALICE}).text


def test_unknown_exceptions_have_no_detail() -> None:
    for error in (KeyError(ALICE), BaseException(ALICE), HTTPException(detail=ALICE, status_code=599)):
        known = from_exception(error)
        assert isinstance(known, InternalError)
        assert known.detail == InternalError.title


def test_importing_adds_no_handler_to_the_root_logger() -> None:
    assert not any(type(handler).__module__.startswith("consent_gateway") for handler in logging.getLogger().handlers)
    assert Litestar
