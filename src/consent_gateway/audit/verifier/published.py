"""The map of chains as a file, held against the entry that published it and against maps that were kept.

The entry itself is checked by its receipt, or lies in a log that was checked. With `--strict` the check of a whole log
also counts, for every map, how many entries say that they are in a chain (`maps.SumCheck`). Whoever has files of maps
besides can see more of it (`MapFiles`): a chain that an erasure ended has, in every later map, the length that the
erasure says. If it has more, entries are hidden where nobody can open them, or somebody came back with a backup.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence

from consent_gateway.audit.entries import Entry, EntryKind, parse_entry
from consent_gateway.audit.maps import MAP_PUBLISHED, MapLeaf, check_growth, check_published, read_leaves, subtree
from consent_gateway.audit.merkle import HASH_BYTES
from consent_gateway.audit.verifier.findings import Finding, FoundError, parsed

Ended = tuple[tuple[bytes, int], ...]
"""The chains that an erasure ended: the key of each, and how many entries it has for good."""


def verify_published_map(entry: bytes, leaves: bytes, older: Sequence[bytes] = ()) -> Finding:
    """Check that a file of a map is the one that `entry` (`map.published`) records, and that no chain has shrunk.

    `older` are files of maps that were kept, each earlier than this one.
    """
    try:
        published = parse_entry(entry)
        if published.kind != MAP_PUBLISHED:
            return Finding(ok=False, code="map", message="the entry does not publish a map")
        chains = read_leaves(leaves)
        check_published(published.fields, chains)
        for kept in older:
            check_growth(read_leaves(kept), chains)
    except ValueError as error:
        return Finding(ok=False, code="map", message=str(error))
    count = sum(chain.entries for chain in chains)
    message = f"{len(chains)} chains with {count} entries, at {published.fields.get('size')} entries of the log"
    return Finding(ok=True, code="ok", message=message, details={"chains": len(chains), "entries": count})


def chains_ended(entry: Entry) -> Ended:
    """Return the chains that an entry ended, none unless it is an erasure; ValueError if they are not of their form."""
    if entry.kind is not EntryKind.SUBJECT_ERASED:
        return ()
    listed = entry.fields.get("chains")
    if not isinstance(listed, list):
        raise ValueError("an erasure does not list its chains")  # noqa: TRY004 - one error type for refusals
    return tuple(_ended(said) for said in listed)


def _ended(said: object) -> tuple[bytes, int]:
    match said:
        case {"chain": str(key), "count": int(count), **more} if not more and type(count) is int and count > 0:
            raw = bytes.fromhex(key)
            if len(raw) == HASH_BYTES and raw.hex() == key:
                return raw, count
    raise ValueError("an erasure does not list its chains")


class MapFiles:
    """Files of maps of one log; `published` and `ended` take what its entries say, in order, `check` compares."""

    def __init__(self, files: Sequence[bytes]) -> None:
        chains = [parsed("map", read_leaves, data) for data in files]
        self._leaves = {subtree(leaves).hash.hex(): leaves for leaves in chains}
        self._found: dict[str, tuple[int, Mapping[str, object]]] = {}
        self._ends: defaultdict[bytes, list[tuple[int, int]]] = defaultdict(list)

    def published(self, index: int, said: Mapping[str, object]) -> None:
        """Take what the entry at `index` says about the map that it publishes."""
        root = said["root"]
        if isinstance(root, str) and root in self._leaves:
            self._found.setdefault(root, (index, said))

    def ended(self, index: int, ended: Ended) -> None:
        """Take the chains that the entry at `index` ended."""
        for key, count in ended:
            self._ends[key].append((index, count))

    def check(self) -> None:
        """Raise FoundError unless the log published every file, and no chain has shrunk or gone on after its end."""
        if len(self._found) < len(self._leaves):
            raise FoundError("map", "a file of a map is none that this log has published")
        before: Sequence[MapLeaf] = ()
        for index, said in sorted(self._found.values(), key=lambda found: found[0]):
            leaves = self._leaves[str(said["root"])]
            try:
                check_published(said, leaves)
                check_growth(before, leaves)
            except ValueError as error:
                raise FoundError("map", str(error), index) from None
            self._check_ends(index, said["size"], {leaf.key: leaf.entries for leaf in leaves})
            before = leaves

    def _check_ends(self, index: int, size: object, held: Mapping[bytes, int]) -> None:
        for key, ends in self._ends.items():
            earlier = [end for end in ends if isinstance(size, int) and end[0] < size]
            if earlier and held.get(key, 0) != earlier[-1][1]:
                at, count = earlier[-1]
                message = (
                    f"the chain {key.hex()} has {held.get(key, 0)} entries in the map of entry {index}, "
                    f"but ended with {count} at entry {at}"
                )
                raise FoundError("map", message, at)
