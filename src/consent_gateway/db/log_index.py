"""The index of the log: which entries of each 256 have a term, and between which times they lie.

One row for a term and a block (the 256 entries of a full level-0 tile): a bitmap of 32 bytes. A million entries are
4,000 blocks and some ten thousand rows, whatever is asked for is an intersection of bitmaps, and a row is written once.
The index is made of the log and of nothing else: empty, it is filled again (`services.log.log_search`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import delete, func, select

from consent_gateway.db.dialects import chunks, insert_ignoring
from consent_gateway.db.engine import Session
from consent_gateway.db.tables import audit_entries, audit_index, audit_index_blocks, audit_openings
from consent_gateway.domain.ids import SubjectId

BLOCK = 256
BITMAP_BYTES = BLOCK // 8
TERM_CHARS = 160  # longer ones share what is cut off: the entry itself is looked at in the end
_EVERY = bytes([0xFF] * BITMAP_BYTES)


@dataclass(frozen=True, slots=True)
class Block:
    """What the index holds of one block: its number, its earliest and latest time (ms), a bitmap for each term."""

    number: int
    min_at: int
    max_at: int
    bitmaps: Mapping[str, bytes]


def blocks(session: Session) -> int:
    """Return how many blocks are indexed: all from the first to the one before that number."""
    last = session.execute(select(func.max(audit_index_blocks.c.block))).scalar()
    return 0 if last is None else int(last) + 1


def put(session: Session, found: Sequence[Block]) -> int:
    """Write blocks, and leave those that are there; returns how many were new."""
    spans = [{"block": b.number, "min_at": b.min_at, "max_at": b.max_at} for b in found]
    rows = [{"term": term, "block": b.number, "bits": bits} for b in found for term, bits in b.bitmaps.items()]
    insert_ignoring(session, audit_index, rows, audit_index.c.block)
    return len(insert_ignoring(session, audit_index_blocks, spans, audit_index_blocks.c.block))


def clear(session: Session) -> None:
    """Forget the index."""
    session.execute(delete(audit_index))
    session.execute(delete(audit_index_blocks))


def find(
    session: Session, terms: Sequence[str], below: int, since: int | None, until: int | None, limit: int
) -> list[tuple[int, bytes]]:
    """Return at most `limit` blocks below a number, newest first, that have every term, with the common bitmap.

    `since` and `until` (ms, the second excluded) leave out blocks that lie wholly outside.
    """
    held = [audit_index.alias(f"t{n}") for n in range(len(terms))]
    spans = audit_index_blocks.c
    source = audit_index_blocks
    statement = select(spans.block, *(table.c.bits for table in held)).where(spans.block < below)
    for table, term in zip(held, terms, strict=True):
        source = source.join(table, (table.c.block == spans.block) & (table.c.term == term))  # type: ignore[assignment]
    if since is not None:
        statement = statement.where(spans.max_at >= since)
    if until is not None:
        statement = statement.where(spans.min_at < until)
    rows = session.execute(statement.select_from(source).order_by(spans.block.desc()).limit(limit))
    return [(row[0], _common([bytes(bits) for bits in row[1:]])) for row in rows]


def entries_at(session: Session, indexes: Sequence[int]) -> dict[int, bytes]:
    """Return the bytes of these entries, by index."""
    columns = audit_entries.c
    return {
        row.idx: bytes(row.entry)
        for part in chunks(indexes)
        for row in session.execute(select(columns.idx, columns.entry).where(columns.idx.in_(part)))
    }


def entries_between(session: Session, first: int, end: int) -> list[bytes]:
    """Return the bytes of the entries from `first` to the one before `end`, in order."""
    columns = audit_entries.c
    statement = select(columns.entry).where(columns.idx >= first, columns.idx < end).order_by(columns.idx)
    return [bytes(entry) for entry in session.execute(statement).scalars()]


def entries_about(session: Session, ids: Sequence[SubjectId], below: int, limit: int) -> list[tuple[int, bytes]]:
    """Return at most `limit` entries about these people below an index, newest first: those that can be opened."""
    columns = audit_entries.c
    about = select(audit_openings.c.uid).where(audit_openings.c.subject_id.in_(ids))
    statement = select(columns.idx, columns.entry).where(columns.uid.in_(about), columns.idx < below)
    return [(row.idx, bytes(row.entry)) for row in session.execute(statement.order_by(columns.idx.desc()).limit(limit))]


def _common(bitmaps: Sequence[bytes]) -> bytes:
    common = int.from_bytes(_EVERY, "big")
    for bits in bitmaps:
        common &= int.from_bytes(bits, "big")
    return common.to_bytes(BITMAP_BYTES, "big")
