"""The API documentation and the problem pages: server-rendered, readable offline and without scripts.

`render_docs` is a pure function of the OpenAPI 3.1 document, so the page says what the document says and no more.
Third-party viewers fetch code and fonts from other hosts, which a privacy product must not make its readers do.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable, Iterator, Mapping
from html import escape
from typing import Any

from litestar import Litestar, MediaType, Request, Response, get
from litestar.handlers import HTTPRouteHandler
from litestar.params import FromPath

from consent_gateway.errors import GatewayError, NotFoundError, catalogue
from consent_gateway.web.page import POLICY, page, prose, table
from consent_gateway.web.schemas import Schema, anchor, fields_html, kind_html, sample

METHODS = ("get", "post", "put", "patch", "delete", "head", "options")
Document = Mapping[str, Any]

_ELSEWHERE = (
    '<p>The same as a machine reads it: <a href="/openapi.json">openapi.json</a>. '
    'Every error has a page: <a href="/problems">problems</a>.</p>'
)


def render_docs(openapi: Document) -> str:
    """Return the documentation page (HTML) of an OpenAPI 3.1 document in its JSON form."""
    info, named = openapi.get("info", {}), openapi.get("components", {}).get("schemas", {})
    groups = _by_tag(openapi)
    body = [
        f"<h1>{escape(info.get('title', 'API'))} <small class='soft'>{escape(info.get('version', ''))}</small></h1>",
        prose(info.get("description", "")),
        _ELSEWHERE,
        _contents(groups),
    ]
    for tag, operations in groups.items():
        body.append(f'<h2 id="{anchor("tag", tag)}">{escape(tag)}</h2>')
        body += [_operation(verb, path, operation, named) for verb, path, operation in operations]
    body.append('<h2 id="schemas">Schemas</h2>')
    body += [_named_schema(name, schema) for name, schema in named.items()]
    return page(f"{info.get('title', 'API')} – API", "\n".join(body))


def _by_tag(openapi: Document) -> dict[str, list[tuple[str, str, Schema]]]:
    """Group (verb, path, operation) by first tag, in the order of the document."""
    groups: dict[str, list[tuple[str, str, Schema]]] = {}
    for path, item in openapi.get("paths", {}).items():
        for verb in METHODS:
            if verb in item:
                operation = {
                    **item[verb],
                    "parameters": [*item.get("parameters", ()), *item[verb].get("parameters", ())],
                }
                groups.setdefault((operation.get("tags") or ["API"])[0], []).append((verb, path, operation))
    return groups


def _contents(groups: Mapping[str, list[tuple[str, str, Schema]]]) -> str:
    parts = []
    for tag, operations in groups.items():
        entries = "".join(
            f'<li><a href="#{anchor(verb, path)}"><code>{verb.upper()} {escape(path)}</code></a></li>'
            for verb, path, _ in operations
        )
        parts.append(f'<section><h3><a href="#{anchor("tag", tag)}">{escape(tag)}</a></h3><ul>{entries}</ul></section>')
    return f'<nav aria-label="Operations">{"".join(parts)}</nav>'


def _operation(verb: str, path: str, operation: Schema, named: Mapping[str, Schema]) -> str:
    content = _content(operation.get("requestBody", {}))
    title = f"<code>{escape(path)}</code> {escape(operation.get('summary') or '')}"
    parts = [
        f'<details id="{anchor(verb, path)}"><summary><span class="verb">{verb.upper()}</span> {title}</summary>',
        prose(operation.get("description") or ""),
        _parameters(operation["parameters"]),
    ]
    parts += [f"<h3>Body <code>{escape(media)}</code></h3>{_body(schema, named)}" for media, schema in content.items()]
    parts.append(f"<h3>Example</h3><pre>{escape(curl(verb, path, operation, named))}</pre>")
    parts += _responses(operation.get("responses", {}), named)
    return "\n".join([*parts, "</details>"])


def _content(holder: Schema) -> dict[str, Schema]:
    """Return the schema of each media type of a body or reply; an example beside it counts as the schema's own."""
    found: dict[str, Schema] = {}
    for media, content in (holder.get("content") or {}).items():
        example = {"example": content["example"]} if "example" in content else {}
        found[media] = {**(content.get("schema") or {}), **example}
    return found


