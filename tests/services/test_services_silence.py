"""The store falls silent while the gateway acts and keeps its log: nothing is signed twice, and nothing is lost.

At seeded points of both: before or after the server was told a statement or the COMMIT. Counted: what was acknowledged
has its entry; what has an entry and was not acknowledged was said to be in doubt; no size of the log has two roots.
"""

from __future__ import annotations

import random  # noqa: TID251 - seeded: what falls silent when
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from sqlalchemy import text

from builders import a_gateway, with_source
from consent_gateway.audit import verifier
from consent_gateway.audit.checkpoints import Signer
from consent_gateway.audit.entries import EntryKind, parse_entry
from consent_gateway.clock import FixedClock
from consent_gateway.db.engine import Store
from consent_gateway.db.log_store import SqlLogStore
from consent_gateway.errors import CommitInDoubtError, RaceError, StoreError
from consent_gateway.services.log import audit_log
from consent_gateway.services.log.audit_log import Sequencer
from consent_gateway.services.work.gateway import Gateway
from stalling import COMMIT, Proxy, stalling
from templates import SEEDED, fresh_database

DEADLINE = 0.6
LATE = DEADLINE + 4.0
POINTS = 5  # silences of a run of all tests
CAMPAIGN = 100

pytestmark = pytest.mark.postgres


@dataclass
class Yard:
    """A gateway behind a proxy, what it did, and every checkpoint that was signed."""

    gateway: Gateway
    proxy: Proxy
    signed: dict[int, set[bytes]]
    acknowledged: list[int] = field(default_factory=list)
    doubtful: list[int] = field(default_factory=list)

    def act(self, number: int) -> None:
        with self.timed(), self.gateway.work() as work:
            work.record(EntryKind.ADMIN_ACTION, {"action": "counted", "number": number})

    def timed(self) -> Timed:
        return Timed()

    def attempt(self, number: int) -> None:
        try:
            self.act(number)
        except CommitInDoubtError:
            self.doubtful.append(number)
        except StoreError:
            pass
        else:
            self.acknowledged.append(number)

    def counted(self) -> list[int]:
        with self.gateway.store.reading() as session:
            rows = session.execute(text("SELECT entry FROM audit_pending UNION ALL SELECT entry FROM audit_entries"))
            found = [parse_entry(bytes(row.entry)) for row in rows]
        return sorted(int(str(e.fields["number"])) for e in found if e.fields.get("action") == "counted")

    def check(self, directory: Path) -> None:
        """What must hold whenever the store answers."""
        Sequencer(self.gateway).drain()
        counted = self.counted()
        assert len(set(counted)) == len(counted)
        assert set(self.acknowledged) <= set(counted)
        assert set(counted) <= {*self.acknowledged, *self.doubtful}
        assert all(len(roots) == 1 for roots in self.signed.values()), "two histories"
        audit_log.export(self.gateway, directory)
        assert verifier.verify_directory(self.gateway.signer.vkey, directory).ok


class Timed:
    """No wait is longer than the deadline."""

    def __enter__(self) -> None:
        self.begun = time.monotonic()

    def __exit__(self, *_: object) -> None:
        assert time.monotonic() - self.begun < LATE


@pytest.fixture
def yard(
    postgres_server: str, postgres_stores: Mapping[str, str], clock: FixedClock, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Yard]:
    signed: dict[int, set[bytes]] = {}
    sign = Signer.sign_checkpoint

    def noted(self: Signer, size: int, root: bytes) -> bytes:
        signed.setdefault(size, set()).add(root)
        return sign(self, size, root)

    monkeypatch.setattr(Signer, "sign_checkpoint", noted)
    with fresh_database(postgres_server, postgres_stores[SEEDED]) as real, stalling(real) as (proxy, url):
        store = Store(url, deadline=DEADLINE)
        yield Yard(with_source(a_gateway(store, clock=clock)), proxy, signed)
        store.dispose()


@pytest.mark.parametrize("heard", [True, False])
def test_a_commit_of_the_log_in_doubt_is_read_again_before_anything_is_signed(
    yard: Yard, tmp_path: Path, *, heard: bool
) -> None:
    sequencer = Sequencer(yard.gateway)
    for number in range(3):
        yard.attempt(number)
    sequencer.drain()
    before = yard.gateway.published
    for number in range(3, 8):
        yard.attempt(number)
    yard.proxy.freeze_at(COMMIT, heard=heard)
    with yard.timed(), pytest.raises(CommitInDoubtError):
        sequencer.run_once()
    assert yard.gateway.published == before, "nothing is shown that may not have been stored"
    with yard.timed(), pytest.raises(StoreError):
        sequencer.run_once()
    yard.proxy.thaw()
    for number in range(8, 11):
        yard.attempt(number)
    sequencer.drain()
    assert yard.acknowledged == list(range(11)) == yard.counted()
    yard.check(tmp_path / "log")


def silences(yard: Yard, chance: random.Random, number: int) -> None:
    """Some actions, one of which or the log after them meets a silence; then it thaws."""
    sequencer = Sequencer(yard.gateway)
    pattern, most = (COMMIT, 6) if chance.random() < 0.5 else (rb"", 40)
    yard.proxy.freeze_at(pattern, chance.randint(1, most), heard=chance.random() < 0.5)
    for step in range(3):
        yard.attempt(number * 100 + step)
        try:
            with yard.timed():
                sequencer.run_once()
        except StoreError:
            continue
    if chance.random() < 0.3:
        yard.gateway.store.dispose()
    yard.proxy.thaw(drop=chance.random() < 0.5)
    before = len(yard.acknowledged)
    for last in range(20):
        yard.attempt(number * 100 + 10 + last)
        if len(yard.acknowledged) > before:
            return
    raise AssertionError("it did not come back")


def test_silences_at_seeded_points_break_no_promise(yard: Yard, tmp_path: Path) -> None:
    chance = random.Random(20261130)  # noqa: S311
    for number in range(POINTS):
        silences(yard, chance, number)
    yard.check(tmp_path / "log")
    assert len(yard.acknowledged) >= POINTS


@pytest.mark.long
def test_many_silences_break_no_promise(yard: Yard, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    chance = random.Random(1130)  # noqa: S311
    for number in range(CAMPAIGN):
        silences(yard, chance, number)
        if number % 20 == 19:
            yard.check(tmp_path / "log")
    with capsys.disabled():
        print(
            f"\n{CAMPAIGN} silences: {len(yard.acknowledged)} acknowledged, {len(yard.doubtful)} in doubt, "
            f"{len(set(yard.doubtful) & set(yard.counted()))} of them done, log of {max(yard.signed)}"
        )


def test_a_sequencer_that_did_not_look_would_be_seen(
    yard: Yard, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Planted: it takes a commit that was not answered for one that did not happen."""
    sequencer = Sequencer(yard.gateway)
    yard.attempt(0)
    sequencer.drain()
    yard.attempt(1)
    yard.proxy.freeze_at(COMMIT, heard=True)
    with pytest.raises(CommitInDoubtError):
        sequencer.run_once()
    yard.proxy.thaw()
    yard.attempt(2)
    monkeypatch.setattr(SqlLogStore, "head", lambda self: self._edge.head)
    with pytest.raises(RaceError):  # even then the store refuses a second entry of one index
        sequencer.run_once()
    monkeypatch.undo()
    with pytest.raises(AssertionError, match="two histories"):
        yard.check(tmp_path / "log")
