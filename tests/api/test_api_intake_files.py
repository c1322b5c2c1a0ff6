"""Files over the API: what they are read as, what is kept of a refused row, and that whatever is let in also fits."""

from __future__ import annotations

import enum
import inspect
import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel
from sqlalchemy import BigInteger, Boolean, Column, Integer, SmallInteger, String, Table, Text, select

from consent_gateway.api import wire
from consent_gateway.db import tables
from consent_gateway.services.work.vault import GATEWAY_ITSELF, open_bytes
from edge import Edge, running

WHO = {"email": "anna@example.org"}
GIVEN = {"subject": WHO, "purpose": "direct_marketing", "kind": "given", "at": "2026-01-31T12:00:00Z"}


@pytest.fixture(scope="module")
def edge(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Edge]:
    with running(tmp_path_factory.mktemp("files")) as made:
        post = made.admin.post
        assert post("/v1/sources", json={"id": "crm", "name": "CRM", "channel": "web", "party": "first"}).is_success
        assert post("/v1/subjects", json={"source": "crm", "items": [WHO]}).is_success
        yield made


def rows(edge: Edge, kind: str, body: bytes, media: str) -> dict[str, Any]:
    reply = edge.admin.post(f"/v1/imports/{kind}?source=crm", content=body, headers={"content-type": media})
    assert reply.status_code == 200, reply.text
    return dict(reply.json())


# -- what a body is ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "media", ["text/csv", "Text/CSV", "TEXT/CSV; charset=utf-8", "text/csv;header=present", "text/csv ; charset=UTF-8"]
)
def test_csv_is_csv_however_its_type_is_spelt(edge: Edge, media: str) -> None:
    answer = rows(edge, "subjects", b"member_no\nF-1\nF-2\n", media)
    assert (answer["received"], answer["rejected"]) == (2, 0)
    reply = edge.admin.post("/v1/imports/consents?source=crm", content=b"x\n", headers={"content-type": media})
    assert [e["code"] for e in reply.json()["errors"]] == ["not_csv"]


@pytest.mark.parametrize("media", ["application/x-ndjson", "Application/X-NDJSON; charset=utf-8"])
def test_ndjson_is_no_csv(edge: Edge, media: str) -> None:
    assert rows(edge, "subjects", b'{"member_no":"F-1"}\n', media)["rejected"] == 0


@pytest.mark.parametrize("media", ["text/csvx", "text/plain", "application/csv", ""])
def test_other_types_are_refused(edge: Edge, media: str) -> None:
    reply = edge.admin.post("/v1/imports/subjects?source=crm", content=b"x", headers={"content-type": media})
    assert reply.status_code == 415


# -- what is kept of a refused row -----------------------------------------------------------------------------------


def kept(edge: Edge, quarantine_id: int) -> Any:
    """The content of a quarantined row, as an officer with the keys would see it."""
    with edge.gateway.work() as work:
        dek = work.gateway.vault.keys(work.session, [GATEWAY_ITSELF])[GATEWAY_ITSELF]
        sealed = work.session.scalar(select(tables.quarantine.c.sealed).where(tables.quarantine.c.id == quarantine_id))
        return json.loads(open_bytes(dek, GATEWAY_ITSELF, bytes(sealed or b"")))


@pytest.mark.parametrize(
    ("record", "whole"),
    [
        (b"W-1", {"member_no": "W-1"}),
        (b"W-1,Anna,Berlin,,10115", {"member_no": "W-1", "given_name": "Anna", "surplus": ["Berlin", "", "10115"]}),
        (b"W-1,Anna,", {"member_no": "W-1", "given_name": "Anna", "surplus": [""]}),
        (b"not a number,A7", {"member_no": "not a number", "given_name": "A7"}),
    ],
)
def test_the_whole_of_a_refused_record_is_kept(edge: Edge, record: bytes, whole: dict[str, Any]) -> None:
    answer = rows(edge, "subjects", b"member_no,given_name\n" + record + b"\n", "text/csv")
    if answer["rejected"]:
        assert kept(edge, answer["rejections"][0]["quarantine_id"]) == whole
    assert answer["rejected"] == (len(whole) != 2 or "not" in whole["member_no"])


