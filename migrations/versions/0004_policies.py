"""pack texts, activations, and what past answers were computed from.

Revision ID: 0004
Revises: 0003
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "decision_facts",
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.Column("vocabulary", sa.String(length=32), nullable=False),
        sa.Column("bits", sa.Text(), nullable=False),
        sa.Column("recorded_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("digest", name=op.f("pk_decision_facts")),
    )
    op.create_table(
        "policy_activations",
        sa.Column("number", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("name", sa.String(length=63), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.Column("effective_at", sa.BigInteger(), nullable=False),
        sa.Column("proposed_by", sa.String(length=63), nullable=False),
        sa.Column("approved_by", sa.String(length=63), nullable=False),
        sa.Column("activated_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("number", name=op.f("pk_policy_activations")),
    )
    op.create_table(
        "policy_sets",
        sa.Column("digest", sa.String(length=32), nullable=False),
        sa.Column("members", sa.Text(), nullable=False),
        sa.Column("recorded_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("digest", name=op.f("pk_policy_sets")),
    )
    op.create_table(
        "policy_shadow_counts",
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.Column("purpose", sa.String(length=63), nullable=False),
        sa.Column("channel", sa.String(length=16), nullable=False),
        sa.Column("recipient", sa.String(length=63), nullable=False),
        sa.Column("change", sa.String(length=24), nullable=False),
        sa.Column("reason", sa.String(length=63), nullable=False),
        sa.Column("would_be", sa.String(length=63), nullable=False),
        sa.Column("questions", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint(
            "sha256",
            "purpose",
            "channel",
            "recipient",
            "change",
            "reason",
            "would_be",
            name=op.f("pk_policy_shadow_counts"),
        ),
    )
    op.create_table(
        "policy_texts",
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.Column("name", sa.String(length=63), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.Column("recorded_at", sa.BigInteger(), nullable=False),
        sa.Column("proposed_by", sa.String(length=63), nullable=True),
        sa.Column("proposed_at", sa.BigInteger(), nullable=True),
        sa.Column("shadow", sa.Boolean(), nullable=False),
        sa.Column("shadow_since", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("sha256", name=op.f("pk_policy_texts")),
    )
    op.create_table(
        "vocabularies",
        sa.Column("id", sa.String(length=32), nullable=False),
        sa.Column("facts", sa.Text(), nullable=False),
        sa.Column("recorded_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_vocabularies")),
    )


def downgrade() -> None:
    op.drop_table("vocabularies")
    op.drop_table("policy_texts")
    op.drop_table("policy_shadow_counts")
    op.drop_table("policy_sets")
    op.drop_table("policy_activations")
    op.drop_table("decision_facts")
