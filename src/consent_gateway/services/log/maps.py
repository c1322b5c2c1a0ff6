"""The map of all chains, published on a schedule: what an auditor holds the completeness of any one history against.

1. begin   an attempt, which no other publisher may cross;
2. read    which chains grew since the newest map, and at which size of the log: one snapshot, no lock;
3. write   the leaves that changed, some thousand at a time, hashing the subtrees they are in; none counts yet;
4. publish the nodes above and the entry `map.published` in one transaction, in which the leaves begin to count.

An attempt that dies leaves nothing that counts; another may begin once it has not moved for a while. Between two maps
the chains go on: whoever proves a history says where the newest map ends.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from consent_gateway.audit.entries import EntryKind
from consent_gateway.audit.maps import (
    NOTHING,
    PREFIX_BITS,
    MapLeaf,
    MapProof,
    Subtree,
    bounds,
    prove,
    regrow,
    subtree,
    unpack_leaves,
)
from consent_gateway.db import map_store
from consent_gateway.db.dialects import chunks
from consent_gateway.db.engine import Session
from consent_gateway.db.map_store import Attempt, PublishedMap
from consent_gateway.errors import RaceError
from consent_gateway.services.work.gateway import Gateway

PATIENCE_SECONDS = 60  # an attempt that has not moved for so long is over
_STEP = 8  # kept nodes of one step: of a million chains, some 2,000 leaves


def publish(gateway: Gateway) -> PublishedMap | None:
    """Publish the map of what is integrated; None where no chain grew since the newest, or another process does it."""
    done = None
    for done in publishing(gateway):  # noqa: B007 - the last one
        pass
    return done


def due(gateway: Gateway) -> bool:
    """Tell whether the newest map is old enough for another; whether anything changed, `publishing` sees."""
    with gateway.store.reading() as session:
        newest = map_store.newest(session)
    return newest is None or int(gateway.clock().timestamp()) - newest.at >= gateway.rules.map_seconds


def publishing(gateway: Gateway) -> Iterator[PublishedMap | None]:
    """Publish in steps, between which nothing is held; yields None after each but the last, then the map.

    Nothing at all where no chain grew, or another process publishes. Whoever ends between two steps leaves nothing that
    counts.
    """
    try:
        yield from _publishing(gateway)
    except RaceError:
        return


def _publishing(gateway: Gateway) -> Iterator[PublishedMap | None]:
    with gateway.store.reading() as session:
        if not map_store.has_grown(session):
            return
    with gateway.work() as work:
        attempt = map_store.begin(work.session, work.now, PATIENCE_SECONDS)
    with gateway.store.reading() as session:
        size, grown = map_store.changes(session)
        nodes = map_store.nodes(session)
    below: dict[int, Subtree] = {}
    for part in chunks(grown.items(), _STEP):
        yield None
        below |= _stage(gateway, attempt, {number: unpack_leaves(packed) for number, packed in part})
    yield _put(gateway, attempt, size, regrow(below, lambda number: nodes.get(number, NOTHING)))


def proof(session: Session, key: bytes) -> MapProof:
    """Return the proof of what the newest published map has for a chain."""
    return prove(key, partial(map_store.node, session), partial(map_store.leaves_between, session))


def _stage(gateway: Gateway, attempt: Attempt, grown: dict[int, list[MapLeaf]]) -> dict[int, Subtree]:
    """Write the leaves below some kept nodes that grew; return what those nodes are in the map to come."""
    with gateway.store.reading() as session:
        done = {number: _subtree(session, number, fresh) for number, fresh in grown.items()}
    with gateway.work() as work:
        map_store.go_on(work.session, attempt, work.now)
        map_store.stage(work.session, attempt, [leaf for fresh in grown.values() for leaf in fresh])
    return done


def _subtree(session: Session, number: int, fresh: list[MapLeaf]) -> Subtree:
    held = {leaf.key: leaf for leaf in map_store.leaves_between(session, *bounds(number))}
    return subtree(sorted((held | {leaf.key: leaf for leaf in fresh}).values()), PREFIX_BITS)


def _put(gateway: Gateway, attempt: Attempt, size: int, changed: dict[int, Subtree]) -> PublishedMap:
    whole = changed[1]
    with gateway.work() as work:
        map_store.go_on(work.session, attempt, work.now)
        fields = {"root": whole.hash.hex(), "chains": whole.chains, "entries": whole.entries, "size": size}
        uid = work.record(EntryKind.MAP_PUBLISHED, fields)
        number = 1 if attempt.before is None else attempt.before.number + 1
        done = PublishedMap(number, size, whole.hash, whole.entries, whole.chains, uid, work.now, attempt.number)
        map_store.put(work.session, changed, done)
    return done
