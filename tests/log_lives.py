"""Lives of a process that acts and keeps the log, to be killed anywhere; it tells what it acknowledged and showed.

Everything that a life acknowledges (the uids of a use case whose commit has returned) and everything it shows to the
world (a checkpoint whose commit has returned) goes into a file at once. What stands there when the process is dead was
promised: `Witness.check` compares it with what the store says afterwards.
"""

from __future__ import annotations

import os
import random  # noqa: TID251 - seeded: what a life does and where it ends
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sqlalchemy import func, select

from builders import a_consent, a_person, answer_for, ref, take
from consent_gateway.assembly import build_gateway
from consent_gateway.audit.entries import EntryKind, parse_entry
from consent_gateway.audit.tiles import decode_bundle, entries_path
from consent_gateway.audit.verifier import verify_directory
from consent_gateway.db import log_store, tables
from consent_gateway.errors import GatewayError
from consent_gateway.services.erasing import erasure
from consent_gateway.services.identity.people import Resolver
from consent_gateway.services.log import audit_log
from consent_gateway.services.work.gateway import Gateway, Work
from edge import store_settings

PEOPLE = 40
ERASED = 0.1  # of the people who just came in
_KINDS = (EntryKind.SUBJECT_IMPORTED, EntryKind.CONSENT_RECORDED)


def live(directory: str, url: str, told: str, seed: str, rounds: str) -> None:
    """Act for some rounds, seeded, and integrate after each; errors of the store's are what a client would see."""
    chance = random.Random(int(seed))  # noqa: S311
    gateway = build_gateway(store_settings(Path(directory), url))
    book = Path(told).open("a", encoding="ascii")  # noqa: SIM115 - open until the process ends, however it ends
    _tell_what_is_acknowledged(gateway, lambda line: os.write(book.fileno(), line.encode()))
    sequencer = audit_log.Sequencer(gateway)
    for _ in range(int(rounds)):
        _act(gateway, chance)
        if sequencer.drain():
            with gateway.store.reading() as session:
                os.write(book.fileno(), f"shown {(log_store.checkpoint(session) or (0, b''))[1].hex()}\n".encode())


def _tell_what_is_acknowledged(gateway: Gateway, tell: Callable[[str], Any]) -> None:
    settle = type(gateway)._settle

    def telling(self: Gateway, work: Work) -> None:
        tell("".join(f"done {uid.hex()}\n" for uid, *_ in work.entries))
        settle(self, work)

    type(gateway)._settle = telling  # type: ignore[method-assign]


def _act(gateway: Gateway, chance: random.Random) -> None:
    number = chance.randrange(PEOPLE)
    for act in (_come, _agree, _ask, *[_go] * (chance.random() < ERASED)):
        # Nobody of that number is there, or the other process was faster: not done, and not acknowledged.
        with suppress(GatewayError, AssertionError):
            act(gateway, number)


def _come(gateway: Gateway, number: int) -> None:
    take(gateway, [a_person(number), a_person((number + 1) % PEOPLE)])


def _agree(gateway: Gateway, number: int) -> None:
    take(gateway, [a_consent(ref(number))])


def _ask(gateway: Gateway, number: int) -> None:
    answer_for(gateway, ref(number))


def _go(gateway: Gateway, number: int) -> None:
    with gateway.work() as work:
        found = Resolver(work, [ref(number)]).resolve(ref(number))
        if isinstance(found, int):
            erasure.erase(work, found, "request")


@dataclass
class Witness:
    """Somebody outside who reads what the dead told, and holds the store to it."""

    directory: Path
    url: str
    told: tuple[Path, ...]
    place: Path
    checks: Counter[str] = field(default_factory=Counter)

    @contextmanager
    def process(self) -> Iterator[Gateway]:
        """A process that starts now, over what the dead left."""
        gateway = build_gateway(store_settings(self.directory, self.url))
        try:
            audit_log.require_own_log(gateway)
            yield gateway
        finally:
            gateway.store.dispose()

    def check(self) -> int:
        """Compare everything; returns the size of the log. AssertionError says which promise is broken."""
        with self.process() as gateway:
            audit_log.Sequencer(gateway).drain()
            return self._compare(gateway)

    def _compare(self, gateway: Gateway) -> int:
        lines = [line.split(" ") for book in self.told for line in book.read_text().splitlines()]
        with gateway.store.reading() as session:
            assert log_store.pending_count(session) == 0
            consents = session.execute(select(func.count()).select_from(tables.consent_events)).scalar()
        audit_log.export(gateway, self.place)
        entries = [parse_entry(entry) for entry in exported(self.place)]
        uids = Counter(entry.uid.hex() for entry in entries)
        assert uids.total() == len(uids), "an entry stands twice in the log"
        lost = {word for kind, word in lines if kind == "done"} - uids.keys()
        assert not lost, "an acknowledged action has no entry"
        for note in _newest([bytes.fromhex(word) for kind, word in lines if kind == "shown"]):
            finding = verify_directory(gateway.signer.vkey, self.place, earlier=note)
            assert finding.ok, f"{finding}: what was shown is not a prefix of the log"
        kinds = Counter(entry.kind for entry in entries)
        assert (consents or 0) <= kinds[EntryKind.CONSENT_RECORDED], "a consent took effect without its entry"
        self.checks.update(acknowledged=len(lines), checks=1)
        return len(entries)


def exported(directory: Path) -> list[bytes]:
    """The entries of an exported log."""
    size = int((directory / "checkpoint").read_text().split("\n")[1])
    entries: list[bytes] = []
    for index in range(-(-size // 256)):
        entries += decode_bundle((directory / entries_path(index, min(256, size - index * 256))).read_bytes())
    return entries


def _newest(notes: list[bytes]) -> list[bytes]:
    """The last of them, and a few from all along: each is compared by hashing the whole log."""
    return [*notes[:: max(1, len(notes) // 3)], *notes[-1:]]
