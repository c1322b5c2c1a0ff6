"""A process that acts and keeps the log is killed with SIGKILL: what it acknowledged is in the log, and nothing forks."""

from __future__ import annotations

import random  # noqa: TID251 - seeded: what a life does and where it ends
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from sqlalchemy import insert, select

from builders import a_source
from consent_gateway.db import tables
from consent_gateway.services.registry import registers
from consent_gateway.setup import create_store
from dying import End, Host, hosting
from edge import store_settings
from log_lives import Witness

ROUNDS = 2
LIVE = "log_lives:live"
SHORT = 12  # deaths of a run of all tests, spread over a life
RANDOM, BETWEEN_CHECKS = 500, 25  # deaths of each of two sequencers in the campaign


@dataclass
class Yard:
    """A store, as many hosts as processes live at once, and the witness of what they told."""

    hosts: list[Host]
    books: list[Path]
    witness: Witness

    def life(self, which: int, seed: int, *, at: int | None = None, rounds: int = ROUNDS) -> End:
        """One life; it dies at that point, if it gets there."""
        arguments = (self.witness.directory, self.witness.url, self.books[which], seed, rounds)
        end = self.hosts[which].run(*arguments, at=at, act=LIVE)
        assert end.killed or end.status == 0, end
        return end


@contextmanager
def a_yard(place: Path, url: str, processes: int) -> Iterator[Yard]:
    gateway, _ = create_store(store_settings(place / "store", url))
    with gateway.work() as work:
        registers.put_source(work, a_source())
    gateway.store.dispose()
    books = [place / f"book{number}" for number in range(processes)]
    for book in books:
        book.touch()
    with ExitStack() as stack:
        hosts = [stack.enter_context(hosting(place / f"out{n}", {}, "log_lives")) for n in range(processes)]
        yield Yard(hosts, books, Witness(place / "store", url, tuple(books), place / "log"))


@pytest.fixture
def yard(store_url: str, tmp_path: Path) -> Iterator[Yard]:
    with a_yard(tmp_path, store_url, 1) as made:
        yield made


def test_a_process_that_dies_between_two_statements_broke_no_promise(yard: Yard) -> None:
    born, whole = yard.life(0, 1, rounds=0).points, yard.life(0, 1).points
    sizes = [yard.witness.check()]
    for number in range(1, SHORT + 1):
        yard.life(0, number, at=born + number * (whole - born) // SHORT)
        if number % 4 == 0:
            sizes.append(yard.witness.check())
    assert sizes == sorted(sizes)
    assert sizes[0] < sizes[-1]
    assert yard.witness.checks["acknowledged"] > 0


def test_a_broken_promise_would_be_seen(yard: Yard) -> None:
    """Planted: an acknowledgement without an entry, a checkpoint that was shown and forgotten, an effect without one."""
    for number in range(4):
        yard.life(0, number)
    yard.witness.check()
    (book,) = yard.books
    told = book.read_text()
    assert "shown" in told
    book.write_text(told + f"done {bytes(16).hex()}\n")
    with pytest.raises(AssertionError, match="acknowledged"):
        yard.witness.check()
    with yard.witness.process() as gateway:
        forgotten = gateway.signer.sign_checkpoint(3, bytes(32))
    book.write_text(f"shown {forgotten.hex()}\n")
    with pytest.raises(AssertionError, match="prefix"):
        yard.witness.check()
    book.write_text(told)
    with yard.witness.process() as gateway, gateway.store.transaction() as session:
        (row,) = session.execute(select(tables.consent_events).limit(1)).mappings()
        copies = [{**row, "id": -1 - number} for number in range(100)]
        session.execute(insert(tables.consent_events), copies)
    with pytest.raises(AssertionError, match="effect"):
        yard.witness.check()


# -- the campaigns -------------------------------------------------------------------------------------------------


@pytest.mark.long
def test_death_between_every_pair_of_statements(yard: Yard, figure: Callable[[str], None]) -> None:
    """One life after the other, each dies one point later than the last, until one lives to its end."""
    at, labels = 0, Counter[str]()
    while True:
        at += 1
        end = yard.life(0, 7, at=at)
        if not end.killed:
            break
        labels[" ".join(end.label.split()[:3])] += 1
        if at % BETWEEN_CHECKS == 0:
            yard.witness.check()
    size = yard.witness.check()
    figure(f"{yard.witness.url.partition(':')[0]}: {at - 1} points of death, {len(labels)} kinds, log of {size}")


@pytest.mark.long
@pytest.mark.parametrize("seed", [20261130])
def test_two_sequencers_that_die_at_random(
    store_url: str, tmp_path: Path, seed: int, figure: Callable[[str], None]
) -> None:
    """Two processes act and integrate at once, each dies at seeded points a few hundred times."""
    with a_yard(tmp_path, store_url, 2) as yard:
        chances = [random.Random(seed + which) for which in range(2)]  # noqa: S311
        most = yard.life(0, 1).points
        deaths: Counter[int] = Counter()

        def lives(which: int) -> None:
            goal = deaths[which] + BETWEEN_CHECKS
            while deaths[which] < goal:
                at = chances[which].randrange(1, most)
                deaths[which] += yard.life(which, chances[which].randrange(1 << 30), at=at).killed

        while min(deaths[0], deaths[1]) < RANDOM:
            threads = [threading.Thread(target=lives, args=(which,)) for which in range(2)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            size = yard.witness.check()
        figure(f"{store_url.partition(':')[0]}: {deaths.total()} deaths, log of {size}, {dict(yard.witness.checks)}")
