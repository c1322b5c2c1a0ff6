"""Results of decision cases as JUnit XML, the form that build servers read.

One suite a file, one test case a decision case. A case that does not hold is a failure; one whose fields cannot be
read is an error.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from xml.etree import ElementTree as ET

from consent_gateway.policies.cases.runner import CaseResult

_FORBIDDEN = re.compile(r"[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")  # XML 1.0, production 2


def junit(results: Mapping[str, Sequence[CaseResult]]) -> str:
    """Return the results by file as one JUnit document."""
    every = [result for found in results.values() for result in found]
    root = ET.Element("testsuites", {"name": "policy cases", **_counts(every)})
    for name, found in results.items():
        suite = ET.SubElement(root, "testsuite", {"name": _clean(name), **_counts(found)})
        for result in found:
            _case(suite, name, result)
    ET.indent(root)
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{ET.tostring(root, encoding="unicode")}\n'


def _counts(results: Sequence[CaseResult]) -> dict[str, str]:
    errors = sum(bool(result.problems) for result in results)
    failures = sum(not result.holds for result in results) - errors
    return {"tests": str(len(results)), "failures": str(failures), "errors": str(errors), "skipped": "0"}


def _case(suite: ET.Element, name: str, result: CaseResult) -> None:
    case = ET.SubElement(suite, "testcase", name=_clean(result.id), classname=_clean(name), time="0")
    if result.holds:
        return
    kind = "error" if result.problems else "failure"
    message = "; ".join(result.problems) or difference(result)
    found = ET.SubElement(case, kind, message=_clean(message), type=_clean(result.basis_kind or "case"))
    found.text = _clean("\n".join([f"citation: {result.citation}", *deciding(result)]))


def difference(result: CaseResult) -> str:
    """Return what was expected and what came, in one line."""
    lacks = f", lacks {', '.join(result.missing_obligations)}" if result.missing_obligations else ""
    wanted = f"{result.expected} {result.reason_expected}"
    return f"expected {wanted}, got {result.got} {result.reason_got}{lacks}"


def deciding(result: CaseResult) -> list[str]:
    """Return the rules that made the answer, each with its citation."""
    return [f"{reason.rule_id} ({reason.law}: {reason.citation})" for reason in result.deciding]


def _clean(text: str) -> str:
    return _FORBIDDEN.sub("\N{REPLACEMENT CHARACTER}", text)
