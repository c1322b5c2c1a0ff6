"""`consent-gateway pseudonyms`, and the file that partners get: alone, against the vectors, against a real gateway."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from cli_builders import through_main

from consent_gateway.cli import partner
from edge import Edge, running

VECTORS = Path(__file__).resolve().parents[1] / "vectors" / "pseudonyms.json"
SHARED = Path(__file__).resolve().parents[3] / "shared" / "vectors" / "signals" / "hash_vectors.json"
BLOCK = "a391e1bfc3e16bb1c163a55b70237abd"
Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    return partial(through_main, monkeypatch, capsys, "pseudonyms")


@pytest.fixture
def alone(run: Run, tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """The printed file under a Python that sees neither this package nor any other."""
    tool = tmp_path / "pseudonyms.py"
    tool.write_text(run("decoder")[1])

    def call(*arguments: object, said: str = "") -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-I", "-S", str(tool), *map(str, arguments)]
        return subprocess.run(command, capture_output=True, text=True, check=False, input=said, timeout=60)

    return call


# -- the partners' file --------------------------------------------------------------------------------------------


def test_it_stands_alone_and_reads_the_published_vectors(alone: Callable[..., Any]) -> None:
    done = alone("test", VECTORS)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_vector_that_it_reads_otherwise_is_reported(alone: Callable[..., Any], tmp_path: Path) -> None:
    planted = json.loads(VECTORS.read_text())
    planted["syntax"][0]["epoch"] = None
    file = tmp_path / "planted.json"
    file.write_text(json.dumps(planted))
    done = alone("test", file)
    assert (done.returncode, done.stdout) == (1, "syntax[0] is read otherwise\n")


@pytest.mark.parametrize("case", json.loads(VECTORS.read_text())["syntax"], ids=lambda case: case["note"])
def test_published_syntax(case: dict[str, Any]) -> None:
    said = partner.parse(case["text"])
    assert (None if said is None else said.epoch) == case["epoch"]


def test_a_file_is_counted_by_epoch_and_its_bad_lines_are_named_and_not_shown(alone: Callable[..., Any]) -> None:
    lines = [f"p1-{BLOCK}", json.dumps({"pseudonym": f"p2-{BLOCK}"}), "", "anna@example.org", f"p1-{BLOCK}", "{", "{}"]
    done = alone("check", "-", said="\n".join(lines))
    assert done.returncode == 1
    said = json.loads(done.stdout)
    assert (said["epochs"], said["malformed"], said["repeated"]) == ({"1": 2, "2": 1}, 3, 1)
    assert "anna" not in done.stdout + done.stderr


def test_names_of_epochs_that_do_not_count_are_counted(alone: Callable[..., Any]) -> None:
    said = f"p1-{BLOCK}\np2-{BLOCK}\n"
    assert alone("check", "-", said=said).returncode == 0
    assert alone("check", "-", "--count", 1, "--count", 2, said=said).returncode == 0
    done = alone("check", "-", "--count", 2, said=said)
    assert (done.returncode, json.loads(done.stdout)["not_counting"]) == (1, 1)


@pytest.mark.parametrize("url", ["http://gateway.example", "ftp://127.0.0.1", "127.0.0.1:8080", ""])
def test_a_key_is_not_sent_in_the_clear(url: str) -> None:
    with pytest.raises(partner.GatewayFailure, match="https only"):
        partner.ask(url, "cg_key", "/v1/pseudonyms/epochs")


def test_two_calls_never_stand_in_two_epochs(monkeypatch: pytest.MonkeyPatch) -> None:
    epochs = iter([2, 3])

    def answer(_url: str, _key: str, _path: str, body: dict[str, list[str]]) -> dict[str, Any]:
        return {"epoch": next(epochs), "pseudonyms": body["pseudonyms"]}

    monkeypatch.setattr(partner, "ask", answer)
    moving = partner.convert([f"p1-{BLOCK}"] * 2, "https://gateway.example", "key", size=1)
    next(moving)
    with pytest.raises(partner.GatewayFailure, match="epoch changed"):
        next(moving)


# -- against a gateway ---------------------------------------------------------------------------------------------


@pytest.fixture
def edge(tmp_path: Path) -> Iterator[Edge]:
    with running(tmp_path / "edge") as made:
        post = made.admin.post
        assert post("/v1/sources", json={"id": "crm", "name": "CRM", "channel": "web", "party": "first"}).is_success
        house = {"id": "house", "name": "House", "kind": "processor", "country": "DE", "contract": True}
        assert post("/v1/recipients", json=house).is_success
        people = [{"member_no": f"M-{n}", "country": "DE"} for n in range(1, 6)]
        assert post("/v1/subjects", json={"source": "crm", "items": people}).is_success
        yield made


def names(edge: Edge) -> list[str]:
    asked = [{"identifier": {"member_no": f"M-{n}"}, "recipient": "house"} for n in range(1, 6)]
    return [edge.admin.post("/v1/subjects/lookup", json=one).json()["pseudonym"] for one in asked]


def test_a_file_is_moved_in_its_order(
    edge: Edge, run: Run, alone: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(partner.convert, "__defaults__", (2,))  # batches of two
    key, old = tmp_path / "key", names(edge)
    key.write_text(edge.issue("house_key", "audience", recipient="house"))
    assert edge.admin.post("/v1/recipients/house/epochs", json={}).is_success
    new = names(edge)
    file = tmp_path / "table"
    file.write_text("\n".join([*old, "no pseudonym", f"p1-{BLOCK}"]))
    expected = [*zip(old, new, strict=True), ("no pseudonym", None), (f"p1-{BLOCK}", None)]
    status, out, err = run("convert", file, "--url", edge.url, "--key-file", key)
    assert [tuple(json.loads(line).values()) for line in out.splitlines()] == expected
    assert (status, err) == (1, "2 mean nobody\n")
    done = alone("convert", file, "--url", edge.url, "--key-file", key)
    assert (done.returncode, done.stdout) == (1, out)
    epochs = alone("epochs", "--url", edge.url, "--key-file", key)
    assert json.loads(epochs.stdout)["epoch"] == 2
    file.write_text("\n".join(json.dumps({"pseudonym": text}) for text in new))
    assert run("convert", file, "--url", edge.url, "--key-file", key)[0] == 0


def test_what_the_gateway_refuses_is_one_line(edge: Edge, run: Run, alone: Callable[..., Any], tmp_path: Path) -> None:
    key, file = tmp_path / "key", tmp_path / "table"
    key.write_text(edge.issue("house_key", "decide", recipient="house"))
    file.write_text(f"p1-{BLOCK}\n")
    done = alone("convert", file, "--url", edge.url, "--key-file", key)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("pseudonyms: the gateway said 403: ")
    status, out, err = run("convert", file, "--url", edge.url, "--key-file", key)
    assert (status, out) == (2, "")
    assert "the gateway said 403" in err
    nowhere = run("convert", file, "--url", "http://127.0.0.1:9", "--key-file", key)
    assert (nowhere[0], "does not answer" in nowhere[2]) == (2, True)
    assert key.read_text() not in done.stderr + err + nowhere[2]


# -- vectors -------------------------------------------------------------------------------------------------------


def test_the_vault_makes_the_published_vectors(run: Run) -> None:
    status, out, _ = run("test", VECTORS, "--json")
    (found,) = json.loads(out)
    assert (status, found["format"], found["differences"]) == (0, "pseudonyms", [])


def test_digests_of_platforms_are_compared(run: Run) -> None:
    if not SHARED.is_file():
        pytest.skip("SHARED VECTORS MISSING: hash_vectors.json is not beside the project root")
    status, out, _ = run("test", SHARED)
    assert (status, "digests" in out) == (0, True)


def test_a_difference_is_printed_and_ends_with_one(run: Run, tmp_path: Path) -> None:
    vector = {"scheme": "uid2", "kind": "email", "raw": "A.b@gmail.com", "normalized": "a.b@gmail.com"}
    file = tmp_path / "planted.json"
    file.write_text(json.dumps({"vectors": [vector | {"sha256_hex": "0" * 64}]}))
    status, out, _ = run("test", file)
    assert status == 1
    assert "expected a.b@gmail.com" in out
    assert "got      ab@gmail.com" in out


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", "[" * 100_000])
def test_a_file_of_no_format_ends_with_two(run: Run, tmp_path: Path, text: str) -> None:
    file = tmp_path / "x.json"
    file.write_text(text)
    status, out, err = run("test", file)
    assert (status, out) == (2, "")
    assert "x.json" in err
