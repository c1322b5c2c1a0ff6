"""The one-file verifier: it runs alone, and planted bugs turn the vectors red."""

from __future__ import annotations

import ast
import contextlib
import importlib.util
import json
import subprocess
import sys
from base64 import b64decode, b64encode
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from audit_fakes import Witness, filled, vector, worked_entries

from consent_gateway.audit import command, singlefile
from consent_gateway.audit.commitments import commit, opening_salt
from consent_gateway.audit.entries import Entry, EntryKind, entry_bytes
from consent_gateway.audit.log import make_receipt
from consent_gateway.audit.proofs import consistency_proof
from consent_gateway.audit.singlefile import build_single_file

ENTRIES = worked_entries(300)


def material(folder: Path) -> tuple[str, dict[str, str]]:
    """Write a log, a receipt, two checkpoints and an opening; return the vkey and the file names."""
    store, signer = filled(ENTRIES)
    old = filled(ENTRIES[:100])[0].checkpoint
    assert store.checkpoint is not None
    assert old is not None
    store.export(folder / "log")
    proof = consistency_proof(100, 300, store.read_tile)
    key, uid = bytes(32), bytes(16)
    logged = Entry(EntryKind.CONSENT_RECORDED, 1, "a", uid, {}, {"payload": commit(key, uid, "payload", b"{}")})
    files = {
        "receipt": make_receipt(42, 300, store.checkpoint, store.read_tile),
        "entry": ENTRIES[42],
        "other": ENTRIES[43],
        "old": old,
        "new": store.checkpoint,
        "proof": b"".join(b64encode(node) + b"\n" for node in proof),
        "logged": entry_bytes(logged),
        "payload": b"{}",
    }
    for name, data in files.items():
        (folder / name).write_bytes(data)
    names = {name: str(folder / name) for name in (*files, "log")}
    return signer.vkey, names | {"salt": opening_salt(key, uid, "payload").hex()}


def only_cryptography(folder: Path) -> Path:
    """Make a folder for the module path that holds `cryptography`, what it is built on, and nothing else."""
    folder.mkdir()
    for name in ("cryptography", "_cffi_backend"):
        found = importlib.util.find_spec(name)
        assert found is not None
        assert found.origin is not None
        origin = Path(found.origin)
        whole = origin.parent if origin.name == "__init__.py" else origin
        (folder / whole.name).symlink_to(whole)
    return folder


ALONE = "import runpy, sys; sys.path.append(sys.argv.pop(1)); runpy.run_path(sys.argv.pop(1), run_name='__main__')"


def test_it_runs_alone(tmp_path: Path) -> None:
    vkey, at = material(tmp_path)
    script = tmp_path / "verify.py"
    script.write_text(build_single_file(), encoding="utf-8")
    packages = only_cryptography(tmp_path / "packages")

    def run(*arguments: str, code: str = ALONE) -> tuple[int, str]:
        # -I: neither the environment nor this folder; -S: no site-packages
        command_line = [sys.executable, "-I", "-S", "-W", "error", "-c", code, packages, script, *arguments]
        done = subprocess.run(command_line, capture_output=True, text=True, check=False)
        assert "Traceback" not in done.stderr, done.stderr
        return done.returncode, done.stdout

    absent = "import importlib.util as u; raise SystemExit(any(map(u.find_spec, ('consent_gateway', 'click'))))"
    assert run(code=absent) == (0, "")
    assert run("receipt", vkey, at["receipt"], at["entry"]) == (0, "ok entry 42 of 300, log gateway.example/audit\n")
    assert run("receipt", vkey, at["receipt"], at["other"])[0] == 1
    status, text = run("tree", vkey, at["log"], at["old"])
    assert (status, text.startswith("ok 300 entries")) == (0, True)
    assert run("prefix", vkey, at["old"], at["new"], at["proof"])[0] == 0
    assert run("prefix", vkey, at["new"], at["old"], at["proof"])[0] == 1
    assert run() == (2, "")
    assert run("receipt", "--help")[0] == 0
    status, text = run("tree", vkey, at["log"], "--json")
    assert (status, json.loads(text)["size"]) == (0, 300)


