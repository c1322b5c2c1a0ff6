"""Logs to read from: entries written and integrated, without the use cases that would write them."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from sqlalchemy import insert

from builders import a_gateway
from consent_gateway.audit.entries import EntryKind
from consent_gateway.audit.log import EMPTY_HEAD, NO_CHAIN, integrate
from consent_gateway.db import tables
from consent_gateway.db.engine import Store, sqlite_url
from consent_gateway.db.migrate import upgrade
from consent_gateway.services.log.audit_log import Sequencer
from consent_gateway.services.work.gateway import Gateway
from consent_gateway.vault.keyring import Keyring


def grow(gateway: Gateway, count: int) -> None:
    """Record and integrate `count` entries."""
    with gateway.work() as work:
        for number in range(count):
            work.record(EntryKind.ADMIN_ACTION, {"action": "test", "number": number})
    Sequencer(gateway).drain()


def of_entries(gateway: Gateway, entries: Iterable[bytes]) -> None:
    """Make the log of an empty store hold these entries, whatever they are."""
    done = integrate(EMPTY_HEAD, [(entry, NO_CHAIN) for entry in entries], {})
    rows = [{"idx": index, "uid": index.to_bytes(16, "big"), "entry": entry} for index, entry, _leaf in done.rows]
    tiles = [{"level": tile.level, "idx": tile.index, "hashes": tile.data} for tile in done.tiles]
    note = gateway.signer.sign_checkpoint(done.head.size, done.head.root)
    head = {"id": 1, "size": done.head.size, "root": done.head.root, "checkpoint": note}
    with gateway.store.transaction() as session:
        session.execute(insert(tables.audit_entries), rows)
        session.execute(insert(tables.audit_tiles), tiles)
        session.execute(insert(tables.audit_head), [head])


def sqlite_log(path: Path, keyring: Keyring | None = None) -> Gateway:
    """A gateway over a new SQLite file, with a log of its own key unless one is given."""
    store = Store(sqlite_url(str(path)))
    upgrade(store)
    return a_gateway(store, keyring=keyring)
