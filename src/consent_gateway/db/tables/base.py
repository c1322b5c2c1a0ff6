"""What every table is made with: the metadata, the shared column forms, and the sizes of the audience row."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Integer, MetaData
from sqlalchemy.types import TypeEngine

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)

CONSENT_SLOTS = 16  # enabled purpose x channel pairs
NUMBER_SLOTS = 12  # traits that are numbers, dates, booleans or event aggregates
TEXT_SLOTS = 4  # traits with a short list of values
NEWEST_CONTACTS = 4  # a rolling cap of up to this many per window is exact
LAST_NOES = ("opted_out_at", "refused_at", "revoked_email", "revoked_phone", "confirmed_email", "confirmed_phone")
CAPPED_CHANNELS = ("email", "sms", "call", "post", "push")


def row_id() -> TypeEngine[int]:
    """Return the type of a row's number: 64 bits on both stores."""
    # SQLite's rowid alias must be spelt INTEGER; PostgreSQL wants 64 bits.
    return BigInteger().with_variant(Integer(), "sqlite")


def key(name: str) -> Column[int]:
    """Return a primary key that the store numbers."""
    return Column(name, row_id(), primary_key=True, autoincrement=True)


def big(name: str, *, default: int | None = None) -> Column[int]:
    """Return a 64-bit column: NULL where nothing is known, or with a default."""
    if default is None:
        return Column(name, BigInteger, nullable=True)
    return Column(name, BigInteger, nullable=False, server_default=str(default))


Classes = dict[str, dict[str, str]]
"""What each column of a table holds: table to class to the names of its columns. The classes are

operator          what the operator registered or configured; about no customer
pseudonymous      about one person, who is named by a number alone
identifier-hash   keyed hash of an identifier (a key outside the database)
credential-hash   hash of an API key
ciphertext        sealed by the vault; without the keyring, noise
log               part of the audit log: commitments, no personal data
operational       counts, references and replies of the gateway itself; no values of people
time              an instant
"""
