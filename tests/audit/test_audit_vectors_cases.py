"""Which cases a vector file has, by name, and that each of them can go wrong: a check that lies is a difference."""

from __future__ import annotations

import json
from base64 import b64encode
from pathlib import Path
from typing import Any

import pytest
from audit_fakes import need

from consent_gateway.audit import vectors
from consent_gateway.audit.notes import parse_vkey
from consent_gateway.audit.vectors import FORMATS, notes, proofs, run_vector_file, trees
from consent_gateway.audit.vectors.cases import ACCEPT, REFUSE, Case, VectorRun, answer, equal, run_of
from consent_gateway.audit.verifier import Finding

OWN = Path(__file__).resolve().parents[1] / "vectors"
LIE = Finding(ok=False, code="lie", message="")


def cases_of(path: Path) -> list[Case]:
    document = json.loads(path.read_bytes())
    read = next(read for _, tells, read in FORMATS if tells(document))
    return list(read(document, path.parent))


def names(file: str) -> list[str]:
    return [case.name for case in cases_of(need(f"vectors/audit/{file}"))]


def differing(file: Path) -> list[str]:
    return [str(case) for case in run_vector_file(file).differences]


def changed(tmp_path: Path, source: Path, **members: Any) -> Path:
    """The file with other members."""
    path = tmp_path / "v.json"
    path.write_text(json.dumps(json.loads(source.read_bytes()) | members))
    return path


# -- names ---------------------------------------------------------------------------------------------------------


def test_the_cases_of_a_cosignature() -> None:
    assert names("worked/mldsa44-cosignature.json") == ["key id", "message", "signature", "signature of another size"]


def test_the_cases_of_a_directory() -> None:
    each = [name for size in range(16) for name in (f"checkpoint.{size}", f"the directory at {size}")]
    assert names("tessera-testlog/ABOUT.json") == [*each, "entries", "the directory as it is"]


def test_the_cases_of_foreign_notes_are_told_by_their_source() -> None:
    found = names("notes.json")
    assert found[1::2] == [f"{name}, written again" for name in found[::2]]


def test_the_cases_of_a_small_tree() -> None:
    pairs = [(m, n) for n in range(1, 8) for m in range(1, n + 1)]
    proven = [f"inclusion {m - 1} in {n}" for m, n in pairs], [f"consistency {m} to {n}" for m, n in pairs]
    found = names("worked/small.json")
    assert found[0] == "leaf hashes"
    assert found[1:113] == [name for part in proven for name in part for _ in range(2)]
    assert found[113:121] == [f"root {size}" for size in range(8)]
    assert sorted(found[121:129]) == sorted(f"path of tile {n}" for n in (0, 5, 255, 273, 999, 1000, 67000, 1234067))
    heads = [name for size in (0, 1, 4, 7) for name in (f"checkpoint {size}", f"cosignature {size}")]
    assert found[129:] == ["log key id", "witness key id", *heads, *(f"entry-{n}.tlog-proof" for n in range(7))]


def test_the_cases_of_a_large_tree() -> None:
    found = names("worked/tiles-70000.json")
    assert found[:2] == ["tiles", "bundles"]
    assert found[2:11] == [
        "tile/0/000", "tile/0/272", "tile/0/273.p/112", "tile/1/000", "tile/1/001.p/17", "tile/2/000.p/1",
        "tile/entries/000", "tile/entries/272", "tile/entries/273.p/112",
    ]  # fmt: skip
    assert found[11:13] == ["root", "inclusion 0 in 70000"]


# -- checks that lie -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("check", "file", "wrong"), [
    ("verify_inclusion", "worked/small.json", "inclusion "),
    ("verify_consistency", "worked/small.json", "consistency "),
    ("note_opens", "worked/small.json", "cosignature "),
])  # fmt: skip
def test_a_check_of_a_tree_that_refuses_all_is_seen(
    monkeypatch: pytest.MonkeyPatch, check: str, file: str, wrong: str
) -> None:
    monkeypatch.setattr(trees, check, lambda *_: False)
    found, all_names = differing(need(f"vectors/audit/{file}")), names(file)
    expected = {name for name in all_names if name.startswith(wrong)}
    assert set(found) == {f"{name}: wanted accept, got refuse" for name in expected}


