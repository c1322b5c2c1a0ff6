"""`policy lint`, `policy prove` and `policy export` as officers run them."""

from __future__ import annotations

import json
from pathlib import Path

import cedarpy
import pytest
from click.testing import CliRunner

from consent_gateway.cli.main import cli
from consent_gateway.errors import GatewayError
from consent_gateway.policies.packs import builtin_texts

BAD = "  - {id: demo.dead, law: L, cites: Art 1, mark: K, effect: deny, reason: restriction, when: {age: [13, 14]}, unless: [{age: 13}, {age: 14}]}\n"
PACK = """id: demo
version: 1
title: Demo
title_zh: 演示
jurisdiction: EU
effective_from: 2026-01-01
review_by: 2099-10-31
reviewer: counsel
territory: [{at_eu: yes}]
default_reason: no_legal_basis
rules:
  - {id: demo.permit, law: L, cites: Art 1, mark: K, effect: permit, reason: consent_valid, when: {consent: given}}
"""


def run(*arguments: object) -> tuple[int, str]:
    done = CliRunner().invoke(cli, ["policy", *map(str, arguments)])
    if isinstance(done.exception, GatewayError):
        return 2, done.exception.detail
    return done.exit_code, done.output


def folder(tmp_path: Path, text: str) -> Path:
    (tmp_path / "demo.yaml").write_text(text)
    return tmp_path


def test_lint_ends_with_1_only_for_errors(tmp_path: Path) -> None:
    assert run("lint", "--packs", folder(tmp_path, PACK))[0] == 0
    status, out = run("lint", "--packs", folder(tmp_path, PACK + BAD), "--json")
    assert status == 1
    assert {(f["kind"], f["level"], f["rule"]) for f in json.loads(out)} >= {("dead", "error", "demo.dead")}
    status, out = run("lint", "--packs", folder(tmp_path, PACK + BAD))
    assert "fires nowhere where its pack binds" in out
    assert out.splitlines()[-1].startswith("1 error, ")
    status, out = run("lint", "--packs", folder(tmp_path, "id: ["))
    assert (status, "unreadable" in out) == (1, True)


def test_what_is_merely_worth_knowing_is_shown_when_asked_for(tmp_path: Path) -> None:
    again = "  - {id: demo.again, law: L, cites: Art 1, mark: K, effect: permit, reason: consent_valid, when: {consent: given, age: 13}}\n"
    own = folder(tmp_path, PACK + again)
    assert "overlap" not in run("lint", "--packs", own)[1]
    assert "overlap" in run("lint", "--packs", own, "--all")[1]


def test_prove_without_a_claim_proves_those_that_ship() -> None:
    status, out = run("prove", "--json")
    rows = json.loads(out)
    assert status == 0
    assert len(rows) >= 25
    assert all(row["proved"] and row["says"] and row["cites"] for row in rows)
    assert f"{len(rows)} of {len(rows)} claims are proven" in run("prove")[1]


def test_prove_shows_where_a_claim_fails() -> None:
    claim = "never permit when purpose = direct_marketing and at_eu = yes"
    status, out = run("prove", claim, "never permit when objection = yes and purpose = direct_marketing")
    assert status == 1
    assert "FALSE claim 1" in out
    assert "PROVED claim 2" in out
    assert "at_eu = yes" in out
    assert "**PERMIT**" in out
    found = json.loads(run("prove", claim, "--json")[1])[0]["counterexample"]
    assert (found["facts"]["at_eu"], found["answer"]["outcome"]) == ("yes", "permit")
    assert run("prove", "never permit when objektion = yes") == (
        2,
        "claim, character 19: expected the name of a fact, found 'objektion'",
    )


def test_claims_of_a_file_and_packs_of_a_folder(tmp_path: Path) -> None:
    file = tmp_path / "claims.json"
    file.write_text(json.dumps({"claims": [{"id": "only_given", "claim": "permit implies consent = given"}]}))
    (tmp_path / "packs").mkdir()
    own = folder(tmp_path / "packs", PACK)
    assert run("prove", "--file", file, "--packs", own)[0] == 0
    assert run("prove", "--file", file)[0] == 1
    file.write_text(json.dumps({"claims": [{"id": "odd", "claim": "permit implies"}]}))
    status, out = run("prove", "--file", file)
    assert (status, out.startswith("claim odd: claim, character 15")) == (2, True)


def test_export_gives_policies_that_are_valid_under_the_schema() -> None:
    schema = run("export", "--cedar-schema")[1]
    for pack in builtin_texts().keys() - {"reasons"}:
        status, text = run("export", "--cedar", pack)
        assert status == 0
        assert cedarpy.validate_policies(text, schema).validation_passed


@pytest.mark.parametrize("arguments", [[], ["gdpr"], ["--cedar"], ["--cedar", "atlantis"]])
def test_export_says_what_it_needs(arguments: list[str]) -> None:
    assert run("export", *arguments)[0] == 2


def test_a_search_ends_when_its_time_does_and_says_what_is_missing(tmp_path: Path) -> None:
    own = folder(tmp_path, PACK)
    status, out = run("lint", "--packs", own, "--timeout", 0)
    assert status == 3
    kinds = "dead, idle_unless, contradicted, shadowed, overlap, implied"
    assert f"the time ended; not looked at to the end: {kinds}" in out
    found = json.loads(run("lint", "--packs", own, "--timeout", 0, "--json")[1])
    assert [(f["kind"], f["level"]) for f in found] == [("unfinished", "error")]
    status, out = run("prove", "never permit", "always permit", "--packs", own, "--timeout", 0)
    assert status == 3
    assert "UNFINISHED claim 1: never permit" in out
    assert out.splitlines()[-2:] == ["0 of 2 claims are proven", "the time ended before 2 were proven or refuted"]
    row = json.loads(run("prove", "never permit", "--packs", own, "--timeout", 0, "--json")[1])[0]
    assert (row["proved"], row["finished"], "counterexample" in row) == (False, False, False)
    assert run("prove", "never permit", "--packs", own, "--timeout", -1)[0] == 2
