"""The map of all chains, published on a schedule: what an auditor holds the completeness of any one history against.

1. read    which chains grew since the newest map, and at which size of the log: one snapshot, no lock;
2. hash    the subtrees they are in, and the nodes above (`audit.maps`), some at a time;
3. publish leaves, nodes and the entry `map.published` in one transaction, unless another process did meanwhile.

Between two maps the chains go on: whoever proves a history says where the newest map ends.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from functools import partial

from consent_gateway.audit.entries import EntryKind
from consent_gateway.audit.maps import (
    NOTHING,
    PREFIX_BITS,
    MapLeaf,
    MapProof,
    Subtree,
    bounds,
    kept_node,
    prove,
    regrow,
    subtree,
)
from consent_gateway.db import map_store
from consent_gateway.db.dialects import chunks
from consent_gateway.db.engine import Session
from consent_gateway.db.map_store import PublishedMap
from consent_gateway.errors import RaceError
from consent_gateway.services.gateway import Gateway

_STEP = 32  # kept nodes of one step: of a million chains, some 8,000 leaves


Publishing = Generator[None, None, PublishedMap | None]


def publish(gateway: Gateway) -> PublishedMap | None:
    """Publish the map of what is integrated; None where no chain grew since the newest, or another process does it."""
    steps = publishing(gateway)
    while True:
        try:
            next(steps)
        except StopIteration as ended:
            done: PublishedMap | None = ended.value
            return done


def due(gateway: Gateway) -> Publishing | None:
    """Return the steps of the next map if the newest is old enough; whether anything changed, they see themselves."""
    with gateway.store.reading() as session:
        newest = map_store.newest(session)
    age = None if newest is None else int(gateway.clock().timestamp()) - newest.at
    return publishing(gateway) if age is None or age >= gateway.rules.map_seconds else None


def publishing(gateway: Gateway) -> Publishing:
    """Publish in steps of some milliseconds, so that whoever runs them can do other things between.

    Nothing is held meanwhile: the published leaves change by a publisher alone, and the last step looks for one.
    """
    with gateway.store.reading() as session:
        before = map_store.newest(session)
        size, grown = map_store.changes(session)
        nodes = map_store.nodes(session) if grown else {}
    if not grown:
        return None
    below: dict[int, Subtree] = {}
    for part in chunks(_by_node(grown).items(), _STEP):
        yield
        with gateway.store.reading() as session:
            below.update({number: _subtree(session, number, fresh) for number, fresh in part})
    try:
        return _put(gateway, before, size, grown, regrow(below, lambda number: nodes.get(number, NOTHING)))
    except RaceError:
        return None


def proof(session: Session, key: bytes) -> MapProof:
    """Return the proof of what the newest published map has for a chain."""
    return prove(key, partial(map_store.node, session), partial(map_store.leaves_between, session))


def _by_node(grown: Sequence[MapLeaf]) -> dict[int, dict[bytes, MapLeaf]]:
    by_node: dict[int, dict[bytes, MapLeaf]] = {}
    for leaf in grown:
        by_node.setdefault(kept_node(leaf.key), {})[leaf.key] = leaf
    return by_node


def _subtree(session: Session, number: int, fresh: dict[bytes, MapLeaf]) -> Subtree:
    held = {leaf.key: leaf for leaf in map_store.leaves_between(session, *bounds(number))} | fresh
    return subtree(sorted(held.values()), PREFIX_BITS)


def _put(
    gateway: Gateway,
    before: PublishedMap | None,
    size: int,
    grown: Sequence[MapLeaf],
    changed: dict[int, Subtree],
) -> PublishedMap | None:
    whole = changed[1]
    with gateway.work() as work:
        if map_store.newest(work.session) != before:
            return None
        fields = {"root": whole.hash.hex(), "chains": whole.chains, "entries": whole.entries, "size": size}
        uid = work.record(EntryKind.MAP_PUBLISHED, fields)
        number = 1 if before is None else before.number + 1
        done = PublishedMap(number, size, whole.hash, whole.entries, whole.chains, uid, work.now)
        map_store.put(work.session, grown, changed, done)
    return done
