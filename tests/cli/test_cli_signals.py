"""`consent-gateway signals` as an operator and a program meet it."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from cli_builders import through_main

CASE = {
    "vectors": [{"string": "DBABTA~1YNN", "valid": True, "section_ids": [6]}, {"string": "DBABTA~1", "valid": False}]
}
Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    return partial(through_main, monkeypatch, capsys, "signals")


def write(path: Path, document: Any) -> Path:
    path.write_text(json.dumps(document))
    return path


@pytest.mark.parametrize(
    ("text", "kind"),
    [("1YNN", "usp"), ("1", "gpc"), ("DBABTA~1YNN", "gpp"), ("CPXxRfAPXxRfAAfKABENB-CgAAAAAAAAAAYgAAAAAAAA", "tcf"), (' {"gpc": true}', "gpc.json")],
)  # fmt: skip
def test_decode_prints_json_of_whatever_it_is(run: Run, text: str, kind: str) -> None:
    status, out, err = run("decode", text)
    assert (status, err) == (0, "")
    assert json.loads(out)["kind"] == kind


def test_decode_says_what_may_not_be_relied_on(run: Run) -> None:
    found = json.loads(run("decode", "CPXxRfAPXxRfAAfKABENB-CgAAAAAAAAAAYgAAAAAAAA")[1])
    assert found["violations"] == ["policy_version_lt_4", "no_disclosed_vendors_segment"]
    assert found["decoded"]["created"] == "2022-04-20T22:00:00.000Z"


@pytest.mark.parametrize("text", ["", "nonsense", "DBABTA~", "CAAA", "{not json", "{" * 100_000])
def test_decode_ends_with_two_and_one_clear_error(run: Run, text: str) -> None:
    status, out, err = run("decode", text)
    assert (status, out) == (2, "")
    assert err.startswith("undecodable_signal ")
    assert len(text) < 3 or text not in err


def test_vectors_are_told_by_content_and_every_difference_is_printed(run: Run, tmp_path: Path) -> None:
    good = write(tmp_path / "misleading_tcf_name.json", CASE)
    status, out, _ = run("test", good, "--json")
    assert status == 0
    assert json.loads(out)[0] | {"file": "", "unspecified": 0} == {
        "file": "", "format": "gpp", "checked": 2, "unspecified": 0, "differences": [], "not_compared": [], "passed_over": "",
    }  # fmt: skip
    spoilt = json.loads(json.dumps(CASE))
    spoilt["vectors"][0]["section_ids"] = [7]
    spoilt["vectors"][1]["valid"] = True
    bad = write(tmp_path / "bad.json", spoilt)
    status, out, _ = run("test", good, bad, "--json")
    assert status == 1
    assert [d["place"] for d in json.loads(out)[1]["differences"]] == ["vectors[0].section_ids", "vectors[1].valid"]
    status, out, _ = run("test", bad)
    assert status == 1
    assert "bad.json vectors[0].section_ids" in out
    assert "expected [7]" in out
    assert run("test", good)[0] == 0


@pytest.mark.parametrize("content", ["[]", "{}", "nope", '{"vectors": [{}]}', "[" * 100_000])
def test_a_file_of_no_known_format_ends_with_two(run: Run, tmp_path: Path, content: str) -> None:
    path = tmp_path / "vectors.json"
    path.write_text(content)
    status, out, err = run("test", path)
    assert (status, out) == (2, "")
    assert err


def test_a_missing_file_and_no_file_end_with_two(run: Run, tmp_path: Path) -> None:
    assert run("test", tmp_path / "nowhere.json")[0] == 2
    assert run("test")[0] == 2


def test_files_without_consent_strings_are_passed_over_and_say_so(run: Run, tmp_path: Path) -> None:
    digests = tmp_path / "digests.json"
    digests.write_text('{"vectors": [{"scheme": "meta", "kind": "email", "raw": "a@example.org"}]}')
    clicks = tmp_path / "clicks.json"
    clicks.write_text('{"endpoint": [], "headers": []}')
    status, out, _ = run("test", digests, clicks)
    assert status == 0
    assert "digests.json was passed over" in out
    assert "clicks.json was passed over" in out


def test_a_fault_names_its_file(run: Run, tmp_path: Path) -> None:
    bad = tmp_path / "bad.json"
    bad.write_text('{"vectors": [{"text": "no string"}]}')
    status, _, err = run("test", bad)
    assert status == 2
    assert "bad.json: vectors[0]" in err
