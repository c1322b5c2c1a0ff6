"""Records and receipts over HTTP: what is registered with a purpose, a recipient and the controller is listed again."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from sqlalchemy import select

from consent_gateway.audit.consent_receipts import verify_document
from consent_gateway.audit.verifier import verify_receipt
from consent_gateway.db.tables import idempotency_keys
from edge import Edge, running

PARTY = {
    "address": "Street 1, Berlin",
    "contact": "Privacy team",
    "email": "privacy@acme.example",
    "phone": "+49 30 1",
    "url": "https://acme.example",
}
CONTROLLER: dict[str, Any] = {
    "name": "Acme GmbH",
    "country": "DE",
    "party": PARTY,
    "policy_url": "https://acme.example/privacy",
    "officer": "dpo@acme.example",
}
PROCESSING: dict[str, Any] = {
    "data_categories": [{"type": "EmailAddress"}, {"type": "Name", "optional": True}],
    "subject_categories": ["Customer"],
    "retention": "P2Y",
    "withdrawal_method": "the link in every message",
    "storage_locations": ["DE"],
    "recipients": ["self"],
    "service": "Shop",
}
PURPOSE: dict[str, Any] = {
    "id": "direct_marketing",
    "kind": "direct_marketing",
    "title": "Direct marketing",
    "title_zh": "直接营销",
    "dpv_iri": "https://w3id.org/dpv#DirectMarketing",
    "basis": "consent",
    "parent": "marketing",
    "channels": ["email"],
}


@pytest.fixture(scope="module")
def edge(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Edge]:
    with running(tmp_path_factory.mktemp("records")) as made:
        yield made


def post(edge: Edge, path: str, body: Any) -> Any:
    reply = edge.admin.post(path, json=body)
    assert reply.status_code == 200, reply.text
    return reply.json()


def item(edge: Edge, path: str, name: str) -> Any:
    return next(i for i in edge.admin.get(path).json()["items"] if i["id"] == name)


def test_there_is_no_controller_until_one_is_registered(tmp_path: Any) -> None:
    with running(tmp_path) as made:
        assert made.admin.get("/v1/controller").json() == {"controller": None}


def test_the_controller_is_shown_as_it_was_registered(edge: Edge) -> None:
    assert post(edge, "/v1/controller", CONTROLLER) == {"name": "Acme GmbH"}
    shown = edge.admin.get("/v1/controller").json()["controller"]
    assert shown["address"] == PARTY
    assert (shown["name"], shown["country"], shown["officer"]) == ("Acme GmbH", "DE", "dpo@acme.example")


def test_the_processing_goes_with_its_purpose_and_stays_when_it_is_not_named(edge: Edge) -> None:
    post(edge, "/v1/purposes", PURPOSE | {"processing": PROCESSING})
    post(edge, "/v1/purposes", PURPOSE | {"title": "Letters"})
    shown = item(edge, "/v1/purposes", "direct_marketing")
    assert shown["title"] == "Letters"
    assert shown["processing"]["retention"] == "P2Y"
    assert shown["processing"]["data_categories"][1] == {
        "type": "Name", "optional": True, "sensitive": False, "special": False,
    }  # fmt: skip
    assert item(edge, "/v1/purposes", "service_message")["processing"] is None


def test_a_party_goes_with_its_recipient(edge: Edge) -> None:
    house = {"id": "house", "name": "House", "kind": "processor", "country": "DE", "contract": True}
    post(edge, "/v1/recipients", house | {"party": {"contact": "Jo"}})
    post(edge, "/v1/recipients", house)
    assert item(edge, "/v1/recipients", "house")["party"]["contact"] == "Jo"
    assert item(edge, "/v1/recipients", "self")["party"] is None


@pytest.mark.parametrize("retention", ["2Y", "P", "P0D", "P1Y2M", "-P1Y", "P2Y\n"])
def test_a_period_is_a_duration_of_one_unit(edge: Edge, retention: str) -> None:
    reply = edge.admin.post("/v1/purposes", json=PURPOSE | {"processing": PROCESSING | {"retention": retention}})
    assert reply.status_code == 400
    assert [e["path"] for e in reply.json()["errors"]] == ["$.processing.retention"]


# -- the record of processing activities ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("accept", "query", "media"),
    [
        (None, "", "application/json"),
        ("*/*", "", "application/json"),
        ("text/html, text/csv;q=0.9", "", "text/csv; charset=utf-8"),
        ("text/markdown", "", "text/markdown; charset=utf-8"),
        ("text/csv", "?format=markdown", "text/markdown; charset=utf-8"),
        ("application/json", "?format=csv", "text/csv; charset=utf-8"),
    ],
)
def test_the_caller_chooses_the_form_of_the_record(edge: Edge, accept: str | None, query: str, media: str) -> None:
    headers = {} if accept is None else {"accept": accept}
    reply = edge.admin.get(f"/v1/purposes/record{query}", headers=headers)
    assert (reply.status_code, reply.headers["content-type"]) == (200, media)
    assert "direct_marketing" in reply.text
    assert reply.headers["vary"] == "accept"
    assert reply.headers["cache-control"] == "no-store"


def test_the_record_is_told_in_both_languages_and_lists_its_gaps(edge: Edge) -> None:
    english, chinese = (edge.admin.get(f"/v1/purposes/record?language={one}").json() for one in ("en", "zh"))
    assert {(f["code"], f["where"]) for f in english["findings"]} >= {("purpose_without_processing", "service_message")}
    assert [f["code"] for f in english["findings"]] == [f["code"] for f in chinese["findings"]]
    assert "未登记处理情况" in {f["text"] for f in chinese["findings"]}
    assert "营销" in edge.admin.get("/v1/purposes/record?language=zh&format=csv").text


@pytest.mark.parametrize("query", ["format=xml", "language=fr", "format=JSON"])
def test_other_forms_and_languages_are_refused(edge: Edge, query: str) -> None:
    reply = edge.admin.get(f"/v1/purposes/record?{query}")
    assert reply.status_code == 400
    assert reply.json()["code"] == "invalid_input"


# -- receipts ------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def receipted(edge: Edge) -> Edge:
    """Somebody who said yes, and everything that a receipt has to say about it."""
    post(edge, "/v1/controller", CONTROLLER)
    post(edge, "/v1/purposes", PURPOSE | {"processing": PROCESSING})
    notice = {"id": "privacy", "version": 1, "language": "de", "title": "Datenschutz", "text": "Wir schreiben Ihnen."}
    post(edge, "/v1/notices", notice)
    post(edge, "/v1/sources", {"id": "crm", "name": "CRM", "channel": "web", "party": "first", "notice": "privacy"})
    person = {"email": "anna@example.org", "member_no": "M-1", "country": "DE"}
    post(edge, "/v1/subjects", {"source": "crm", "items": [person]})
    said = {
        "subject": {"member_no": "M-1"}, "purpose": "direct_marketing", "kind": "given", "channel": "email",
        "at": "2026-01-31T12:00:00Z", "properties": ["affirmative"], "notice": "privacy", "notice_version": 1,
    }  # fmt: skip
    post(edge, "/v1/consents", {"source": "crm", "items": [said]})
    return edge


ASKED = {"subject": {"member_no": "M-1"}, "purpose": "direct_marketing", "channel": "email"}


@pytest.mark.parametrize("form", ["iso27560", "kantara"])
def test_the_reply_is_the_document_byte_for_byte(receipted: Edge, form: str) -> None:
    reply = receipted.admin.post("/v1/consents/receipt", json=ASKED | {"format": form})
    assert reply.status_code == 200, reply.text
    keys = receipted.client(None).get("/v1/receipts/keys")
    assert keys.headers["content-type"] == "application/jwk-set+json"
    assert verify_document(reply.content, keys.content).ok
    assert not verify_document(reply.content.replace(b'"DE"', b'"FR"', 1), keys.content).ok


def test_the_entry_of_a_receipt_can_be_had_and_holds(receipted: Edge) -> None:
    document = receipted.admin.post("/v1/consents/receipt", json=ASKED).content
    receipted.settle()
    uid = json.loads(document)["receipt"]["log"]["entry"]
    entry = receipted.admin.get(f"/v1/audit/entries/{uid}/bytes").content
    keys = receipted.client(None).get("/v1/receipts/keys").content
    assert verify_document(document, keys, entry).ok
    proof = receipted.admin.get(f"/v1/audit/entries/{uid}/receipt").content
    vkey = receipted.client(None).get("/v1/audit/vkey").text.strip()
    assert verify_receipt(vkey, proof, entry).ok


def test_a_recipient_gets_no_receipt(receipted: Edge) -> None:
    """A receipt names a person alike for everyone: two recipients could join their tables on it (P9)."""
    receipted.admin.post(
        "/v1/recipients", json={"id": "house", "name": "H", "kind": "processor", "country": "DE", "contract": True}
    )
    client = receipted.client(receipted.issue("house", "ingest", recipient="house"))
    assert client.post("/v1/consents/receipt", json=ASKED).status_code == 403
    own = receipted.client(receipted.issue("desk", "ingest"))
    assert own.post("/v1/consents/receipt", json=ASKED).status_code == 200


def test_no_reply_is_kept_that_would_outlive_the_person(receipted: Edge) -> None:
    key = {"idempotency-key": "r-1"}
    first, again = (receipted.admin.post("/v1/consents/receipt", json=ASKED, headers=key) for _ in range(2))
    assert first.content != again.content
    assert "idempotent-replayed" not in again.headers
    with receipted.gateway.store.reading() as session:
        kept = session.execute(select(idempotency_keys.c.response)).scalars().all()
    assert not any(b"pii_principal_id" in bytes(reply) for reply in kept)


def test_what_is_missing_is_listed(receipted: Edge) -> None:
    reply = receipted.admin.post("/v1/consents/receipt", json=ASKED | {"purpose": "service_message"})
    assert reply.status_code == 404
    said = {
        "subject": {"member_no": "M-1"},
        "purpose": "service_message",
        "kind": "given",
        "at": "2026-01-31T12:00:00Z",
    }
    post(receipted, "/v1/consents", {"source": "crm", "items": [said]})
    reply = receipted.admin.post(
        "/v1/consents/receipt", json={"subject": {"member_no": "M-1"}, "purpose": "service_message"}
    )
    assert (reply.status_code, reply.json()["code"]) == (409, "record_incomplete")
    assert [e["path"] for e in reply.json()["errors"]] == ["$.purpose.processing"]
