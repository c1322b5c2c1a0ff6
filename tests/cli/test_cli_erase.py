"""Erasing on the command line: the bundle is on the disk before anybody is erased."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from builders import a_consent, a_person, ref, subject_id, take, with_source
from consent_gateway.audit.bundles import verify_bundle
from consent_gateway.cli.main import cli
from consent_gateway.cli.opening import open_gateway
from consent_gateway.domain.holds import HoldReason
from consent_gateway.domain.ids import SubjectId
from consent_gateway.domain.purposes import OWN
from consent_gateway.errors import ForbiddenError, InputError, NotFoundError
from consent_gateway.services.erasing import holds
from consent_gateway.services.log import bundles
from consent_gateway.services.work import principals
from consent_gateway.services.work.gateway import Gateway
from consent_gateway.setup import create_store
from edge import store_settings


@pytest.fixture
def store(tmp_path: Path) -> Path:
    made, _ = create_store(store_settings(tmp_path / "store"))
    with_source(made)
    take(made, [a_person(1)])
    take(made, [a_consent(ref(1))])
    for name, scopes in {"rights": ("erase", "access"), "eraser": ("erase",)}.items():
        with made.work() as work:
            (tmp_path / name).write_text(principals.issue(work, name, "self", frozenset(scopes)) + "\n")
    made.store.dispose()
    return tmp_path / "store"


def name_in(gateway: Gateway) -> str:
    with gateway.look() as work:
        return gateway.vault.pseudonym(subject_id(work, ref(1)), OWN, work.registers)


def lives(gateway: Gateway, who: str) -> bool:
    with gateway.look() as work:
        found = gateway.vault.resolve(who, OWN, work.registers, work.now)
        return bool(gateway.vault.keys(work.session, [found or SubjectId(-1)]))


def erase(store: Path, who: str, *more: object, key: str = "rights") -> Result:
    options = ["--key-file", str(store.parent / key), "--store", str(store), *map(str, more)]
    return CliRunner().invoke(cli, ["erase", who, *options])


def test_the_file_has_all_and_the_person_is_gone(store: Path) -> None:
    gateway, file = open_gateway(store), store.parent / "bundle.json"
    who = name_in(gateway)
    done = erase(store, who, "--bundle", file, "--json")
    assert done.exit_code == 0, (done.output, done.exception)
    told: dict[str, Any] = json.loads(done.stdout)
    assert (told["erased"], told["pending"], told["tombstones"]) == (True, False, 2)
    assert told["bundle"] == {
        "file": str(file), "reason": None, "bytes": len(file.read_bytes()), "ok": True, "after": 1,
    }  # fmt: skip
    assert file.stat().st_mode & 0o777 == 0o600
    finding = verify_bundle(gateway.signer.vkey, file.read_bytes())
    assert (finding.ok, finding.details["not_covered"]) == (True, 0), str(finding)
    assert not lives(gateway, who)
    again = erase(store, who)
    assert isinstance(again.exception, NotFoundError)


def test_it_tells_people_what_happened(store: Path) -> None:
    file = store.parent / "bundle.json"
    done = erase(store, name_in(open_gateway(store)), "--bundle", file)
    assert done.exit_code == 0, done.output
    assert "erased: 2 tombstones" in done.output
    assert f"{file}: {len(file.read_bytes())} bytes" in done.output
    assert "1 entries about them are newer, that of the erasure among them" in done.output


def test_without_the_option_there_is_no_file(store: Path) -> None:
    done = erase(store, name_in(open_gateway(store)), "--json", key="eraser")
    assert (done.exit_code, "bundle" in json.loads(done.stdout)) == (0, False)


def test_a_place_that_cannot_be_written_and_a_key_that_may_not_are_refused_before(store: Path) -> None:
    gateway = open_gateway(store)
    who = name_in(gateway)
    refused = erase(store, who, "--bundle", store.parent / "nowhere" / "bundle.json")
    assert isinstance(refused.exception, InputError)
    assert "nothing was done" in refused.exception.detail
    file = store.parent / "bundle.json"
    assert isinstance(erase(store, who, "--bundle", file, key="eraser").exception, ForbiddenError)
    assert not file.exists()
    assert lives(gateway, who)


@pytest.mark.parametrize("fault", ["making", "writing"])
def test_a_bundle_that_fails_keeps_nobody(store: Path, monkeypatch: pytest.MonkeyPatch, fault: str) -> None:
    gateway, file = open_gateway(store), store.parent / "bundle.json"
    who = name_in(gateway)

    def fails(*_: object) -> None:
        raise ZeroDivisionError

    def full(path: Path, content: bytes) -> None:
        if content:
            raise OSError(28, "No space left on device")

    if fault == "making":
        monkeypatch.setattr(bundles, "_made", fails)
    else:
        monkeypatch.setattr("consent_gateway.cli.erasing.write_private", full)
    done = erase(store, who, "--bundle", file)
    assert done.exit_code == 1, done.output
    assert f"WITHOUT a bundle: {'internal_error' if fault == 'making' else 'not_written'}" in done.output
    assert not file.exists()
    assert not lives(gateway, who)


def test_a_held_person_waits(store: Path) -> None:
    gateway, file = open_gateway(store), store.parent / "bundle.json"
    who = name_in(gateway)
    with gateway.work() as work:
        holds.place(work, subject_id(work, ref(1)), HoldReason.LEGAL_CLAIM, None)
    done = erase(store, who, "--bundle", file, "--json")
    told = json.loads(done.stdout)
    assert (done.exit_code, told["erased"], told["pending"], told["holds"]) == (0, False, True, ["legal_claim"])
    assert (told["bundle"]["ok"], told["bundle"]["after"]) == (True, None)
    shown = erase(store, who)
    assert "waits for 1 legal holds" in shown.output
