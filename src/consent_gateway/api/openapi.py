"""The OpenAPI 3.1 document, made true: bodies, replies and errors as they are enforced.

Handlers read their own bodies with strict models, so the framework knows nothing of them. Each handler names its models
in `opt` (`desk.documented`); this module writes the models' JSON Schema (2020-12, the dialect of OpenAPI 3.1) into the
document, with patterns and `additionalProperties: false` that the framework would drop.
"""

from __future__ import annotations

from inspect import cleandoc
from typing import Any

from litestar import Litestar
from litestar.handlers import HTTPRouteHandler
from litestar.routes import HTTPRoute
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from consent_gateway.api import wire

Schema = dict[str, Any]
_REF = "#/components/schemas/{model}"
_PROBLEM: Schema = {
    "type": "object",
    "required": ["type", "title", "status", "code"],
    "properties": {
        "type": {"type": "string"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
        "instance": {"type": "string"},
        "code": {"type": "string"},
        "hint": {"type": "string"},
        "request_id": {"type": "string"},
        "errors": {"type": "array", "items": {"$ref": "#/components/schemas/ReasonOut"}},
    },
}
_KEY: Schema = {
    "name": "Idempotency-Key",
    "in": "header",
    "required": False,
    "description": "The same request under the same key is carried out once and answered alike.",
    "schema": {"type": "string", "minLength": 1, "maxLength": 64},
}
_GPC: Schema = {
    "name": "Sec-GPC",
    "in": "header",
    "required": False,
    "description": "`1`: also record the Global Privacy Control signal for the people in the call.",
    "schema": {"type": "string"},
}
# POST, because a question holds personal data or a whole text; changes nothing
_READING = ("/v1/decisions", "/v1/policies/diff", "/v1/subjects/lookup")
_UNKEPT = (
    "/v1/decisions/batch",
    "/v1/consents/receipt",
    "/v1/consents/history",
    "/v1/consents/state",
    "/v1/consents/confirmations/{token}",
    "/v1/subjects/{pseudonym}/reveal",
    "/v1/reveals",
    "/v1/canaries",
    "/v1/pseudonyms/convert",
    "/v1/audiences/{audience}/customer-match",
)  # the reply tells about people, and would outlive them or what they say
_SIGNALLED = ("/v1/consents", "/v1/choices", "/v1/imports/{kind}")
_KEYED = ("/v1", "/tile")
_OPEN = ("/v1/audit/checkpoint", "/v1/audit/vkey", "/v1/receipts/keys", "/v1/consents/confirmations/{token}")


def document(app: Litestar) -> Schema:
    """Return the whole document."""
    schema: Schema = app.openapi_schema.to_schema()
    schema.setdefault("components", {})["schemas"] = _components(app)
    schema["components"]["securitySchemes"] = {"key": {"type": "http", "scheme": "bearer"}}
    for path, method, handler in _operations(app):
        operation = schema["paths"].get(path, {}).get(method)
        if operation is not None:
            _complete(path, operation, handler)
            _name_headers(path, method, operation)
    return schema


def _operations(app: Litestar) -> list[tuple[str, str, HTTPRouteHandler]]:
    found = []
    for route in app.routes:
        if not isinstance(route, HTTPRoute):
            continue
        path = route.path_format
        found += [
            (path, method.lower(), handler) for handler in route.route_handlers for method in handler.http_methods
        ]
    return found


def _components(app: Litestar) -> Schema:
    models: dict[str, type[BaseModel]] = {m.__name__: m for m in (wire.ReasonOut, *wire.ITEMS.values())}
    for _, _, handler in _operations(app):
        for name in ("body", "reply"):
            model = handler.opt.get(name)
            if model is not None:
                models[model.__name__] = model
    _, definitions = models_json_schema([(model, _mode(model)) for model in models.values()], ref_template=_REF)
    return {**definitions["$defs"], "Problem": _PROBLEM}


def _mode(model: type[BaseModel]) -> Any:
    return "validation" if issubclass(model, wire.Strict) else "serialization"


def _complete(path: str, operation: Schema, handler: HTTPRouteHandler) -> None:
    operation["summary"], operation["description"] = _texts(handler)
    body, reply = handler.opt.get("body"), handler.opt.get("reply")
    if body is not None:
        operation["requestBody"] = {"required": True, "content": {"application/json": {"schema": _body(handler)}}}
    if handler.opt.get("rows"):
        text = {"schema": {"type": "string"}}
        operation["requestBody"] = {
            "required": True,
            "content": {"application/x-ndjson": text, "text/csv": text},
        }
    # The framework's own errors are not what is answered: every error is a problem.
    operation["responses"] = {s: r for s, r in operation["responses"].items() if s.startswith("2")}
    if reply is not None:
        for response in operation["responses"].values():
            response["content"] = {"application/json": {"schema": {"$ref": _REF.format(model=reply.__name__)}}}
    problem = {"application/problem+json": {"schema": {"$ref": _REF.format(model="Problem")}}}
    operation["responses"]["default"] = {"description": "A problem (RFC 9457)", "content": problem}
    if path.startswith(_KEYED) and path not in _OPEN:
        operation["security"] = [{"key": []}]


def _name_headers(path: str, method: str, operation: Schema) -> None:
    headers = [_KEY] if method == "post" and path not in (*_READING, *_UNKEPT) else []
    if path in _SIGNALLED:
        headers.append(_GPC)
    if headers:
        operation["parameters"] = [*operation.get("parameters", ()), *headers]


def _texts(handler: HTTPRouteHandler) -> tuple[str, str]:
    """Return the first line of a handler's docstring, and the whole of it."""
    text = cleandoc(handler.fn.__doc__ or "")
    return text.partition("\n")[0], text


def _body(handler: HTTPRouteHandler) -> Schema:
    reference = {"$ref": _REF.format(model=handler.opt["body"].__name__)}
    items = handler.opt.get("items")
    if items is None:
        return reference
    model = wire.ITEMS[items].__name__
    return {
        "type": "object",
        "required": ["source", "items"],
        "additionalProperties": False,
        "properties": {
            "source": {"type": "string", "pattern": "^[a-z][a-z0-9_]{0,62}$"},
            "items": {
                "type": "array",
                "minItems": 1,
                "maxItems": 1000,
                "items": {"$ref": _REF.format(model=model)},
            },
        },
    }
