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


CALLER = {"actor": {"app_name": "crm"}, "src_endpoint": {"svc_name": "crm"}}
BY_CLASS: dict[EntryKind, tuple[dict[str, object], dict[str, Any]]] = {
    EntryKind.CONSENT_RECORDED: (
        {"purpose": "marketing", "source": "shop", "notice": True, "reason": 7},
        CALLER
        | {"class_uid": 6003, "class_name": "API Activity", "activity_id": 1, "activity_name": "Create"}
        | {"severity": "Informational", "severity_id": 1, "api": {"operation": "consent.recorded"}}
        | {"resources": [{"name": "marketing", "type": "purpose"}, {"name": "shop", "type": "source"}]},
    ),
    EntryKind.ACCESS_DENIED: (
        {"why": "scope"},
        CALLER
        | {"class_uid": 6003, "class_name": "API Activity", "activity_id": 99, "activity_name": "Other"}
        | {"severity": "Medium", "severity_id": 3, "api": {"operation": "access.denied"}}
        | {"status": "Failure", "status_id": 2},
    ),
    EntryKind.SUBJECT_ERASED: (
        {"reason": "request"},
        CALLER
        | {"class_uid": 6005, "class_name": "Datastore Activity", "activity_id": 7, "activity_name": "Delete"}
        | {"severity": "Low", "severity_id": 2, "table": {"name": "vault"}, "type": "Table", "type_id": 3}
        | {"status_detail": "request"},
    ),
    EntryKind.ADMIN_ACTION: (
        {"id": 7, "action": "x"},
        CALLER
        | {"class_uid": 3004, "class_name": "Entity Management", "activity_id": 3, "activity_name": "Update"}
        | {"severity": "Low", "severity_id": 2, "entity": {"name": "7", "type": "admin"}},
    ),
    EntryKind.HOLD_ENDED: (
        {"hold": 3, "id": 9},
        CALLER
        | {"class_uid": 3004, "class_name": "Entity Management", "activity_id": 11, "activity_name": "Deactivate"}
        | {"severity": "Low", "severity_id": 2, "entity": {"name": "3", "type": "hold"}},
    ),
    EntryKind.MAP_PUBLISHED: (
        {},
        CALLER
        | {"class_uid": 3004, "class_name": "Entity Management", "activity_id": 1, "activity_name": "Create"}
        | {"severity": "Low", "severity_id": 2, "entity": {"name": "map", "type": "map"}},
    ),
    EntryKind.KEY_ISSUED: (
        {"principal": "shop"},
        CALLER
        | {"class_uid": 3005, "class_name": "User Access Management", "activity_id": 1}
        | {"activity_name": "Assign Privileges", "severity": "Low", "severity_id": 2}
        | {"user": {"name": "shop"}, "privileges": []},
    ),
    EntryKind.KEY_REVOKED: (
        {},
        CALLER
        | {"class_uid": 3001, "class_name": "Account Change", "activity_id": 6, "activity_name": "Delete"}
        | {"severity": "Low", "severity_id": 2, "user": {"name": "crm"}},
    ),
    EntryKind.CANARY_READ: (
        {"canaries": 1},
        {"class_uid": 2004, "class_name": "Detection Finding", "activity_id": 1, "activity_name": "Create"}
        | {"severity": "Critical", "severity_id": 5, "status": "New", "status_id": 1, "evidences": [CALLER]}
        | {"finding_info": {"title": "canary.read", "uid": bytes(range(16)).hex()}},
    ),
}


@pytest.mark.parametrize("kind", BY_CLASS)
def test_an_event_of_each_class_to_the_letter(kind: EntryKind) -> None:
    fields, said = BY_CLASS[kind]
    product = {"name": "consent-gateway", "vendor_name": "consent-gateway"}
    metadata = {
        "event_code": kind.value, "log_name": "gateway.example/log", "product": product, "sequence": 41,
        "uid": bytes(range(16)).hex(), "version": "1.3.0",
    } | ({"profiles": ["host"]} if kind is EntryKind.KEY_ISSUED else {})  # fmt: skip
    common = {
        "category_uid": said["class_uid"] // 1000,
        "message": kind.value,
        "metadata": metadata,
        "status": "Success",
        "status_id": 1,
        "time": 1_700_000_000_000,
        "type_name": f"{said['class_name']}: {said['activity_name']}",
        "type_uid": said["class_uid"] * 100 + said["activity_id"],
        "unmapped": {"commitments": {"subject": "00" * 32}, "fields": fields},
    }
    assert event_of(kind, fields) == common | said


def test_a_refusal_is_a_failure_and_nothing_else_is() -> None:
    told = [event_of(EntryKind.REVEAL_MADE, {"outcome": outcome})["status"] for outcome in ("deny", "permit", None)]
    assert told == ["Failure", "Success", "Success"]


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
    assert (event["class_uid"], event["activity_name"], event["severity"]) == (6003, "Other", "Informational")
    assert problems(event) == []


def test_the_document_lists_every_kind_as_it_is_mapped() -> None:
    text = (ROOT / "docs" / "ocsf.md").read_text(encoding="utf-8")
    for kind in EntryKind:
        m = MAPPING[kind.value]
        line = (
            f"| `{kind.value}` | {m.class_name} ({m.class_uid}) | {m.activity_name} ({m.activity_id}) | {m.severity} |"
        )
        assert line in text, line
