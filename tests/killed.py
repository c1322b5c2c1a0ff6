"""A store whose keys are worked on by processes that are killed, and what must hold after each death."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import func, select

from builders import (
    EMAIL_MARKETING,
    NOW_S,
    a_consent,
    a_person,
    a_source,
    by,
    opened,
    ref,
    take,
)
from consent_gateway.assembly import build_gateway
from consent_gateway.audit.verifier import verify_directory
from consent_gateway.db import key_jobs as job_rows
from consent_gateway.db import tables
from consent_gateway.db.destructions import INDEX_GENERATIONS, KEY_EPOCHS
from consent_gateway.services.disclosing.decisions import Ask, Decision, decide
from consent_gateway.services.identity.people import Resolver
from consent_gateway.services.log import audit_log
from consent_gateway.services.policy.replays import ReplayState, replay
from consent_gateway.services.registry import registers
from consent_gateway.services.work import principals
from consent_gateway.services.work.gateway import SYSTEM, Gateway
from consent_gateway.services.work.items import SignalItem, SubjectItem
from consent_gateway.settings import Settings
from consent_gateway.setup import create_store
from dying import Host, hosting
from edge import store_settings

STRANGER = by("device_id", "dev-0123456789abcdef")
OFFICERS = ("first", "second")


@dataclass
class Killed:
    """One store: how it is opened, who may order work on keys, and what everybody's data was at first."""

    directory: Path
    settings: Settings
    people: int
    host: Host
    plain: dict[str, Any]
    decisions: list[bytes]

    def mine(self, officer: str = OFFICERS[0]) -> tuple[object, ...]:
        """What every command over keys is given."""
        return "--store", self.directory, "--key-file", self.directory.parent / officer

    @contextlib.contextmanager
    def process(self) -> Iterator[Gateway]:
        """A process that starts now: it opens what the dead left."""
        gateway = build_gateway(self.settings)
        try:
            audit_log.require_own_log(gateway)
            yield gateway
        finally:
            gateway.store.dispose()

    def check(self) -> None:
        """What holds at any moment: it opens, everybody is found and readable, and no key that is needed is lost."""
        with self.process() as gateway:
            assert opened(gateway) == self.plain
            with gateway.look() as work:
                assert set(job_rows.wraps_by_epoch(work.session)) <= set(gateway.vault.provider.keyring.epochs)
                asked = [r for n in range(self.people) for r in (ref(n), by("email", f"person{n}@example.org"))]
                resolver = Resolver(work, asked)
                found = [resolver.resolve(r) for r in asked]
                assert all(isinstance(one, int) for one in found)
                assert found[::2] == found[1::2]
                assert len(set(found)) == self.people

    def check_log(self, directory: Path) -> None:
        """The log verifies as a whole, nothing waits in it, and what it says of people can be replayed."""
        with self.process() as gateway:
            audit_log.Sequencer(gateway).drain()
            audit_log.export(gateway, directory)
            assert verify_directory(gateway.signer.vkey, directory).ok
            for uid in self.decisions:
                with gateway.work(SYSTEM) as work:
                    assert replay(work, uid).state is ReplayState.SAME

    def epochs(self) -> tuple[tuple[int, ...], dict[int, int]]:
        """The epochs of the keyring, and how many data keys lie under each."""
        with self.process() as gateway, gateway.store.reading() as session:
            return gateway.vault.provider.keyring.epochs, job_rows.wraps_by_epoch(session)

    def generations(self) -> tuple[tuple[int, ...], dict[int, int]]:
        """The generations of the keyring, and how many identifiers have a row under each."""
        column = tables.identifiers.c.generation
        with self.process() as gateway, gateway.store.reading() as session:
            rows = session.execute(select(column, func.count()).group_by(column)).all()
            return gateway.vault.provider.keyring.generations, {row[0]: row[1] for row in rows}

    def unfinished(self) -> list[str]:
        """The kinds of the jobs that are not finished, and what is decided and not destroyed."""
        with self.process() as gateway, gateway.store.reading() as session:
            jobs = [job.kind.value for job in job_rows.unfinished(session)]
            epochs = [f"epoch {d.number}" for d in KEY_EPOCHS.listed(session, undone=True)]
            return jobs + epochs + [f"index {d.number}" for d in INDEX_GENERATIONS.listed(session, undone=True)]

    def leftovers(self) -> list[str]:
        """What the dead left beside the keyring: a copy of it that nobody looks after would keep destroyed keys."""
        return [file.name for file in self.directory.iterdir() if file.name.startswith(".")]

    def approve(self, *destroying: object) -> None:
        """Propose a destruction by one key and approve it by another."""
        proposal = self.host.told("keys", "destroy", *destroying, "--propose", *self.mine())["proposal"]
        self.host.told("keys", "approvals", "approve", proposal, *self.mine(OFFICERS[1]))


@contextlib.contextmanager
def a_victim(place: Path, url: str, people: int) -> Iterator[Killed]:
    """A store with people, with all kinds of things sealed, with decisions in its log, and a host for commands."""
    directory = place / "store"
    settings = store_settings(directory, url)
    gateway, _ = create_store(settings)
    with gateway.work() as work:
        registers.put_source(work, a_source())
        issued = {name: principals.issue(work, name, "self", frozenset({"keys", "approve"})) for name in OFFICERS}
    for name, key in issued.items():
        (place / name).write_text(key)
    take(gateway, [a_person(n, given_name=f"Given{n}") for n in range(people)])
    take(gateway, [a_consent(ref(n)) for n in range(people)])
    take(gateway, [SignalItem(ref(n), "1YYN", NOW_S) for n in range(0, people, 5)])
    take(gateway, [SignalItem(STRANGER, "1YYN", NOW_S)])
    take(gateway, [SubjectItem({"member_no": "", "email": "nonsense"})])
    with gateway.work() as work:
        asked = decide(work, [Ask(EMAIL_MARKETING, ref(n), SYSTEM) for n in range(min(people, 5))])
    decisions = [found.uid for found in asked if isinstance(found, Decision)]
    plain = opened(gateway)
    gateway.store.dispose()
    env = {} if url.startswith("sqlite") else {"CONSENT_GATEWAY_DATABASE_URL": url}
    with hosting(place / "output", env) as host:
        yield Killed(directory, settings, people, host, plain, decisions)
