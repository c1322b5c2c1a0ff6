"""Byte-level checks of bodies and queries, before any parser of the application runs.

Theory: JSON text is reduced to its structural characters by a few C-speed passes (`_skeleton`), which bounds depth
and number of values *before* a parser builds objects (CVE-2025-59043 was that order reversed). Duplicate names
(unpredictable by RFC 8259 section 4, forbidden by RFC 7493) are found exactly: a parsed document that is written
again has as many colons outside strings as the text has members, unless a member was lost. Invariants: every check
is linear in the size of the body; no check quotes what it read, but for a duplicate name that is a plain name.
"""

from __future__ import annotations

import json
import re
from typing import TypeVar
from urllib.parse import parse_qsl

import msgspec
import pydantic

from consent_gateway.api.problems import field_problems, plain_name
from consent_gateway.errors import FieldProblem, InputError

MAX_DEPTH = 32
MAX_VALUES = 250_000
MAX_LINE_BYTES = 1_048_576
MAX_QUERY_FIELDS = 64
_NAMED_BYTES = 65_536  # up to this size a duplicate is worth a second parse that finds its name

_STRUCTURE = b'"[]{}:,'
_REST = bytes(sorted(set(range(256)) - set(_STRUCTURE)))
_ONE_BRACKET = bytes.maketrans(b"{}", b"[]")
_decode = msgspec.json.Decoder().decode
_encode = msgspec.json.Encoder().encode
_BYTE = re.compile(r"\(byte (\d+)\)\Z")

Model = TypeVar("Model", bound=pydantic.BaseModel)


def parse_model(model: type[Model], body: bytes) -> Model:
    """Read a checked JSON body as `model`, strictly: only JSON's own true is true, "yes" and 1 are refused.

    The framework's own binding overrides a model's strictness, so garbage would become consent; raises InputError
    that names every field that is wrong.
    """
    try:
        return model.model_validate_json(body, strict=True)
    except pydantic.ValidationError as error:
        raise InputError(fields=field_problems(error)) from None


def check_json_document(body: bytes) -> FieldProblem | None:
    """Check one JSON text (RFC 8259 within I-JSON, RFC 7493); return what is wrong, or None.

    Refused: bytes that are not UTF-8, more than `MAX_DEPTH` levels or `MAX_VALUES` structural characters, text that
    is not exactly one JSON value, NaN, Infinity, numbers that overflow, lone surrogates, duplicate member names.
    The path is `$` or the byte at fault (`$@17`); nothing of the text is quoted but a plain duplicate name.
    """
    if not _is_utf8(body):
        return FieldProblem("$", "not_utf8", "must be UTF-8")
    bones = _skeleton(body)
    if bones is None or len(bones) > MAX_VALUES:
        return FieldProblem("$", "too_many_values", f"must have at most {MAX_VALUES:,} structural characters")
    if _is_deeper(bones, MAX_DEPTH):
        return FieldProblem("$", "too_deep", f"must be at most {MAX_DEPTH} levels deep")
    try:
        again = _skeleton(_encode(_decode(body)))
    except (ValueError, OverflowError, msgspec.MsgspecError) as error:
        return _malformed(error)
    if again is None or bones.count(b":") != again.count(b":"):
        return _duplicate(body)
    return None


def check_rows(body: bytes) -> FieldProblem | None:
    """Check a body of rows (NDJSON, CSV): UTF-8, no NUL, no line above `MAX_LINE_BYTES`; return what is wrong."""
    if not _is_utf8(body):
        return FieldProblem("$", "not_utf8", "must be UTF-8")
    if b"\x00" in body:
        return FieldProblem("$", "nul_byte", "must not contain NUL")
    start, size = 0, len(body)
    while size - start > MAX_LINE_BYTES:
        end = body.rfind(b"\n", start, start + MAX_LINE_BYTES + 1)
        if end < 0:
            return FieldProblem("$", "line_too_long", f"must have lines of at most {MAX_LINE_BYTES:,} bytes")
        start = end + 1
    return None


def _is_utf8(body: bytes) -> bool:
    """Tell whether `body` is UTF-8 (RFC 3629: no surrogates, no overlong forms)."""
    if body.isascii():
        return True
    try:
        body.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


def _skeleton(body: bytes) -> bytes | None:
    r"""Reduce JSON text to its `[`, `]`, `:` and `,` outside strings (braces become brackets), or None if too many.

    Exact for well-formed JSON: escapes go first (`\\`, then `\"`), so every quote left is a delimiter; a pair of
    adjacent quotes changes nobody's inside or outside; then every second piece between quotes is inside a string.
    """
    if b"\\" in body:
        body = body.replace(b"\\\\", b"").replace(b'\\"', b"")
    bones = body.translate(_ONE_BRACKET, _REST).replace(b'""', b"")
    if b'"' not in bones:
        return bones
    if bones.count(b'"') > 2 * MAX_VALUES:  # only strings full of punctuation get here; splitting them is what costs
        return None
    return b"".join(bones.split(b'"')[::2])


def _is_deeper(bones: bytes, limit: int) -> bool:
    """Tell whether brackets nest more than `limit` deep: each pass takes away exactly the innermost level."""
    if bones.count(b"[") <= limit:
        return False
    brackets = bones.translate(None, b":,")
    for _ in range(limit):
        brackets = brackets.replace(b"[]", b"")
        if not brackets:
            return False
    return True


def _malformed(error: Exception) -> FieldProblem:
    """Say where the parser stopped; its message is not copied, because parsers quote."""
    at = _BYTE.search(str(error))
    text = "must be one JSON value, with finite numbers and paired surrogates"
    return FieldProblem(f"$@{at.group(1)}" if at else "$", "not_json", text)


def _duplicate(body: bytes) -> FieldProblem:
    """Name the first duplicate member if it has a plain name; a large body is not parsed once more for that."""
    names: list[str] = []

    def collect(pairs: list[tuple[str, object]]) -> None:
        seen: set[str] = set()
        for name, _ in pairs:
            if name in seen:
                names.append(name)
            seen.add(name)

    if len(body) <= _NAMED_BYTES:
        json.loads(body, object_pairs_hook=collect)
    return FieldProblem(f"$..{plain_name(names[0])}" if names else "$", "duplicate_key", "must not be given twice")


def check_query(query: bytes) -> FieldProblem | None:
    """Check a raw query string: ASCII, percent-encoded UTF-8, at most `MAX_QUERY_FIELDS`, no name twice."""
    if not query:
        return None
    try:
        pairs = parse_qsl(
            query.decode("ascii"), keep_blank_values=True, errors="strict", max_num_fields=MAX_QUERY_FIELDS
        )
    except ValueError:
        return FieldProblem(
            "?", "malformed_query", f"must be percent-encoded UTF-8 of at most {MAX_QUERY_FIELDS} fields"
        )
    seen: set[str] = set()
    for name, _ in pairs:
        if name in seen:
            return FieldProblem(f"?{plain_name(name)}", "duplicate_query_key", "must not be given twice")
        seen.add(name)
    return None
