"""Epochs of the log: what a statement says, who may sign it, and how a kept checkpoint stands to the log after it."""

from __future__ import annotations

import pytest
from audit_fakes import ORIGIN, SEED, flip, mth
from hypothesis import given
from hypothesis import strategies as st

from consent_gateway.audit.checkpoints import Checkpoint, Signer, parse_checkpoint
from consent_gateway.audit.epochs import (
    Anchor,
    Epoch,
    Loss,
    Succession,
    epoch_number,
    epoch_origin,
    follow,
    judge,
    parse_succession,
    statement_digest,
)
from consent_gateway.audit.log_keys import ForeignError, LogKeys
from consent_gateway.audit.merkle import leaf_hashes
from consent_gateway.audit.notes import to_base64

OLD = [b"old-%d" % n for n in range(40)]  # as published in the first epoch
NEW = [*OLD[:20], *(b"new-%d" % n for n in range(30))]  # what went on after 20 survived
KEYS = LogKeys(ORIGIN, lambda epoch: SEED if epoch == 1 else bytes([epoch]) * 32)


def root(entries: list[bytes], size: int) -> bytes:
    return mth(leaf_hashes(entries[:size]))


def step(epoch: int = 2, before: int = 1, **changes: object) -> Succession:
    values: dict[str, object] = {
        "origin": epoch_origin(ORIGIN, before),
        "epoch": epoch,
        "vkey": KEYS.signer(epoch).vkey,
        "surviving": 20,
        "root": root(OLD, 20),
        "lost": Loss(20, 40, root(OLD, 40)),
    }
    return Succession(**(values | changes))  # type: ignore[arg-type]


def signed(said: Succession, by: int = 1) -> bytes:
    return KEYS.signer(by).sign_text(said.text)


def stand(kept: Checkpoint, *steps: Succession, size: int = 50) -> Anchor:
    epochs = [Epoch(1, KEYS.signer(1).key), *(Epoch(s.epoch, KEYS.signer(s.epoch).key, s) for s in steps)]
    return judge(epochs, ORIGIN, size, lambda at: root(NEW, at), kept)


def test_origins_of_epochs() -> None:
    assert [epoch_origin(ORIGIN, n) for n in (1, 2, 12)] == [ORIGIN, f"{ORIGIN}/epoch-2", f"{ORIGIN}/epoch-12"]
    for n in (1, 2, 12, 999_999_999):
        assert epoch_number(ORIGIN, epoch_origin(ORIGIN, n)) == n
    for other in ("", "x", f"{ORIGIN}/", f"{ORIGIN}/epoch-1", f"{ORIGIN}/epoch-02", f"{ORIGIN}/epoch-2/epoch-3",
                  f"{ORIGIN}/epoch-9999999999", f"{ORIGIN}/epoch-2\n", f"{ORIGIN}/epoch-²"):  # fmt: skip
        assert epoch_number(ORIGIN, other) is None


@given(st.integers(2, 10**6), st.integers(0, 2**40), st.data())
def test_a_statement_is_read_as_it_was_written(epoch: int, surviving: int, data: st.DataObject) -> None:
    start = data.draw(st.integers(0, surviving))
    lost = data.draw(st.none() | st.builds(Loss, st.just(start), st.integers(start + 1, 2**41), st.just(b"r" * 32)))
    said = Succession(ORIGIN, epoch, KEYS.signer(3).vkey, surviving, b"s" * 32, lost)
    assert parse_succession(said.text) == said


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("log-epoch@v1", "log-epoch@v2"),
        ("surviving 20", "surviving 020"),
        ("lost 20 40", "lost 21 40"),
        ("lost 20 40", "lost 40 40"),
        ("lost 20 40", "lost 20 x"),
        ("epoch 2\n", ""),
        ("epoch 2\n", "epoch 2\nepoch 2\n"),
        ("epoch 2\n", "epoch 2\n\n"),
        ("lost 20", "found 20"),
        ("vkey ", "vkey x"),
        (to_base64(root(OLD, 20)), to_base64(root(OLD, 20)[1:])),
        (to_base64(root(OLD, 40)), to_base64(root(OLD, 40) + b"\0")),
    ],
)
def test_a_statement_that_is_spelt_otherwise_is_none(old: str, new: str) -> None:
    assert old in step().text
    with pytest.raises(ValueError, match=r".+"):
        parse_succession(step().text.replace(old, new))


def test_no_reader_takes_a_statement_for_a_checkpoint() -> None:
    with pytest.raises(ValueError, match="decimal number"):
        parse_checkpoint(step().text)


def test_epochs_are_followed_from_the_pinned_key() -> None:
    notes = [signed(step()), signed(step(3, 2, lost=None), by=2)]
    found = follow(KEYS.signer(1).vkey, notes)
    assert [(e.number, e.key) for e in found] == [(n, KEYS.signer(n).key) for n in (1, 2, 3)]
    assert found[1].opened == step()
    later = follow(KEYS.signer(2).vkey, notes[1:], origin=ORIGIN)
    assert [e.number for e in later] == [2, 3]


def test_an_epoch_that_a_restored_store_forgot_is_left_out_by_a_statement_of_both_keys() -> None:
    said = step(3, 2)
    note = KEYS.signer(2).sign_text(said.text) + KEYS.signer(1).sign_text(said.text).rpartition(b"\n\n")[2]
    assert [e.number for e in follow(KEYS.signer(1).vkey, [note])] == [1, 3]
    assert [e.number for e in follow(KEYS.signer(1).vkey, [signed(step()), note])] == [1, 2, 3]


