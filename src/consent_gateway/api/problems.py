"""One renderer of errors: problem details (RFC 9457) for raw ASGI and for Litestar.

Theory: whatever goes wrong is first translated to a `GatewayError` (`from_exception`), whose class fixes status,
code, title and hint, and then rendered (`render`). Invariants: no value of the request, no text of a foreign
exception and no path or query is copied into an answer; names that callers chose appear only if they are plain
names; what is not foreseen becomes `InternalError` without detail and is left in the request's state under
`ERROR_KEY`, where the access log finds it. The request id comes from the state under `REQUEST_ID_KEY`.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import msgspec
import pydantic
from litestar import Request, Response
from litestar.exceptions import HTTPException
from litestar.types import Send

from consent_gateway.errors import (
    AuthenticationError,
    FieldProblem,
    ForbiddenError,
    GatewayError,
    InputError,
    InternalError,
    MalformedBodyError,
    MediaTypeError,
    MethodNotAllowedError,
    NotFoundError,
    QuotaError,
    TooLargeError,
    UnavailableError,
)

MEDIA_TYPE = "application/problem+json"
REQUEST_ID_KEY = "cg_request_id"
ERROR_KEY = "cg_error"
MAX_FIELDS = 50
RETRY_AFTER_SECONDS = 5

_PLAIN_NAME = re.compile(r"[A-Za-z_](?!.*[0-9]{6})[A-Za-z0-9_\-]{0,39}\Z")
_BY_STATUS: Mapping[int, type[GatewayError]] = {
    400: InputError,
    401: AuthenticationError,
    403: ForbiddenError,
    404: NotFoundError,
    405: MethodNotAllowedError,
    413: TooLargeError,
    415: MediaTypeError,
    429: UnavailableError,
    503: UnavailableError,
}
# pydantic's error types whose context holds our own limits only; all others get a text without context.
_TEXTS: Mapping[str, str] = {
    "missing": "is required",
    "extra_forbidden": "is not a known field",
    "string_type": "must be a string",
    "int_type": "must be an integer",
    "int_parsing": "must be an integer",
    "float_type": "must be a number",
    "float_parsing": "must be a number",
    "bool_type": "must be true or false",
    "bool_parsing": "must be true or false",
    "dict_type": "must be an object",
    "model_type": "must be an object",
    "model_attributes_type": "must be an object",
    "list_type": "must be an array",
    "tuple_type": "must be an array",
    "literal_error": "must be one of {expected}",
    "enum": "must be one of {expected}",
    "string_too_short": "must have at least {min_length} characters",
    "string_too_long": "must have at most {max_length} characters",
    "string_pattern_mismatch": "must match {pattern}",
    "too_long": "must have at most {max_length} items",
    "too_short": "must have at least {min_length} items",
    "greater_than": "must be greater than {gt}",
    "greater_than_equal": "must be at least {ge}",
    "less_than": "must be less than {lt}",
    "less_than_equal": "must be at most {le}",
    "datetime_parsing": "must be an RFC 3339 instant",
    "timezone_aware": "must carry a UTC offset",
    "date_parsing": "must be a date, YYYY-MM-DD",
}


class FieldTextError(ValueError):
    """Raised by validators of wire models: its text is a constant of ours, so it may be shown to the caller."""


@dataclass(frozen=True, slots=True)
class Problem:
    """A rendered error: HTTP status, headers as ASGI wants them, and the JSON body."""

    status: int
    headers: tuple[tuple[bytes, bytes], ...]
    body: bytes


def plain_name(name: str) -> str:
    """Return `name` if it looks like a field's name, else `?`; a caller may have put a value in its place."""
    return name if _PLAIN_NAME.match(name) else "?"


def request_id(scope: Mapping[str, Any]) -> str:
    """Return the id that the access layer gave this request, or a fresh one (a UUID in text form)."""
    state: Any = scope.get("state") or {}
    return str(state.get(REQUEST_ID_KEY) or uuid.uuid4())


def render(error: GatewayError, request: str, extra: tuple[tuple[bytes, bytes], ...] = ()) -> Problem:
    """Render `error` for the request with id `request` (RFC 9457 section 3); `extra` headers are appended."""
    body = msgspec.json.encode(
        {
            "type": f"/problems/{error.code}",
            "title": error.title,
            "status": error.status,
            "detail": error.detail,
            "instance": f"urn:uuid:{request}",
            "code": error.code,
            "hint": error.hint,
            "errors": [asdict(field) for field in error.fields[:MAX_FIELDS]],
            "request_id": request,
        }
    )
    own = [(b"content-type", MEDIA_TYPE.encode()), (b"content-length", str(len(body)).encode())]
    return Problem(error.status, (*own, *_retry(error), *extra), body)


def _retry(error: GatewayError) -> Iterator[tuple[bytes, bytes]]:
    """Yield the headers that HTTP asks for beside the status (RFC 9110 10.2.3 and 11.6.1)."""
    if error.status in (UnavailableError.status, QuotaError.status):
        yield b"retry-after", str(error.retry_after or RETRY_AFTER_SECONDS).encode()
    if error.status == AuthenticationError.status:
        yield b"www-authenticate", b'Bearer realm="consent-gateway"'