# -- contact points --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["given", "withdrawn", "refused", "pending"])
@pytest.mark.parametrize(
    ("point", "path"),
    [
        ({"pseudonym": "p1-" + "0" * 32}, "$.contact_point.pseudonym"),
        ({"pseudonym": "p1-0", "email": "anna@example.org"}, "$.contact_point.pseudonym"),
        ({"email": "anna@example.org", "phone": "+4915123999888"}, "$.contact_point"),
        ({"region": "DE"}, "$.contact_point"),
        ({}, "$.contact_point"),
        ("anna@example.org", "$.contact_point"),
    ],
)
def test_a_contact_point_is_exactly_one_identifier(edge: Edge, kind: str, point: Any, path: str) -> None:
    item = GIVEN | {"kind": kind, "contact_point": point}
    reply = edge.admin.post("/v1/consents", json={"source": "crm", "items": [item]})
    assert reply.status_code == 200, reply.text
    assert [r["path"] for r in reply.json()["rejections"][0]["reasons"]] == [path]


def test_one_identifier_of_the_person_is_a_contact_point(edge: Edge) -> None:
    items = [GIVEN | {"contact_point": WHO}, GIVEN | {"contact_point": {"phone": "01512 3456789", "region": "DE"}}]
    answer = edge.admin.post("/v1/consents", json={"source": "crm", "items": items}).json()
    assert (answer["created"], [r["row"] for r in answer["rejections"]]) == (1, [2])


def test_the_document_offers_no_pseudonym_as_a_contact_point(edge: Edge) -> None:
    schema = wire.ConsentIn.model_json_schema()
    point = schema["$defs"][schema["properties"]["contact_point"]["anyOf"][0]["$ref"].rpartition("/")[2]]
    assert set(point["properties"]) == {"member_no", "email", "phone", "device_id", "openid", "region"}


# -- instants --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["given", "withdrawn"])
@pytest.mark.parametrize("at", [0, 1.5, 1_700_000_000, "0", "1700000000", "1700000000000", "-1", "+1", "", True, None])
def test_a_number_is_no_instant(edge: Edge, kind: str, at: Any) -> None:
    """Seconds or milliseconds? Nobody knows, so neither a yes nor a no is dated by it."""
    item = GIVEN | {"kind": kind, "at": at}
    reply = edge.admin.post("/v1/consents", json={"source": "crm", "items": [item]})
    reasons = reply.json()["rejections"][0]["reasons"]
    assert [(r["path"], r["message"]) for r in reasons] == [("$.at", "must be an RFC 3339 instant")]


@pytest.mark.parametrize("at", ["2026-01-31T12:00:00Z", "2026-01-31T13:00:00.5+01:00", "2026-01-31 12:00:00z"])
def test_instants_are_texts_with_an_offset(edge: Edge, at: str) -> None:
    reply = edge.admin.post("/v1/consents", json={"source": "crm", "items": [GIVEN | {"at": at}]})
    assert reply.json()["rejected"] == 0, reply.text


# -- what is let in fits -----------------------------------------------------------------------------------------------

Stored = Mapping[type[BaseModel], Mapping[str, tuple[Column[Any], ...]]]
SEALED: tuple[Column[Any], ...] = ()  # kept as ciphertext or as its keyed hash, as JSON in Text, or not at all


def columns(name: str, *found: Table) -> tuple[Column[Any], ...]:
    return tuple(table.c[name] for table in found)


