"""The law as it was and is: pack texts, their activations, and what past answers were computed from."""

from __future__ import annotations

from sqlalchemy import BigInteger, Boolean, Column, Integer, String, Table, Text

from consent_gateway.db.tables.base import Classes, metadata

policy_texts = Table(
    "policy_texts",
    metadata,
    Column("sha256", String(64), primary_key=True),
    Column("name", String(63), nullable=False),
    Column("version", Integer, nullable=False),  # 0 for the catalogue of reasons
    Column("text", Text, nullable=False),
    Column("recorded_at", BigInteger, nullable=False),
    Column("proposed_by", String(63)),  # set while a proposal is open
    Column("proposed_at", BigInteger),
    Column("shadow", Boolean, nullable=False),
    Column("shadow_since", BigInteger),
)

policy_activations = Table(
    "policy_activations",
    metadata,
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("name", String(63), nullable=False),
    Column("version", Integer, nullable=False),
    Column("sha256", String(64), nullable=False),
    Column("effective_at", BigInteger, nullable=False),
    Column("proposed_by", String(63), nullable=False),
    Column("approved_by", String(63), nullable=False),
    Column("activated_at", BigInteger, nullable=False),
)

policy_sets = Table(
    "policy_sets",
    metadata,
    Column("digest", String(32), primary_key=True),
    Column("members", Text, nullable=False),  # canonical JSON: name to SHA-256 of the text
    Column("recorded_at", BigInteger, nullable=False),
)

vocabularies = Table(
    "vocabularies",
    metadata,
    Column("id", String(32), primary_key=True),
    Column("facts", Text, nullable=False),  # JSON: names and values in the order of their bits
    Column("recorded_at", BigInteger, nullable=False),
)

decision_facts = Table(
    "decision_facts",
    metadata,
    Column("digest", String(64), primary_key=True),
    Column("vocabulary", String(32), nullable=False),
    Column("bits", Text, nullable=False),  # hexadecimal: a class of facts, no person
    Column("recorded_at", BigInteger, nullable=False),
)

policy_shadow_counts = Table(
    "policy_shadow_counts",
    metadata,
    Column("sha256", String(64), primary_key=True),
    Column("purpose", String(63), primary_key=True),
    Column("channel", String(16), primary_key=True),
    Column("recipient", String(63), primary_key=True),
    Column("change", String(24), primary_key=True),
    Column("reason", String(63), primary_key=True),  # of the answer that was given
    Column("would_be", String(63), primary_key=True),  # of the candidate's
    Column("questions", BigInteger, nullable=False),
)

CLASSES: Classes = {
    "policy_texts": {
        "operator": "sha256 name version text proposed_by shadow",
        "time": "recorded_at proposed_at shadow_since",
    },
    "policy_activations": {
        "operator": "number name version sha256 proposed_by approved_by",
        "time": "effective_at activated_at",
    },
    "policy_sets": {"operator": "digest members", "time": "recorded_at"},
    "vocabularies": {"operational": "id facts", "time": "recorded_at"},
    "decision_facts": {"operational": "digest vocabulary bits", "time": "recorded_at"},
    "policy_shadow_counts": {"operational": "sha256 purpose channel recipient change reason would_be questions"},
}
