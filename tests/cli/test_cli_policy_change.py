"""The commands that change the law: a whole change by two people with two keys, compared and replayed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from cli_builders import run, told

from builders import a_pack_text, a_source
from consent_gateway.cli.opening import open_gateway
from consent_gateway.domain.ids import PurposeId, RecipientId
from consent_gateway.domain.purposes import Channel
from consent_gateway.errors import InputError
from consent_gateway.policies.packs import builtin_texts
from consent_gateway.services.deciding.questions import Use
from consent_gateway.services.disclosing.decisions import Ask, Decision, decide
from consent_gateway.services.log.audit_log import Sequencer
from consent_gateway.services.persons.subjects import import_subjects
from consent_gateway.services.registry.registers import put_source
from consent_gateway.services.rows.intake import Incoming
from consent_gateway.services.work.gateway import SYSTEM
from consent_gateway.services.work.items import SubjectItem, SubjectRef


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """A store with two people who may change policies, and their keys in files beside it."""
    directory = tmp_path / "store"
    told("init", "--store", directory)
    for name in ("lawyer", "officer"):
        key = told("keys", "issue", name, "--scope", "policy", "--store", directory)["api_key"]
        (tmp_path / name).write_text(key + "\n")
    (tmp_path / "trial.yaml").write_text(a_pack_text(channel="email"))
    return directory


def test_a_change_by_two_people(store: Path, tmp_path: Path) -> None:
    mine = ("--store", store, "--key-file", tmp_path / "lawyer")
    theirs = ("--store", store, "--key-file", tmp_path / "officer")
    assert told("policy", "propose", tmp_path / "trial.yaml", *mine)["state"] == "candidate"
    assert told("policy", "shadow", "trial@1", "on", *mine)["state"] == "shadow"
    assert told("policy", "shadow-report", "trial@1", "--store", store)["questions"] == 0
    assert run("policy", "shadow-report", "trial@1", "--store", store).exit_code == 0
    refused = run("policy", "activate", "trial@1", *mine)
    assert refused.exit_code == 1
    assert "four eyes" in str(refused.exception)
    assert told("policy", "activate", "trial@1", *theirs)["state"] == "active"
    texts = told("policy", "texts", "--store", store)
    assert {t["id"] for t in texts if t["state"] == "active"} == {*builtin_texts(), "trial"}
    assert run("policy", "texts", "--store", store).exit_code == 0


def test_a_wrong_text_names_its_line(store: Path, tmp_path: Path) -> None:
    (tmp_path / "wrong.yaml").write_text(a_pack_text(channel="pigeon"))
    refused = run("policy", "propose", tmp_path / "wrong.yaml", "--store", store, "--key-file", tmp_path / "lawyer")
    assert isinstance(refused.exception, InputError)
    assert "wrong.yaml, line" in refused.exception.fields[0].message


def test_a_key_without_the_scope_is_refused(store: Path, tmp_path: Path) -> None:
    key = told("keys", "issue", "crm", "--scope", "decide", "--store", store)["api_key"]
    (tmp_path / "crm").write_text(key)
    assert run("policy", "propose", tmp_path / "trial.yaml", "--store", store, "--key-file", tmp_path / "crm").exit_code


def test_two_laws_are_compared(store: Path, tmp_path: Path) -> None:
    same = told("policy", "diff", "active", "shipped", "--store", store)
    assert same["same"]
    assert len(same["uses"]) > 1
    alone = told("policy", "diff", "shipped", tmp_path / "trial.yaml", status=1)
    assert [rule["id"] for rule in alone["rules"]] == ["trial.channel"]
    arguments = ("policy", "diff", "active", tmp_path / "trial.yaml", "--store", store, "--channel", "email")
    assert {use["channel"] for use in told(*arguments, status=1)["uses"]} == {"email"}
    shown = run(*arguments)
    assert shown.exit_code == 1
    assert "added trial.channel" in shown.output


def test_a_directory_is_compared(store: Path, tmp_path: Path) -> None:
    folder = tmp_path / "packs"
    folder.mkdir()
    for name, text in builtin_texts().items():
        (folder / f"{name}.yaml").write_text(text)
    assert told("policy", "diff", "shipped", folder)["same"]
    (folder / "gdpr.yaml").unlink()
    gone = told("policy", "diff", "active", folder, "--store", store, status=1)
    assert {edited["edit"] for edited in gone["packs"]} == {"removed"}


def test_laws_are_asked_side_by_side(store: Path, tmp_path: Path) -> None:
    case = {"purpose": "direct_marketing", "residency": "NL", "legal_basis": "legitimate_interest"}
    post, mail = (
        {"id": c, "given": case | {"channel": c}, "expected": "deny", "reason_code": "x"} for c in ("post", "email")
    )
    (tmp_path / "cases.json").write_text(json.dumps({"cases": [post, mail]}))
    (tmp_path / "other.yaml").write_text(a_pack_text(channel="post"))
    laws = ("shipped", tmp_path / "other.yaml")
    found = told("policy", "simulate", tmp_path / "cases.json", *laws, status=1)
    assert {row["case"]: row["agree"] for row in found} == {"post": False, "email": True}
    assert run("policy", "simulate", tmp_path / "cases.json", *laws, "--case", "email").exit_code == 0
    same = told("policy", "simulate", tmp_path / "cases.json", "active", "shipped", "--store", store)
    assert all(row["agree"] for row in same)


def test_a_decision_is_replayed(store: Path) -> None:
    gateway = open_gateway(store)
    use = Use(PurposeId("direct_marketing"), Channel.EMAIL, RecipientId("self"))
    with gateway.work() as work:
        put_source(work, a_source())
        person = SubjectItem({"email": "anna@example.org"}, country="DE")
        import_subjects(work, "crm", [Incoming(1, b"1", person)], "0" * 64)
    with gateway.work() as work:
        (found,) = decide(work, [Ask(use, SubjectRef("email", "anna@example.org"), SYSTEM)])
    Sequencer(gateway).drain()
    assert isinstance(found, Decision)
    done = told("policy", "replay", found.uid.hex(), "--against", "active", "--store", store)
    assert done["state"] == "same"
    assert done["computed"] == done["against"]
    assert run("policy", "replay", found.uid.hex(), "--store", store).exit_code == 0
    assert run("policy", "replay", "nonsense", "--store", store).exit_code == 2
    assert run("policy", "replay", "00" * 16, "--store", store).exit_code == 1