T = tables
CHECKED = SEALED  # a trait's own type says how long it may be, which is known when it is cleaned
STORED: Stored = {
    wire.SubjectIn: dict.fromkeys(
        ("member_no", "email", "phone", "device_id", "openid", "given_name", "family_name", "birth_date", "language"),
        SEALED,
    )
    | {"postal_address": SEALED}
    | {"traits": CHECKED, "subscriber": (T.circumstances.c.subscriber,), "collection": SEALED}
    | {"country": (T.subjects.c.regions, T.audience_rows.c.regions)},
    wire.CollectionIn: {
        name: (T.circumstances.c[name],) for name in ("in_sale", "opt_out_offered", "expressed_interest")
    }
    | {"on": CHECKED},
    wire.ConsentIn: dict.fromkeys(
        ("subject", "contact_point", "guardian", "evidence", "properties", "imported", "confirm"), SEALED
    )
    | {
        name: (T.consent_events.c[name],)
        for name in (
            *("purpose", "kind", "at", "channel", "valid_until", "recipient"),
            *("notice", "notice_version", "language", "method", "place"),
        )
    },
    wire.SensitiveIn: {"subject": SEALED, "fields": SEALED},
    wire.NoticeShownIn: {"subject": SEALED}
    | {name: (T.notice_views.c[name],) for name in ("notice", "notice_version", "language", "at", "place")},
    wire.ChoiceIn: {"subject": SEALED} | {name: (T.choice_events.c[name],) for name in ("choice", "active", "at")},
    wire.EventIn: {
        "subject": SEALED,
        "type": (T.events.c.type,),
        "at": (T.events.c.at,),
        "key": (T.events.c.event_key,),
        "value": (T.events.c.value,),
    },
    wire.ContactIn: {
        "subject": SEALED,
        "channel": (T.contacts.c.channel,),
        "at": (T.contacts.c.at,),
        "campaign": (T.contacts.c.campaign,),
        "key": (T.contacts.c.contact_key,),
        "purpose": (T.contacts.c.purpose,),
    },
    wire.BatchIn: {
        "items": SEALED,
        "source": columns("source", T.consent_events, T.choice_events, T.events, T.contacts, T.imports, T.quarantine),
    },
    wire.PurposeIn: {"id": (T.purposes.c.id, T.slots.c.purpose), "channels": (T.slots.c.channel,)}
    | {name: (T.purposes.c[name],) for name in ("kind", "title", "title_zh", "dpv_iri", "basis", "parent", "requested")}
    | {name: (T.purposes.c[name],) for name in ("marks", "sensitive", "bases", "reveals")},
    wire.NoticeIn: {
        name: (T.notices.c[name],) for name in ("id", "version", "language", "title", "text", "material", "purposes")
    },
    wire.SourceIn: {
        name: (T.sources.c[name],) for name in ("id", "name", "channel", "party", "notice", "purposes", "retention")
    },
    wire.RecipientIn: {
        name: (T.recipients.c[name],)
        for name in ("id", "name", "kind", "country", "contract", "transfer_mechanism", "sector", "destination")
    },
    wire.TraitIn: {
        "id": (T.traits.c.id, T.subject_traits.c.trait),
        **{name: (T.traits.c[name],) for name in ("type", "origin", "event_type", "description", "sensitive")},
    },
    wire.FieldIn: {
        name: (T.vault_fields.c[name],) for name in ("id", "category", "purposes", "retention", "description")
    },
    wire.ExportsIn: {name: (T.exports.c[name],) for name in ("year", "people", "sensitive_people")},
    wire.SegmentIn: {"text": SEALED, **{name: (T.segments.c[name],) for name in ("id", "expression", "description")}},
    wire.AudienceIn: {"segment": SEALED, "expression": SEALED, "text": SEALED, "ttl_seconds": SEALED, "message": SEALED}
    | {name: (T.audiences.c[name],) for name in ("purpose", "channel", "recipient", "basis")},
}
PARTY = ("address", "contact", "email", "phone", "url")
STORED = {
    **STORED,
    # A list or an object of these is JSON in Text: what it may hold is fixed by the models themselves.
    wire.PurposeIn: {**STORED[wire.PurposeIn], "processing": SEALED},
    wire.RecipientIn: {**STORED[wire.RecipientIn], "party": SEALED},
    wire.PartyIn: {name: columns(name, T.controller, T.recipient_parties) for name in PARTY},
    wire.ControllerIn: {"party": SEALED}
    | {
        name: (T.controller.c[name],)
        for name in ("name", "country", "policy_url", "representative", "officer", "authority", "measures")
    },
    wire.DataCategoryIn: dict.fromkeys(("type", "optional", "sensitive", "special"), SEALED),
    wire.ProcessingIn: {name: (column,) for name, column in T.purpose_processing.c.items() if name != "purpose"},
    wire.merges.MergeIn: {"subjects": SEALED, "dry_run": SEALED, "reason": (T.merges.c.reason,)},
    wire.approvals.ApprovalIn: {
        "action": (T.approvals.c.action,),
        "subject": SEALED,  # JSON in Text: names and numbers of a bounded list
        "valid_until": (T.approvals.c.valid_until,),
    },
    wire.keys.KeyJobIn: {"kind": (T.key_jobs.c.kind,), "rate": (T.key_jobs.c.rate,)},
    wire.log_epochs.EpochIn: {"reason": (T.log_epochs.c.reason,)},
    wire.holds.HoldIn: {"reason": (T.legal_holds.c.reason,), "until": (T.legal_holds.c.until,)},
    wire.holds.LiftIn: {"reason": (T.legal_holds.c.end_reason,)},
    wire.merges.UnmergeIn: {"dry_run": SEALED, "merge": (T.merges.c.id,), "reason": (T.merges.c.undone_reason,)},
    wire.signals.PurposeRuleIn: {
        "tcf_purposes": (T.signal_mappings.c.number,),
        "purpose": (T.signal_mappings.c.purpose,),
        "channel": (T.signal_mappings.c.channel,),
    },
    wire.signals.VendorRuleIn: {
        "tcf_vendor": (T.signal_mappings.c.number,),
        "recipient": (T.signal_mappings.c.recipient,),
    },
    wire.intake.SignalIn: {"subject": SEALED, "raw": SEALED, "at": (T.signals.c.at,), "displayed": SEALED}
    | {"kind": (T.signals.c.kind,)},
    wire.policies.PackNameIn: {"id": (T.policy_texts.c.name,), "version": (T.policy_texts.c.version,)},
    wire.reveals.QuotaIn: {name: (T.quotas.c[name],) for name in ("principal", "per_hour", "per_day")}
    | {"quota": (T.quotas.c.kind,), "suspended": SEALED},
    wire.reveals.CanaryIn: {"source": (T.sources.c.id,), "person": SEALED},
    wire.policies.ActivationIn: {"effective_at": (T.policy_activations.c.effective_at,)},
}
INTEGERS = {SmallInteger: 2**15 - 1, Integer: 2**31 - 1, BigInteger: 2**63 - 1}


