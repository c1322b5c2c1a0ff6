"""`consent-gateway reveal` against a running gateway: what it prints, and its exit status."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

from consent_gateway.cli.main import cli
from consent_gateway.errors import InputError, UnavailableError
from edge import Edge, running

WHY = ("--purpose", "service_delivery", "--channel", "email", "--reason", "complaint", "--ticket", "CASE-1")


@pytest.fixture
def edge(tmp_path: Path) -> Iterator[Edge]:
    with running(tmp_path / "store") as made:
        post = made.admin.post
        post("/v1/sources", json={"id": "crm", "name": "CRM", "channel": "web", "party": "first"})
        purpose = {
            "id": "service_delivery", "kind": "service_delivery", "title": "Delivery", "title_zh": "服务",
            "dpv_iri": "https://w3id.org/dpv#ServiceProvision", "basis": "contract", "reveals": ["email"],
        }  # fmt: skip
        assert post("/v1/purposes", json=purpose).is_success
        assert post("/v1/subjects", json={"source": "crm", "items": [{"email": "jo.doe@example.org"}]}).is_success
        (tmp_path / "api.key").write_text(made.issue("desk", "reveal", "reveal_plain") + "\n")
        yield made


def name_of(edge: Edge) -> str:
    who = {"identifier": {"email": "jo.doe@example.org"}}
    return str(edge.admin.post("/v1/subjects/lookup", json=who).json()["pseudonym"])


def run(edge: Edge, tmp_path: Path, name: str, *more: str, field: str = "email", url: str = "") -> tuple[int, str]:
    options = ("--field", field, "--url", url or edge.url, "--key-file", str(tmp_path / "api.key"), *more)
    done = CliRunner().invoke(cli, ["reveal", name, *WHY, *options], standalone_mode=False)
    if done.exception is not None:
        raise done.exception
    return int(done.return_value or 0), done.output


def test_it_is_masked_unless_plain_is_asked_for(edge: Edge, tmp_path: Path) -> None:
    status, shown = run(edge, tmp_path, name_of(edge))
    assert status == 0
    assert "PERMIT" in shown
    assert "j***@example.org" in shown
    assert "jo.doe" not in shown
    status, shown = run(edge, tmp_path, name_of(edge), "--plain", "--json")
    assert json.loads(shown)["values"] == {"email": ["jo.doe@example.org"]}


def test_a_denial_is_status_1(edge: Edge, tmp_path: Path) -> None:
    status, shown = run(edge, tmp_path, "p1-" + "0" * 32)
    assert (status, "DENY unknown_subject" in shown) == (1, True)
    status, shown = run(edge, tmp_path, "no?name", "--json")
    assert (status, json.loads(shown)["values"]) == (1, {})


def test_what_the_gateway_refuses_is_one_line(edge: Edge, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"\$.fields\[0\]: the purpose does not list given_name"):
        run(edge, tmp_path, name_of(edge), field="given_name")
    with pytest.raises(UnavailableError, match="is it running"):
        run(edge, tmp_path, name_of(edge), url="http://127.0.0.1:9")
