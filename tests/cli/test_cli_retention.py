"""Retention as an operator meets it."""

from __future__ import annotations

from pathlib import Path

from cli_builders import told
from click.testing import CliRunner

from consent_gateway.cli.main import cli
from edge import running


def test_status_and_run(tmp_path: Path) -> None:
    store = tmp_path / "store"
    told("init", "--store", store)
    found = told("retention", "run", "--dry-run", "--store", store)
    assert found["dry_run"] is True
    assert told("retention", "status", "--store", store)["runs"] == []
    assert told("retention", "run", "--store", store)["people"] == 0
    status = told("retention", "status", "--store", store)
    assert len(status["runs"]) == 1
    assert "direct_marketing" in status["gaps"]["purposes"]
    shown = CliRunner().invoke(cli, ["retention", "status", "--store", str(store)]).output
    assert "purposes without a period: " in shown
    assert "nothing" in shown
    assert (
        "would delete: 0 events"
        in CliRunner().invoke(cli, ["retention", "run", "--dry-run", "--store", str(store)]).output
    )


def test_the_report_over_http_and_the_period_of_a_source(tmp_path: Path) -> None:
    with running(tmp_path) as edge:
        source = {"id": "crm", "name": "CRM", "channel": "web", "party": "first", "retention": "P2Y"}
        assert edge.admin.post("/v1/sources", json=source).status_code == 200
        assert edge.admin.post("/v1/sources", json=source | {"retention": "2 years"}).status_code == 400
        assert edge.admin.get("/v1/sources").json()["items"][0]["retention"] == "P2Y"
        report = edge.admin.get("/v1/retention").json()
        assert report["sources"] == {"crm": "P2Y"}
        assert report["gaps"]["sources"] == []