def test_receipts_and_directories_that_are_refused_are_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    for check in ("verify_receipt", "verify_directory"):
        monkeypatch.setattr(trees, check, lambda *_, **__: LIE)
    small, directory = (need(f"vectors/audit/{name}") for name in ("worked/small.json", "tessera-testlog/ABOUT.json"))
    assert differing(small) == [f"entry-{n}.tlog-proof: wanted accept, got refuse" for n in range(7)]
    at = [f"the directory at {size}" for size in range(16)]
    assert differing(directory) == [f"{name}: wanted accept, got refuse" for name in (*at, "the directory as it is")]


def test_a_reader_that_opens_every_note_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(notes, "note_opens", lambda *_: True)
    file = need("vectors/audit/worked/mldsa44-cosignature.json")
    assert differing(file) == ["signature of another size: wanted refuse, got accept"]
    monkeypatch.setattr(notes, "note_opens", lambda *_: False)
    assert differing(file) == ["signature: wanted accept, got refuse"]


def test_what_a_cosignature_is_held_against() -> None:
    """Its own head and another one, each time under the key of the file; the line to the byte."""
    file = need("vectors/audit/worked/mldsa44-cosignature.json")
    document, asked = json.loads(file.read_bytes()), list[tuple[bytes, tuple[str, ...]]]()
    line = document["note_line"].strip()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(notes, "note_opens", lambda data, *vkeys: asked.append((data, vkeys)) or True)
        for end in ("", "\n", "\n\n"):
            list(notes.mldsa_cases(document | {"note_line": line + end}))
    (vkey,) = {vkeys for _, vkeys in asked}
    assert [parse_vkey(text).public_key.hex() for text in vkey] == [document["public_key_hex"]]
    root = b64encode(bytes.fromhex(document["root_hex"])).decode()
    texts = [f"{document['origin']}\n{size}\n{root}\n\n{line}\n".encode() for size in (7, 8)]
    assert [data for data, _ in asked] == texts * 3
    spoilt = [str(case) for case in notes.mldsa_cases(document | {"note_line": f"{line} \n"}) if not case.agrees]
    assert spoilt == ["signature: wanted accept, got refuse"]


def test_a_verifier_that_refuses_every_checkpoint_is_not_excused(monkeypatch: pytest.MonkeyPatch) -> None:
    """What may be refused is a note with a line twice; any other refusal of what is to be accepted counts."""
    file = OWN / "audit_notes.json"
    allowed = {case.name for case in run_vector_file(file).allowed}
    wanted = {case.name for case in cases_of(file) if case.wanted == ACCEPT}
    monkeypatch.setattr(notes, "verify_checkpoint", lambda *_, **__: LIE)
    lying = run_vector_file(file)
    assert {case.name for case in lying.allowed} == allowed
    assert {case.name for case in lying.differences if case.wanted == ACCEPT} == wanted - allowed
    assert {case.got for case in lying.differences} == {"refuse (lie)"}


def test_a_verifier_that_accepts_every_log_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    file = OWN / "audit_logs.json"
    document = json.loads(file.read_bytes())["cases"]
    refused = {
        (case["name"], f"refuse ({case['code']} at {case['index']})") for case in document if case["want"] != ACCEPT
    }
    asked = list[dict[str, Any]]()

    def accept(*_: object, **named: Any) -> Finding:
        asked.append(named)
        return Finding(ok=True, code="ok", message="")

    monkeypatch.setattr(trees, "verify_directory", accept)
    assert {(case.name, case.wanted) for case in run_vector_file(file).differences} == refused
    strict = [
        {"earlier": [note.encode() for note in case.get("earlier", [])], "strict": case.get("strict", False)}
        for case in document
    ]
    assert asked == strict


def test_a_checker_of_proofs_and_signatures_that_accepts_all_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    for check in ("verify_inclusion", "verify_consistency", "ed25519_holds"):
        monkeypatch.setattr(proofs, check, lambda *_: True)
    for name in ("audit/transparency-dev-merkle.json", "vault/wycheproof/ed25519_test.json"):
        file = need(f"vectors/{name}")
        refused = [f"{case.name}: wanted refuse, got accept" for case in cases_of(file) if case.wanted == REFUSE]
        assert differing(file) == refused
        assert refused


