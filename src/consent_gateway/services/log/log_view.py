"""The log as one snapshot of the store shows it: epochs, head, signed checkpoint, and earlier roots."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from consent_gateway.audit.checkpoints import Checkpoint
from consent_gateway.audit.epochs import Anchor, Epoch, follow, judge
from consent_gateway.audit.log import EMPTY_HEAD, Head
from consent_gateway.audit.log_keys import ForeignError, LogKeys
from consent_gateway.audit.proofs import ReadTile, root_at
from consent_gateway.db import log_state, log_store
from consent_gateway.db.engine import Session
from consent_gateway.errors import AuditError
from consent_gateway.services.work.log_gate import Fault, FaultKind


class UnsoundError(Exception):
    """The stored log contradicts itself or the keyring; `fault` says how."""

    def __init__(self, kind: FaultKind, detail: str) -> None:
        super().__init__(detail)
        self.fault = Fault(kind, detail)


@dataclass(frozen=True, slots=True)
class LogView:
    """What a session sees of the log; `note` is None before the first entry is integrated."""

    keys: LogKeys
    epochs: tuple[Epoch, ...]
    head: Head
    note: bytes | None
    read_tile: ReadTile

    @property
    def epoch(self) -> int:
        """The number of the current epoch."""
        return self.epochs[-1].number

    @property
    def size(self) -> int:
        """How many entries are integrated."""
        return self.head.size

    def root_at(self, size: int) -> bytes:
        """Return the root at an earlier size."""
        return self.head.root if size == self.head.size else root_at(size, self.head.size, self.read_tile)

    def judge(self, kept: Checkpoint) -> Anchor:
        """Tell how the log stands to a checkpoint of it whose signature was checked."""
        return judge(self.epochs, self.keys.origin, self.size, self.root_at, kept)


def view(session: Session, keys: LogKeys) -> LogView:
    """Return the log of a session, with its own words checked: head, signature and epochs fit each other.

    UnsoundError if they do not: the store holds the log of another key, or one that was altered.
    """
    epochs = epochs_of(keys, log_state.statements(session))
    stored = log_store.stored_head(session)

    def tile(level: int, index: int, width: int, /) -> bytes:
        return log_store.read_tile(session, level, index, width)

    if stored is None:
        return LogView(keys, epochs, EMPTY_HEAD, None, tile)
    _require_signed(keys, epochs, stored)
    try:
        head = log_store.read_head(session, stored.size, stored.root)
    except AuditError:
        raise UnsoundError(FaultKind.ALTERED, "the stored tiles do not hash to the signed head") from None
    return LogView(keys, epochs, head, stored.checkpoint, tile)


def epochs_of(keys: LogKeys, statements: Sequence[bytes]) -> tuple[Epoch, ...]:
    """Return the epochs that stored statements open; UnsoundError if they do not hold under this keyring."""
    try:
        found = follow(keys.signer().vkey, statements, origin=keys.origin)
    except ValueError:
        raise UnsoundError(FaultKind.FOREIGN, "a stored statement about an epoch of the log does not hold") from None
    if any(epoch.key != keys.signer(epoch.number).key for epoch in found):
        raise UnsoundError(FaultKind.FOREIGN, "an epoch of the log has a key that is not of this keyring")
    return found


def _require_signed(keys: LogKeys, epochs: Sequence[Epoch], stored: log_store.StoredHead) -> None:
    try:
        epoch, opened = keys.open(stored.checkpoint)
    except ForeignError:
        raise UnsoundError(
            FaultKind.FOREIGN, "the stored checkpoint was signed by another keyring or under another origin"
        ) from None
    except ValueError:
        raise UnsoundError(FaultKind.ALTERED, "the stored checkpoint is none") from None
    found = opened.checkpoint
    if (epoch, found.size, found.root) != (epochs[-1].number, stored.size, stored.root):
        raise UnsoundError(FaultKind.ALTERED, "the stored checkpoint is not that of the stored head")