def test_the_file_itself_can_share_its_work(tmp_path: Path) -> None:
    vkey, at = material(tmp_path)
    script = tmp_path / "verify.py"
    script.write_text(build_single_file(), encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-I", script, "tree", vkey, at["log"], "--jobs", "2"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout.startswith("ok 300 entries")) == (0, True), done.stderr


def test_the_command_answers_with_its_status(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    vkey, at = material(tmp_path)
    for want, arguments in [
        (0, ("receipt", vkey, at["receipt"], at["entry"])),
        (0, ("tree", vkey, at["log"])),
        (0, ("payload", at["logged"], "payload", at["salt"], at["payload"])),
        (1, ("payload", at["logged"], "payload", at["salt"], at["entry"])),
        (1, ("payload", at["logged"], "payload", "no hex", at["payload"])),
        (1, ("receipt", vkey, at["receipt"], str(tmp_path / "absent"))),
        (1, ("tree", vkey, str(tmp_path))),
        (0, ("checkpoint", vkey, at["new"])),
        (1, ("checkpoint", vkey, at["new"], "--policy", at["old"])),
        (0, ("tree", vkey, at["log"], at["old"], at["new"], "--jobs", "1")),
        (1, ("tree", vkey, at["log"], "--strict")),
        (0, ("--help",)),
        (2, ("tree", vkey)),
        (2, ("tree", vkey, at["log"], "--jobs", "0")),
        (2, ("checkpoint", vkey, at["new"], "--witness")),
        (2, ("steal", vkey)),
        (2, ()),
    ]:
        assert command.main(arguments) == want, arguments
    out, err = capsys.readouterr()
    assert out.count("ok ") == 5
    assert out.count("FAIL ") == 6
    assert err.count("usage:") == 5


def test_a_program_reads_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    vkey, at = material(tmp_path)

    def run(*arguments: str) -> Any:
        command.main([*arguments, "--json"])
        return json.loads(capsys.readouterr().out)

    tree = run("tree", vkey, at["log"], at["old"])
    assert {name: tree[name] for name in ("check", "ok", "code", "size", "origin", "earlier", "cosigned")} == {
        "check": "tree",
        "ok": True,
        "code": "ok",
        "size": 300,
        "origin": "gateway.example/audit",
        "earlier": [100],
        "cosigned": [],
    }
    assert run("receipt", vkey, at["receipt"], at["entry"])["index"] == 42
    wrong = run("receipt", vkey, at["receipt"], at["other"])
    assert (wrong["ok"], wrong["code"], wrong["index"]) == (False, "inclusion", 42)
    lost = run("checkpoint", vkey, str(tmp_path / "absent"))
    assert (lost["code"], lost["message"]) == ("input", f"{tmp_path / 'absent'}: No such file or directory")
    asked = run("receipt", vkey, at["receipt"], at["entry"], Witness("w.example").vkey)
    assert (asked["code"], asked["message"]) == ("witness", "not cosigned by w.example; group all has 0 of 1")


def test_a_terminal_sees_how_far_it_is(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    vkey, at = material(tmp_path)
    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
    assert command.main(["tree", vkey, at["log"]]) == 0
    assert capsys.readouterr().err == "\r" + " " * len("300 of 300 entries (100 %)") + "\r"
    command._progress(16_384, 20_000)
    assert capsys.readouterr().err == "\r16384 of 20000 entries (81 %)"


def test_it_imports_nothing_but_the_standard_library_and_cryptography() -> None:
    text = build_single_file()
    imported = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            imported |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            imported.add((node.module or "").split(".")[0])
    assert imported - set(sys.stdlib_module_names) == {"cryptography"}
    assert text == build_single_file()


def test_a_name_defined_twice_or_a_missing_module_stops_the_build() -> None:
    with pytest.raises(ValueError, match="split is defined by a and by b"):
        singlefile._check_names({"a": "def split(): ...", "b": "x = 1\nsplit: int = 2"})
    with pytest.raises(ValueError, match="does not include"):
        singlefile._cut_imports("from consent_gateway.audit.log import Head\n")


# --- planted bugs: each changes one line of the verifier, and the shared vectors must notice


def load(text: str, folder: Path) -> ModuleType:
    path = folder / "planted_verify.py"
    path.write_text(text, encoding="utf-8")
    spec = importlib.util.spec_from_file_location("planted_verify", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["planted_verify"] = module  # dataclasses look their module up
    try:
        spec.loader.exec_module(module)
    finally:
        del sys.modules["planted_verify"]
    return module


def wrong_answers(verifier: Any) -> list[str]:
    """Return the shared cases that this verifier answers wrongly; an exception is a wrong answer too."""
    wrong = []
    for case in vector("transparency-dev-merkle.json")["vectors"]:
        nodes = [b64decode(node) for node in case["proof"] or ()]
        if "leafHash" in case:
            leaf, root = b64decode(case["leafHash"] or ""), b64decode(case["root"] or "")
            got = verifier.verify_inclusion(case["leafIdx"], case["treeSize"], leaf, nodes, root)
        else:
            roots = b64decode(case["root1"] or ""), b64decode(case["root2"] or "")
            got = verifier.verify_consistency(case["size1"], case["size2"], *roots, nodes)
        wrong += [case["file"]] if got == case["wantErr"] else []
    # published verifiers are known to accept these two
    wrong += ["empty leaf and root"] if verifier.verify_inclusion(0, 1, b"", [], b"") else []
    wrong += ["empty roots"] if verifier.verify_consistency(1, 1, b"", b"", []) else []
    document = vector("worked/tlog-proof-cases.json")
    for case in document["cases"]:
        proof, entry = case["proof"].encode(), bytes.fromhex(case["leaf_hex"])
        if verifier.verify_receipt(document["log_vkey"], proof, entry).ok != (case["want"] == "accept"):
            wrong.append(case["name"])
    return wrong


BUGS = {
    "nodes hashed like leaves": ('NODE_PREFIX = b"\\x01"', 'NODE_PREFIX = b"\\x00"'),
    "leaves hashed like nodes": ('LEAF_PREFIX = b"\\x00"', 'LEAF_PREFIX = b"\\x01"'),
    "children swapped": ("sha256(NODE_PREFIX + left + right)", "sha256(NODE_PREFIX + right + left)"),
    "index not bounded": ("if not 0 <= index < size or not", "if not"),
    "short hashes let through": ("return all(len(value) == HASH_BYTES", "return all(len(value) >= 0"),
    "no path needed": ("return bool(path) and _walk", "return not path or _walk"),
    "the end of the tree forgotten": ("return sn == 0 and node == root", "return node == root"),
    "the root not compared": ("return sn == 0 and node == root", "return sn == 0"),
    "old root not compared": ("nodes) == (old_root, new_root)", "nodes)[1:] == (new_root,)"),
    "power of two not special": ("if old & (old - 1) == 0 else", "if False else"),
    "signature not checked": ("return ed25519_holds(key.public_key, blob, text.encode()), None", "return True, None"),
    "origin not compared": ("if opened.checkpoint.origin != log.name:", "if False:"),
    "sizes in any spelling": ("if str(number) != text or", "if"),
    "a failing signature kept": ('raise ValueError("a signature by a known key does not verify")', "pass"),
    "any version of receipt": ("if header != RECEIPT_HEADER:", "if False:"),
}  # fmt: skip


def test_the_built_verifier_answers_every_shared_case(tmp_path: Path) -> None:
    assert wrong_answers(load(build_single_file(), tmp_path)) == []


@pytest.mark.parametrize("name", BUGS)
def test_a_planted_bug_turns_the_vectors_red(tmp_path: Path, name: str) -> None:
    text = build_single_file()
    right, wrong = BUGS[name]
    assert text.count(right) == 1, f"the line to spoil is not there once: {right}"
    with contextlib.suppress(TypeError, IndexError):  # a crash is seen as well
        assert wrong_answers(load(text.replace(right, wrong), tmp_path)) != []
