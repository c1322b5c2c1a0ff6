"""The commands that read the log out."""

from __future__ import annotations

import json
from pathlib import Path

from cli_builders import run, told


def test_the_command_prints_lines(tmp_path: Path) -> None:
    store = tmp_path / "store"
    run("init", "--store", store)
    run("keys", "issue", "shop", "--scope", "ingest", "--store", store)
    lines = [
        json.loads(line)
        for line in run("audit", "search", "--kind", "key.issued", "--store", store).stdout.splitlines()
    ]
    assert {line["entry"]["kind"] for line in lines} == {"key.issued"}
    assert [line["index"] for line in lines] == sorted((line["index"] for line in lines), reverse=True)
    assert run("audit", "search", "--subject", "email=nobody@example.org", "--store", store).stdout == ""
    assert "log.searched" in run("audit", "search", "--limit", "1", "--store", store).stdout
    assert run("audit", "search", "--from", "2100-01-01", "--store", store).stdout == ""
    assert told("audit", "index", "--rebuild", "--store", store) == {"blocks": 0}


def test_events_go_on_from_the_cursor(tmp_path: Path) -> None:
    store, cursor = tmp_path / "store", tmp_path / "cursor"
    run("init", "--store", store)

    def events() -> list[int]:
        lines = run("audit", "ocsf", "--store", store, "--cursor", cursor).stdout.splitlines()
        return [json.loads(line)["metadata"]["sequence"] for line in lines]

    first = events()
    assert first == list(range(len(first)))
    assert events() == []
    run("keys", "issue", "shop", "--scope", "ingest", "--store", store)
    assert events() == [len(first)]
    assert len(run("audit", "ocsf", "--store", store, "--since", "1").stdout.splitlines()) == len(first)
    cursor.write_text("soon\n")
    assert run("audit", "ocsf", "--store", store, "--cursor", cursor).exit_code != 0


def test_a_log_is_copied_to_another_store_and_goes_on(tmp_path: Path) -> None:
    store, other = tmp_path / "store", tmp_path / "other"
    run("init", "--store", store)
    first = told("audit", "copy", "--from-store", store, "--to-store", other)
    run("keys", "issue", "shop", "--scope", "ingest", "--store", store)
    second = told("audit", "copy", "--from-store", store, "--to-store", other)
    assert (first["before"], second["before"]) == (0, first["size"])
    assert second["size"] > first["size"]
    assert second["root"] == told("audit", "export", tmp_path / "log", "--store", store)["root"]
    assert run("audit", "copy", "--from-store", store).exit_code != 0
