"""Write what erasures left into the tombstone file: after their commit, and before anybody is told.

The row of an erasure says since when the file has its line. A process that dies in between, or a disk that is full,
leaves the row open, and whoever comes next closes it: the next erasure, the worker, the next start. An erasure that
cannot be filed stands; only its acknowledgement waits.

Nothing is written to a file that lacks lines which it had: an older one that is put back under a running process would
be gone on with, and the erasures between would be in no file (`services.erasing.tombstones` finds them at the next
start).
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence

from consent_gateway.db import erasures
from consent_gateway.db.engine import Store
from consent_gateway.errors import GatewayError, TombstoneError
from consent_gateway.vault.tombstone_file import NEWEST, TombstoneFile
from consent_gateway.vault.tombstones import decode

RETRY_SECONDS = 5
_BATCH = 1_000


def file_open(store: Store, file: TombstoneFile, now: int) -> int:
    """Write the lines that the file lacks, and say so in their rows; returns how many rows were closed.

    TombstoneError, with the seconds after which to ask again, while the file or one of its copies cannot be written.
    """
    closed = 0
    while batch := _file_batch(store, file, now):
        closed += batch
        if batch < _BATCH:
            break
    return closed


def _file_batch(store: Store, file: TombstoneFile, now: int) -> int:
    try:
        with store.reading() as session:
            rows = erasures.unfiled(session, _BATCH)
            filed = erasures.newest_filed(session, NEWEST) if rows else []
        if rows:
            _require_all(file, filed)
            file.append(decode(row.line) for row in rows)
    except GatewayError as error:
        raise TombstoneError(error.detail, retry_after=RETRY_SECONDS) from None
    if rows:
        # The lines are durable. A row that stays open is looked up in the file again, which changes nothing.
        with contextlib.suppress(GatewayError), store.transaction() as session:
            erasures.mark_filed(session, [row.uid for row in rows], now)
    return len(rows)


def _require_all(file: TombstoneFile, filed: Sequence[bytes]) -> None:
    """TombstoneError unless the file still has the lines that were written to it last."""
    file.newest()  # what others wrote, or whoever exchanged it
    if not all(map(file.holds, filed)):
        raise TombstoneError("the tombstone file lacks erasures that were written to it")
