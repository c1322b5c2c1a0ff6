"""The log as a service: integrate what is pending, hand out receipts and tiles, export it all.

One sequencer at a time holds the writer's lock (see `db.log_store`); any number of replicas may run one. A checkpoint
leaves the process only after the commit that stored it has returned.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from consent_gateway.audit.checkpoints import Checkpoint, open_checkpoint
from consent_gateway.audit.epochs import FIRST_EPOCH
from consent_gateway.audit.log import make_receipt, sequence
from consent_gateway.audit.tiles import tile_width
from consent_gateway.db import log_state, log_store
from consent_gateway.db.engine import Session
from consent_gateway.db.log_store import Edge, SetBackError, SqlLogStore
from consent_gateway.errors import KeyringError, NotFoundError
from consent_gateway.services.log import log_exports
from consent_gateway.services.log.log_directories import PlainDirectory
from consent_gateway.services.work.gateway import Gateway
from consent_gateway.services.work.log_gate import Fault, FaultKind

BATCH = 2048


class Sequencer:
    """Drains pending entries into the tree, batch by batch; keeps its edge and the heads of chains between batches."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self._edge = Edge()
        self._epoch = FIRST_EPOCH

    def run_once(self) -> int:
        """Integrate one batch; returns how many entries it had. Raises what the store raises.

        Nothing while the gate is closed. A head that was set back since this process published closes it.
        """
        gateway = self._gateway
        if gateway.gate.fault is not None:
            return 0
        try:
            with gateway.store.transaction() as session:
                store = SqlLogStore(session, self._edge, self._epoch)
                published = sequence(store, lambda: gateway.log_keys.signer(store.epoch), BATCH)
        except SetBackError as error:
            gateway.gate.report("memory", Fault(FaultKind(error.kind), error.detail))
            return 0
        self._epoch = store.epoch
        if published is None or store.saved is None:
            return 0
        self._edge.moved(store.saved)
        head = self._edge.head
        gateway.published = Checkpoint(gateway.log_keys.signer(store.epoch).key.name, head.size, head.root)
        gateway.on_published()
        return len(published.rows)

    def drain(self) -> int:
        """Integrate until nothing is pending; returns how many entries that were."""
        total = count = self.run_once()
        while count == BATCH:  # a smaller batch took all there was: asking again would cost a transaction
            count = self.run_once()
            total += count
        return total


def pending(gateway: Gateway) -> int:
    """Return how many acknowledged entries wait to be integrated."""
    with gateway.store.reading() as session:
        return log_store.pending_count(session)


def require_own_log(gateway: Gateway) -> None:
    """Raise KeyringError unless the stored checkpoint was signed by this keyring under this origin.

    A store with another keyring, or under another name, would publish a second history of the same log.
    """
    with gateway.store.reading() as session:
        found, epoch = log_store.checkpoint(session), log_state.current_epoch(session)
    gateway.adopt_epoch(epoch)
    if found is None:
        return
    try:
        open_checkpoint(found[1], gateway.signer.key)
    except ValueError:
        message = "this keyring or log origin does not belong to the store: its log was signed by another"
        raise KeyringError(message) from None


@dataclass(frozen=True, slots=True)
class Found:
    """An integrated entry: its index and its exact bytes."""

    index: int
    entry: bytes


def checkpoint(session: Session) -> bytes:
    """Return the newest signed checkpoint, with cosignatures if it has them; NotFoundError for an empty log."""
    found = log_store.checkpoint(session)
    if found is None:
        raise NotFoundError("the log has no entries yet")
    witnessed = _witnessed(session, found[1])
    return witnessed[1] if witnessed is not None and witnessed[0] == found[0] else found[1]


def _witnessed(session: Session, newest: bytes) -> tuple[int, bytes] | None:
    """Return size and note of the newest checkpoint with a quorum of cosignatures, if it is of the current epoch."""
    found = log_state.witnessed(session)
    origin = newest.partition(b"\n")[0]
    return found if found is not None and found[1].partition(b"\n")[0] == origin else None


def find(session: Session, uid: bytes) -> Found:
    """Return an integrated entry; NotFoundError while it is pending (retry in a moment) or if it is unknown."""
    found = log_store.find_entry(session, uid)
    if found is None:
        pending = log_store.is_pending(session, uid)
        raise NotFoundError("the entry is acknowledged and not yet integrated: retry" if pending else "")
    return Found(*found)


def receipt(session: Session, uid: bytes) -> bytes:
    """Return the tlog-proof of an entry: proof that it is in the log, for good.

    Under the newest checkpoint with a quorum of cosignatures that covers the entry, else under the newest.
    """
    index = find(session, uid).index
    size, note = log_store.checkpoint(session) or (0, b"")
    witnessed = _witnessed(session, note)
    if witnessed is not None and index < witnessed[0]:
        size, note = witnessed
    return make_receipt(index, size, note, lambda level, i, width: log_store.read_tile(session, level, i, width))


def tile(session: Session, level: int, index: int, width: int) -> bytes:
    """Return a tile as it is published; NotFoundError for one that does not exist at the current size."""
    size = (log_store.checkpoint(session) or (0, b""))[0]
    if not 0 < width <= tile_width(size, level, index):
        raise NotFoundError
    return log_store.read_tile(session, level, index, width)


def entry_bundle(session: Session, index: int, width: int) -> bytes:
    """Return an entry bundle as it is published; NotFoundError for one that does not exist at the current size."""
    size = (log_store.checkpoint(session) or (0, b""))[0]
    if not 0 < width <= tile_width(size, 0, index):
        raise NotFoundError
    return log_store.bundle(session, index, width)


def export(gateway: Gateway, directory: Path, progress: Callable[[int, int], None] | None = None) -> int:
    """Bring a plain directory up to the newest checkpoint (see `log_exports`); returns the size of the log."""
    return log_exports.export(gateway, PlainDirectory(directory), progress).size
