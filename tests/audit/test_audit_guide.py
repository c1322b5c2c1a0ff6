"""The auditor's guide tells the truth: what it shows as output is what the commands print."""

from __future__ import annotations

import re
import shlex
import shutil
from base64 import b64encode
from collections.abc import Sequence
from pathlib import Path

import pytest
from audit_attackers import forged_entry, honest_entry
from audit_fakes import SEED, MemoryLogStore, Witness

from consent_gateway.audit import command
from consent_gateway.audit.checkpoints import Signer
from consent_gateway.audit.log import make_receipt, sequence
from consent_gateway.audit.proofs import consistency_proof

GUIDE = Path(__file__).resolve().parents[2] / "docs" / "verify.md"
CHECKED = re.compile(r"<!-- checked -->\n```console\n(.*?)^```", re.DOTALL | re.MULTILINE)
SIGNER = Signer("gateway.example.org/log", SEED)


def log_of(entries: Sequence[bytes]) -> tuple[MemoryLogStore, bytes]:
    store = MemoryLogStore()
    store.queue += entries
    while sequence(store, SIGNER):
        pass
    assert store.checkpoint is not None
    return store, store.checkpoint


def material(folder: Path) -> None:
    """Write the files that the guide names."""
    entries = [honest_entry(number) for number in range(1200)]
    (november, old), (december, new) = log_of(entries[:700]), log_of(entries)
    november.export(folder / "log-november")
    december.export(folder / "log")
    log_of([*entries[:412], forged_entry(412), *entries[413:]])[0].export(folder / "forged")
    shutil.copytree(folder / "log", folder / "edited", copy_function=shutil.copyfile)
    edited = folder / "edited/tile/entries/001"
    edited.write_bytes(edited.read_bytes().replace(b'"number":412', b'"number":999'))
    witnesses = [Witness(f"witness{number}.example/w", number) for number in (1, 2, 3)]
    lines = [f"witness w{number} {witness.vkey}" for number, witness in enumerate(witnesses, 1)]
    policy = [f"log {SIGNER.vkey}", *lines, "group two-of-three 2 w1 w2 w3", "quorum two-of-three"]
    files = {
        "log.vkey": SIGNER.vkey.encode(),
        "november.note": old,
        "december.note": new,
        "cosigned.note": new + witnesses[0].line(new, 1_767_225_600) + witnesses[2].line(new, 1_767_225_607),
        "policy": "\n".join(policy).encode(),
        "anna.tlog-proof": make_receipt(904, 1200, new, december.read_tile),
        "anna.entry": entries[904],
        "proof": b"".join(b64encode(node) + b"\n" for node in consistency_proof(700, 1200, december.read_tile)),
    }
    for name, data in files.items():
        (folder / name).write_bytes(data)


def test_the_guide_shows_what_the_commands_print(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    material(tmp_path)
    monkeypatch.chdir(tmp_path)
    blocks = CHECKED.findall(GUIDE.read_text(encoding="utf-8"))
    assert len(blocks) == 7
    for block in blocks:
        for shown in block.split("$ verify ")[1:]:
            typed, _, printed = shown.partition("\n")
            status = command.main(shlex.split(typed.replace("$(cat log.vkey)", SIGNER.vkey)))
            assert capsys.readouterr().out == printed, typed
            assert (status == 0) == printed.startswith("ok ")


def test_every_code_of_a_finding_is_explained() -> None:
    """Codes are an interface: the table of the guide has each that the checks of the log can give."""
    source = "".join(
        path.read_text(encoding="utf-8") for path in Path(command.__file__).parent.joinpath("verifier").glob("*.py")
    )
    source += Path(command.__file__).read_text(encoding="utf-8")
    given = set(re.findall(r'(?:FoundError\(|parsed\(|code=)"([a-z_]+)"', source)) - {"ok"}
    table = GUIDE.read_text(encoding="utf-8").partition("## What each code means")[2].partition("\n## ")[0]
    explained = set(
        re.findall(r"`([a-z_]+)`", "".join(line.split("|")[1] for line in table.splitlines() if "|" in line))
    )
    assert given == explained