def _parameters(parameters: list[Schema]) -> str:
    rows = [
        (
            f"<code>{escape(item['name'])}</code>"
            + ("" if item.get("required") else ' <span class="soft">optional</span>'),
            escape(item.get("in", "")),
            kind_html(item.get("schema", {})),
            prose(item.get("description") or ""),
        )
        for item in parameters
        if "name" in item
    ]
    return table(("Parameter", "In", "Type", "Meaning"), rows)


def _body(schema: Schema, named: Mapping[str, Schema]) -> str:
    example = json.dumps(sample(schema, named), ensure_ascii=False, indent=2)
    fields = f"<p>{kind_html(schema)}</p>" if "$ref" in schema else fields_html(schema)
    return f"{fields}<pre>{escape(example)}</pre>"


def _responses(responses: Mapping[str, Schema], named: Mapping[str, Schema]) -> Iterator[str]:
    for status, response in responses.items():
        yield f"<h3>{escape(str(status))} {escape(response.get('description', ''))}</h3>"
        for media, schema in _content(response).items():
            yield f'<p class="soft">{escape(media)}</p>{_body(schema, named)}'


def _named_schema(name: str, schema: Schema) -> str:
    return (
        f'<details id="{anchor("schema", name)}"><summary><code>{escape(name)}</code></summary>'
        f"{prose(schema.get('description', ''))}{fields_html(schema)}</details>"
    )


def curl(verb: str, path: str, operation: Schema, named: Mapping[str, Schema]) -> str:
    """Return a command line that makes the call; `$GATEWAY` and `$KEY` are left to the reader's shell."""
    words = ["curl -sS", f"-X {verb.upper()}", f'"$GATEWAY"{shlex.quote(path)}', '-H "Authorization: Bearer $KEY"']
    for media, schema in list(_content(operation.get("requestBody", {})).items())[:1]:
        text = json.dumps(sample(schema, named), ensure_ascii=False)
        data = f"-d {shlex.quote(text)}" if "json" in media and "ndjson" not in media else "--data-binary @FILE"
        words += [f"-H {shlex.quote('Content-Type: ' + media)}", data]
    return " \\\n  ".join(words)


def render_problem(kind: type[GatewayError]) -> str:
    """Return the page of one problem type: what it means and what to do (RFC 9457 section 3.1.1)."""
    rows = [
        ("Code", f"<code>{escape(kind.code)}</code>"),
        ("HTTP status", str(kind.status)),
        ("What to do", escape(kind.hint)),
    ]
    body = f"<h1>{escape(kind.title)}</h1>{prose(kind.__doc__ or '')}{table(('Property', 'Value'), rows)}"
    return page(kind.title, f'{body}<p><a href="/problems">All problems</a></p>')


def render_problems() -> str:
    """Return the page that lists every problem type."""
    rows = [
        (f'<a href="/problems/{escape(kind.code)}">{escape(kind.code)}</a>', str(kind.status), escape(kind.title))
        for kind in catalogue()
    ]
    return page("Problems", f"<h1>Problems</h1>{table(('Code', 'Status', 'Title'), rows)}")


def openapi_of(app: Litestar) -> Document:
    """Return the OpenAPI document of `app` in its JSON form."""
    return app.openapi_schema.to_schema()


def docs_routes(document: Callable[[Litestar], Document] = openapi_of) -> list[HTTPRouteHandler]:
    """Return the handlers of `/docs`, `/problems` and `/problems/{code}`; they need no key and change nothing.

    `document` gives the OpenAPI document to show; it is asked once, at the first view.
    """
    rendered: list[str] = []

    @get("/docs", include_in_schema=False, sync_to_thread=False, media_type=MediaType.HTML)
    def docs(request: Request[Any, Any, Any]) -> Response[str]:
        if not rendered:
            rendered.append(render_docs(document(request.app)))
        return _html(rendered[0])

    return [docs, _problems, _problem]


@get("/problems", include_in_schema=False, sync_to_thread=False, media_type=MediaType.HTML)
def _problems() -> Response[str]:
    return _html(render_problems())


@get("/problems/{code:str}", include_in_schema=False, sync_to_thread=False, media_type=MediaType.HTML)
def _problem(code: FromPath[str]) -> Response[str]:
    for kind in catalogue():
        if kind.code == code:
            return _html(render_problem(kind))
    raise NotFoundError


def _html(text: str) -> Response[str]:
    headers = {"content-security-policy": POLICY, "cache-control": "no-cache"}
    return Response(text, headers=headers, media_type=MediaType.HTML)
