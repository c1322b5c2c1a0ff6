"""Entries as OCSF events, so that a SIEM can watch the gateway (Open Cybersecurity Schema Framework 1.3.0).

Each kind has one class and one activity, by what it is to whoever watches:

- *Datastore Activity* (6005): personal data was read, written or deleted. The table is called `vault`.
- *API Activity* (6003): the gateway was used: asked, told, answered.
- *Entity Management* (3004): something that governs it was changed: registers, packs, approvals, keys, holds, the log.
- *User Access Management* (3005) and *Account Change* (3001): an API key was issued with its scopes; it was revoked.
- *Detection Finding* (2004): somebody asked for a person who does not exist.

Customers are no accounts, so nothing about a person is an account event: a detection for accounts must not go off at an
erasure. An event says no more than the entry does: `actor` is a key's name, the fields are in `unmapped`, and a person
is a commitment. Addresses of callers are not in the log, so `src_endpoint` is the key that called.

`metadata.uid` is the entry's uid and `metadata.sequence` its index: events that were sent twice are told apart by them.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

OCSF_VERSION = "1.3.0"
API, DATASTORE, ENTITY, ACCESS, ACCOUNT, FINDING = 6003, 6005, 3004, 3005, 3001, 2004
_CLASS_NAMES = MappingProxyType(
    {
        API: "API Activity",
        DATASTORE: "Datastore Activity",
        ENTITY: "Entity Management",
        ACCESS: "User Access Management",
        ACCOUNT: "Account Change",
        FINDING: "Detection Finding",
    }
)
_ACTIVITIES = MappingProxyType(
    {
        API: {1: "Create", 2: "Read", 3: "Update", 4: "Delete", 99: "Other"},
        DATASTORE: {1: "Read", 2: "Update", 4: "Query", 5: "Write", 7: "Delete"},
        ENTITY: {1: "Create", 2: "Read", 3: "Update", 4: "Delete", 8: "Enable", 10: "Activate", 11: "Deactivate"},
        ACCESS: {1: "Assign Privileges"},
        ACCOUNT: {6: "Delete"},
        FINDING: {1: "Create"},
    }
)
_SEVERITIES = {1: "Informational", 2: "Low", 3: "Medium", 4: "High", 5: "Critical"}
# class, activity, severity: kinds
_KINDS = (
    (API, 1, 1, "consent.recorded events.imported contacts.recorded notice.shown signal.received receipt.issued"),
    (API, 1, 1, "intake.deferred intake.settled right.exercised erasure.deferred"),
    (API, 99, 3, "access.denied"),
    (API, 2, 1, "decision.made decisions.batch decision.replayed audience.resolved reconcile.run recovery.drilled"),
    (DATASTORE, 1, 2, "reveal.made ledger.read members.read pseudonym.read pseudonyms.converted"),
    (DATASTORE, 1, 3, "identifiers.disclosed bundle.disclosed"),
    (DATASTORE, 4, 2, "log.searched"),
    (DATASTORE, 5, 1, "subject.imported sensitive.recorded"),
    (DATASTORE, 7, 2, "subject.erased fields.deleted retention.run"),
    (DATASTORE, 7, 3, "erasure.replayed tombstones.replayed"),
    (ENTITY, 1, 2, "source.registered purpose.registered notice.published recipient.registered segment.saved"),
    (
        ENTITY,
        1,
        2,
        "controller.registered processing.registered signal.mapped hold.placed canary.planted map.published",
    ),
    (ENTITY, 1, 2, "policy.proposed approval.proposed log.created kek.created pairwise_epoch.created key_job.started"),
    (ENTITY, 1, 4, "log.epoch_opened"),
    (ENTITY, 3, 2, "admin.action quota.set policy.shadowed approval.given key_job.finished dek.rotated index.moved"),
    (ENTITY, 3, 2, "own_key.renewed keyring.resealed subjects.merged subjects.unmerged"),
    (ENTITY, 3, 3, "recovery.set"),
    (ENTITY, 8, 4, "keyring.recovered"),
    (ENTITY, 10, 3, "policy.activated"),
    (ENTITY, 11, 2, "approval.ended hold.ended tombstone.lifted"),
    (ENTITY, 11, 3, "kek.destroying"),
    (ENTITY, 4, 4, "kek.destroyed"),
    (ACCESS, 1, 2, "key.issued"),
    (ACCOUNT, 6, 2, "key.revoked"),
    (FINDING, 1, 5, "canary.read"),
)
_NAMING = (
    "pack",
    "approval",
    "purpose",
    "source",
    "notice",
    "recipient",
    "segment",
    "hold",
    "principal",
    "job",
    "epoch",
)
_SUCCESS, _FAILURE = 1, 2
_DENY = "deny"
_PRODUCT = {"name": "consent-gateway", "vendor_name": "consent-gateway"}


@dataclass(frozen=True, slots=True)
class Mapped:
    """What a kind of entry is as an event."""

    class_uid: int
    activity_id: int
    severity_id: int

    @property
    def class_name(self) -> str:
        """The caption of the class."""
        return _CLASS_NAMES[self.class_uid]

    @property
    def activity_name(self) -> str:
        """The caption of the activity."""
        return _ACTIVITIES[self.class_uid][self.activity_id]

    @property
    def severity(self) -> str:
        """The caption of the severity."""
        return _SEVERITIES[self.severity_id]


MAPPING = MappingProxyType(
    {
        kind: Mapped(class_uid, activity, severity)
        for class_uid, activity, severity, row in _KINDS
        for kind in row.split()
    }
)
_UNMAPPED = Mapped(API, 99, 1)


def ocsf_event(index: int, entry: bytes, origin: str) -> dict[str, Any]:
    """Return the event of entry `index` (canonical bytes) of the log `origin`; a kind without a mapping is `Other`."""
    facts = json.loads(entry)
    kind, actor, fields = facts["kind"], facts["actor"], facts["fields"]
    mapped = MAPPING.get(kind, _UNMAPPED)
    denied = fields.get("outcome") == _DENY or kind == "access.denied"
    event: dict[str, Any] = {
        "activity_id": mapped.activity_id,
        "activity_name": mapped.activity_name,
        "category_uid": mapped.class_uid // 1000,
        "class_name": mapped.class_name,
        "class_uid": mapped.class_uid,
        "message": kind,
        "metadata": {
            "event_code": kind,
            "log_name": origin,
            "product": _PRODUCT,
            "sequence": index,
            "uid": facts["uid"],
            "version": OCSF_VERSION,
        },
        "severity": mapped.severity,
        "severity_id": mapped.severity_id,
        "status": "Failure" if denied else "Success",
        "status_id": _FAILURE if denied else _SUCCESS,
        "time": facts["at"],
        "type_name": f"{mapped.class_name}: {mapped.activity_name}",
        "type_uid": mapped.class_uid * 100 + mapped.activity_id,
        "unmapped": {"commitments": facts["commitments"], "fields": fields},
    }
    if isinstance(fields.get("reason"), str):
        event["status_detail"] = fields["reason"]
    if mapped.class_uid == ACCESS:  # there, `actor` comes with a profile
        event["metadata"] |= {"profiles": ["host"]}
    return event | _of_class(mapped.class_uid, kind, actor, fields, facts["uid"])


def _of_class(class_uid: int, kind: str, actor: str, fields: dict[str, Any], uid: str) -> dict[str, Any]:
    """Return what the class asks for beside what every event has."""
    caller = {"actor": {"app_name": actor}, "src_endpoint": {"svc_name": actor}}
    if class_uid == FINDING:
        return {"finding_info": {"title": kind, "uid": uid}, "evidences": [caller], "status": "New", "status_id": 1}
    if class_uid == API:
        resources = [_named(name, fields[name]) for name in _NAMING if _is_name(fields.get(name))]
        return caller | {"api": {"operation": kind}} | ({"resources": resources} if resources else {})
    if class_uid == DATASTORE:
        return caller | {"table": {"name": "vault"}, "type": "Table", "type_id": 3}
    if class_uid == ENTITY:
        return caller | {"entity": _entity(kind, fields)}
    user = {"user": {"name": fields.get("principal", actor)}}
    return caller | user | ({"privileges": fields.get("scopes", [])} if class_uid == ACCESS else {})


def _entity(kind: str, fields: dict[str, Any]) -> dict[str, str]:
    """Return what was changed: the first field that names a thing, else the kind of thing it is."""
    of = kind.partition(".")[0]
    named = next((name for name in _NAMING if _is_name(fields.get(name))), None)
    name = fields.get("id", of) if named is None else fields[named]
    return _named(of, name)


def _named(of: str, name: object) -> dict[str, str]:
    return {"name": str(name), "type": of}


def _is_name(value: object) -> bool:
    return isinstance(value, (str, int)) and not isinstance(value, bool)
