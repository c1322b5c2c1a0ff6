"""Search the log: by kind, actor, purpose, action and time, and by person as long as there is somebody to find.

What is in clear in an entry is indexed by blocks of 256 entries (`db.log_index`), off the path of every commit: the
worker adds the blocks that have filled up since (`index_some`), and a search reads the rest as it stands. So a search
is complete whether the index is or not, and an index that is lost is made again out of the log.

A person is found by the openings of their entries, which go with them: after an erasure nothing leads from the person
to the log any more. Who searches by person is recorded, found or not (GDPR Art 5(2)).

Results come newest first, by index. A page ends when it is full or has looked at enough; `Page.next` goes on from
there, so an empty page is no end. Invariant: the pages of a query together are exactly the entries that match, once.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from consent_gateway.audit.commitments import NO_DETAILS
from consent_gateway.audit.entries import EntryKind
from consent_gateway.db import log_index, log_store, subjects
from consent_gateway.db.engine import Session
from consent_gateway.db.log_index import BLOCK, Block
from consent_gateway.db.merges import clusters
from consent_gateway.domain.ids import SubjectId
from consent_gateway.domain.purposes import OWN
from consent_gateway.errors import FieldProblem, ForbiddenError
from consent_gateway.services.identity.people import PSEUDONYM, Resolver
from consent_gateway.services.rows import strangers
from consent_gateway.services.work.gateway import Gateway, Work
from consent_gateway.services.work.items import SubjectRef
from consent_gateway.vault.envelope import derive_audit_key

MAX_PAGE = 1000
_END = (1 << 63) - 1
_FIRST, _AT_ONCE = 2, 64  # blocks that are asked for by the first statement, and by one at most
_UNINDEXED = 20_000  # entries that one page reads without the index, at most
_LOOKED_AT = 4096  # blocks that one page looks at, at most
_ABOUT = 2000  # entries about a person that one page reads, at most
_INDEX_BLOCKS = 4  # blocks that are indexed in one transaction: a millisecond each, for which the sequencer waits


class _Named(msgspec.Struct, frozen=True):
    """The fields that are indexed; of some kinds they are no text."""

    purpose: Any = None
    action: Any = None


class Facts(msgspec.Struct, frozen=True):
    """What is read of an entry."""

    at: int
    kind: str
    actor: str
    fields: _Named


_facts = msgspec.json.Decoder(Facts).decode


@dataclass(frozen=True, slots=True)
class Query:
    """What is searched for; None is anything. `since` and `until` are epoch milliseconds, the second excluded."""

    kind: EntryKind | None = None
    actor: str | None = None
    purpose: str | None = None
    action: str | None = None
    since: int | None = None
    until: int | None = None

    @property
    def terms(self) -> tuple[str, ...]:
        """What the index has to have of an entry."""
        asked = (("kind", self.kind), ("actor", self.actor), ("purpose", self.purpose), ("action", self.action))
        return tuple(_term(name, value) for name, value in asked if value is not None)

    def matches(self, entry: bytes) -> bool:
        """Tell whether an entry is one of those searched for; needs no index."""
        facts = _read(entry)
        if facts is None or (self.since is not None and facts.at < self.since):
            return False
        if self.until is not None and facts.at >= self.until:
            return False
        return set(self.terms) <= set(terms_of(facts))


@dataclass(frozen=True, slots=True)
class Page:
    """Entries as (index, bytes), newest first, and the index below which the next page begins; None at the end."""

    entries: tuple[tuple[int, bytes], ...]
    next: int | None


def terms_of(facts: Facts) -> Iterator[str]:
    """Yield the terms of an entry: its kind, its actor, and the purpose and action that its fields name."""
    yield _term("kind", facts.kind)
    yield _term("actor", facts.actor)
    for name, value in (("purpose", facts.fields.purpose), ("action", facts.fields.action)):
        if isinstance(value, str):
            yield _term(name, value)


def search(session: Session, query: Query, below: int | None = None, limit: int = 100) -> Page:
    """Return a page of what matches, from the newest entry or from below an index; at most `MAX_PAGE` entries."""
    size = (log_store.checkpoint(session) or (0, b""))[0]
    top = min(size, _END if below is None else below)
    indexed = log_index.blocks(session) * BLOCK
    found: list[tuple[int, bytes]] = []
    reached = _scan(session, query, top, indexed, limit, found)
    if reached <= indexed and len(found) < limit:
        reached = _look_up(session, query, reached, limit, found)
    return Page(tuple(found), reached or None)


def search_about(work: Work, ref: SubjectRef, query: Query, below: int | None = None, limit: int = 100) -> Page:
    """Return a page of what matches about a person, and record that somebody asked.

    Nobody and somebody who was erased look alike: an empty page. ForbiddenError for a key of another recipient,
    QuotaError for one that has asked about too many strangers.
    """
    if work.actor.recipient != OWN:
        raise ForbiddenError("only a key of our own searches the log by person")
    strangers.require_room(work, [ref])
    resolver = Resolver(work, [ref])
    found = resolver.resolve(ref)
    people = () if isinstance(found, FieldProblem) else _living(work, found)
    if not people:
        if ref.kind != PSEUDONYM:
            strangers.count(work, work.actor, resolver, [ref])
        work.record(EntryKind.LOG_SEARCHED, {"by": ref.kind, "found": False})
        return Page((), None)
    key = derive_audit_key(work.gateway.vault.keys(work.session, people[:1])[people[0]])
    payload = NO_DETAILS
    work.record_about(EntryKind.LOG_SEARCHED, {"by": ref.kind, "found": True}, people[0], key, payload)
    rows = log_index.entries_about(work.session, people, _END if below is None else below, _ABOUT)
    matching = [row for row in rows if query.matches(row[1])]
    if len(matching) > limit:
        return Page(tuple(matching[:limit]), matching[limit - 1][0])
    return Page(tuple(matching), rows[-1][0] if len(rows) == _ABOUT else None)


def entries_from(gateway: Gateway, first: int) -> list[tuple[int, bytes]]:
    """Return the next entries from an index on, oldest first, at most a block of them; none at the end of the log."""
    with gateway.store.reading() as session:
        size = (log_store.checkpoint(session) or (0, b""))[0]
        return list(enumerate(log_index.entries_between(session, first, min(first + BLOCK, size)), first))


def index_some(gateway: Gateway) -> int:
    """Index the oldest blocks that are full and not indexed yet, a few of them; returns how many.

    They are read in a snapshot and written in a short transaction. Two at once do the same work, and it counts once.
    """
    with gateway.store.reading() as session:
        size = (log_store.checkpoint(session) or (0, b""))[0]
        first = log_index.blocks(session)
        numbers = range(first, min(first + _INDEX_BLOCKS, size // BLOCK))
        made = [_block(n, log_index.entries_between(session, n * BLOCK, (n + 1) * BLOCK)) for n in numbers]
    if not made:
        return 0
    with gateway.store.transaction() as session:
        return log_index.put(session, made)


def rebuild(gateway: Gateway) -> int:
    """Forget the index and make it again out of the log; returns how many blocks it has. May run beside a worker."""
    with gateway.store.transaction() as session:
        log_index.clear(session)
    return catch_up(gateway)


def catch_up(gateway: Gateway) -> int:
    """Index every block that is full; returns how many were new."""
    total = 0
    while more := index_some(gateway):
        total += more
    return total


def _living(work: Work, found: SubjectId) -> tuple[SubjectId, ...]:
    """Return the subjects that one person is, the asked one first; none if they are gone."""
    members = next(iter(clusters(work.session, [found]).values()), ())
    live = subjects.lock_all(work.session, [found])  # nothing is recorded about somebody who is gone
    if found not in live or found not in work.gateway.vault.keys(work.session, [found]):
        return ()
    return (found, *(member for member in members if member != found))


def _scan(session: Session, query: Query, top: int, indexed: int, limit: int, found: list[tuple[int, bytes]]) -> int:
    """Add what matches above the index, newest first; returns the index down to which everything was looked at."""
    floor = max(indexed, top - _UNINDEXED)
    while top > floor and len(found) < limit:
        first = max(floor, top - BLOCK)
        rows = log_index.entries_between(session, first, top)
        for index in range(top - 1, first - 1, -1):
            if query.matches(rows[index - first]):
                found.append((index, rows[index - first]))
                if len(found) == limit:
                    return index
        top = first
    return top


def _look_up(session: Session, query: Query, top: int, limit: int, found: list[tuple[int, bytes]]) -> int:
    """Add what the index knows below `top`; returns as `_scan` does, 0 when there is no more."""
    below, looked_at, step = -(-top // BLOCK), 0, _FIRST
    while looked_at < _LOOKED_AT:
        candidates = log_index.find(session, query.terms, below, query.since, query.until, step)
        wanted = [i for number, bits in candidates for i in _indexes(number, bits) if i < top]
        if (last := _take(session, query, wanted, limit, found)) is not None:
            return last
        if len(candidates) < step:
            return 0
        below, looked_at, step = candidates[-1][0], looked_at + step, min(_AT_ONCE, 4 * step)
    return below * BLOCK


def _take(session: Session, query: Query, wanted: list[int], limit: int, found: list[tuple[int, bytes]]) -> int | None:
    """Add those of these entries that match; returns the last one's index once the page is full."""
    while wanted:
        part, wanted = wanted[: limit - len(found)], wanted[limit - len(found) :]
        held = log_index.entries_at(session, part)
        found += [(index, held[index]) for index in part if query.matches(held[index])]
        if len(found) == limit:
            return found[-1][0]
    return None


def _indexes(number: int, bits: bytes) -> list[int]:
    """Return the entries of a block whose bits are set, newest first."""
    value = int.from_bytes(bits, "little")
    return [number * BLOCK + at for at in range(BLOCK - 1, -1, -1) if value >> at & 1]


def _block(number: int, entries: Sequence[bytes]) -> Block:
    times: list[int] = []
    bitmaps: defaultdict[str, int] = defaultdict(int)
    for at, entry in enumerate(entries):
        facts = _read(entry)
        if facts is None:
            continue
        times.append(facts.at)
        for term in terms_of(facts):
            bitmaps[term] |= 1 << at
    packed = {term: bits.to_bytes(log_index.BITMAP_BYTES, "little") for term, bits in bitmaps.items()}
    return Block(number, min(times, default=0), max(times, default=0), packed)


def _read(entry: bytes) -> Facts | None:
    """Return what an entry says; None if somebody damaged it in the store, which is for the verifier to say."""
    try:
        return _facts(entry)
    except msgspec.MsgspecError:
        return None


def _term(name: str, value: str) -> str:
    return f"{name}:{value}"[: log_index.TERM_CHARS]
