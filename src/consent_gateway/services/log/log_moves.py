"""Move the log from one store to another, SQLite or PostgreSQL: the same bytes, the same checkpoint.

1. compare  the target holds nothing, or a prefix of the source's log, or it is refused;
2. copy     entries in parts; each is hashed into the target's own tree, so a copy is a check of the source as well;
3. finish   in one snapshot of the source and one transaction of the target: what is left, the chains, maps and epochs,
            and the head, if and only if the tree that was built has the root that was signed.

It may die anywhere and be run again. The source may go on meanwhile; a target is complete as of its checkpoint.
People, their openings and the registers are no part of the log and stay where they are.
"""

from __future__ import annotations

from dataclasses import dataclass

from consent_gateway.audit.log import NO_CHAIN, Head, integrate
from consent_gateway.audit.proofs import root_at
from consent_gateway.db import log_index, log_moves, log_store
from consent_gateway.db.engine import Session, Store
from consent_gateway.db.log_store import StoredHead
from consent_gateway.errors import AuditError, ConflictError
from consent_gateway.services.log.log_exports import Progress

_PART = 2048


@dataclass(frozen=True, slots=True)
class Moved:
    """What a run did: the log's size and root, and how many entries the target had before."""

    size: int
    root: bytes
    before: int


def move_log(source: Store, target: Store, progress: Progress | None = None) -> Moved:
    """Bring the log of `target` to what `source` has; returns what was done. Running it again copies what is new.

    ConflictError for a target that is not a prefix of the source, is ahead of it, or takes entries of its own;
    AuditError when the source's entries do not hash to its signed root: then the target has no new head.
    """
    before = _compare(source, target)
    at = before
    while (size := _size(source)) - at > _PART:
        with source.reading() as read:
            entries = log_index.entries_between(read, at, at + _PART)
        with target.transaction() as session:
            at = _append(session, at, entries).size
        if progress is not None:
            progress(at, size)
    with source.reading() as read, target.transaction() as session:
        head = log_store.stored_head(read)
        if head is None:
            return Moved(0, b"", before)
        built = _append(session, at, log_index.entries_between(read, at, head.size))
        _finish(read, session, head, built)
    if progress is not None:
        progress(head.size, head.size)
    return Moved(head.size, head.root, before)


def _size(store: Store) -> int:
    with store.reading() as session:
        return (log_store.checkpoint(session) or (0, b""))[0]


def _compare(source: Store, target: Store) -> int:
    """Return how many entries the target holds; ConflictError unless they are the first of the source."""
    with target.reading() as session:
        if log_store.pending_count(session):
            raise ConflictError("the target takes entries of its own: they wait to be integrated")
        held = log_moves.held(session)
        root = _root_of(session, held)
    with source.reading() as session:
        size = (log_store.checkpoint(session) or (0, b""))[0]
        if held > size:
            raise ConflictError(f"the target has {held} entries, the source {size}")
        if held and root_at(held, size, lambda *tile: log_store.read_tile(session, *tile)) != root:
            raise ConflictError(f"the target's {held} entries are not the first of the source")
    return held


def _root_of(session: Session, size: int) -> bytes:
    try:
        return log_moves.edge(session, size).range.root
    except (ValueError, AuditError):
        raise ConflictError("the target's tiles do not fit its entries: it holds no whole log") from None


def _append(session: Session, at: int, entries: list[bytes]) -> Head:
    """Hash entries into the target's tree and write them; returns the head that it would have."""
    edge = log_moves.edge(session, at)
    done = integrate(Head(edge.range.root, edge), [(entry, NO_CHAIN) for entry in entries], {})
    if entries:
        log_moves.write(session, done)
    return done.head


def _finish(read: Session, session: Session, head: StoredHead, built: Head) -> None:
    if (built.size, built.root) != (head.size, head.root):
        raise AuditError("the source's entries do not hash to its signed root; run consent-gateway audit verify")
    for table, parts in log_moves.belonging(read):
        log_moves.replace(session, table, parts)
    log_moves.put_head(session, head)
