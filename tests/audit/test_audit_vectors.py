"""Vector files: every published case is answered as it wants, every format turns red, and no difference is hidden."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from audit_fakes import need

from consent_gateway.audit.vectors import run_vector_file, vector_files
from consent_gateway.audit.vectors.cases import Case

OWN = Path(__file__).resolve().parents[1] / "vectors"
PUBLISHED = {
    "transparency-dev-merkle.json": 115,
    "notes.json": 6,
    "tessera-testlog/ABOUT.json": 34,
    "worked/small.json": 146,
    "worked/tiles-70000.json": 42,
    "worked/tlog-proof-cases.json": 27,
    "worked/mldsa44-cosignature.json": 4,
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_vectors_agree(name: str) -> None:
    run = run_vector_file(need(f"vectors/audit/{name}"))
    assert (run.cases, run.differences, run.allowed) == (PUBLISHED[name], (), ())


def test_the_log_checks_signatures_as_wycheproof_wants() -> None:
    run = run_vector_file(need("vectors/vault/wycheproof/ed25519_test.json"))
    assert (run.cases, run.differences, run.allowed) == (151, (), ())


def test_our_own_vectors_agree_and_name_what_is_refused_although_it_may_be_accepted() -> None:
    notes, logs = run_vector_file(OWN / "audit_notes.json"), run_vector_file(OWN / "audit_logs.json")
    assert (notes.cases, notes.differences) == (79, ())
    assert [(case.name, case.reason[:24]) for case in notes.allowed] == [
        ("the log's line twice", "a line stands there twic"),
        ("a witness line twice", "a line stands there twic"),
    ]
    assert (logs.cases, logs.differences, logs.allowed) == (39, (), ())


Spoil = Callable[[Any], None]


def member(name: str, value: object) -> Spoil:
    return lambda document: document.__setitem__(name, value)


def in_first(part: str, name: str, value: object) -> Spoil:
    return lambda document: document[part][0].__setitem__(name, value)


SPOILT: dict[str, tuple[str, Spoil, str]] = {
    "a proof": (
        "audit/transparency-dev-merkle.json",
        in_first("vectors", "wantErr", value=True),
        "consistency/0/happy-path.json: wanted refuse, got accept",
    ),
    "a receipt": (
        "audit/worked/tlog-proof-cases.json",
        in_first("cases", "leaf_hex", "00"),
        "good: wanted accept, got refuse",
    ),
    "a signature": (
        "vault/wycheproof/ed25519_test.json",
        lambda document: document["testGroups"][0]["tests"][0].__setitem__("result", "invalid"),
        "1 Valid: wanted refuse, got accept",
    ),
    "a cosignature": ("audit/worked/mldsa44-cosignature.json", member("timestamp", 7), "message: wanted 737562"),
    "a foreign note": (
        "audit/notes.json",
        lambda document: document[0].__setitem__("note", document[0]["note"].replace("This", "That")),
        "C2SP signed-note.md example: wanted accept, got refuse",
    ),
    "a root": ("audit/worked/small.json", lambda d: d["roots"].__setitem__("3", "00"), "root 3: wanted 00, got a64bf2"),
    "a checkpoint": (
        "audit/worked/small.json",
        lambda d: d["checkpoints"].__setitem__("4", d["checkpoints"]["7"]),
        "checkpoint 4: wanted gateway.example/audit\n4\n",
    ),
    "a forged checkpoint": (
        "audit/worked/small.json",
        lambda d: d["checkpoints"].__setitem__("4", d["checkpoints"]["4"].replace("\n4\n", "\n5\n")),
        "checkpoint 4: wanted accept, got refuse",
    ),
    "a tile": (
        "audit/worked/tiles-70000.json",
        lambda d: d["tiles_sha256"].__setitem__("tile/0/272", "00"),
        "tile/0/272: wanted 00, got b6b487",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", SPOILT)
def test_a_wrong_answer_is_reported(tmp_path: Path, name: str) -> None:
    source, spoil, message = SPOILT[name]
    document = json.loads(need(f"vectors/{source}").read_bytes())
    spoil(document)
    (tmp_path / "v.json").write_text(json.dumps(document))
    run = run_vector_file(tmp_path / "v.json")
    assert any(str(case).startswith(message) for case in run.differences), run.differences


@pytest.mark.parametrize(("file", "part"), [("audit_notes.json", "cases"), ("audit_logs.json", "cases")])
def test_a_wrong_code_or_index_is_a_difference(tmp_path: Path, file: str, part: str) -> None:
    document = json.loads((OWN / file).read_bytes())
    for case in document[part]:
        if case["want"] == "accept":
            case |= {"want": "refuse", "code": "root", "index": 7}
        else:
            case["code"] += "x"
    (tmp_path / "v.json").write_text(json.dumps(document))
    run = run_vector_file(tmp_path / "v.json")
    assert len(run.differences) == run.cases


def test_a_directory_that_does_not_hold_is_reported(tmp_path: Path) -> None:
    source = need("vectors/audit/tessera-testlog")
    for path in source.rglob("*"):
        if path.is_file():
            (tmp_path / path.relative_to(source)).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / path.relative_to(source)).write_bytes(path.read_bytes())
    (tmp_path / "tile/0/000.p/9").write_bytes(bytes(288))
    run = run_vector_file(tmp_path / "ABOUT.json")
    assert [str(case) for case in run.differences] == ["the directory at 9: wanted accept, got refuse"]


def test_what_no_tree_has_is_refused_openly(tmp_path: Path) -> None:
    """The full set of transparency-dev/merkle wants two placeholder roots that are no hashes to be accepted."""
    case = {"file": "f", "size1": 1, "size2": 1, "root1": "AAAA", "root2": "AAAA", "proof": [], "wantErr": False}
    (tmp_path / "v.json").write_text(json.dumps({"vectors": [case]}))
    run = run_vector_file(tmp_path / "v.json")
    assert (run.differences, [case.reason for case in run.allowed]) == (
        (),
        ["a hash has not 32 bytes: no tree has it (RFC 9162 2.1)"],
    )


def test_an_acceptable_signature_may_be_answered_either_way(tmp_path: Path) -> None:
    test = {"tcId": 1, "flags": [], "comment": "", "msg": "", "sig": "", "result": "acceptable"}
    group = {"publicKey": {"pk": "00" * 32}, "tests": [test]}
    (tmp_path / "v.json").write_text(json.dumps({"algorithm": "EDDSA", "testGroups": [group]}))
    assert run_vector_file(tmp_path / "v.json").allowed == (Case("1", "accept", "refuse", "either answer is right"),)


@pytest.mark.parametrize(
    "text",
    [
        '{"vectors": []}',
        "{}",
        "[]",
        "7",
        '{"vectors": [{}]}',
        '{"vectors": [7]}',
        '{"cases": [], "log_vkey": ""}',
        '{"log_vkey": "x", "entries": []}',
        '{"tiles_sha256": {}, "bundles_sha256": {}, "size": 1000000000000}',
        '{"log_vkey": "x", "entries": ["a"]}',
        '[{"vkey": "x", "note": "y", "source": "z"}]',
        "no json",
        "[" * 100_000,
        '{"vectors": [{"file": "f", "proof": ["*"], "wantErr": true, "leafHash": "?", "leafIdx": 1e99}]}',
    ],
)
def test_a_file_without_cases_is_no_success(tmp_path: Path, text: str) -> None:
    (tmp_path / "v.json").write_text(text)
    with pytest.raises((ValueError, OSError)):
        run_vector_file(tmp_path / "v.json")


def test_a_file_of_gigabytes_is_not_read(tmp_path: Path) -> None:
    with (tmp_path / "v.json").open("wb") as file:
        file.truncate(1 << 40)
    with pytest.raises(ValueError, match="known format"):
        run_vector_file(tmp_path / "v.json")


def test_a_folder_stands_for_its_files() -> None:
    assert {file.name for file in vector_files(OWN)} >= {"audit_logs.json", "audit_notes.json"}
    assert vector_files(OWN / "audit_logs.json") == [OWN / "audit_logs.json"]
