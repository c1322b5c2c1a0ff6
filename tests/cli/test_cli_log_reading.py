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