def test_a_pinned_key_of_another_log_is_refused() -> None:
    with pytest.raises(ValueError, match=r"^the pinned key is of another log$"):
        follow(KEYS.signer(2).vkey, [], origin="other.example/log")
    assert [e.number for e in follow(KEYS.signer(2).vkey, [])] == [1], "pinned alone, it is the first of its name"


@pytest.mark.parametrize(
    "notes",
    [
        [signed(step(), by=2)],  # not the key before
        [signed(step(vkey=KEYS.signer(3).vkey))],  # a key of another epoch
        [signed(step(vkey=Signer("other.example/log/epoch-2", SEED).vkey))],
        [signed(step(epoch=1, vkey=KEYS.signer(1).vkey))],  # numbers only grow
        [signed(step(origin="other.example/log"))],
        [signed(step()), signed(step())],  # the second was signed by the first epoch
        [signed(step(3, 2), by=2)],  # about an epoch, and signed by it, that nothing opened
        [flip(signed(step()), 8 * 40)],
        [b""],
    ],
)
def test_what_does_not_follow_is_refused(notes: list[bytes]) -> None:
    with pytest.raises(ValueError, match=r".+"):
        follow(KEYS.signer(1).vkey, notes)


@pytest.mark.parametrize(
    ("kept", "expected"),
    [
        (Checkpoint(ORIGIN, 20, root(OLD, 20)), Anchor.HOLDS),  # a prefix
        (Checkpoint(ORIGIN, 7, root(OLD, 7)), Anchor.HOLDS),
        (Checkpoint(ORIGIN, 30, root(OLD, 30)), Anchor.HOLDS),  # within what was given up
        (Checkpoint(ORIGIN, 40, root(OLD, 40)), Anchor.HOLDS),  # the last, named
        (Checkpoint(ORIGIN, 40, b"x" * 32), Anchor.ROLLED_BACK),  # another last
        (Checkpoint(ORIGIN, 41, root(OLD, 40)), Anchor.ROLLED_BACK),  # more than was given up
        (Checkpoint(ORIGIN, 7, b"x" * 32), Anchor.FORKED),
        (Checkpoint(epoch_origin(ORIGIN, 2), 30, root(NEW, 30)), Anchor.HOLDS),
        (Checkpoint(epoch_origin(ORIGIN, 2), 30, root(OLD, 30)), Anchor.FORKED),
        (Checkpoint(epoch_origin(ORIGIN, 2), 51, b"x" * 32), Anchor.ROLLED_BACK),
        (Checkpoint(epoch_origin(ORIGIN, 3), 10, root(NEW, 10)), Anchor.ROLLED_BACK),  # to before that epoch
        (Checkpoint("other.example", 7, root(OLD, 7)), Anchor.FOREIGN),
    ],
)
def test_how_a_kept_checkpoint_stands_after_a_loss(kept: Checkpoint, expected: Anchor) -> None:
    assert stand(kept, step()) is expected


def test_without_the_statement_the_same_loss_is_a_rollback() -> None:
    assert stand(Checkpoint(ORIGIN, 40, root(OLD, 40)), size=20) is Anchor.ROLLED_BACK
    assert stand(Checkpoint(ORIGIN, 30, root(OLD, 30))) is Anchor.FORKED


def test_the_checkpoint_of_the_newest_size_holds_and_another_of_that_size_is_a_fork() -> None:
    for steps, origin in (((), ORIGIN), ((step(),), epoch_origin(ORIGIN, 2))):
        assert stand(Checkpoint(origin, 50, root(NEW, 50)), *steps) is Anchor.HOLDS
        assert stand(Checkpoint(origin, 50, b"x" * 32), *steps) is Anchor.FORKED
        assert stand(Checkpoint(origin, 51, root(NEW, 50)), *steps) is Anchor.ROLLED_BACK


def test_a_fork_is_given_up_from_what_is_common() -> None:
    """Forty entries were published; the store has fifty others from the twentieth on: nothing is shorter."""
    said = step(surviving=50, root=root(NEW, 50), lost=Loss(20, 40, root(OLD, 40)))
    for size in (20, 25, 40):
        assert stand(Checkpoint(ORIGIN, size, root(OLD, size)), said) is Anchor.HOLDS
    assert stand(Checkpoint(ORIGIN, 45, root(NEW, 45)), said) is Anchor.HOLDS
    assert stand(Checkpoint(ORIGIN, 19, b"x" * 32), said) is Anchor.FORKED


def test_a_planned_change_of_the_key_gives_nothing_up() -> None:
    said = step(lost=None)
    assert stand(Checkpoint(ORIGIN, 20, root(OLD, 20)), said) is Anchor.HOLDS
    assert stand(Checkpoint(ORIGIN, 21, root(OLD, 21)), said) is Anchor.ROLLED_BACK


def test_the_holder_of_the_keys_knows_checkpoints_of_every_epoch() -> None:
    for epoch in (1, 2, 7):
        note = KEYS.signer(epoch).sign_checkpoint(7, root(OLD, 7))
        found, opened = KEYS.open(note)
        assert (found, opened.checkpoint.size) == (epoch, 7)
        with pytest.raises(ForeignError):
            LogKeys(ORIGIN, lambda _: b"z" * 32).open(note)
        with pytest.raises(ForeignError):
            LogKeys("other.example", KEYS.seed).open(note)
    with pytest.raises(ValueError, match="note"):
        KEYS.open(b"nonsense")
    assert "seed" not in repr(KEYS)


def test_the_digest_of_a_statement_is_of_its_bytes() -> None:
    assert statement_digest(signed(step())) != statement_digest(signed(step(lost=None)))
