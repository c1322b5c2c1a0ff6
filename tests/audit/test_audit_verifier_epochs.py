"""Epochs and maps as an auditor meets them: followed from the first key, losses told, sums counted."""

from __future__ import annotations

import json
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from audit_fakes import ORIGIN, SEED, MemoryLogStore, filled

from consent_gateway.audit import command
from consent_gateway.audit.checkpoints import Signer
from consent_gateway.audit.entries import Entry, EntryKind, entry_bytes
from consent_gateway.audit.epochs import Loss, Succession, statement_digest
from consent_gateway.audit.log import sequence
from consent_gateway.audit.maps import MapLeaf, subtree, write_leaves
from consent_gateway.audit.notes import Note, parse_note
from consent_gateway.audit.verifier import (
    Finding,
    verify_directory,
    verify_epochs,
    verify_published_map,
)

OLD = Signer(ORIGIN, SEED)
NEW = Signer(f"{ORIGIN}/epoch-2", bytes([3]) * 32)
THIRD = Signer(f"{ORIGIN}/epoch-3", bytes([4]) * 32)


def entry(number: int, kind: EntryKind = EntryKind.ADMIN_ACTION, **fields: Any) -> bytes:
    return entry_bytes(Entry(kind, number, "key:ops", sha256(b"%d" % number).digest()[:16], fields))


PUBLISHED = [entry(number) for number in range(500)]
KEPT = {size: filled(PUBLISHED[:size])[0].checkpoint or b"" for size in (200, 300, 400, 500)}


def root_of(entries: Sequence[bytes]) -> bytes:
    return filled(entries)[0].head().root


def statement(surviving: int = 300, lost: tuple[int, int] | None = (300, 500), **changes: Any) -> bytes:
    loss = None if lost is None else Loss(*lost, root_of(PUBLISHED[: lost[1]]))
    said = {"origin": ORIGIN, "epoch": 2, "vkey": NEW.vkey, "surviving": surviving}
    values = said | {"root": root_of(PUBLISHED[:surviving]), "lost": loss} | changes
    return OLD.sign_text(Succession(**values).text)


def opened(number: int, note: bytes) -> bytes:
    return entry(number, EntryKind.LOG_CREATED, statement=statement_digest(note).hex()).replace(
        b"log.created", b"log.epoch_opened"
    )


def gone_on(folder: Path, entries: Sequence[bytes], signer: Signer = NEW) -> Path:
    """Export a log of the new epoch."""
    store = MemoryLogStore()
    store.queue += entries
    while sequence(store, signer):
        pass
    return store.export(folder)


def after_the_loss(folder: Path, note: bytes) -> Path:
    return gone_on(folder, [*PUBLISHED[:300], opened(1000, note), *(entry(2000 + number) for number in range(9))])


def check(root: Path, *notes: bytes, kept: Sequence[int] = ()) -> Finding:
    return verify_directory(OLD.vkey, root, statements=notes, earlier=[KEPT[size] for size in kept])


def test_a_log_is_followed_into_its_next_epoch(tmp_path: Path) -> None:
    note = statement()
    root = after_the_loss(tmp_path, note)
    finding = check(root, note, kept=[200, 300, 400, 500])
    assert finding.ok, str(finding)
    assert finding.details["epochs"] == [
        {"epoch": 1, "vkey": OLD.vkey},
        {"epoch": 2, "vkey": NEW.vkey, "surviving": 300, "lost": {"from": 300, "until": 500}},
    ]
    assert finding.details["earlier"] == [200, 300]  # the others are given up, and named
    assert verify_directory(NEW.vkey, root).ok
    assert check(root).code == "checkpoint"  # without the statement the new key is nobody's


def test_what_no_statement_gives_up_is_still_missed(tmp_path: Path) -> None:
    note = statement(lost=None)
    root = after_the_loss(tmp_path, note)
    assert check(root, note, kept=[300]).ok
    finding = check(root, note, kept=[500])
    assert (finding.code, finding.index) == ("rolled_back", 310)
    note = statement(lost=(300, 400))
    root = after_the_loss(tmp_path / "less", note)
    assert check(root, note, kept=[400]).ok
    assert check(root, note, kept=[500]).code == "rolled_back"


def test_a_changed_beginning_is_no_loss(tmp_path: Path) -> None:
    note = statement()
    root = gone_on(tmp_path, [*PUBLISHED[:100], entry(9), *PUBLISHED[101:300], opened(1000, note)])
    finding = check(root, note, kept=[200])
    assert (finding.code, finding.index) == ("prefix", 0)
    finding = check(root, note)
    assert (finding.code, finding.message) == ("epoch", "epoch 2 did not go on from the 300 entries of its statement")


