"""A point of the fact space that was stored under an older vocabulary, read under this one.

Points are stored as bits, and the bits mean something under one vocabulary only. Beside them stands the vocabulary's
id, and the store keeps each vocabulary it ever used as a table of names and values. Reading goes by names: a fact that
is new since then takes the value that `facts` gives to whoever knows nothing of it (neutral where it restricts, absent
where it permits); a name or a value that is no longer known is an `UnknownFactError`, and nothing is guessed.

The digest of a point is computed under its own vocabulary, so that it is what the log's commitment opens to.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence

from consent_gateway.domain.purposes import PurposeKind
from consent_gateway.policies.facts import Question, Situation, build
from consent_gateway.policies.vocabulary import BY_NAME, FACTS, Facts, UnknownFactError

Table = Sequence[tuple[str, tuple[str, ...]]]
_ID_BYTES = 16


def current() -> Table:
    """Return the vocabulary of this software: the name and the values of each fact, in the order of their bits."""
    return [(fact.name, fact.values) for fact in FACTS]


def table_of(data: Sequence[tuple[str, Sequence[str]]]) -> Table:
    """Return a vocabulary that was kept as JSON."""
    return [(name, tuple(values)) for name, values in data]


def identify(table: Table) -> bytes:
    """Return the id of a vocabulary; that of `current` is `vocabulary.VOCABULARY`."""
    return hashlib.sha256(repr([(name, values) for name, values in table]).encode()).digest()[:_ID_BYTES]


def digest(table: Table, bits: int) -> str:
    """Return the digest of a point under its vocabulary; that under `current` is `Facts.digest`."""
    width = (sum(len(values) + 1 for _, values in table) + 7) // 8
    return hashlib.sha256(identify(table) + bits.to_bytes(width, "big")).hexdigest()


def values_of(table: Table, bits: int) -> dict[str, str]:
    """Return the value of each fact; raises `UnknownFactError` unless the bits are a point of the vocabulary."""
    found, rest = {}, bits
    for name, values in table:
        field = rest & ((1 << len(values)) - 1)
        if field.bit_count() != 1 or rest >> len(values) & 1:
            raise UnknownFactError("the stored facts are not a point of their vocabulary")
        found[name] = values[field.bit_length() - 1]
        rest >>= len(values) + 1
    if rest:
        raise UnknownFactError("the stored facts are not a point of their vocabulary")
    return found


def read(values: Mapping[str, str]) -> Facts:
    """Return the point of this vocabulary with these values; what is not among them is as nobody knew it."""
    unknown = next((name for name in values if name not in BY_NAME), None)
    if unknown is not None:
        raise UnknownFactError(f"there is no fact named {unknown!r} any more")
    return Facts.of({**dict(_UNKNOWN.items()), **values})


_UNKNOWN = build(Question(purpose_kind=PurposeKind.STORAGE), Situation())