def misfits(stored: Stored) -> list[str]:
    """Every field whose longest or largest value its column does not hold, and every field that nobody thought of."""
    found = []
    for model, fields in stored.items():
        schema = model.model_json_schema()
        found += [f"{model.__name__}.{name}: where is it kept?" for name in schema["properties"].keys() ^ fields.keys()]
        for name, kept_in in fields.items():
            largest = sizes(schema["properties"][name], schema.get("$defs", {}))
            found += [
                f"{model.__name__}.{name}: {size} in {c}" for c in kept_in for size in largest if not fits(size, c)
            ]
    return found


def sizes(schema: Mapping[str, Any], defs: Mapping[str, Any]) -> set[tuple[str, float]]:
    """The largest value that a schema lets in, by its type: characters of a string, a number, none of what is no value."""
    if "$ref" in schema:
        return sizes(defs[schema["$ref"].rpartition("/")[2]], defs)
    if "anyOf" in schema:
        return set().union(*(sizes(option, defs) for option in schema["anyOf"]))
    if "items" in schema:
        return sizes(schema["items"], defs)
    kind = schema["type"]
    if kind == "string":
        return {("string", length(schema))}
    return {("integer", schema.get("maximum", float("inf")))} if kind == "integer" else set()


def length(schema: Mapping[str, Any]) -> float:
    if schema.get("format") == "date-time":
        return 0  # becomes a number of seconds
    if "enum" in schema or "const" in schema:
        return max(map(len, schema.get("enum", [schema.get("const")])))
    widest = re._parser.parse(schema["pattern"]).getwidth()[1] if "pattern" in schema else float("inf")  # type: ignore[attr-defined]
    return min(widest, schema.get("maxLength", float("inf")))