@pytest.mark.parametrize(
    "first", [b"{}", b"[", b"\xff", entry(1), entry(1, EntryKind.LOG_CREATED, statement=7), opened(1, b"another")]
)
def test_the_first_entry_of_an_epoch_records_its_statement(tmp_path: Path, first: bytes) -> None:
    note = statement()
    finding = check(gone_on(tmp_path, [*PUBLISHED[:300], first]), note)
    assert (finding.code, finding.index) == ("epoch", 300), str(finding)


def test_a_log_from_before_its_epoch_is_set_back(tmp_path: Path) -> None:
    note = statement()
    old = filled(PUBLISHED[:300])[0].export(tmp_path / "old")
    assert check(old).ok
    finding = check(old, note)
    assert (finding.code, finding.index) == ("rolled_back", 300)
    root = gone_on(tmp_path / "new", PUBLISHED[:300])
    finding = check(root, note)
    assert (finding.code, finding.index) == ("epoch", 300)  # the entry that opens it is not there


def test_statements_are_followed_or_refused() -> None:
    note = statement()
    finding = verify_epochs(OLD.vkey, [note])
    assert finding.ok
    assert finding.message == f"epoch 2, vkey {NEW.vkey}; lost: 300 to 499"
    assert verify_epochs(OLD.vkey, [statement(lost=None)]).message.endswith("; lost: nothing")
    stranger = Signer("other.example/log/epoch-2", bytes([3]) * 32)
    forged = NEW.sign_text(note.decode().split("\n\n")[0] + "\n")
    for bad in (b"", KEPT[300], forged, statement(vkey=stranger.vkey), statement(epoch=1), statement(origin="x")):
        assert verify_epochs(OLD.vkey, [bad]).code == "epoch"
    assert verify_epochs(NEW.vkey, [note]).code == "epoch"
    assert verify_epochs("no key", [note]).code == "epoch"


def test_each_epoch_and_each_loss_is_told() -> None:
    second = statement()
    said = Succession(NEW.key.name, 3, THIRD.vkey, 340, bytes(32), Loss(330, 350, bytes(32)))
    assert verify_epochs(OLD.vkey, [second, NEW.sign_text(said.text)]) == Finding(
        ok=True,
        code="ok",
        message=f"epoch 3, vkey {THIRD.vkey}; lost: 300 to 499, 330 to 349",
        details={
            "epochs": [
                {"epoch": 1, "vkey": OLD.vkey},
                {"epoch": 2, "vkey": NEW.vkey, "surviving": 300, "lost": {"from": 300, "until": 500}},
                {"epoch": 3, "vkey": THIRD.vkey, "surviving": 340, "lost": {"from": 330, "until": 350}},
            ]
        },
    )
    refused = verify_epochs(OLD.vkey, [second, second])
    assert refused == Finding(ok=False, code="epoch", message="no signature by a known key")
    assert verify_epochs(OLD.vkey, []) == Finding(
        ok=True, code="ok", message=f"epoch 1, vkey {OLD.vkey}; lost: nothing",
        details={"epochs": [{"epoch": 1, "vkey": OLD.vkey}]},
    )  # fmt: skip


def test_the_first_entry_of_an_epoch_that_is_another_is_told_with_its_epoch(tmp_path: Path) -> None:
    finding = check(gone_on(tmp_path, [*PUBLISHED[:300], entry(1)]), statement())
    message = "entry 300 does not record the statement that opened epoch 2"
    assert finding == Finding(ok=False, code="epoch", message=message, index=300)


# --- maps


def leaf(number: int, entries: int) -> MapLeaf:
    return MapLeaf(sha256(b"k%d" % number).digest(), entries, sha256(b"l%d-%d" % (number, entries)).digest())


def a_map(*leaves: MapLeaf) -> list[MapLeaf]:
    return sorted(leaves)


def publishing(number: int, leaves: list[MapLeaf], size: int, **changes: Any) -> bytes:
    whole = subtree(leaves)
    said = {"root": whole.hash.hex(), "entries": whole.entries, "chains": whole.chains, "size": size} | changes
    return entry(number, EntryKind.LOG_CREATED, **said).replace(b"log.created", b"map.published")


