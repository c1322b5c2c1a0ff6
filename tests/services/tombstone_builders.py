"""Processes that start over a store and over a tombstone file that lies apart from it."""

from __future__ import annotations

from pathlib import Path

from builders import a_gateway
from consent_gateway.clock import FixedClock
from consent_gateway.db.engine import Store
from consent_gateway.services.erasing.tombstones import settle
from consent_gateway.services.work.gateway import Gateway
from consent_gateway.vault.keyring import Keyring
from consent_gateway.vault.tombstone_file import TombstoneFile

KEYRING = Keyring.in_memory()


def opened(
    store: Store,
    directory: Path,
    clock: FixedClock | None = None,
    *,
    copies: tuple[Path, ...] = (),
    settled: bool = True,
) -> Gateway:
    """A process that starts: a gateway over the store and over the tombstone file in `directory`."""
    gateway = a_gateway(store, keyring=KEYRING, clock=clock)
    gateway.tombstones = TombstoneFile(KEYRING, directory / "kept" / "tombstones.log", copies)
    if settled:
        settle(gateway)
    return gateway
