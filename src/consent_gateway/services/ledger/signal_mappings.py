"""The register of what TCF numbers mean here: purposes, channels, recipients. Data of the operator, set as a whole."""

from __future__ import annotations

from typing import Any

from consent_gateway.audit.entries import EntryKind
from consent_gateway.db import signals as signal_rows
from consent_gateway.domain.ids import PurposeId, RecipientId
from consent_gateway.domain.purposes import OWN, Channel, RecipientKind
from consent_gateway.errors import FieldProblem, InputError
from consent_gateway.policies.signals.effects import PurposeRule, TcfMapping
from consent_gateway.services.work.gateway import Work

_PURPOSE, _VENDOR = "purpose", "vendor"


def set_mapping(work: Work, mapping: TcfMapping) -> None:
    """Put a mapping in the place of the last one; InputError lists everything in it that is not registered."""
    work.hold_registers()
    problems = tuple(_problems(work, mapping))
    if problems:
        raise InputError(fields=problems)
    signal_rows.replace_mapping(work.session, _rows(mapping))
    counts = {"purposes": len(mapping.purposes), "vendors": len(mapping.vendors)}
    work.record(EntryKind.SIGNAL_MAPPED, {"framework": "tcf", **counts})


def mapping_of(work: Work) -> TcfMapping:
    """Return the mapping in force."""
    rules: dict[int, list[dict[str, Any]]] = {}
    vendors: dict[int, RecipientId | None] = {}
    for row in signal_rows.mapping_rows(work.session):
        if row["kind"] == _VENDOR:
            vendors[row["number"]] = RecipientId(row["recipient"]) if row["recipient"] else None
        else:
            rules.setdefault(row["rule"], []).append(row)
    return TcfMapping(tuple(_rule(rows) for rows in rules.values()), vendors)


def _rule(rows: list[dict[str, Any]]) -> PurposeRule:
    channel = Channel(rows[0]["channel"]) if rows[0]["channel"] else None
    return PurposeRule(tuple(row["number"] for row in rows), PurposeId(rows[0]["purpose"]), channel)


def _problems(work: Work, mapping: TcfMapping) -> list[FieldProblem]:
    found = []
    for n, rule in enumerate(mapping.purposes):
        if rule.purpose not in work.registers.purposes.purposes:
            message = "no such purpose is registered"
            found.append(FieldProblem(f"$.purposes[{n}].purpose", "unknown_purpose", message))
    for n, recipient in enumerate(mapping.vendors.values()):
        if recipient is not None and not _third_party(work, recipient):
            message = f"name a registered third party, or {OWN} for yourself and your processors"
            found.append(FieldProblem(f"$.vendors[{n}].recipient", "unknown_recipient", message))
    return found


def _third_party(work: Work, recipient: RecipientId) -> bool:
    found = work.registers.recipients.get(recipient)
    return found is not None and found.kind not in (RecipientKind.SELF, RecipientKind.PROCESSOR)


def _rows(mapping: TcfMapping) -> list[dict[str, Any]]:
    rows = [
        {
            "kind": _PURPOSE,
            "rule": n,
            "number": number,
            "purpose": rule.purpose,
            "channel": rule.channel,
            "recipient": None,
        }
        for n, rule in enumerate(mapping.purposes)
        for number in rule.tcf_purposes
    ]
    blank: dict[str, Any] = {"kind": _VENDOR, "purpose": None, "channel": None}
    vendors = enumerate(mapping.vendors.items())
    return rows + [blank | {"rule": n, "number": v, "recipient": recipient} for n, (v, recipient) in vendors]
