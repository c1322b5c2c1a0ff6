"""Every kind of entry is an event of its class, with what the published schema asks for."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from consent_gateway.audit.entries import Entry, EntryKind, entry_bytes
from consent_gateway.audit.ocsf import MAPPING, ocsf_event

ROOT = Path(__file__).resolve().parents[2]
SCHEMA = json.loads((ROOT / "tests" / "vectors" / "ocsf_1_3_0.json").read_text())
# fields as the use cases write them, where an event reads them
FIELDS: dict[EntryKind, dict[str, object]] = {
    EntryKind.KEY_ISSUED: {"principal": "shop", "recipient": "self", "scopes": ["audit", "ingest"]},
    EntryKind.KEY_REVOKED: {"principal": "shop"},
    EntryKind.DECISION_MADE: {"purpose": "marketing", "outcome": "deny", "reason": "consent_missing"},
    EntryKind.CANARY_READ: {"purpose": "marketing", "recipient": "self", "canaries": 1},
    EntryKind.POLICY_ACTIVATED: {"pack": "gdpr", "version": 3},
    EntryKind.KEK_DESTROYED: {"epoch": 7},
}


def event_of(kind: EntryKind, fields: dict[str, object] | None = None) -> dict[str, Any]:
    said = FIELDS.get(kind, {}) if fields is None else fields
    entry = Entry(kind, 1_700_000_000_000, "crm", bytes(range(16)), said, {"subject": bytes(32)})
    return ocsf_event(41, entry_bytes(entry), "gateway.example/log")


def problems(event: dict[str, Any]) -> list[str]:
    """What the schema does not allow, or misses: a small reader of its requirements, constraints and enumerations."""
    known = SCHEMA["classes"].get(str(event.get("class_uid")))
    if known is None:
        return ["class_uid"]
    found = [name for name in known["required"] if name not in event]
    allowed = {*known["attributes"], *(("actor",) if "host" in event["metadata"].get("profiles", ()) else ())}
    found += sorted(event.keys() - allowed)
    if known["at_least_one"] and not any(name in event for name in known["at_least_one"]):
        found.append("at_least_one")
    found += [name for name, values in known["enums"].items() if name in event and event[name] not in values]
    if event["type_uid"] != event["class_uid"] * 100 + event["activity_id"]:
        found.append("type_uid")
    if event["category_uid"] != event["class_uid"] // 1000:
        found.append("category_uid")
    if known["activities"].get(str(event["activity_id"]), "Other") != event["activity_name"]:
        found.append("activity_name")
    for name, value in event.items():
        for item in value if isinstance(value, list) else [value]:
            found += [f"{name}.{problem}" for problem in object_problems(name, item)]
    return found + [f"metadata.product.{p}" for p in object_problems("product", event["metadata"]["product"])]


def object_problems(name: str, value: Any) -> list[str]:
    known = SCHEMA["objects"].get(name)
    if known is None:
        return []
    found = [part for part in known["required"] if part not in value] + sorted(value.keys() - set(known["attributes"]))
    if known["at_least_one"] and not any(part in value for part in known["at_least_one"]):
        found.append("at_least_one")
    return found


@pytest.mark.parametrize("kind", EntryKind)
def test_every_kind_is_mapped_and_its_event_has_what_its_class_requires(kind: EntryKind) -> None:
    assert kind.value in MAPPING
    for fields in (None, {}, {"id": 7, "purpose": {"a": 1}, "outcome": None, "reason": ["x"], "scopes": []}):
        event = event_of(kind, fields)
        assert problems(event) == [], event
        assert json.loads(json.dumps(event)) == event


def test_an_event_says_what_the_entry_says() -> None:
    event = event_of(EntryKind.DECISION_MADE)
    assert (event["class_uid"], event["activity_id"], event["time"]) == (6003, 2, 1_700_000_000_000)
    assert (event["status"], event["status_detail"]) == ("Failure", "consent_missing")
    assert event["resources"] == [{"type": "purpose", "name": "marketing"}]
    assert event["actor"] == {"app_name": "crm"}
    assert event["metadata"]["sequence"] == 41
    assert event["metadata"]["uid"] == bytes(range(16)).hex()
    assert event["unmapped"] == {"fields": FIELDS[EntryKind.DECISION_MADE], "commitments": {"subject": "00" * 32}}
    issued = event_of(EntryKind.KEY_ISSUED)
    assert (issued["class_uid"], issued["user"], issued["privileges"]) == (3005, {"name": "shop"}, ["audit", "ingest"])
    assert event_of(EntryKind.POLICY_ACTIVATED)["entity"] == {"type": "policy", "name": "gdpr"}
    assert event_of(EntryKind.KEK_DESTROYED)["entity"] == {"type": "kek", "name": "7"}
    assert event_of(EntryKind.CANARY_READ)["severity"] == "Critical"


@pytest.mark.parametrize(
    ("change", "found"),
    [({"class_uid": 9}, "class_uid"), ({"activity_id": 77}, "activity_id"), ({"nonsense": 1}, "nonsense"),
     ({"src_endpoint": {}}, "src_endpoint.at_least_one"), ({"type_uid": 1}, "type_uid"), ({"category_uid": 1}, "category_uid"),
     ({"api": {}}, "api.operation"), ({"metadata": {"version": "1", "product": {}}}, "metadata.product.vendor_name")],
)  # fmt: skip
def test_the_reader_of_the_schema_sees_a_planted_mistake(change: dict[str, Any], found: str) -> None:
    assert found in problems(event_of(EntryKind.DECISION_MADE) | change)
    without = event_of(EntryKind.DECISION_MADE)
    del without["actor"]
    assert "actor" in problems(without)


def test_a_kind_of_a_later_version_is_other() -> None:
    entry = entry_bytes(Entry(EntryKind.ADMIN_ACTION, 1, "crm", bytes(16))).replace(b"admin.action", b"later.action")
    event = ocsf_event(0, entry, "x")
    assert (event["class_uid"], event["activity_name"]) == (6003, "Other")
    assert problems(event) == []


def test_the_document_lists_every_kind_as_it_is_mapped() -> None:
    text = (ROOT / "docs" / "ocsf.md").read_text(encoding="utf-8")
    for kind in EntryKind:
        m = MAPPING[kind.value]
        line = (
            f"| `{kind.value}` | {m.class_name} ({m.class_uid}) | {m.activity_name} ({m.activity_id}) | {m.severity} |"
        )
        assert line in text, line