def fits(size: tuple[str, float], column: Column[Any]) -> bool:
    kind, largest = size
    if isinstance(column.type, Text):
        return kind == "string"
    if isinstance(column.type, String):
        return kind == "string" and largest <= (column.type.length or 0)
    if isinstance(column.type, Boolean):
        return False
    limit = next(most for base, most in INTEGERS.items() if type(column.type) is base)
    return largest <= limit if kind == "integer" else largest == 0


def test_every_value_that_is_let_in_fits_its_column() -> None:
    assert misfits(STORED) == []


def test_no_model_is_forgotten() -> None:
    """Every model whose values are written down is in the table above; the others only ask."""
    asks = {
        "DecisionIn",
        "ReceiptIn",
        "HistoryIn",
        "StateIn",
        "DecisionsIn",
        "UseIn",
        "MessageIn",
        "LookupIn",
        "SubjectRefIn",
        "ContactPointIn",
        "ErasureIn",
    }
    asks |= {"TombstoneLiftIn", "ActIn", "NamedIn"}  # of these a keyed digest is in the log, and hashes in the file
    asks |= {"RevealIn", "RevealsIn", "AnswerIn", "DestructionIn"}
    asks |= {
        "RollIn",
        "ConvertIn",
        "CustomerMatchIn",
        "DiffIn",
        "PolicyIn",
        "ReplayIn",
        "ShadowIn",
        "SideIn",
        "SignalMappingIn",
    }
    modules = [module for module in vars(wire).values() if inspect.ismodule(module)]
    every = {name for module in (wire, *modules) for name in vars(module) if name.endswith("In") and name != "_In"}
    assert every - asks == {model.__name__ for model in STORED}


def test_the_check_finds_what_is_too_narrow() -> None:
    class Kind(enum.StrEnum):
        LONG = "x" * 13

    class PlantedIn(wire.ConsentIn):
        kind: Kind  # type: ignore[assignment]
        nick: str

    planted = {PlantedIn: STORED[wire.ConsentIn], wire.SourceIn: STORED[wire.SourceIn] | {"id": (T.traits.c.slot,)}}
    assert [m.partition(":")[0] for m in misfits(planted)] == ["PlantedIn.nick", "PlantedIn.kind", "SourceIn.id"]


@pytest.mark.parametrize(
    ("path", "body", "field"),
    [
        ("sources", {"id": "s_1", "name": "S", "channel": "c" * 33, "party": "first"}, "$.channel"),
        ("notices", {"id": "n_1", "version": 1, "language": "zh-Hant-TW-x-private", "title": "N", "text": "N"}, "$.language"),
    ],
)  # fmt: skip
def test_what_would_not_fit_is_a_field_problem(edge: Edge, path: str, body: dict[str, Any], field: str) -> None:
    reply = edge.admin.post(f"/v1/{path}", json=body)
    assert reply.status_code == 400
    assert [e["path"] for e in reply.json()["errors"]] == [field]


def test_the_widest_values_go_through(edge: Edge, tmp_path: Path) -> None:
    post = edge.admin.post
    slug, language = "s" * 63, "abc-abcdefgh-abcdefgh"
    notice = {"id": slug, "version": 1_000_000, "language": language, "title": "字" * 200, "text": "N"}
    assert post("/v1/notices", json=notice).is_success
    source = {"id": slug, "name": "字" * 200, "channel": "c" * 32, "party": "first", "notice": slug}
    assert post("/v1/sources", json=source).is_success
    item = GIVEN | {"notice": slug, "notice_version": 1_000_000, "language": language, "method": "字" * 32}
    reply = post("/v1/consents", json={"source": slug, "items": [item]})
    assert reply.json()["created"] == 1, reply.text
