"""`policy record`: for people, programs and spreadsheets; `--check` ends with 1 while there is a gap."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from consent_gateway.cli.main import cli
from consent_gateway.cli.opening import open_gateway
from consent_gateway.domain.ids import PurposeId, RecipientId
from consent_gateway.domain.records import Address, Controller, DataCategory, Processing
from consent_gateway.services.registry import records


def run(*arguments: object) -> Result:
    return CliRunner(env={"COLUMNS": "200", "NO_COLOR": "1"}).invoke(cli, [str(a) for a in arguments])


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("record") / "store"
    assert run("init", "--store", made).exit_code == 0
    return made


def test_the_gaps_of_a_new_store_are_shown_and_checked(store: Path) -> None:
    shown = run("policy", "record", "--store", store)
    assert shown.exit_code == 0
    assert "controller: no controller is registered" in shown.output
    assert "7 activities" in shown.output
    assert run("policy", "record", "--store", store, "--check").exit_code == 1


def test_programs_and_spreadsheets_read_it(store: Path) -> None:
    told = json.loads(run("policy", "record", "--store", store, "--json").output)
    assert {a["purpose"] for a in told["activities"]} >= {"marketing", "service_message"}
    rows = list(csv.reader(io.StringIO(run("policy", "record", "--store", store, "--csv", "--language", "zh").output)))
    assert rows[0][0] == "处理目的"
    assert len(rows) == 1 + len(told["activities"])
    text = run("policy", "record", "--store", store, "--markdown").output
    assert text.startswith("# Record of processing activities\n")
    assert "## Gaps" in text


def test_one_form_at_a_time(store: Path) -> None:
    assert run("policy", "record", "--store", store, "--csv", "--json").exit_code == 2


def test_a_described_store_passes_the_check(tmp_path: Path) -> None:
    made = tmp_path / "store"
    assert run("init", "--store", made).exit_code == 0
    processing = Processing(
        data_categories=(DataCategory("EmailAddress"),),
        subject_categories=("Customer",),
        retention="P2Y",
        storage_locations=("DE",),
        recipients=(RecipientId("self"),),
    )
    gateway = open_gateway(made)
    with gateway.work() as work:
        address = Address("Street 1", "Ada")
        records.put_controller(work, Controller("Acme", "DE", address, "https://acme.example", measures="ISMS"))
        for root in ("marketing", "service_message", "service_delivery"):
            records.put_processing(work, PurposeId(root), processing)
    gateway.store.dispose()
    done = run("policy", "record", "--store", made, "--check")
    assert (done.exit_code, "0 gaps" in done.output) == (0, True)
