"""`policy test` and `policy explain` as officers run them: statuses, tables, JSON and JUnit."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest
import yaml
from click.testing import CliRunner

from consent_gateway.cli.main import cli
from consent_gateway.errors import GatewayError

GERMAN = {"residency": "DE", "purpose": "direct_marketing", "channel": "email"}
HOLDS = {
    "id": "A",
    "given": GERMAN,
    "expected": "deny",
    "reason_code": "no_prior_consent",
    "basis_kind": "statute",
    "citation": "ePD <13(1)> & more",
}
DIFFERS = {**HOLDS, "id": "B", "expected": "permit", "reason_code": "consent_valid"}
DEFAULT = {**DIFFERS, "id": "C", "basis_kind": "policy_default"}
UNREAD = {**HOLDS, "id": "D", "given": {**GERMAN, "moon_phase": "full"}}


def run(*arguments: object) -> tuple[int, str]:
    done = CliRunner().invoke(cli, ["policy", *map(str, arguments)])
    if isinstance(done.exception, GatewayError):
        return 2, done.exception.detail
    return done.exit_code, done.output


def file(folder: Path, name: str, *cases: dict[str, Any]) -> Path:
    document = {"cases": list(cases)}
    text = json.dumps(document) if name.endswith(".json") else yaml.safe_dump(document)
    (folder / name).write_text(text)
    return folder / name


@pytest.mark.parametrize(
    ("cases", "options", "status"),
    [
        ([HOLDS], [], 0),
        ([HOLDS, DIFFERS], [], 1),
        ([HOLDS, DEFAULT], [], 1),
        ([HOLDS, DEFAULT], ["--binding-only"], 0),
        ([HOLDS, DIFFERS], ["--binding-only"], 1),
        ([HOLDS, UNREAD], [], 2),
        ([DIFFERS, UNREAD], ["--binding-only"], 2),
    ],
)
@pytest.mark.parametrize("name", ["cases.json", "cases.yaml"])
def test_the_status_says_what_was_found(
    tmp_path: Path, name: str, cases: list[dict[str, Any]], options: list[str], status: int
) -> None:
    assert run("test", file(tmp_path, name, *cases), *options)[0] == status


def test_a_difference_shows_expected_got_and_the_deciding_rules(tmp_path: Path) -> None:
    _, out = run("test", file(tmp_path, "cases.json", HOLDS, DIFFERS, UNREAD))
    assert "expected permit consent_valid, got deny no_prior_consent" in out
    assert "decided by gdpr.no_opt_in (ePD: ePD Art 13(1))" in out
    assert "moon_phase: no such field" in out
    assert "1 of 3 cases hold" in out


def test_folders_and_several_files_and_json(tmp_path: Path) -> None:
    (tmp_path / "inner").mkdir()
    one, two = file(tmp_path, "a.json", HOLDS), file(tmp_path / "inner", "b.yml", DIFFERS)
    status, out = run("test", tmp_path, "--json")
    rows = json.loads(out)
    assert status == 1
    assert [(row["file"], row["id"], row["holds"]) for row in rows] == [(str(one), "A", True), (str(two), "B", False)]
    assert rows[1]["deciding"][0].startswith("gdpr.")
    assert json.loads(run("test", one, two, "--json")[1]) == rows
    (tmp_path / "empty").mkdir()
    assert run("test", tmp_path / "empty")[0] == 2


def test_junit_can_be_read_by_those_who_read_it(tmp_path: Path) -> None:
    report = tmp_path / "out.xml"
    odd = {**DIFFERS, "id": "E\u0001 \u2028<&>"}
    run(
        "test",
        file(tmp_path, "a.json", HOLDS, DIFFERS, UNREAD, odd),
        file(tmp_path, "b.json", HOLDS),
        "--junit",
        report,
    )
    root = ET.fromstring(report.read_bytes())  # noqa: S314 - our own report
    assert (root.tag, root.attrib["tests"], root.attrib["failures"], root.attrib["errors"]) == (
        "testsuites",
        "5",
        "2",
        "1",
    )
    first, second = root.findall("testsuite")
    assert (first.attrib["tests"], second.attrib["failures"]) == ("4", "0")
    cases = first.findall("testcase")
    assert [[child.tag for child in case] for case in cases] == [[], ["failure"], ["error"], ["failure"]]
    failure = cases[1].find("failure")
    assert failure is not None
    assert failure.attrib["message"] == "expected permit consent_valid, got deny no_prior_consent"
    assert "citation: ePD <13(1)> & more" in str(failure.text)
    assert all(case.attrib["classname"].endswith("a.json") for case in cases)
    assert "\ufffd" in cases[3].attrib["name"]


@pytest.mark.parametrize("text", ["{", "[]", '{"cases": 3}', '{"cases": [{"id": "A", "given": 1}]}'])
def test_a_file_that_cannot_be_read_ends_with_2_and_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / "bad.json").write_text(text)
    status, out = run("test", tmp_path / "bad.json")
    assert status == 2
    assert out.startswith("bad.json")
    (tmp_path / "bad.json").write_bytes(b"\xff\xfe")
    assert run("test", tmp_path / "bad.json")[0] == 2


def test_explain_answers_in_both_languages_with_what_would_permit(tmp_path: Path) -> None:
    path = tmp_path / "facts.json"
    path.write_text(json.dumps({**GERMAN, "legal_basis": "consent"}))
    status, out = run("explain", path)
    assert (status, out.splitlines()[0]) == (0, "**DENY** (no_prior_consent)")
    assert "The person gives consent." in out
    assert "ePD Art 13(1)" in out
    assert "本人作出同意" in run("explain", path, "--language", "zh")[1]
    answer = json.loads(run("explain", path, "--json")[1])
    assert answer["outcome"] == "deny"
    assert [change["fact"] for change in answer["changes"]] == ["consent"]
    assert {"rule_id", "citation", "text_zh"} <= answer["reasons"][0].keys()
    path.write_text(json.dumps({"defaults": GERMAN, "given": {"consent_state": "given", "legal_basis": "consent"}}))
    assert json.loads(run("explain", path, "--json")[1])["outcome"] == "permit"


@pytest.mark.parametrize(
    "facts", [{}, {"purpose": 3}, {**GERMAN, "moon": 1}, {"given": 3}, {"given": GERMAN, "defaults": 3}]
)
def test_explain_refuses_facts_that_cannot_be_read(tmp_path: Path, facts: dict[str, Any]) -> None:
    (tmp_path / "facts.json").write_text(json.dumps(facts))
    assert run("explain", tmp_path / "facts.json")[0] == 2


def test_packs_of_a_folder_are_used_instead_of_the_shipped_ones(tmp_path: Path) -> None:
    cases = file(tmp_path, "cases.json", HOLDS)
    folder = tmp_path / "packs"
    folder.mkdir()
    assert run("test", cases, "--packs", folder)[0] == 2  # there is none
    (folder / "broken.yaml").write_text("id: [")
    status, out = run("test", cases, "--packs", folder, "--json")
    assert (status, json.loads(out)[0]["reason_got"]) == (1, "pack_invalid")
    assert "broken, line" in run("list", "--packs", folder)[1]
