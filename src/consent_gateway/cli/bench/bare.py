"""What taking in a person cannot do without: the cryptography, and the inserts of the rows that come of it.

Both are done as the gateway does them, a batch at a time, with nothing around them: no checks, no joining, no entry.
"""

from __future__ import annotations

from collections.abc import Sequence
from time import perf_counter
from typing import Any

from consent_gateway.cli.bench.crowd import Customer
from consent_gateway.cli.bench.raw import Raw
from consent_gateway.db.subjects import SealedGroup, Token
from consent_gateway.domain.generations import Generations
from consent_gateway.domain.ids import SubjectId
from consent_gateway.services.work.gateway import Gateway
from consent_gateway.services.work.vault import CONTACT, PROFILE
from consent_gateway.vault.normal_forms import Normalised
from consent_gateway.vault.normalisers import normalise

Tables = dict[str, tuple[tuple[str, ...], list[tuple[Any, ...]]]]
Sealed = tuple[dict[SubjectId, list[Token]], list[tuple[SubjectId, bytes]], list[SealedGroup]]
Input = tuple[Customer, list[Normalised]]
_COLUMNS = {
    "subjects": ("id", "created_at", "regions", "birth_month"),
    "subject_keys": ("subject_id", "wrapped_dek"),
    "identifiers": ("subject_id", "kind", "generation", "token", "suppressed"),
    "sealed_groups": ("subject_id", "name", "schema_version", "row_version", "sealed"),
    "subject_sources": ("subject_id", "source", "last_at"),
    "audience_rows": ("subject_id", "regions", "birth_month", "flags"),
}


def inputs(people: Sequence[Customer]) -> list[Input]:
    """Return customers with the normal forms of their identifiers."""
    return [(person, _forms(person)) for person in people]


def _forms(person: Customer) -> list[Normalised]:
    forms = [normalise(kind, value) for kind, value in person.identifiers.items()]
    return [form for form in forms if isinstance(form, Normalised)]


def crypto(gateway: Gateway, people: Sequence[Input]) -> Sealed:
    """Give each a data key, two sealed groups and a keyed hash of each identifier."""
    token = gateway.vault.tokens(Generations().counts)
    tokens = {_id(person): [token(form) for form in forms] for person, forms in people}
    contents: dict[SubjectId, dict[str, dict[str, Any]]] = {
        _id(person): {
            CONTACT: {"points": [[form.kind, form.value] for form in forms]},
            PROFILE: {"family_name": person.family_name},
        }
        for person, forms in people
    }
    return tokens, *gateway.vault.new_people(contents, 1)


def crypto_rate(gateway: Gateway, people: Sequence[Input], size: int) -> float:
    """Return how many people a second `crypto` takes, `size` at a time."""
    begun = perf_counter()
    for at in range(0, len(people), size):
        crypto(gateway, people[at : at + size])
    return len(people) / (perf_counter() - begun)


def rows(gateway: Gateway, people: Sequence[Input], source: str) -> Tables:
    """Return the rows of people by table: those that the gateway writes of them."""
    tokens, keys, groups = crypto(gateway, people)
    values: dict[str, list[tuple[Any, ...]]] = {
        "subjects": [(_id(person), 0, person.country, None) for person, _ in people],
        "subject_keys": [tuple(key) for key in keys],
        "identifiers": [(i, t.kind, 1, t.value, False) for i, found in tokens.items() for t in found],
        "sealed_groups": [(g.subject_id, g.name, g.schema_version, g.row_version, g.sealed) for g in groups],
        "subject_sources": [(_id(person), source, 0) for person, _ in people],
        "audience_rows": [(_id(person), person.country, None, 0) for person, _ in people],
    }
    return {table: (names, values[table]) for table, names in _COLUMNS.items()}


def insert_rate(raw: Raw, batches: Sequence[Tables]) -> float:
    """Return how many people a second the driver inserts, in the transactions of the gateway."""
    begun = perf_counter()
    for batch in batches:
        with raw.transaction() as cursor:
            for table, (names, found) in batch.items():
                raw.insert(cursor, table, names, found)
    return sum(len(batch["subjects"][1]) for batch in batches) / (perf_counter() - begun)


def _id(person: Customer) -> SubjectId:
    return SubjectId(person.number + 1)
