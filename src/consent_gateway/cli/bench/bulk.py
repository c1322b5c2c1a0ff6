"""Filling a store with people straight into its tables: what months of imports and consents would have left there.

Written are the tables that decisions and audiences read: the people, their wrapped data keys (real ones, so that
commitments in the log are real), and their audience rows.
"""

from __future__ import annotations

from typing import Any

from consent_gateway.cli.bench.crowd import Columns
from consent_gateway.cli.bench.raw import Raw
from consent_gateway.domain.ids import SubjectId
from consent_gateway.services.work.gateway import Gateway

_CHUNK = 10_000


def fill(gateway: Gateway, people: int) -> None:
    """Write `people` people, with the ids from 1 on, into an empty store."""
    with gateway.look() as work:
        traits = {str(name): trait.slot for name, trait in work.registers.traits.items()}
        columns = Columns(traits, sorted(work.registers.slots.values()), work.now)
    raw = Raw(gateway.store)
    for first in range(1, people + 1, _CHUNK):
        numbers = range(first, min(first + _CHUNK, people + 1))
        rows = [columns.row(number) for number in numbers]
        raw.load("subjects", ("id", "created_at", "regions", "birth_month"), [_person(r, columns.now) for r in rows])
        raw.load("subject_keys", ("subject_id", "wrapped_dek"), [_key(gateway, number) for number in numbers])
        raw.load("audience_rows", columns.names(), rows)
    if not raw.is_sqlite:
        raw.all("SELECT setval(pg_get_serial_sequence('subjects', 'id'), %s)", (people,))
    raw.settle()
    raw.close()


def _person(row: tuple[Any, ...], now: int) -> tuple[Any, ...]:
    number, region, born, *_ = row
    return number, now, region, born


def _key(gateway: Gateway, number: int) -> tuple[int, bytes]:
    return number, gateway.vault.new_key(SubjectId(number), 1)[1]
