"""Canonical JSON: one value has exactly one byte string (RFC 8785, JSON Canonicalization Scheme).

The log hashes bytes, so two programs that log the same value must write the same bytes. Entries need text,
whole numbers, truth values, null, lists and objects; floating-point numbers are refused, which leaves out the one
part of RFC 8785 (ECMAScript number printing) that home-made writers get wrong. For what is left, the standard
encoder already writes the JCS form: shortest escapes, lower-case hex, no blanks. Only the order of keys
needs care: RFC 8785 3.2.3 sorts UTF-16 code units, Python sorts code points, and the two differ as soon as one
key lies beyond U+FFFF and another between U+E000 and U+FFFF. ASCII keys cannot differ and take the fast path.

Invariants: equal values give equal bytes; `json.loads` of the bytes gives the value back (tuples as lists);
what is refused is refused with `ValueError` whose message holds no part of the value.
"""

from __future__ import annotations

from json import JSONEncoder

MAX_SAFE_INTEGER = 2**53 - 1  # RFC 7493 2.2: beyond it, other languages' readers lose digits
MAX_DEPTH = 32  # the same limit as bodies of requests; also ends cycles


class _JcsEncoder(JSONEncoder):
    """The standard encoder with the settings that make it write RFC 8785."""

    def __init__(self, *, sort_keys: bool) -> None:
        super().__init__(
            ensure_ascii=False,
            check_circular=False,
            allow_nan=False,
            sort_keys=sort_keys,
            separators=(",", ":"),
        )


_encode_sorting = _JcsEncoder(sort_keys=True).encode
_encode_ordered = _JcsEncoder(sort_keys=False).encode


def canonical_json(value: object) -> bytes:
    """Return the RFC 8785 form of `value` as UTF-8.

    Accepts str, bool, None, int within ±(2^53-1), and lists, tuples and str-keyed dicts of these, at most 32
    levels deep. Raises ValueError for anything else: floats, other key types, lone surrogates, cycles.
    """
    ascii_keys = _check(value, 0)
    text = _encode_sorting(value) if ascii_keys else _encode_ordered(_in_utf16_order(value))
    try:
        return text.encode()
    except UnicodeEncodeError:
        # `from None`: the original error carries the whole text, and the text may be anybody's
        raise ValueError("a string holds a lone surrogate") from None


def _check(value: object, depth: int) -> bool:
    """Raise unless `value` has a canonical form; tell whether all of its keys are ASCII."""
    if value is None or isinstance(value, (str, bool)):
        return True
    if isinstance(value, int):
        return _check_integer(value)
    if depth >= MAX_DEPTH:
        raise ValueError(f"nested deeper than {MAX_DEPTH} levels")
    if isinstance(value, dict):
        return _check_object(value, depth)
    if isinstance(value, (list, tuple)):
        ascii_keys = True
        for item in value:  # all of them: `all()` would stop checking at the first non-ASCII key
            ascii_keys = _check(item, depth + 1) and ascii_keys
        return ascii_keys
    raise ValueError(f"{type(value).__name__} has no canonical form here")


def _check_integer(value: int) -> bool:
    """Raise unless every JSON reader keeps all digits of `value`."""
    if -MAX_SAFE_INTEGER <= value <= MAX_SAFE_INTEGER:
        return True
    raise ValueError("an integer is outside ±(2^53-1)")


def _check_object(value: dict[object, object], depth: int) -> bool:
    """Raise unless keys are strings and items have a form; tell whether all keys below are ASCII."""
    ascii_keys = True
    for key, item in value.items():
        if not isinstance(key, str):
            raise ValueError("an object key is not a string")  # noqa: TRY004 - one error type for refusals
        ascii_keys = key.isascii() and ascii_keys
        if type(item) is not str:  # most items are text: spare the call
            ascii_keys = _check(item, depth + 1) and ascii_keys
    return ascii_keys


def _in_utf16_order(value: object) -> object:
    """Return a copy whose objects hold their keys in the order of RFC 8785 3.2.3."""
    if isinstance(value, dict):
        return {key: _in_utf16_order(value[key]) for key in sorted(value, key=_utf16)}
    if isinstance(value, (list, tuple)):
        return [_in_utf16_order(item) for item in value]
    return value


def _utf16(key: str) -> bytes:
    """Return the code units of `key`, big-endian, so that bytes sort as code units do."""
    return key.encode("utf-16-be", "surrogatepass")
