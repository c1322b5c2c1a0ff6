"""The strict check: the form of every entry, doubled uids, clocks that went back; and work spread over processes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Future
from contextlib import ExitStack
from hashlib import sha256
from pathlib import Path

import pytest
from audit_fakes import ORIGIN, SEED, filled, flip

from consent_gateway.audit.checkpoints import Signer
from consent_gateway.audit.entries import Entry, EntryKind, entry_bytes
from consent_gateway.audit.verifier import Finding, verify_directory, walk
from consent_gateway.audit.verifier.findings import FoundError
from consent_gateway.audit.verifier.strict import EntryFacts, entry_facts

VKEY = Signer(ORIGIN, SEED).vkey


def entry(number: int, at: int | None = None) -> bytes:
    uid = sha256(b"%d" % number).digest()[:16]
    return entry_bytes(
        Entry(EntryKind.ADMIN_ACTION, 1000 * number if at is None else at, "key:ops", uid, {"action": "test"})
    )


def about(kind: str, *commitments: str) -> bytes:
    uid = sha256(kind.encode()).digest()[:16]
    made = dict.fromkeys(commitments, bytes(32))
    return entry_bytes(Entry(EntryKind(kind), 0, "key:ops", uid, {"hold": 1, "reason": "trial"}, made))


def erased(chains: object) -> bytes:
    said = {"reason": "request", "tombstones": 1, "openings": 2, "chains": chains}
    made = {"chain": bytes(32), "subject": bytes(32)}
    return entry_bytes(Entry(EntryKind.SUBJECT_ERASED, 0, "key:ops", sha256(b"e").digest()[:16], said, made))


HONEST = [entry(number) for number in range(600)]


def strictly(folder: Path, entries: Sequence[bytes]) -> Finding:
    folder.mkdir()
    root = filled(entries)[0].export(folder)
    assert verify_directory(VKEY, root).ok
    return verify_directory(VKEY, root, strict=True)


def test_an_honest_log_is_of_one_form(tmp_path: Path) -> None:
    finding = strictly(tmp_path / "log", HONEST)
    assert finding.ok
    assert finding.details["strict"] == {"entries": 600, "step_back_ms": 0, "step_back_index": None}
    assert strictly(tmp_path / "none", HONEST[:1]).ok


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (b"{}", "missing or unknown members"),
        (HONEST[300].replace(b'"v":1', b'"v": 1'), "canonical form"),
        (HONEST[300].replace(b"admin.action", b"admin.actiom"), "its kind is not one that this verifier knows"),
        (HONEST[300].replace(b"admin.action", b"consent.recorded")[:-1], "not JSON"),
        (b"[" * 60_000, "not JSON"),
        (HONEST[300].replace(b'"action"', b'"actiom"'), "action is missing"),
        (HONEST[300].replace(b'"test"', b'"Jo actiom"'), "action is no code"),
        (HONEST[300].replace(b'"test"', b'"test","actions":"Jo actiom"'), "it has a field that its kind does not have"),
        (erased([{"chain": "ab" * 32, "count": 0}]), "an erasure does not list its chains"),
        (erased([{"chain": "AB" * 32, "count": 1}]), "an erasure does not list its chains"),
        (erased([{"chain": "ab", "count": 1}]), "an erasure does not list its chains"),
        (erased([{"chain": "ab" * 32, "count": True}]), "an erasure does not list its chains"),
        (erased([{"chain": "ab" * 32, "count": 1, "whose": "Jo"}]), "an erasure does not list its chains"),
        (erased({}), "an erasure does not list its chains"),
        (about("hold.ended", "subject"), "it is not about whom its kind is about"),
        (about("hold.ended"), "it is not about whom its kind is about"),
        (about("hold.ended", "chain", "other_chain", "subject"), "it is not about whom its kind is about"),
    ],
)
def test_another_form_is_found_and_named(tmp_path: Path, bad: bytes, message: str) -> None:
    finding = strictly(tmp_path / "log", [*HONEST[:300], bad, *HONEST[301:]])
    assert (finding.ok, finding.code, finding.index) == (False, "entry", 300)
    assert finding.message.startswith("entry 300: ")
    assert message in finding.message
    assert "actiom" not in finding.message


def test_what_is_about_somebody_has_a_place_in_their_chain(tmp_path: Path) -> None:
    assert strictly(tmp_path / "log", [*HONEST, about("hold.ended", "chain", "subject")]).ok


def test_what_is_kept_of_an_entry_is_bounded_whatever_it_says() -> None:
    uid, root = bytes(16), "ab" * 5_000
    said = {"root": root, "entries": 0, "chains": 0, "size": 0}
    facts = entry_facts(0, [entry_bytes(Entry(EntryKind.MAP_PUBLISHED, 0, "a", uid, said))])
    assert facts == [(uid, 0, (), {"size": 0, "entries": 0, "chains": 0, "root": root[:64]}, ())]
    for more in ({"nest": [[]] * 5_000}, {"size": [[]] * 5_000}):
        with pytest.raises(FoundError):
            entry_facts(0, [entry_bytes(Entry(EntryKind.MAP_PUBLISHED, 0, "a", uid, said | more))])


def test_uids_that_begin_alike_are_spread_over_the_shares() -> None:
    with ExitStack() as stack:
        facts = EntryFacts(stack)
        facts.take((bytes(8) + n.to_bytes(8, "big"), 0, (), None, ()) for n in range(6400))
        assert max(share.tell() for share in facts._shares) < 6400 * 24 // 8


def test_a_doubled_uid_is_found_at_its_second_place(tmp_path: Path) -> None:
    twice = [*HONEST[:400], entry(7, at=1), *HONEST[400:], entry(8, at=1)]
    finding = strictly(tmp_path / "log", twice)
    assert (finding.ok, finding.code, finding.index) == (False, "uid", 400)


def test_a_clock_that_went_back_is_told_and_is_no_fraud(tmp_path: Path) -> None:
    back = [*HONEST[:100], *(entry(number, at=1000 * number - 50_000) for number in range(100, 600))]
    finding = strictly(tmp_path / "log", back)
    assert finding.ok
    assert finding.details["strict"] == {"entries": 600, "step_back_ms": 49_000, "step_back_index": 100}


def test_uids_are_compared_over_all_shares() -> None:
    uids = [sha256(b"%d" % number).digest()[:16] for number in range(2000)]
    with ExitStack() as stack:
        facts = EntryFacts(stack)
        facts.take((uid, 0, (), None, ()) for uid in uids)
        facts.check()
        facts.take([(uids[1999], 0, (), None, ()), (uids[3], 0, (), None, ())])
        with pytest.raises(FoundError) as found:
            facts.check()
    assert found.value.finding.index == 2000


def test_processes_find_what_one_finds(tmp_path: Path) -> None:
    entries = [b"%d" % number for number in range(20_000)]
    store, _ = filled(entries)
    root = store.export(tmp_path)
    calls: list[tuple[int, int]] = []
    early = filled(entries[:17_000])[0].checkpoint
    assert early is not None

    def check() -> Finding:
        return verify_directory(VKEY, root, jobs=2, earlier=early, progress=lambda *at: calls.append(at))

    found = check()
    assert found.ok
    assert found == verify_directory(VKEY, root, earlier=early)
    assert calls == [(16_384, 20_000), (20_000, 20_000)]
    for path in ("tile/0/070", "tile/0/003"):
        (root / path).write_bytes(flip((root / path).read_bytes(), 3))
    found = check()
    assert (found.code, found.index) == ("tile", 3 * 256)  # always the first, whoever was faster


def test_a_wrong_hash_high_in_the_tree_is_found_by_the_first_entry_below_it(tmp_path: Path) -> None:
    root = filled([b"%d" % number for number in range(66_000)], batch=10_000)[0].export(tmp_path)
    assert verify_directory(VKEY, root).ok
    for path, bit, index in (
        ("tile/1/000", 8 * 32 * 200, 200 * 256),
        ("tile/2/000.p/1", 0, 0),
        ("tile/1/001.p/1", 0, 65_536),
    ):
        data = (root / path).read_bytes()
        (root / path).write_bytes(flip(data, bit))
        finding = verify_directory(VKEY, root)
        assert (finding.code, finding.index) == ("tile", index)
        assert finding.message == f"entry {index} is the first below a wrong hash in {path}"
        (root / path).write_bytes(data)


def test_a_long_log_is_shared_in_order_and_a_few_runs_ahead(monkeypatch: pytest.MonkeyPatch) -> None:
    """More runs than are in work at once: one more is given out for each that is taken."""
    job, given = walk.Job(Path("nowhere"), 64 * 256 * 20 + 1), list[int]()
    monkeypatch.setattr(walk, "check_run", lambda asked, first: (asked, first))

    class Pool:
        def submit(self, act: Callable[[walk.Job, int], object], asked: walk.Job, first: int) -> Future[object]:
            given.append(first)
            done = Future[object]()
            done.set_result(act(asked, first))
            return done

    wanted = list(range(0, 64 * 21, 64))
    for at, run in enumerate(walk.runs_spread(Pool(), job, 2)):  # type: ignore[arg-type]
        assert run == (job, wanted[at])
        assert given == wanted[: 8 + at]
    assert given == wanted


def test_processes_start_afresh() -> None:
    with walk.worker_processes(3) as pool:
        assert pool._max_workers == 3
        assert pool._mp_context.get_start_method() == "spawn"
