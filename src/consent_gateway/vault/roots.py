"""The roots: independent random secrets from which every key of a gateway is derived.

One per use, because the holder of one must not get another's use (EDPB Guidelines 01/2025 sections 85-86:
pseudonymisation secrets are kept apart). `kek` (by epoch) and `index` (by generation) come and go; the four others
last as long as the gateway. Where roots rest one by one, each has a name: `kek/1`, `index/2`, `pseudonym`.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field

ROOT_BYTES = 32
MAX_NUMBER = (1 << 32) - 1
LASTING = ("pseudonym", "audit_commitment", "tombstone", "log_signing_seed")
_NUMBERED = re.compile(r"(kek|index)/([1-9][0-9]{0,9})", re.ASCII)


@dataclass(frozen=True, slots=True)
class Roots:
    """The secrets themselves, each 32 bytes; `kek` by epoch and `index` by generation, both from 1 upwards."""

    kek: Mapping[int, bytes] = field(repr=False)
    index: Mapping[int, bytes] = field(repr=False)
    pseudonym: bytes = field(repr=False)
    audit_commitment: bytes = field(repr=False)
    tombstone: bytes = field(repr=False)
    log_signing_seed: bytes = field(repr=False)

    @classmethod
    def fresh(cls) -> Roots:
        """Draw new roots: epoch 1, generation 1."""
        return cls({1: draw()}, {1: draw()}, draw(), draw(), draw(), draw())

    @classmethod
    def from_names(cls, named: Mapping[str, bytes]) -> Roots:
        """Return the roots of these names; `ValueError` for a name, a size or a set of names that cannot be."""
        held: dict[str, dict[int, bytes]] = {"kek": {}, "index": {}}
        for name in named.keys() - set(LASTING):
            use, number = split(name)
            held[use][number] = named[name]
        if not held["kek"] or not held["index"] or not named.keys() >= set(LASTING):
            raise ValueError("roots are missing")
        if any(len(root) != ROOT_BYTES for root in named.values()):
            raise ValueError("a root has another size")
        return cls(held["kek"], held["index"], **{name: named[name] for name in LASTING})

    def by_name(self) -> dict[str, bytes]:
        """Return every root under its name, sorted."""
        named = {name: getattr(self, name) for name in LASTING}
        named |= {f"kek/{number}": root for number, root in self.kek.items()}
        named |= {f"index/{number}": root for number, root in self.index.items()}
        return dict(sorted(named.items()))

    def lasting(self) -> tuple[bytes, ...]:
        """Return the four roots that never change, in a fixed order."""
        return (self.pseudonym, self.audit_commitment, self.tombstone, self.log_signing_seed)


def draw() -> bytes:
    """Return a new root."""
    return secrets.token_bytes(ROOT_BYTES)


def split(name: str) -> tuple[str, int]:
    """Return use and number of a root's name, number 0 for one that lasts; `ValueError` for any other text."""
    if name in LASTING:
        return name, 0
    found = _NUMBERED.fullmatch(name)
    if found is None or int(found[2]) > MAX_NUMBER:
        raise ValueError("not the name of a root")
    return found[1], int(found[2])