async def send_problem(
    error: GatewayError, scope: Mapping[str, Any], send: Send, extra: tuple[tuple[bytes, bytes], ...] = ()
) -> None:
    """Answer one raw ASGI request with `error`; nothing may have been sent before."""
    problem = render(error, request_id(scope), extra)
    await send({"type": "http.response.start", "status": problem.status, "headers": problem.headers})
    await send({"type": "http.response.body", "body": problem.body, "more_body": False})


def from_exception(error: BaseException) -> GatewayError:
    """Translate any exception to the catalogue; the result holds no text of a foreign exception."""
    if isinstance(error, GatewayError):
        return error
    if isinstance(error, HTTPException):
        return _from_http(error)
    if isinstance(error, pydantic.ValidationError):
        return InputError(fields=field_problems(error))
    if isinstance(error, msgspec.ValidationError):
        return InputError(fields=(_from_msgspec(str(error)),))
    if isinstance(error, msgspec.DecodeError):
        return MalformedBodyError()
    return InternalError()


def _from_http(error: HTTPException) -> GatewayError:
    """Translate a framework error: its detail may quote path and query, so only status and causes count."""
    causes = list(_causes(error))
    for kind in (pydantic.ValidationError, msgspec.DecodeError):  # the outer, msgspec one, only wraps the fields
        for cause in causes:
            if isinstance(cause, kind):
                return from_exception(cause)
    if error.status_code in _BY_STATUS:
        return _BY_STATUS[error.status_code]()
    return InputError() if InputError.status <= error.status_code < InternalError.status else InternalError()


def _causes(error: BaseException) -> Iterator[BaseException]:
    cause = error.__cause__
    while cause is not None:
        yield cause
        cause = cause.__cause__


def field_problems(error: pydantic.ValidationError, root: str = "$") -> tuple[FieldProblem, ...]:
    """List what is wrong by field: JSON path under `root`, pydantic's error type as code, and a text without values.

    At most `MAX_FIELDS` problems; sorting is pydantic's own (order of fields).
    """
    found = error.errors(include_input=False, include_url=False)[:MAX_FIELDS]
    return tuple(FieldProblem(root + _path(item["loc"]), item["type"][:64], _text(item)) for item in found)


def _path(location: tuple[int | str, ...]) -> str:
    """Spell a location as a JSON path (RFC 9535 shorthand): `.items[3].email`."""
    return "".join(f"[{part}]" if isinstance(part, int) else f".{plain_name(part)}" for part in location)


def _text(item: Any) -> str:
    context = item.get("ctx", {})
    if isinstance(context.get("error"), FieldTextError):
        return str(context["error"])
    return _TEXTS.get(item["type"], "is not valid").format_map(context)


_MSGSPEC_PATH = re.compile(r"(?:.*) - at `(?:key in )?(\$[A-Za-z0-9_.\[\]\-]{0,120})`\Z", re.DOTALL)
_MSGSPEC_TYPES = re.compile(r"Expected `([a-z |]{1,60})`, got `[a-z]{1,20}`")
_MSGSPEC_FIELD = re.compile(r"Object (missing required|contains unknown) field `([^`]{1,80})`")


def _from_msgspec(message: str) -> FieldProblem:
    """Read path and kind from msgspec's message, and drop the rest, which may quote the value."""
    at = _MSGSPEC_PATH.match(message)
    path = at.group(1) if at else "$"
    if field := _MSGSPEC_FIELD.match(message):
        missing = field.group(1).startswith("missing")
        code, text = ("missing", "is required") if missing else ("extra_forbidden", "is not a known field")
        return FieldProblem(f"{path}.{plain_name(field.group(2))}", code, text)
    if kind := _MSGSPEC_TYPES.match(message):
        return FieldProblem(path, "wrong_type", f"must be {kind.group(1)}")
    return FieldProblem(path, "invalid", "is not valid")


def allowed_methods(request: Request[Any, Any, Any]) -> str:
    """Return the `Allow` header for the path of `request` (RFC 9110 15.5.6), for example `GET, HEAD, POST`."""
    allowed: set[str] = set()
    for route in request.app.routes:
        pattern = re.sub(r"\\\{[^}]*\\\}", "[^/]+", re.escape(route.path_format))
        if re.fullmatch(pattern, request.scope["path"].rstrip("/") or "/"):
            allowed |= {str(method) for method in getattr(route, "methods", ())}
    return ", ".join(sorted(allowed))


def handle(request: Request[Any, Any, Any], error: Exception) -> Response[bytes]:
    """Answer a Litestar request with the problem that `error` is; unforeseen errors are kept for the access log."""
    known = from_exception(error)
    if known.status >= InternalError.status:
        request.scope["state"][ERROR_KEY] = error
    extra = ((b"allow", allowed_methods(request).encode()),) if isinstance(known, MethodNotAllowedError) else ()
    problem = render(known, request_id(request.scope), extra)
    headers = {name.decode(): value.decode() for name, value in problem.headers if name != b"content-length"}
    return Response(problem.body, status_code=problem.status, headers=headers, media_type=MEDIA_TYPE)


def exception_handlers() -> dict[int | type[Exception], Callable[[Request[Any, Any, Any], Any], Response[Any]]]:
    """Return the `exception_handlers` of the Litestar application: every exception goes through `handle`."""
    return {
        GatewayError: handle,
        HTTPException: handle,
        pydantic.ValidationError: handle,
        msgspec.DecodeError: handle,
        Exception: handle,
    }
