"""What the log knows about people, as rows: openings of commitments, which go with the person, and chains, which stay.

An opening says what a commitment of an entry hides and whose it is; once it is deleted, nobody can tell. A chain is
named by a hash of a secret that only the person's own key gives.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator
from dataclasses import dataclass

from sqlalchemy import LargeBinary, func, literal_column, select, union_all

from consent_gateway.audit.chains import CHAIN_REF_BYTES, ChainHead
from consent_gateway.db.dialects import chunks
from consent_gateway.db.engine import Session
from consent_gateway.db.tables import audit_chains, audit_entries, audit_openings, audit_pending, subject_keys
from consent_gateway.domain.ids import SubjectId

_HASH = 32
_KEYS_AT = (1, 1 + CHAIN_REF_BYTES)  # where keys of chains stand in `audit_pending.chains`, as SQL counts
_HEADS = "SELECT chain_key, count, link FROM audit_chains WHERE chain_key "
_ANY = "= ANY (%s::bytea[])"


@dataclass(frozen=True, slots=True)
class Opening:
    """What a commitment of an entry hides, kept until the person is erased."""

    uid: bytes
    name: str
    subject_id: SubjectId
    payload: bytes


@dataclass(frozen=True, slots=True)
class AboutPerson:
    """An integrated entry about a person: where and what it is, and what its commitment `name` hides."""

    index: int
    entry: bytes
    uid: bytes
    name: str
    payload: bytes


def about_person(session: Session, subject_id: SubjectId, size: int) -> list[AboutPerson]:
    """Return what the first `size` entries of the log say about a person, in their order."""
    statement = (
        select(audit_entries.c.idx, audit_entries.c.entry, audit_openings)
        .join(audit_openings, audit_openings.c.uid == audit_entries.c.uid)
        .where(audit_openings.c.subject_id == subject_id, audit_entries.c.idx < size)
        .order_by(audit_entries.c.idx, audit_openings.c.name)
    )
    rows = session.execute(statement)
    return [AboutPerson(r.idx, bytes(r.entry), bytes(r.uid), r.name, bytes(r.payload)) for r in rows]


def opening_count(session: Session, subject_id: SubjectId) -> int:
    """Return how many commitments about a person can still be opened."""
    statement = select(func.count()).select_from(audit_openings).where(audit_openings.c.subject_id == subject_id)
    return session.execute(statement).scalar_one()


def orphaned_openings(session: Session) -> int:
    """Return how many openings there are of people who have no key: nobody could say of what."""
    statement = (
        select(func.count())
        .select_from(audit_openings.outerjoin(subject_keys, subject_keys.c.subject_id == audit_openings.c.subject_id))
        .where(subject_keys.c.subject_id.is_(None))
    )
    return session.execute(statement).scalar_one()


def find_opening(session: Session, uid: bytes, name: str) -> tuple[SubjectId, bytes] | None:
    """Return whose an opening is, and its payload; None once the person is erased, or if there never was one."""
    statement = select(audit_openings.c.subject_id, audit_openings.c.payload)
    row = session.execute(statement.where(audit_openings.c.uid == uid, audit_openings.c.name == name)).first()
    return None if row is None else (SubjectId(row.subject_id), bytes(row.payload))


def chain_heads(session: Session, keys: Collection[bytes]) -> dict[bytes, ChainHead]:
    """Return the heads of those of these chains that there are."""
    found: dict[bytes, ChainHead] = {}
    sqlite = session.dialect.name == "sqlite"
    for part in chunks(keys):
        values = tuple(part) if sqlite else (part,)
        rows = session.exec_driver_sql(_HEADS + (f"IN ({','.join('?' * len(part))})" if sqlite else _ANY), values)
        found.update({bytes(key): (count, bytes(link)) for key, count, link in rows})
    return found


def chain_counts(session: Session, keys: Collection[bytes]) -> Counter[bytes]:
    """Return how many entries these chains have, those that wait for the sequencer included.

    One statement, one snapshot: what the sequencer takes over meanwhile is counted once.
    """
    counts: Counter[bytes] = Counter()
    waiting = [func.substr(audit_pending.c.chains, at, _HASH, type_=LargeBinary) for at in _KEYS_AT]
    statement = union_all(
        select(audit_chains.c.chain_key, audit_chains.c.count).where(audit_chains.c.chain_key.in_(keys)),
        *(select(key, literal_column("1")).where(key.in_(keys)) for key in waiting),
    )
    for key, count in session.execute(statement):
        counts[bytes(key)] += count
    return counts


def all_chains(session: Session) -> Iterator[tuple[bytes, int]]:
    """Yield the key of every chain, and how many entries it has."""
    for key, count in session.execute(select(audit_chains.c.chain_key, audit_chains.c.count)):
        yield bytes(key), count
