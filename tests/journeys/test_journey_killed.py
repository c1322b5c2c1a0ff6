"""Work on keys by processes that are killed with SIGKILL: nobody is lost, and the next process finishes it."""

from __future__ import annotations

import random  # noqa: TID251 - seeded: which deaths a campaign tries
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import delete

from consent_gateway.db import tables
from consent_gateway.domain.key_jobs import LEASE_SECONDS
from consent_gateway.services.keys.epoch_destruction import ALIVE_SECONDS, DRAIN_SECONDS
from consent_gateway.vault.failures import VaultError
from dying import End
from edge import free_port
from killed import Killed, a_victim

PEOPLE, MANY = 12, 120
RATE = 5
# Where a process dies, and at the how many-th point of that name in its life.
DEATHS = {
    "roll-epoch": [("before replace", 1), ("after replace", 1), ("UPDATE subject_keys", 1), ("after commit", 3)],
    "rotate dek": [("INSERT INTO sealed_groups", 2), ("DELETE FROM retired_audit_keys", 3), ("commit", 5)],
    "rotate index": [("after replace", 1), ("INSERT INTO identifiers", 1), ("UPDATE index_generations", 2)],
    "destroy index 1": [("INSERT INTO index_destructions", 1), ("before replace", 1), ("after replace", 1)],
    "destroy epoch 1": [("UPDATE approvals", 1), ("before replace", 1), ("after replace", 1)],
}


@pytest.fixture
def victim(store_url: str, tmp_path: Path) -> Iterator[Killed]:
    with a_victim(tmp_path, store_url, PEOPLE) as made:
        yield made


def die(victim: Killed, command: str, match: str, nth: int) -> None:
    """Run a command that dies there; whatever it left, everybody can be read, and the lease of the dead runs out."""
    end = victim.host.run("keys", *arguments(command), *victim.mine(), at=nth, match=match)
    assert end.killed, (command, match, nth, end)
    victim.check()
    victim.host.later(LEASE_SECONDS)


def arguments(command: str, rate: int = RATE) -> list[str]:
    more = {"rotate dek": ["--all"]}.get(command, [])
    paced = [] if command.startswith("destroy") else ["--rate", str(rate)]
    return [*command.split(), *more, *paced]


def finish(victim: Killed, command: str, rate: int = RATE) -> End:
    end = victim.host.run("keys", *arguments(command, rate), *victim.mine())
    assert end.status == 0, end
    victim.check()
    return end


def test_whoever_dies_at_work_on_keys_is_finished_by_the_same_command(victim: Killed, tmp_path: Path) -> None:
    for command, deaths in DEATHS.items():
        if command.startswith("destroy"):
            victim.host.later(DRAIN_SECONDS)
            victim.approve(*command.split()[1:])
        for match, nth in deaths:
            die(victim, command, match, nth)
        finish(victim, command)
        assert victim.unfinished() == []
        assert victim.leftovers() == [], command
    assert victim.epochs() == ((2,), {2: PEOPLE + 1})
    assert victim.generations() == ((2,), {2: 2 * PEOPLE})
    assert "is destroyed" in finish(victim, "destroy epoch 1").output, "to say it once more is no failure"
    victim.check_log(tmp_path / "log")


def test_a_key_that_is_lost_and_a_person_who_is_lost_would_be_seen(victim: Killed) -> None:
    """Planted: an epoch goes that data keys still lie under, and somebody's identifiers go."""
    die(victim, "roll-epoch", "UPDATE subject_keys", 2)
    with victim.process() as gateway:
        gateway.vault.provider.use(gateway.vault.provider.keyring.destroy_kek_epoch(1))
    with pytest.raises(VaultError):
        victim.check()
    victim.plain.clear()
    with victim.process() as gateway, gateway.store.transaction() as session:
        session.execute(delete(tables.subject_keys))
        session.execute(delete(tables.sealed_groups))
    victim.check()
    with victim.process() as gateway, gateway.store.transaction() as session:
        session.execute(delete(tables.identifiers).where(tables.identifiers.c.subject_id == 3))
    with pytest.raises(AssertionError):
        victim.check()


