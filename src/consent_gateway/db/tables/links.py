"""What is stored about merges: each merge of two people, and who is served as whom because of the merges in force.

`subject_links` follows from the merges that were not undone (`db.merges` computes it); only a member that is not the
head of its cluster has a row, so that the table is empty where nobody was ever merged.
"""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, String, Table, Text

from consent_gateway.db.tables.base import Classes, key, metadata, row_id

merges = Table(
    "merges",
    metadata,
    key("id"),
    # The two subjects that were named, the smaller id first; a merge says that they are one person.
    Column("subject_id", BigInteger, nullable=False, index=True),
    Column("other_id", BigInteger, nullable=False, index=True),
    Column("reason", String(24), nullable=False),
    Column("rules", String(8), nullable=False),  # the version of the rules by which the result was computed
    Column("result", Text, nullable=False),  # JSON: each purpose on each channel before and after, and why
    Column("at", BigInteger, nullable=False),
    Column("undone_at", BigInteger),
    Column("undone_reason", String(24)),
    sqlite_autoincrement=True,
)

subject_links = Table(
    "subject_links",
    metadata,
    Column("subject_id", row_id(), primary_key=True, autoincrement=False),
    Column("head_id", BigInteger, nullable=False, index=True),
)

CLASSES: Classes = {
    "merges": {"pseudonymous": "id subject_id other_id reason rules result undone_reason", "time": "at undone_at"},
    "subject_links": {"pseudonymous": "subject_id head_id"},
}
