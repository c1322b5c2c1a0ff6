"""The gateway checks its own log: at the start before anything is served, and on a schedule.

1. The stored head was signed by this keyring for the epoch that the store is in, and its tiles hash to it.
2. It extends what this process published last: a store that was set back under a running server is found here, and by
   the sequencer before it signs anything (`SqlLogStore`).
3. The newest entries, and each time a further part of all the others, hash to their tiles, and these to the tiles
   above: all of the log is read again over the rounds.
4. It extends every kept checkpoint (`checkpoint_copies`).
5. The file that is open is still the one at its path (SQLite).

What is found closes the gate under a source of its own, and opens it again when it is gone. Reading a part costs about
two hashes an entry; nobody waits for it.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from consent_gateway.audit.checkpoints import Checkpoint
from consent_gateway.audit.epochs import Anchor
from consent_gateway.audit.merkle import HASH_BYTES, leaf_hashes, perfect_root
from consent_gateway.audit.tiles import TILE_WIDTH, decode_bundle, tile_width
from consent_gateway.db import log_store
from consent_gateway.db.engine import Session
from consent_gateway.errors import AuditError
from consent_gateway.services.log import spool
from consent_gateway.services.log.checkpoint_copies import Copies
from consent_gateway.services.log.log_view import LogView, UnsoundError, view
from consent_gateway.services.work.gateway import Gateway
from consent_gateway.services.work.log_gate import Fault, FaultKind

NEWEST = 4  # bundles at the end of the log that are hashed again every time
_KINDS = {Anchor.ROLLED_BACK: FaultKind.ROLLED_BACK, Anchor.FORKED: FaultKind.FORKED, Anchor.FOREIGN: FaultKind.FOREIGN}


@dataclass(slots=True)
class SelfCheck:
    """Rounds of checks over one gateway; `bundles` (of 256 entries) of older entries are read in each."""

    gateway: Gateway
    copies: Copies
    bundles: int = 64
    settles: bool = True  # False where others know more of the log (witnesses): they bring in what was kept meanwhile
    cursor: int = field(default=0, init=False)  # the next old bundle to read
    rounds: int = field(default=0, init=False)

    def run(self) -> None:
        """Check everything once, and tell the gate. Raises StoreError if the store or the spool cannot be read."""
        spool.notice(self.gateway)
        for copy in self.copies.copies:
            self.copies.compare(copy)
        self.check_store()
        if self.settles:
            spool.settle(self.gateway)

    def check_store(self) -> None:
        """Check what needs no copy."""
        gate = self.gateway.gate
        replaced = self.gateway.store.is_replaced()
        gate.report("file", Fault(FaultKind.REPLACED) if replaced else None)
        published = self.gateway.published  # before the log is read: it may grow while it is looked at
        with self.gateway.store.reading() as session:
            try:
                log = view(session, self.gateway.log_keys)
                self.gateway.adopt_epoch(log.epoch)
                gate.report("memory", _against_memory(log, published))
                gate.report("store", self._rehashed(session, log))
            except UnsoundError as error:
                gate.report("store", error.fault)
        self.rounds += 1

    def _rehashed(self, session: Session, log: LogView) -> Fault | None:
        count = -(-log.size // TILE_WIDTH)
        if self.cursor >= count:
            self.cursor = 0
        older = range(self.cursor, min(self.cursor + self.bundles, count))
        newest = range(max(count - NEWEST, 0), count)
        try:
            for index in dict.fromkeys((*newest, *older)):
                check_bundle(session, log, index)
        except UnsoundError as error:
            return error.fault
        except AuditError as error:
            return Fault(FaultKind.ALTERED, error.detail)
        except (OverflowError, ValueError):
            return Fault(FaultKind.ALTERED, "an entry cannot be one")
        self.cursor = older.stop
        return None


def _against_memory(log: LogView, published: Checkpoint | None) -> Fault | None:
    if published is None:
        return None
    anchor = log.judge(published)
    if anchor is Anchor.HOLDS:
        return None
    return Fault(_KINDS[anchor], f"{published.size} entries were published, the store has {log.size}")


def check_bundle(session: Session, log: LogView, index: int) -> None:
    """Hash the entries of one bundle again, and compare them with their tile and the tiles above.

    UnsoundError names the first entry that is not what was hashed.
    """
    width = tile_width(log.size, 0, index)
    leaves = leaf_hashes(decode_bundle(log_store.bundle(session, index, width)))
    tile = log.read_tile(0, index, width)
    for number, leaf in enumerate(leaves):
        if tile[number * HASH_BYTES : (number + 1) * HASH_BYTES] != leaf:
            detail = f"entry {index * TILE_WIDTH + number} does not hash to its tile"
            raise UnsoundError(FaultKind.ALTERED, detail)
    _check_above(log, index, tile)


def _check_above(log: LogView, index: int, tile: bytes) -> None:
    """Compare a full tile with its hash in the tile above, and so on while they are full."""
    level, first = 0, index
    while len(tile) == TILE_WIDTH * HASH_BYTES:
        level, (first, place) = level + 1, divmod(first, TILE_WIDTH)
        above = log.read_tile(level, first, tile_width(log.size, level, first))
        if above[place * HASH_BYTES : (place + 1) * HASH_BYTES] != perfect_root(tile):
            detail = f"entry {index * TILE_WIDTH} stands below a wrong hash at level {level}"
            raise UnsoundError(FaultKind.ALTERED, detail)
        tile = above
