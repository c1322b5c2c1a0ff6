"""What records and receipts need to say and no decision reads: the controller, the parties, the processing."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, SmallInteger, String, Table, Text

from consent_gateway.db.tables.base import Classes, metadata

controller = Table(
    "controller",
    metadata,
    Column("id", SmallInteger, primary_key=True, autoincrement=False),  # 1: a deployment has one
    Column("name", Text, nullable=False),
    Column("country", String(6), nullable=False),
    Column("address", Text, nullable=False),
    Column("contact", Text, nullable=False),
    Column("email", Text, nullable=False),
    Column("phone", Text, nullable=False),
    Column("url", Text, nullable=False),
    Column("policy_url", Text, nullable=False),
    Column("representative", Text, nullable=False),
    Column("officer", Text, nullable=False),
    Column("authority", Text, nullable=False),
    Column("measures", Text, nullable=False),
    Column("registered_at", BigInteger, nullable=False),
)

recipient_parties = Table(
    "recipient_parties",
    metadata,
    Column("recipient", String(63), primary_key=True),
    Column("address", Text, nullable=False),
    Column("contact", Text, nullable=False),
    Column("email", Text, nullable=False),
    Column("phone", Text, nullable=False),
    Column("url", Text, nullable=False),
)

purpose_processing = Table(
    "purpose_processing",
    metadata,
    Column("purpose", String(63), primary_key=True),
    Column("data_categories", Text, nullable=False),  # JSON list of {type, optional, sensitive, special}
    Column("subject_categories", Text, nullable=False),  # JSON list
    Column("retention", String(16), nullable=False),  # ISO 8601 duration, or empty
    Column("retention_criteria", Text, nullable=False),
    Column("withdrawal_method", Text, nullable=False),
    Column("storage_locations", Text, nullable=False),  # JSON list of countries
    Column("recipients", Text, nullable=False),  # JSON list of recipient ids
    Column("service", Text, nullable=False),
)

_PARTY = "address contact email phone url"

CLASSES: Classes = {
    "controller": {
        "operator": f"id name country {_PARTY} policy_url representative officer authority measures",
        "time": "registered_at",
    },
    "recipient_parties": {"operator": f"recipient {_PARTY}"},
    "purpose_processing": {
        "operator": "purpose data_categories subject_categories retention retention_criteria withdrawal_method"
        " storage_locations recipients service",
    },
}