def test_a_file_of_a_map_is_the_one_that_was_published() -> None:
    older, newer = a_map(leaf(1, 2), leaf(2, 1)), a_map(leaf(1, 3), leaf(2, 1), leaf(3, 4))
    logged, data = publishing(5, newer, 9), b"".join(write_leaves(newer))
    kept = b"".join(write_leaves(older))
    finding = verify_published_map(logged, data, [kept])
    said = "3 chains with 8 entries, at 9 entries of the log"
    assert finding == Finding(ok=True, code="ok", message=said, details={"chains": 3, "entries": 8})
    none = verify_published_map(entry(1), data)
    assert none == Finding(ok=False, code="map", message="the entry does not publish a map")
    lost = verify_published_map(publishing(6, older, 9), kept, [data])
    first = min(
        leaf(1, 3).key, leaf(3, 4).key
    )  # one shrank and one is gone: the first in the order of the keys is told
    message = f"the chain {first.hex()} lost entries that were published"
    assert lost == Finding(ok=False, code="map", message=message)
    for bad in (
        verify_published_map(entry(1), data),
        verify_published_map(b"{}", data),
        verify_published_map(logged, data[:-1]),
        verify_published_map(logged, data[72:]),
        verify_published_map(logged, b"".join(write_leaves(reversed(newer)))),
        verify_published_map(logged, kept),
        verify_published_map(publishing(6, older, 9), kept, [data]),
        verify_published_map(publishing(6, newer, 9, entries=9), data),
    ):
        assert (bad.ok, bad.code) == (False, "map")


def in_a_chain(number: int) -> bytes:
    uid, sealed = sha256(b"%d" % number).digest()[:16], {"chain": bytes(32), "subject": bytes(32)}
    return entry_bytes(Entry(EntryKind.HOLD_ENDED, number, "a", uid, {"hold": 1, "reason": "trial"}, sealed))


def strictly(folder: Path, entries: Sequence[bytes]) -> Finding:
    return verify_directory(OLD.vkey, filled(entries)[0].export(folder), strict=True)


def test_an_entry_that_is_left_out_of_its_chain_is_missed_in_the_sum(tmp_path: Path) -> None:
    leaves = a_map(leaf(1, 2), leaf(2, 1))
    begin = [in_a_chain(1), entry(2, action="test"), in_a_chain(3), in_a_chain(4)]
    good = strictly(tmp_path / "good", [*begin, publishing(5, leaves, 4), entry(6, action="test")])
    assert good.ok, str(good)
    assert good.details["strict"] == {
        "entries": 6, "step_back_ms": 0, "step_back_index": None, "map": {"size": 4, "entries": 3},
    }  # fmt: skip
    short = strictly(tmp_path / "short", [*begin, publishing(5, a_map(leaf(1, 2)), 4)])
    assert (short.ok, short.code, short.index) == (False, "map", 4)
    assert "3 of the first 4 entries say that they are in one" in short.message


def test_one_beginning_of_the_log_has_one_map(tmp_path: Path) -> None:
    """Whoever shows one map to one person and another to the next has to publish both."""
    one, other = a_map(leaf(1, 2), leaf(2, 1)), a_map(leaf(1, 1), leaf(2, 2))
    begin = [in_a_chain(1), in_a_chain(2), in_a_chain(3), publishing(4, one, 3)]
    assert strictly(tmp_path / "again", [*begin, publishing(5, one, 3)]).ok
    found = strictly(tmp_path / "two", [*begin, publishing(5, other, 3)])
    assert (found.ok, found.code, found.index) == (False, "map", 4)
    assert found.message == "the map of entry 4 is another one of the same 3 entries"


def ending(number: int, *chains: MapLeaf) -> bytes:
    uid, sealed = sha256(b"%d" % number).digest()[:16], {"chain": bytes(32), "subject": bytes(32)}
    ended = [{"chain": leaf.key.hex(), "count": leaf.entries} for leaf in chains]
    said = {"reason": "request", "tombstones": 1, "openings": 2, "chains": ended}
    return entry_bytes(Entry(EntryKind.SUBJECT_ERASED, number, "a", uid, said, sealed))


def with_maps(folder: Path, entries: Sequence[bytes], *maps: list[MapLeaf]) -> Finding:
    root = filled(entries)[0].export(folder)
    return verify_directory(OLD.vkey, root, maps=[b"".join(write_leaves(leaves)) for leaves in maps])


def test_a_chain_that_goes_on_after_its_erasure_is_found_by_who_has_its_maps(tmp_path: Path) -> None:
    """The sum is right, and nobody can open what is hidden there."""
    ended, other, longer = leaf(1, 3), leaf(2, 1), leaf(1, 4)
    first, later, lie = a_map(ended), a_map(ended, other), a_map(longer)
    begin = [in_a_chain(1), in_a_chain(2), ending(3, ended), publishing(4, first, 3), in_a_chain(5)]
    honest, hiding = [*begin, publishing(6, later, 5)], [*begin, publishing(6, lie, 5)]
    assert with_maps(tmp_path / "honest", honest, later, first).ok
    assert strictly(tmp_path / "sums", hiding).ok, "the log alone does not tell"
    found = with_maps(tmp_path / "hiding", hiding, lie)
    assert (found.ok, found.code, found.index) == (False, "map", 2)
    ends = f"the chain {ended.key.hex()} has 4 entries in the map of entry 5, but ended with 3 at entry 2"
    assert found.message == ends
    gone = [*begin, publishing(6, a_map(leaf(3, 4)), 5)]
    found = with_maps(tmp_path / "gone", gone, a_map(leaf(3, 4)))
    assert (found.code, found.index, "has 0 entries" in found.message) == ("map", 2, True)
    found = with_maps(tmp_path / "shrunk", gone, first, a_map(leaf(3, 4)))
    assert (found.code, found.message) == ("map", f"the chain {ended.key.hex()} lost entries that were published")
    for files in ([a_map(other)], [later, a_map(other)]):
        found = with_maps(tmp_path / "strange", honest, *files)
        assert (found.code, found.message) == ("map", "a file of a map is none that this log has published")
    early = [in_a_chain(1), in_a_chain(2), publishing(3, a_map(leaf(1, 2)), 2), ending(4, ended)]
    assert with_maps(tmp_path / "early", early, a_map(leaf(1, 2))).ok