# -- the campaign --------------------------------------------------------------------------------------------------

KILLS, MOST_LIVES, PAGE = 150, 6, 25
OUTSIDE = 0.25  # of the deaths come from outside, after a time; the others at a point of the process itself
SERVED = 0.2  # of the lives are those of a server that finds the job, not of the command


@pytest.mark.long
@pytest.mark.parametrize("seed", [20261130])
def test_the_campaign(store_url: str, tmp_path: Path, seed: int, capsys: pytest.CaptureFixture[str]) -> None:
    """Hundreds of deaths at seeded points of every kind of work; after each all holds, and each work comes to its end."""
    with a_victim(tmp_path, store_url, MANY) as victim:
        campaign = Campaign(victim, random.Random(seed))  # noqa: S311
        while sum(campaign.deaths.values()) < KILLS:
            campaign.cycle()
        (epoch,), wraps = victim.epochs()
        (generation,), _ = victim.generations()
        assert wraps == {epoch: MANY + 1}
        assert victim.generations()[1] == {generation: 2 * MANY}
        assert victim.leftovers() == []
        victim.check_log(tmp_path / "log")
    with capsys.disabled():
        print(f"\n{store_url.partition(':')[0]}: {campaign.told()}")


class Campaign:
    """Cycles of all work on keys; the seeded chance says at which point each process dies."""

    def __init__(self, victim: Killed, chance: random.Random) -> None:
        self.victim, self.chance = victim, chance
        self.deaths: Counter[str] = Counter()
        self.places: Counter[str] = Counter()
        self.lengths = dict.fromkeys(("roll-epoch", "rotate dek", "rotate index", "destroy"), 200)
        self.finished = 0

    def cycle(self) -> None:
        """Roll, move and renew everything once, and destroy what is past."""
        for command in ("roll-epoch", "rotate dek", "rotate index"):
            self.work(command)
        self.victim.host.later(DRAIN_SECONDS)
        for what, held in (("epoch", self.victim.epochs), ("index", self.victim.generations)):
            # Two at times: a command that died after its job was finished is followed by one that begins another.
            for past in held()[0][:-1]:
                self.victim.approve(what, past)
                self.work(f"destroy {what} {past}")
                assert past not in held()[0]

    def work(self, command: str) -> None:
        """Do one piece of work in several lives, and in a last one to its end."""
        name = command if command in self.lengths else "destroy"
        for _ in range(self.chance.randint(1, MOST_LIVES)):
            end = self.life(command, name)
            self.victim.check()
            self.victim.host.later(max(LEASE_SECONDS, ALIVE_SECONDS))
            if not end.killed:
                break
            self.deaths[name] += 1
            self.places[re.split(r"[ (]", end.label)[0]] += 1
        self.lengths[name] = max(finish(self.victim, command, PAGE).points, 20)
        assert self.victim.unfinished() == []
        self.finished += 1

    def life(self, command: str, name: str) -> End:
        """One process: the command or a server, killed by itself at a point or by its host after a time."""
        if self.chance.random() < SERVED:
            served = ("serve", "--store", self.victim.directory, "--port", free_port())
            return self.victim.host.run(*served, at=self.chance.randint(100, 600), after=self.chance.uniform(1.0, 3.0))
        argv = ("keys", *arguments(command, PAGE), *self.victim.mine())
        if self.chance.random() < OUTSIDE:
            return self.victim.host.run(*argv, after=self.chance.uniform(0.02, 0.4))
        return self.victim.host.run(*argv, at=self.chance.randint(1, self.lengths[name]))

    def told(self) -> str:
        return (
            f"{sum(self.deaths.values())} deaths ({dict(self.deaths)}), {self.finished} works, at {dict(self.places)}"
        )
