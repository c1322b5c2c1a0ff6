"""Files of signal vectors, as their communities exchange them: decode every string, compare, list differences.

The format is told by the content. An object with `sec_gpc` or `well_known_gpc_json` is about Global Privacy Control. An
object with a list `vectors` holds strings: a vector with `sections` or `section_ids` expects a GPP string, one with
`decoded` a TC string, one with `valid: false` that the string is refused. Keys of an expectation that the decoder does
not produce are differences; keys of a vector that nothing here reads are listed, so that nobody takes half a comparison
for a whole one. Two files that travel with these hold no consent string and are passed over, with the reason: digests
of customer lists (`scheme` and `raw`), and one-click unsubscription (`endpoint` and `headers`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from consent_gateway.errors import InputError, SignalError
from consent_gateway.policies.signals.detect import Signal, decode
from consent_gateway.policies.signals.gpc import FIELD, read_well_known, says_opt_out
from consent_gateway.policies.signals.gpp import GppString
from consent_gateway.policies.signals.tc_strings import TcString
from consent_gateway.policies.signals.views import sections_view, tcf_view

_ABSENT = "(nothing)"
_ASSERTED = "asserted_by_iabtcf_java_tests"
_READ = frozenset({"string", "valid", "decoded", _ASSERTED, "spec_2_3_rule_violations", "section_ids", "sections"})
_WORDS = frozenset({"name", "sources", "why", "error", "note"})  # about a vector, not expected of it
_GPC_LISTS = ("sec_gpc", "well_known_gpc_json")


@dataclass(frozen=True, slots=True)
class Difference:
    """One place where the decoder and the file disagree; values are as JSON."""

    place: str
    expected: Any
    got: Any


@dataclass(slots=True)
class Comparison:
    """What comparing one file gave."""

    format: str
    checked: int = 0
    unspecified: int = 0  # cases for which the file itself expects nothing
    differences: list[Difference] = field(default_factory=list)
    not_compared: set[str] = field(default_factory=set)
    passed_over: str = ""  # why nothing was compared


def compare(document: object) -> Comparison:
    """Compare every vector of a file; InputError if it is none of the formats."""
    if isinstance(document, Mapping):
        if any(isinstance(document.get(name), list) for name in _GPC_LISTS):
            return _compare_gpc(document)
        if {"endpoint", "headers"} <= document.keys():
            return Comparison("one-click", passed_over="requests to unsubscribe (RFC 8058): no consent strings")
        if isinstance(document.get("vectors"), list):
            if all(isinstance(v, Mapping) and {"scheme", "raw"} <= v.keys() for v in document["vectors"]):
                return Comparison("digests", passed_over="digests of customer lists: see `pseudonyms test`")
            return _compare_strings(document["vectors"])
    raise InputError("a vector file is an object with a list `vectors`, or with `sec_gpc` or `well_known_gpc_json`")


# -- strings -----------------------------------------------------------------------------------------------------


def _compare_strings(vectors: list[Any]) -> Comparison:
    formats = set()
    found = Comparison("")
    for n, vector in enumerate(vectors):
        if not (isinstance(vector, Mapping) and isinstance(vector.get("string"), str)):
            raise InputError(f"vectors[{n}] has no text `string`")
        formats.add("gpp" if _is_gpp(vector) else "tcf")
        found.checked += 1
        found.not_compared |= vector.keys() - _READ - _WORDS
        found.differences += _string_differences(f"vectors[{n}]", vector)
    found.format = "+".join(sorted(formats))
    return found


def _is_gpp(vector: Mapping[str, Any]) -> bool:
    return "sections" in vector or "section_ids" in vector or vector["string"].startswith("D")


def _string_differences(place: str, vector: Mapping[str, Any]) -> Iterator[Difference]:
    valid = vector.get("valid", True)
    try:
        signal = decode(vector["string"])
    except SignalError as error:
        if valid:
            yield Difference(f"{place}.valid", valid, f"refused: {error.detail}")
        return
    if not valid:
        yield Difference(f"{place}.valid", valid, "decoded")
        return
    yield from _value_differences(place, vector, signal)


def _value_differences(place: str, vector: Mapping[str, Any], signal: Signal) -> Iterator[Difference]:
    expects_gpp = "sections" in vector or "section_ids" in vector
    expects_tcf = "decoded" in vector or _ASSERTED in vector or "spec_2_3_rule_violations" in vector
    if expects_gpp and not isinstance(signal, GppString):
        yield Difference(place, "a GPP string", type(signal).__name__)
    elif isinstance(signal, GppString) and expects_gpp:
        yield from _gpp_differences(place, vector, signal)
    if expects_tcf and not isinstance(signal, TcString):
        yield Difference(place, "a TC string", type(signal).__name__)
    elif isinstance(signal, TcString) and expects_tcf:
        yield from _tcf_differences(place, vector, signal)


def _tcf_differences(place: str, vector: Mapping[str, Any], tc: TcString) -> Iterator[Difference]:
    view = _ordered(tcf_view(tc))
    for name in ("decoded", _ASSERTED):
        yield from _differences(f"{place}.{name}", _ordered(vector.get(name, {})), view)
    if "spec_2_3_rule_violations" in vector:
        expected, got = sorted(vector["spec_2_3_rule_violations"]), sorted(tc.violations)
        if expected != got:
            yield Difference(f"{place}.spec_2_3_rule_violations", expected, got)


def _ordered(view: Mapping[str, Any]) -> dict[str, Any]:
    """Order restrictions by purpose and type: how a decoder lists them says nothing."""
    held = view.get("publisherRestrictions")
    if not isinstance(held, list):
        return dict(view)
    return {**view, "publisherRestrictions": sorted(held, key=lambda r: (r["purposeId"], r["restrictionType"]))}


def _gpp_differences(place: str, vector: Mapping[str, Any], gpp: GppString) -> Iterator[Difference]:
    if "section_ids" in vector and vector["section_ids"] != list(gpp.ids):
        yield Difference(f"{place}.section_ids", vector["section_ids"], list(gpp.ids))
    if "sections" not in vector:
        return
    expected, got = vector["sections"], sections_view(gpp)
    for name in sorted(expected.keys() | got.keys()):
        if name not in expected or name not in got:
            yield Difference(f"{place}.sections.{name}", expected.get(name, _ABSENT), got.get(name, _ABSENT))
            continue
        yield from _differences(f"{place}.sections.{name}", expected[name], got[name])
        for extra in sorted(got[name].keys() - expected[name].keys()):
            yield Difference(f"{place}.sections.{name}.{extra}", _ABSENT, got[name][extra])


def _differences(place: str, expected: Mapping[str, Any], got: Mapping[str, Any]) -> Iterator[Difference]:
    for name, value in expected.items():
        # In JSON 1 and true are two things; in Python they are equal.
        if name not in got or got[name] != value or type(got[name]) is not type(value):
            yield Difference(f"{place}.{name}", value, got.get(name, _ABSENT))


# -- Global Privacy Control --------------------------------------------------------------------------------------


def _compare_gpc(document: Mapping[str, Any]) -> Comparison:
    found = Comparison("gpc")
    for n, case in enumerate(document.get("sec_gpc", [])):
        found.checked += 1
        place = f"sec_gpc[{n}]"
        values = [value for name, value in _member(case, "headers", place) if name.lower() == FIELD]
        expected, got = case.get("expected"), says_opt_out(values)
        if expected is None:
            found.unspecified += 1
        elif expected is not got:
            found.differences.append(Difference(f"{place}.expected", expected, got))
    for n, case in enumerate(document.get("well_known_gpc_json", [])):
        found.checked += 1
        found.differences += _well_known_differences(f"well_known_gpc_json[{n}]", case)
    return found


def _well_known_differences(place: str, case: Mapping[str, Any]) -> Iterator[Difference]:
    content_type, body = _member(case, "content_type", place), _member(case, "body", place)
    read = read_well_known(content_type, body)
    got = {"support": str(read.support), "last_update": read.last_update or "unknown"}
    expected = {name: case[name] for name in ("support", "last_update") if name in case}
    yield from _differences(place, expected, got)


def _member(case: object, name: str, place: str) -> Any:
    if not (isinstance(case, Mapping) and name in case):
        raise InputError(f"{place} has no `{name}`")
    return case[name]
