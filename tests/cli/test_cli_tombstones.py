"""The tombstone file as an operator meets it: verify, doctor, a start that is refused, rebuild."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from cli_builders import run, told

from builders import a_person, id_of, ref, take, with_source
from consent_gateway.cli.opening import open_gateway
from consent_gateway.errors import TombstoneError
from consent_gateway.services.erasing.erasure import erase
from consent_gateway.services.work.gateway import Gateway


@contextmanager
def opened(store: Path) -> Iterator[Gateway]:
    gateway = open_gateway(store)
    yield gateway
    gateway.store.dispose()


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """A store with two people, of whom the first was erased after a backup of the database was made."""
    directory = tmp_path / "store"
    told("init", "--store", directory)
    with opened(directory) as gateway:
        with_source(gateway)
        take(gateway, [a_person(1), a_person(2)])
        gateway.store.truncate_log()
    shutil.copy(directory / "gateway.sqlite3", tmp_path / "backup.sqlite3")
    with opened(directory) as gateway:
        gone = id_of(gateway, ref(1))
        with gateway.work() as work:
            erase(work, gone, "request")
        gateway.store.truncate_log()
    return directory


def put_back(store: Path) -> None:
    for ending in ("-wal", "-shm"):
        (store / f"gateway.sqlite3{ending}").unlink(missing_ok=True)
    shutil.copy(store.parent / "backup.sqlite3", store / "gateway.sqlite3")


def test_a_new_store_has_its_file_from_the_start(tmp_path: Path) -> None:
    told("init", "--store", tmp_path / "store")
    assert (tmp_path / "store" / "tombstones.log").stat().st_mode & 0o777 == 0o600
    found = told("keys", "tombstones", "verify", "--store", tmp_path / "store")
    assert found == {"ok": True, "lines": 1, "erasures": 1, "unwritten": 0, "lost": 0, "restored": 0}


def test_verify_and_doctor_say_what_a_start_will_do(store: Path) -> None:
    put_back(store)
    assert told("keys", "tombstones", "verify", "--store", store)["restored"] == 1
    assert "1 to be carried out again" in run("keys", "tombstones", "verify", "--store", store).output
    assert "1 to be carried out again" in run("doctor", "--store", store).output
    assert told("reconcile", "--store", store)["compared"] == 1  # any use of the store begins with it
    assert told("keys", "tombstones", "verify", "--store", store)["restored"] == 0
    assert run("keys", "tombstones", "verify", "--store", store).output.startswith("ok   2 lines, 2 erasures")


def test_a_lost_line_stops_every_start_until_it_is_accepted(store: Path) -> None:
    file = store / "tombstones.log"
    file.write_bytes(b"".join(file.read_bytes().splitlines(keepends=True)[:-1]))
    assert told("keys", "tombstones", "verify", "--store", store, status=1)["lost"] == 1
    assert "1 lines are lost" in run("keys", "tombstones", "verify", "--store", store).output
    assert {"check": "tombstones", "ok": False} in [
        {"check": f["check"], "ok": f["ok"]} for f in told("doctor", "--store", store, status=1)
    ]
    for command in (("reconcile",), ("keys", "list"), ("migrate",)):
        assert isinstance(run(*command, "--store", store).exception, TombstoneError)
    refused = run("keys", "tombstones", "rebuild", "--store", store)
    assert refused.exit_code == 2
    assert "--yes" in refused.output
    done = told("keys", "tombstones", "rebuild", "--yes", "--store", store)
    assert done == {"ok": True, "lines": 2, "erasures": 2, "unwritten": 0, "lost": 0, "restored": 0}
    assert told("keys", "tombstones", "verify", "--store", store)["ok"]
    assert len(list(store.glob("tombstones.log.before-*"))) == 1


@pytest.mark.parametrize("damage", ["gone", "altered"])
def test_a_file_that_does_not_hold_is_named(store: Path, damage: str) -> None:
    file = store / "tombstones.log"
    if damage == "gone":
        file.unlink()
    else:
        file.write_bytes(file.read_bytes().replace(b"begun", b"bogus"))
    found = told("keys", "tombstones", "verify", "--store", store, status=1)
    assert found["problem"]
    assert "FAIL" in run("keys", "tombstones", "verify", "--store", store).output
    assert told("doctor", "--store", store, status=1)[-1]["check"] == "tombstones_unavailable"


def test_copies_and_the_path_are_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("main", "one", "two"):
        (tmp_path / name).mkdir()
    copies = [tmp_path / name / "stones" for name in ("one", "two")]
    monkeypatch.setenv("CONSENT_GATEWAY_TOMBSTONE_PATH", str(tmp_path / "main" / "stones"))
    monkeypatch.setenv("CONSENT_GATEWAY_TOMBSTONE_COPIES", ":".join(map(str, copies)))
    told("init", "--store", tmp_path / "store")
    assert not (tmp_path / "store" / "tombstones.log").exists()
    assert {p.read_bytes() for p in copies} == {(tmp_path / "main" / "stones").read_bytes()}
