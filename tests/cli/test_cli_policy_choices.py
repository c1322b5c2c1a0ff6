"""The officer's commands and the start of the gateway under the operator's own choices."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from consent_gateway.assembly import law_choices
from consent_gateway.cli.main import cli
from consent_gateway.policies.choices import AS_SHIPPED, ChoiceError
from consent_gateway.policies.packs import load_builtin
from consent_gateway.settings import Settings

CASES = Path(__file__).resolve().parents[1] / "cases"
VARIABLE = "CONSENT_GATEWAY_LAW_CHOICES_PATH"


def run(*arguments: object, **env: str) -> Result:
    return CliRunner().invoke(cli, ["policy", *map(str, arguments)], env=env)


@pytest.fixture
def chosen(tmp_path: Path) -> Path:
    path = tmp_path / "choices.yaml"
    path.write_text("gdpr:\n  live_calls: opt_out\n")
    return path


def test_a_pack_is_shown_under_the_choices_of_a_file_or_of_the_environment(chosen: Path) -> None:
    assert "live_calls = opt_in" in run("show", "gdpr").output
    by_option, by_variable = run("show", "gdpr", "--choices", chosen), run("show", "gdpr", **{VARIABLE: str(chosen)})
    assert by_option.output == by_variable.output
    assert "gdpr@1+live_calls=opt_out" in by_option.output
    listed = {row["id"]: row["choices"] for row in json.loads(run("list", "--choices", chosen, "--json").output)}
    assert (listed["gdpr"], listed["uk"]) == ("live_calls=opt_out", "")
    assert "人工营销电话" in run("show", "gdpr", "--language", "zh").output


def test_cases_are_run_under_the_choices_that_their_file_or_the_officer_names(chosen: Path) -> None:
    calls = CASES / "choices" / "gdpr_calls.yaml"
    held = json.loads(run("test", calls, "--json").output)
    assert [row["holds"] for row in held] == [True] * len(held)
    basis = run("test", CASES / "gdpr" / "basis.yaml", "--choices", chosen, "--json")
    assert {row["id"] for row in json.loads(basis.output) if not row["holds"]} >= {"EU-live-call"}


def test_the_gateway_starts_with_what_packs_offer_and_with_nothing_else(chosen: Path) -> None:
    assert law_choices(Settings.from_environment({})) is AS_SHIPPED
    choices = law_choices(Settings.from_environment({VARIABLE: str(chosen)}))
    assert "gdpr@1+live_calls=opt_out" in {pack.name for pack in load_builtin(choices=choices).packs}
    chosen.write_text("gdpr:\n  live_calls: always\n")
    with pytest.raises(ChoiceError, match=r"choices\.yaml, line 2: gdpr\.live_calls is one of opt_in, opt_out"):
        load_builtin(choices=law_choices(Settings.from_environment({VARIABLE: str(chosen)})))
