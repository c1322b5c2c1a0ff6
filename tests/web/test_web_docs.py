"""The documentation page: complete, inert, and readable without a network."""

from __future__ import annotations

import base64
import hashlib
import re
import shlex
from html.parser import HTMLParser
from typing import Any

import pydantic
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from litestar import get, post
from litestar.params import FromPath, FromQuery, JSONBody
from litestar.testing import create_test_client

from consent_gateway.errors import catalogue
from consent_gateway.web.docs import curl, docs_routes, render_docs, render_problem
from consent_gateway.web.page import POLICY, STYLE, prose
from consent_gateway.web.schemas import anchor, kind_html, sample

EVIL = "<script>alert('1')</script>\"&<img src=x onerror=y>"
LAWS = settings(derandomize=True, deadline=None, max_examples=100)
VOID = {"meta", "br", "link", "img", "input", "hr"}


class Reader(HTMLParser):
    """Collects tags, attributes and ids, and checks that every element is closed in order."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.ids: list[str] = []
        self.links: list[str] = []
        self.attributes: set[str] = set()
        self.open: list[str] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        for name, value in attrs:
            self.attributes.add(name)
            if name == "id":
                self.ids.append(value or "")
            if name in ("href", "src"):
                self.links.append(value or "")
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


class Inner(pydantic.BaseModel):
    name: str = pydantic.Field(description="the inner name", min_length=2)
    children: list[Inner] = []


class Ask(pydantic.BaseModel):
    """What is asked."""

    purpose: str = pydantic.Field(examples=["direct_marketing"])
    inner: Inner
    explain: bool = False


@post("/v1/decisions", tags=["Decisions"], status_code=200, summary="Decide")
async def decide(data: JSONBody[Ask]) -> Inner:
    return data.inner


@get("/v1/things/{thing:str}", tags=["Things"], description="Read `one` thing.")
async def things(thing: FromPath[str], limit: FromQuery[int | None] = None) -> dict[str, str]:
    return {"thing": thing}


@pytest.fixture(scope="module")
def client() -> Any:
    with create_test_client([decide, things, *docs_routes()]) as made:
        yield made


def test_the_page_shows_every_operation_field_and_reply(client: Any) -> None:
    document = client.app.openapi_schema.to_schema()
    text = client.get("/docs").text
    for path, item in document["paths"].items():
        assert f"<code>{path}</code>" in text
        for verb, operation in item.items():
            assert f'id="{anchor(verb, path)}"' in text
            for status in operation["responses"]:
                assert f"<h3>{status} " in text
    for name, schema in document["components"]["schemas"].items():
        assert f'id="{anchor("schema", name)}"' in text
        for field in schema.get("properties", {}):
            assert f"<code>{field}</code>" in text
    assert "direct_marketing" in text
    assert "the inner name" in text
    assert "at least 2 characters" in text
    assert "Read <code>one</code> thing." in text


def test_the_page_is_inert_and_asks_no_host(client: Any) -> None:
    for path in ("/docs", "/problems", "/problems/erased"):
        reply = client.get(path)
        reader = Reader(reply.text)
        assert reply.headers["content-type"].startswith("text/html")
        assert reply.headers["content-security-policy"] == POLICY
        assert not reader.tags & {"script", "iframe", "object", "embed", "link", "form", "img", "base"}
        assert not {name for name in reader.attributes if name.startswith("on")} | (reader.attributes & {"style"})
        assert all(link.startswith(("#", "/")) and not link.startswith("//") for link in reader.links)
        assert len(reader.ids) == len(set(reader.ids))
        assert {link[1:] for link in reader.links if link.startswith("#")} <= set(reader.ids)
        assert "url(" not in reply.text
        assert "@import" not in reply.text


def test_the_policy_allows_exactly_the_style_sheet(client: Any) -> None:
    text = client.get("/docs").text
    style = re.search(r"<style>(.*?)</style>", text, re.DOTALL)
    assert style is not None
    assert style.group(1) == STYLE
    digest = base64.b64encode(hashlib.sha256(style.group(1).encode()).digest()).decode()
    assert f"style-src 'sha256-{digest}'" in POLICY
    assert "unsafe" not in POLICY
    assert "prefers-color-scheme:dark" in STYLE


def poisoned(text: str) -> dict[str, Any]:
    """Return a document with `text` in every place that a text can stand."""
    schema = {
        "type": "object",
        "description": text,
        "properties": {text: {"type": "string", "pattern": text, "enum": [text], "description": text}},
    }
    operation = {
        "tags": [text],
        "summary": text,
        "description": text,
        "parameters": [{"name": text, "in": text, "description": text, "schema": {"type": "string", "format": text}}],
        "requestBody": {"content": {text: {"schema": schema, "example": text}}},
        "responses": {text: {"description": text, "content": {text: {"schema": {"const": text}}}}},
    }
    return {
        "info": {"title": text, "version": text, "description": text},
        "paths": {f"/{text}": {"post": operation}},
        "components": {"schemas": {text: schema}},
    }


PLAIN = Reader(render_docs(poisoned("plain"))).tags


@LAWS
@given(st.sampled_from([EVIL, "'><svg/onload=1>", "]]>", "`<b>`"]) | st.text(max_size=30))
def test_no_text_of_the_document_becomes_markup(text: str) -> None:
    reader = Reader(render_docs(poisoned(text)))
    assert reader.tags <= PLAIN | {"p", "code"}
    assert not {name for name in reader.attributes if name.startswith("on")}


def test_a_page_that_forgets_to_escape_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("consent_gateway.web.docs.escape", str)
    with pytest.raises(AssertionError):
        test_no_text_of_the_document_becomes_markup.hypothesis.inner_test(EVIL)  # type: ignore[attr-defined]


def test_every_error_has_its_page(client: Any) -> None:
    index = client.get("/problems").text
    for kind in catalogue():
        page = client.get(f"/problems/{kind.code}")
        assert page.status_code == 200
        assert f"/problems/{kind.code}" in index
        assert str(kind.status) in render_problem(kind)
    assert client.get("/problems/nonsense").status_code == 500  # not found, once the problem handlers are there


def test_the_command_line_is_one_that_a_shell_reads() -> None:
    body = {"content": {"application/json": {"schema": {"const": "it's"}}}}
    words = shlex.split(curl("post", "/v1/a b", {"requestBody": body}, {}).replace("\\\n", " "))
    assert words[:2] == ["curl", "-sS"]
    assert words[words.index("-d") + 1] == '"it\'s"'
    assert "$GATEWAY/v1/a b" in words
    rows = curl("post", "/x", {"requestBody": {"content": {"application/x-ndjson": {}}}}, {})
    assert "--data-binary @FILE" in rows


@pytest.mark.parametrize(
    ("schema", "expected"),
    [
        ({"type": "integer", "minimum": 3}, 3),
        ({"type": ["string", "null"], "format": "date-time"}, "2026-01-31T12:00:00Z"),
        ({"oneOf": [{"const": "x"}, {"type": "null"}]}, "x"),
        ({"type": "array", "items": {"enum": ["a", "b"]}}, ["a"]),
        ({"type": "object", "properties": {"p": {"default": 5}}}, {"p": 5}),
        ({"properties": {"p": {"type": "boolean"}}}, {"p": True}),
        ({"$ref": "#/components/schemas/Gone"}, None),
        ({"type": "string", "examples": ["e"]}, "e"),
        ({}, None),
    ],
)
def test_samples_follow_the_schema(schema: dict[str, Any], expected: object) -> None:
    assert sample(schema, {}) == expected


def test_recursive_schemas_have_finite_samples() -> None:
    named = {"Tree": {"type": "object", "properties": {"left": {"$ref": "#/components/schemas/Tree"}}}}
    value = sample({"$ref": "#/components/schemas/Tree"}, named)
    assert str(value).count("left") == 3


def test_kinds_and_prose_read_well() -> None:
    assert kind_html({"anyOf": [{"type": "string"}, {"type": "null"}]}) == "string or null"
    assert kind_html({"type": "object", "additionalProperties": {"type": "integer"}}) == "object of integer"
    assert "≥ 1; ≤ 9" in kind_html({"type": "integer", "minimum": 1, "maximum": 9})
    assert prose("a `b`\n\nc") == "<p>a <code>b</code></p><p>c</p>"
    assert prose("") == ""