# -- values that are wrong -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("file", "members", "words"), [
    ("mldsa44-cosignature.json", {"key_id_hex": "00"}, "key id: wanted 00, got 430862ba"),
    ("small.json", {"log_key_id_hex": "00"}, "log key id: wanted 00, got e7b99c16"),
    ("small.json", {"witness_key_id_hex": "00"}, "witness key id: wanted 00, got 15cfbe2c"),
    ("small.json", {"index_paths": {"5": "006"}}, "path of tile 5: wanted tile/0/006, got tile/0/005"),
    ("tiles-70000.json", {"tile_count": 1}, "tiles: wanted 1, got 277"),
    ("tiles-70000.json", {"bundle_count": 1}, "bundles: wanted 1, got 274"),
    ("tiles-70000.json", {"bundles_sha256": {"tile/entries/000": ""}}, "tile/entries/000: wanted , got "),
])  # fmt: skip
def test_a_wrong_value_is_told(tmp_path: Path, file: str, members: dict[str, Any], words: str) -> None:
    found = differing(changed(tmp_path, need(f"vectors/audit/worked/{file}"), **members))
    assert found[0].startswith(words), found


@pytest.mark.parametrize(("content", "words"), [
    ("no json", "v.json is not JSON in UTF-8"),
    ("{}", "v.json is not a vector file of a known format"),
    ("[]", "v.json holds no cases"),
    ('{"vectors": [{}]}', "v.json is not as its format wants it: KeyError"),
    ('{"vectors": [7]}', "v.json is not as its format wants it: TypeError"),
    ('[{"vkey": "x", "note": 1, "source": "z"}]', "v.json is not as its format wants it: AttributeError"),
    ('{"tiles_sha256": {}, "bundles_sha256": {}, "size": 1048577}', "v.json is not as its format wants it: ValueError"),
])  # fmt: skip
def test_files_that_are_none_are_named(tmp_path: Path, content: str, words: str) -> None:
    (tmp_path / "v.json").write_text(content)
    with pytest.raises(ValueError) as refused:
        run_vector_file(tmp_path / "v.json")
    assert str(refused.value) == words
    if "1048577" in content:
        with pytest.raises(ValueError, match=r"^the tree is too large to be built here$"):
            list(trees.geometry_cases(json.loads(content)))


def test_a_format_is_told_by_its_members() -> None:
    has, named = vectors._has("a", "b"), vectors._is("a", "x")
    found = [{}, {"a": 1}, {"a": 1, "b": 2}, {"a": "x", "b": 2, "c": 3}, {"b": 2, "c": 3}, ["a", "b"], "ab", None]
    assert [has(document) for document in found] == [False, False, True, True, *[False] * 4]
    assert [named(document) for document in found] == [*[False] * 3, True, *[False] * 4]
    assert list(vectors._plain(lambda document: iter([document]))("read", Path("folder"))) == ["read"]
    assert [name for name, *_ in FORMATS] == [
        "checkpoints", "logs", "Wycheproof EdDSA", "proofs", "receipts", "geometry of a tree", "worked values of a tree",
        "a tlog-tiles directory", "an ML-DSA-44 cosignature", "notes",
    ]  # fmt: skip


def test_a_file_of_the_largest_size_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "v.json"
    path.write_bytes(b'{"vectors": []}')
    for most, words in ((15, "v.json holds no cases"), (14, "v.json is not a vector file of a known format")):
        monkeypatch.setattr(vectors, "_MAX_FILE", most)
        with pytest.raises(ValueError, match=f"^{words}$"):
            run_vector_file(path)


def test_what_a_case_says() -> None:
    assert str(answer("a", wanted=True, got=False)) == "a: wanted accept, got refuse"
    assert str(equal("b", b"\x01", [b"\x02"])) == "b: wanted 01, got [b'\\x02']"
    right, wrong = answer("a", wanted=True, got=True, reason="why"), answer("b", wanted=False, got=True, reason="why")
    excused, value = answer("c", wanted=True, got=False, reason="why"), equal("d", "x", "y")
    assert [case.reason for case in (right, wrong, excused, value)] == ["", "", "why", ""]
    assert run_of([right, wrong, excused, value]) == VectorRun(4, (wrong, value), (excused,))
