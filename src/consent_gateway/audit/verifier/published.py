"""The map of chains as a file, held against the entry that published it and against maps that were kept.

The entry itself is checked by its receipt, or lies in a log that was checked. With `--strict` the check of a whole log
also counts, for every map, how many entries say that they are in a chain (`maps.SumCheck`).
"""

from __future__ import annotations

from collections.abc import Sequence

from consent_gateway.audit.entries import parse_entry
from consent_gateway.audit.maps import MAP_PUBLISHED, check_growth, check_published, read_leaves
from consent_gateway.audit.verifier.findings import Finding


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