def set_back_further(surviving: int = 250, lost: tuple[int, int] | None = (250, 320)) -> tuple[bytes, bytes]:
    """Statements of a log that was set back to before its second epoch: both keys sign the third."""
    second = statement(lost=None)
    loss = None if lost is None else Loss(*lost, root_of(PUBLISHED[: lost[1]]))
    said = Succession(NEW.key.name, 3, THIRD.vkey, surviving, root_of(PUBLISHED[:surviving]), loss)
    notes = [parse_note(key.sign_text(said.text)) for key in (OLD, NEW)]
    return second, Note(said.text, tuple(line for note in notes for line in note.signatures)).to_bytes()


@pytest.mark.parametrize("surviving", [250, 300])
def test_an_epoch_that_was_set_back_to_before_is_not_looked_for(tmp_path: Path, surviving: int) -> None:
    second, third = set_back_further(surviving, (surviving, 320))
    root = gone_on(tmp_path, [*PUBLISHED[:surviving], opened(1000, third), entry(2000)], THIRD)
    for statements in ([third], [second, third]):
        finding = check(root, *statements, kept=[200])
        assert finding.ok, str(finding)
        assert finding.message.endswith(f"; lost, and named by a statement: {surviving} to 319")


@pytest.mark.parametrize("lost", [None, (250, 300)])
def test_an_epoch_that_is_gone_without_a_word_is_missed(tmp_path: Path, lost: tuple[int, int] | None) -> None:
    second, third = set_back_further(lost=lost)
    finding = check(gone_on(tmp_path, [*PUBLISHED[:250], opened(1000, third)], THIRD), second, third)
    assert (finding.ok, finding.code, finding.index) == (False, "epoch", 300)
    assert finding.message == "epoch 3 went on from before epoch 2 and does not say that it is lost"


@pytest.mark.parametrize("size", [10, 40, 200])
def test_a_statement_about_more_entries_than_there_are(tmp_path: Path, size: int) -> None:
    note = statement(lost=None)
    finding = check(gone_on(tmp_path, PUBLISHED[:size]), note)
    assert (finding.ok, finding.code, finding.index) == (False, "epoch", size)
    assert finding.message == f"epoch 2 went on from 300 entries, the log has {size}"


def test_a_loss_is_told_to_whoever_reads_the_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    note = statement()
    root = after_the_loss(tmp_path, note)
    (tmp_path / "note").write_bytes(note)
    assert command.main(["tree", OLD.vkey, str(root), "--epoch", str(tmp_path / "note")]) == 0
    assert capsys.readouterr().out.endswith("; lost, and named by a statement: 300 to 499\n")


def test_the_commands_follow_epochs_and_check_maps(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    note, leaves = statement(), a_map(leaf(1, 2))
    root = after_the_loss(tmp_path / "log", note)
    files = {
        "note": note,
        "kept": KEPT[500],
        "leaves": b"".join(write_leaves(leaves)),
        "entry": publishing(5, leaves, 9),
    }
    for name, data in files.items():
        (tmp_path / name).write_bytes(data)
    at = {name: str(tmp_path / name) for name in files}
    assert command.main(["epochs", OLD.vkey, at["note"]]) == 0
    assert command.main(["epochs", NEW.vkey, at["note"]]) == 1
    assert command.main(["tree", OLD.vkey, str(root), at["kept"], "--epoch", at["note"]]) == 0
    assert command.main(["tree", OLD.vkey, str(root), at["kept"]]) == 1
    assert command.main(["map", at["entry"], at["leaves"], at["leaves"]]) == 0
    assert command.main(["tree", OLD.vkey, str(root), "--epoch", at["note"], "--map", at["leaves"]]) == 1
    assert command.main(["map", at["entry"], at["note"], "--json"]) == 1
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["code"] == "map"
