"""Blind indexes: find a subject by an identifier that the database cannot read.

index = HMAC-SHA256(key of field and generation, frame(domain, field, normaliser version) | value), first 128 bits.
The keys come from the keyring's index roots and are never in the database, so a stolen dump yields no identifier
by dictionary. 128 bits keep a UNIQUE constraint honest: at 10^9 subjects a collision has odds of 1.5e-21. Field,
normaliser version and generation separate the domains: the same value never looks equal in two fields.

Only identifiers that are unique by nature may be indexed (`INDEXED_FIELDS`). An attribute with few values (gender,
city, birth year) would be read off the index by its frequencies, keyed or not, and is refused.

Rotation: rows carry their generation, and `domain.generations` says which one counts. The index bytes are those of a
pseudo-random function, so that their order says nothing of the order of the values.

A tombstone is a 256-bit HMAC of an erased identifier under its own root, and a lasting token a 128-bit one, under a key
of its own, of an identifier of somebody nobody knows: a no that waits, say. They carry neither generation nor
normaliser version, because nobody can compute them again, and they must still match whoever turns up.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.hmac import HMAC

from consent_gateway.vault.custody import Custody, custody_of
from consent_gateway.vault.derivation import frame
from consent_gateway.vault.failures import LowEntropyFieldError
from consent_gateway.vault.keyring import Keyring
from consent_gateway.vault.normalisers import VERSIONS

INDEXED_FIELDS = frozenset({"email", "phone", "member_no", "external_id", "device_id", "openid"})
INDEX_BYTES = 16

_INDEX_DOMAIN = b"consent-gateway/blind-index"
_TOMBSTONE_DOMAIN = b"consent-gateway/tombstone"
_STRANGER_DOMAIN = b"consent-gateway/stranger"
MIN_SAMPLE = 1_000
_MAX_TOP_SHARE = 0.01
_MIN_DISTINCT_SHARE = 0.5


@dataclass(frozen=True, slots=True)
class Leakage:
    """What equality alone would tell of a column: rows, distinct values, share of the most frequent, min-entropy."""

    rows: int
    distinct: int
    top_share: float
    min_entropy_bits: float


class _Macs:
    """What was prepared of one keyring; replaced as a whole, so that no MAC outlives its generation."""

    __slots__ = ("keyed", "keyring", "lasting")

    def __init__(self, keyring: Keyring) -> None:
        self.keyring = keyring
        self.keyed: dict[tuple[str, int, int], HMAC] = {}
        self.lasting: dict[tuple[bytes, str], HMAC] = {}


class BlindIndexer:
    """Computes index values and tombstones of normalised identifiers under the keyring in custody."""

    def __init__(self, held: Keyring | Custody) -> None:
        self._custody = custody_of(held)
        self._made = _Macs(self._custody.keyring)

    @property
    def _held(self) -> _Macs:
        keyring, made = self._custody.keyring, self._made
        if made.keyring is not keyring:
            made = self._made = _Macs(keyring)
        return made

    def index(self, field: str, value: str, generation: int | None = None, *, version: int | None = None) -> bytes:
        """Return the 16-byte index of a normalised `value`.

        `generation` and normaliser `version` are the current ones unless given. Raises `LowEntropyFieldError` for
        a field that is not declared, `KeyringError` for a generation whose key is gone.
        """
        mac = self._prepared(field, generation, version).copy()
        mac.update(value.encode())
        return mac.finalize()[:INDEX_BYTES]

    def index_many(self, field: str, values: Iterable[str], generation: int | None = None) -> list[bytes]:
        """Return the indexes of `values` in their order; errors as for `index`."""
        hasher = self.hasher(field, generation)
        return [hasher(value) for value in values]

    def hasher(
        self, field: str, generation: int | None = None, *, version: int | None = None
    ) -> Callable[[str], bytes]:
        """Return `index` of one field with its key prepared; for one batch, not to be kept. Errors as for `index`."""
        copy = self._prepared(field, generation, version).copy

        def index(value: str) -> bytes:
            mac = copy()
            mac.update(value.encode())
            return mac.finalize()[:INDEX_BYTES]

        return index

    def lookups(self, field: str, value: str) -> dict[int, bytes]:
        """Return the index of `value` under every generation that exists, newest first: what a query asks for."""
        return {held: self.index(field, value, held) for held in reversed(self._custody.keyring.generations)}

    def tombstone(self, field: str, value: str) -> bytes:
        """Return the 32-byte tombstone of a normalised `value`; `LowEntropyFieldError` as for `index`."""
        mac = self._lasting(_TOMBSTONE_DOMAIN, field).copy()
        mac.update(value.encode())
        return mac.finalize()

    def lasting(self, field: str, value: str) -> bytes:
        """Return the 16-byte lasting token of a normalised `value`; `LowEntropyFieldError` as for `index`."""
        mac = self._lasting(_STRANGER_DOMAIN, field).copy()
        mac.update(value.encode())
        return mac.finalize()[:INDEX_BYTES]

    def _lasting(self, domain: bytes, field: str) -> HMAC:
        held = self._held
        keyed = held.lasting.get((domain, field))
        if keyed is None:
            _require_declared(field)
            strangers = domain is _STRANGER_DOMAIN
            key = held.keyring.stranger_key(field) if strangers else held.keyring.tombstone_key(field)
            keyed = HMAC(key, SHA256())
            keyed.update(frame(domain, field.encode()))
            held.lasting[domain, field] = keyed
        return keyed

    def _prepared(self, field: str, generation: int | None, version: int | None) -> HMAC:
        _require_declared(field)
        held = self._held
        current = held.keyring.current_generation if generation is None else generation
        which = (field, current, VERSIONS[field] if version is None else version)
        keyed = held.keyed.get(which)
        if keyed is None:
            keyed = HMAC(held.keyring.index_key(field, which[1]), SHA256())
            keyed.update(frame(_INDEX_DOMAIN, field.encode(), which[2].to_bytes(4, "big")))
            held.keyed[which] = keyed
        return keyed


def measure_leakage(values: Iterable[str]) -> Leakage:
    """Measure what an equality index over `values` would reveal; min-entropy = -log2 of the top share."""
    counts = Counter(values)
    rows = counts.total()
    top = max(counts.values()) / rows if rows else 1.0
    return Leakage(rows, len(counts), top, -math.log2(top))


def objections(found: Leakage) -> tuple[str, ...]:
    """Return why a column of such leakage must not be blind-indexed; empty for one that looks like an identifier.

    An identifier has at least 1,000 rows to judge by, at least half of them distinct, and no value above 1 % of them.
    """
    said = {
        f"fewer than {MIN_SAMPLE:,} values are too few to judge by": found.rows < MIN_SAMPLE,
        "fewer than half of the values are distinct": found.distinct < found.rows * _MIN_DISTINCT_SHARE,
        "one value makes up more than 1 % of them": found.top_share > _MAX_TOP_SHARE,
    }
    return tuple(reason for reason, holds in said.items() if holds)


def lint_field(values: Iterable[str]) -> Leakage:
    """Return the leakage of a sample, or raise `LowEntropyFieldError` if `objections` has any."""
    found = measure_leakage(values)
    if objections(found):
        raise LowEntropyFieldError("The sample's values repeat too often, or are too few, for a blind index")
    return found


def _require_declared(field: str) -> None:
    if field not in INDEXED_FIELDS:
        raise LowEntropyFieldError("The field is not declared as a unique identifier")
