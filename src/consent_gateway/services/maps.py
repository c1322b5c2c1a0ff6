"""The map of all chains, published on a schedule: what an auditor holds the completeness of any one history against.

1. read    which chains grew since the newest map, and at which size of the log: one snapshot, no lock;
2. hash    the subtrees they are in, and the nodes above (`audit.maps`): as much work as chains grew;
3. publish leaves, nodes and the entry `map.published` in one transaction, unless another process did meanwhile.

Between two maps the chains go on: whoever proves a history says where the newest map ends.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from consent_gateway.audit.entries import EntryKind
from consent_gateway.audit.maps import NOTHING, MapLeaf, MapProof, Subtree, bounds, kept_node, prove, regrow, subtree
from consent_gateway.db import map_store
from consent_gateway.db.engine import Session
from consent_gateway.db.map_store import PublishedMap
from consent_gateway.errors import RaceError
from consent_gateway.services.gateway import Gateway


def publish(gateway: Gateway) -> PublishedMap | None:
    """Publish the map of what is integrated; None where no chain grew since the newest, or another process does it."""
    with gateway.store.reading() as session:
        before = map_store.newest(session)
        size, grown = map_store.changes(session)
        changed = _regrown(session, grown)
    if not grown:
        return None
    try:
        return _put(gateway, before, size, grown, changed)
    except RaceError:
        return None


def is_due(gateway: Gateway, every_seconds: int) -> bool:
    """Tell whether the newest map is so old that the next one is due; whether anything changed, `publish` sees."""
    with gateway.store.reading() as session:
        newest = map_store.newest(session)
    return newest is None or int(gateway.clock().timestamp()) - newest.at >= every_seconds


def proof(session: Session, key: bytes) -> MapProof:
    """Return the proof of what the newest published map has for a chain."""
    return prove(key, partial(map_store.node, session), partial(map_store.leaves_between, session))


def _regrown(session: Session, grown: Sequence[MapLeaf]) -> dict[int, Subtree]:
    by_node: dict[int, dict[bytes, MapLeaf]] = {}
    for leaf in grown:
        by_node.setdefault(kept_node(leaf.key), {})[leaf.key] = leaf
    below = {}
    for number, fresh in by_node.items():
        held = {leaf.key: leaf for leaf in map_store.leaves_between(session, *bounds(number))} | fresh
        below[number] = subtree(sorted(held.values()))
    nodes = map_store.nodes(session)
    return regrow(below, lambda number: nodes.get(number, NOTHING))


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
