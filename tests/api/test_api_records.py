"""Records and receipts over HTTP: what is registered with a purpose, a recipient and the controller is listed again."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

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
