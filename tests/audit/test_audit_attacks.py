"""Attacks on a whole log, over both stores: each is found by our verifier with the first bad index, and by others too.

What an attacker without the signing key does is found in the log itself. With the key, the log alone looks honest, and
only what somebody else kept tells: a checkpoint, an export, a witness.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest
from audit_attackers import Attacker, forged_entry, honest_entry
from audit_fakes import Witness
from audit_outsiders import go_says, shell_says

from builders import a_gateway
from consent_gateway.audit.checkpoints import Signer
from consent_gateway.audit.log import make_receipt
from consent_gateway.audit.proofs import consistency_proof
from consent_gateway.audit.verifier import (
    verify_checkpoint,
    verify_directory,
    verify_prefix,
    verify_receipt,
)
from consent_gateway.db import log_store
from consent_gateway.db.engine import Store
from consent_gateway.errors import AuditError
from consent_gateway.services.log import audit_log

pytestmark = pytest.mark.planted_entry  # only their bytes count here

OTHER = Signer("test.example/log", bytes(32))
HONEST = [honest_entry(number) for number in range(600)]
SUFFIX = [*HONEST[:400], *(forged_entry(number) for number in range(400, 600))]


@dataclass(frozen=True)
class Attack:
    """What is done, and what is found: without memory, and with the checkpoints of 300 and 600 entries at hand."""

    do: Callable[[Attacker], None]
    alone: tuple[str, int | None]
    kept: tuple[str, int | None]


FOUND_NOWHERE = ("ok", None)
ATTACKS = {
    "an entry edited": Attack(
        lambda a: a.put_entries([*HONEST[:400], forged_entry(400), *HONEST[401:]]), ("tile", 400), ("tile", 400)
    ),
    "an entry deleted, the rest moved up": Attack(
        lambda a: a.put_entries([*HONEST[:400], *HONEST[401:]]), ("tile", 400), ("tile", 400)
    ),
    "an entry deleted": Attack(lambda a: a.remove(400), ("bundle", 400), ("bundle", 400)),
    "an entry put in": Attack(
        lambda a: a.put_entries([*HONEST[:400], honest_entry(9999), *HONEST[400:]]), ("tile", 400), ("tile", 400)
    ),
    "two entries swapped": Attack(
        lambda a: a.put_entries([*HONEST[:400], HONEST[401], HONEST[400], *HONEST[402:]]), ("tile", 400), ("tile", 400)
    ),
    "the tail deleted": Attack(lambda a: a.remove(*range(590, 600)), ("bundle", 590), ("bundle", 590)),
    "the tail deleted with its hashes": Attack(
        lambda a: (a.remove(*range(590, 600)), a.change_tile(0, 2, lambda data: data[: 32 * 78]))[0],
        ("bundle", 590),
        ("bundle", 590),
    ),
    "everything deleted": Attack(lambda a: a.wipe(), ("missing", None), ("missing", None)),
    "a suffix rewritten with its hashes": Attack(lambda a: a.rewrite(SUFFIX), ("root", None), ("root", 300)),
    "a suffix rewritten and signed by another key": Attack(
        lambda a: a.rewrite(SUFFIX, OTHER), ("checkpoint", None), ("checkpoint", None)
    ),
    "a suffix rewritten and signed": Attack(
        lambda a: a.rewrite(SUFFIX, a.gateway.signer), FOUND_NOWHERE, ("prefix", 300)
    ),
    "everything rewritten and signed": Attack(
        lambda a: a.rewrite([forged_entry(number) for number in range(600)], a.gateway.signer),
        FOUND_NOWHERE,
        ("prefix", 0),
    ),
    "yesterday's database": Attack(
        lambda a: a.rewrite(HONEST[:300], note=a.notes[300]), FOUND_NOWHERE, ("rolled_back", 300)
    ),
    "a shorter log, signed": Attack(
        lambda a: a.rewrite(HONEST[:599], a.gateway.signer), FOUND_NOWHERE, ("rolled_back", 599)
    ),
    "a bit of a stored leaf hash": Attack(lambda a: a.flip_hash(0, 1, 8 * 32 * 144 + 5), ("tile", 400), ("tile", 400)),
    "a bit of a stored hash above": Attack(lambda a: a.flip_hash(1, 0, 8 * 32 + 5), ("tile", 256), ("tile", 256)),
}  # fmt: skip


@pytest.mark.parametrize("name", ATTACKS)
def test_an_attack_on_the_store_is_found_by_all(store: Store, tmp_path: Path, name: str) -> None:
    attacker = Attacker.over(store)
    export = attacker.serve(tmp_path / "honest")
    assert verify_directory(attacker.vkey, export, earlier=attacker.kept, exports=[export], strict=True).ok
    attack = ATTACKS[name]
    attack.do(attacker)
    served = attacker.serve(tmp_path / "served")
    alone = verify_directory(attacker.vkey, served)
    assert (alone.code, alone.index) == attack.alone, str(alone)
    kept = verify_directory(attacker.vkey, served, earlier=attacker.kept)
    assert (kept.ok, kept.code, kept.index) == (False, *attack.kept), str(kept)
    content, said = go_says("tree", attacker.vkey, served)
    # Go reads level 0 and the entries alone: a wrong hash above does not mislead it.
    assert content == (attack.alone == FOUND_NOWHERE or name == "a bit of a stored hash above"), said
    if attack.alone == ("tile", 400):
        assert said == "FAIL entry 400 does not hash to its tile"


def _prefix_files(attacker: Attacker, folder: Path, old: int) -> tuple[Path, Path, Path]:
    """Write what an attacker would answer an auditor who asks for the proof from a kept checkpoint."""
    with attacker.gateway.store.reading() as session:
        size, note = log_store.checkpoint(session) or (0, b"")
        at = min(old, size)
        proof = consistency_proof(at, size, lambda *tile: log_store.read_tile(session, *tile))
    files = {"old": attacker.notes[old], "new": note, "proof": b"".join(b64encode(node) + b"\n" for node in proof)}
    for name, data in files.items():
        (folder / name).write_bytes(data)
    return folder / "old", folder / "new", folder / "proof"


@pytest.mark.parametrize(
    ("name", "old"),
    [
        ("a suffix rewritten and signed", 600),
        ("everything rewritten and signed", 300),
        ("everything rewritten and signed", 600),
        ("yesterday's database", 600),
        ("a shorter log, signed", 600),
    ],
)
def test_what_is_signed_by_the_key_is_found_by_whoever_remembers(
    store: Store, tmp_path: Path, name: str, old: int
) -> None:
    attacker = Attacker.over(store)
    files = _prefix_files(attacker, tmp_path, 300)
    assert verify_prefix(attacker.vkey, *(file.read_bytes() for file in files)).ok
    assert go_says("prefix", attacker.vkey, *files)[0]
    ATTACKS[name].do(attacker)
    files = _prefix_files(attacker, tmp_path, old)
    assert verify_prefix(attacker.vkey, *(file.read_bytes() for file in files)).code == "consistency"
    content, said = go_says("prefix", attacker.vkey, *files)
    assert not content, said


def test_a_kept_export_names_the_entry_that_was_rewritten(store: Store, tmp_path: Path) -> None:
    attacker = Attacker.over(store)
    export = attacker.serve(tmp_path / "kept")
    for name in ("a suffix rewritten and signed", "a suffix rewritten with its hashes"):
        ATTACKS[name].do(attacker)
        finding = verify_directory(attacker.vkey, attacker.serve(tmp_path / name), exports=[export])
        assert (finding.ok, finding.index) == (False, 400), str(finding)
        assert finding.message.endswith("; entry 400 is not as it was exported before")


def test_a_witness_does_not_sign_the_rewritten_history(store: Store, tmp_path: Path) -> None:
    """With a witness the auditor needs no memory of their own: the attacker cannot make its signature."""
    attacker, witness = Attacker.over(store), Witness("auditor.example/w1")
    line = witness.line(attacker.notes[600])
    served = attacker.serve(tmp_path / "honest")
    cosigned = attacker.notes[600] + line
    assert verify_directory(attacker.vkey, served, checkpoint=cosigned, witnesses=[witness.vkey]).ok
    (tmp_path / "note").write_bytes(cosigned)
    assert go_says("cosig", witness.vkey, tmp_path / "note")[0]
    ATTACKS["a suffix rewritten and signed"].do(attacker)
    served = attacker.serve(tmp_path / "served")
    new = (served / "checkpoint").read_bytes()
    assert verify_directory(attacker.vkey, served).ok
    assert verify_directory(attacker.vkey, served, witnesses=[witness.vkey]).code == "witness"
    assert verify_checkpoint(attacker.vkey, new + line, witnesses=[witness.vkey]).code == "checkpoint"
    (tmp_path / "note").write_bytes(new + line)
    assert not go_says("cosig", witness.vkey, tmp_path / "note")[0]


@pytest.mark.parametrize(
    ("name", "index"),
    [
        ("an entry edited", 400),
        ("an entry deleted, the rest moved up", 400),
        ("a suffix rewritten with its hashes", 400),
        ("a bit of a stored leaf hash", 401),  # the hash beside it is on the way to the root
    ],
)
def test_a_receipt_out_of_an_attacked_store_is_refused_by_all(
    store: Store, tmp_path: Path, name: str, index: int
) -> None:
    attacker = Attacker.over(store)
    proof, entry = tmp_path / "proof", tmp_path / "entry"

    def ask() -> list[bool]:
        with store.reading() as session:
            size, note = log_store.checkpoint(session) or (0, b"")
            made = make_receipt(index, size, note, lambda *tile: log_store.read_tile(session, *tile))
        proof.write_bytes(made)
        entry.write_bytes(bytes(attacker.entries()[index]))
        mine = verify_receipt(attacker.vkey, made, entry.read_bytes())
        assert mine.ok or mine.code == "inclusion"
        return [
            mine.ok,
            go_says("proof", attacker.vkey, proof, entry)[0],
            shell_says(attacker.vkey, proof, entry)[0],
        ]

    assert ask() == [True] * 3
    held = proof.read_bytes(), entry.read_bytes()
    ATTACKS[name].do(attacker)
    assert ask() == [False] * 3
    assert verify_receipt(attacker.vkey, *held).ok  # whoever holds a receipt from before can still prove it


def test_a_damaged_store_is_not_served_by_the_product_itself(store: Store) -> None:
    attacker = Attacker.over(store)
    attacker.remove(400)
    with store.reading() as session, pytest.raises(AuditError):
        log_store.bundle(session, 1, 256)
    attacker.change_tile(0, 2, lambda data: data[:64])
    with store.reading() as session, pytest.raises(AuditError):
        log_store.read_tile(session, 0, 2, 88)
    with pytest.raises(AuditError):
        audit_log.Sequencer(attacker.gateway).run_once()


def test_two_writers_at_once_write_one_history(store: Store, tmp_path: Path) -> None:
    ring = (attacker := Attacker.over(store, (100,))).gateway.vault.provider.keyring
    writers = [audit_log.Sequencer(a_gateway(store, keyring=ring)) for _ in range(2)]

    def write(number: int) -> None:
        for batch in range(5):
            with store.transaction() as session:
                rows = [honest_entry(1000 * number + 10 * batch + at) for at in range(10)]
                log_store.append(session, [(log_store.uid_of(row), row, None) for row in rows])
            writers[number - 1].drain()

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(write, (1, 2)))
    writers[0].drain()
    finding = verify_directory(attacker.vkey, attacker.serve(tmp_path), earlier=attacker.kept, strict=True)
    assert (finding.ok, finding.details["size"]) == (True, 200), str(finding)
    assert go_says("tree", attacker.vkey, tmp_path)[0]
