"""JSON schemas (OpenAPI 3.1, draft 2020-12) as words, tables and examples for the documentation page.

Pure functions over the parsed document. Named schemas are linked, not unfolded, so recursive ones are finite;
examples unfold references up to `MAX_UNFOLD` levels. Nothing here is random: the same document, the same page.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from consent_gateway.web.page import prose, table

MAX_UNFOLD = 6
Schema = Mapping[str, Any]

_LIMITS = {
    "minimum": "≥ {}",
    "exclusiveMinimum": "> {}",
    "maximum": "≤ {}",
    "exclusiveMaximum": "< {}",
    "minLength": "at least {} characters",
    "maxLength": "at most {} characters",
    "minItems": "at least {} items",
    "maxItems": "at most {} items",
    "pattern": "matches {}",
    "default": "default {}",
}
_SAMPLES: Mapping[str, Any] = {
    "date-time": "2026-01-31T12:00:00Z",
    "date": "2026-01-31",
    "uuid": "00000000-0000-4000-a000-000000000000",
    "uri": "https://example.org/",
    "email": "someone@example.org",
    "integer": 1,
    "number": 1.5,
    "boolean": True,
    "string": "text",
    "null": None,
}


def anchor(*parts: str) -> str:
    """Return an id for a place on the page: letters, digits and hyphens."""
    return re.sub(r"[^A-Za-z0-9]+", "-", "-".join(parts)).strip("-").lower()


def kind_html(schema: Schema) -> str:
    """Say in HTML what values `schema` takes: types, links to named schemas, allowed values, limits."""
    limits = "; ".join(text.format(schema[key]) for key, text in _LIMITS.items() if schema.get(key) is not None)
    return _kind(schema) + (f' <span class="soft">{escape(limits)}</span>' if limits else "")


def _kind(schema: Schema) -> str:
    if "$ref" in schema:
        name = str(schema["$ref"]).rpartition("/")[2]
        return f'<a href="#{anchor("schema", name)}">{escape(name)}</a>'
    for union in ("oneOf", "anyOf", "allOf"):
        if schema.get(union):
            return (" and " if union == "allOf" else " or ").join(_kind(part) for part in schema[union])
    values = [schema["const"]] if "const" in schema else schema.get("enum")
    if values:
        return " | ".join(f"<code>{escape(str(value))}</code>" for value in values)
    return _typed(schema)


def _typed(schema: Schema) -> str:
    names = _types(schema)
    if "array" in names:
        return f"array of {kind_html(schema.get('items', {}))}"
    extra = schema.get("additionalProperties")
    if "object" in names and isinstance(extra, Mapping) and extra:
        return f"object of {kind_html(extra)}"
    text = " or ".join(names) or "any"
    return escape(f"{text} ({schema['format']})" if schema.get("format") else text)


def _types(schema: Schema) -> list[str]:
    given = schema.get("type", [])
    return [given] if isinstance(given, str) else [str(name) for name in given]


def fields_html(schema: Schema) -> str:
    """Return the table of an object's fields, or one line for any other schema."""
    properties: Mapping[str, Schema] = schema.get("properties") or {}
    if not properties:
        return f"<p>{kind_html(schema)}</p>"
    required = schema.get("required", ())
    rows = [
        (
            f"<code>{escape(name)}</code>" + ("" if name in required else ' <span class="soft">optional</span>'),
            kind_html(field),
            prose(field.get("description", "")),
        )
        for name, field in properties.items()
    ]
    return table(("Field", "Type", "Meaning"), rows)


def sample(schema: Schema, named: Mapping[str, Schema], unfold: int = MAX_UNFOLD) -> Any:
    """Return an example value: the schema's own if it has one, else one built from its types and limits."""
    if "$ref" in schema:
        target = named.get(str(schema["$ref"]).rpartition("/")[2], {})
        return sample(target, named, unfold - 1) if unfold else None
    found, value = _given(schema)
    if found:
        return value
    for union in ("oneOf", "anyOf", "allOf"):
        if schema.get(union):
            return sample(schema[union][0], named, unfold)
    return _built(schema, named, unfold)


def _given(schema: Schema) -> tuple[bool, Any]:
    """Find a value that the schema names itself."""
    for key in ("example", "const", "default"):
        if schema.get(key) is not None:
            return True, schema[key]
    for key in ("examples", "enum"):
        values = schema.get(key)
        if isinstance(values, Sequence) and values:
            return True, values[0]
    return False, None


def _built(schema: Schema, named: Mapping[str, Schema], unfold: int) -> Any:
    kind = next((name for name in _types(schema) if name != "null"), "object" if "properties" in schema else "null")
    if kind == "array":
        return [sample(schema.get("items", {}), named, unfold - 1)] if unfold else []
    if kind == "object":
        properties = schema.get("properties") or {}
        return {name: sample(field, named, unfold - 1) for name, field in properties.items()} if unfold else {}
    if kind in ("integer", "number") and "minimum" in schema:
        return schema["minimum"]
    return _SAMPLES.get(schema.get("format", kind), _SAMPLES.get(kind))
