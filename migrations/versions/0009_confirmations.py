"""second steps that wait for their token, and notices that people were shown.

Revision ID: 0009
Revises: 0008
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "consent_confirmations",
        sa.Column("token_hash", sa.LargeBinary(length=32), nullable=False),
        sa.Column("subject_id", sa.BigInteger(), nullable=False),
        sa.Column("event_id", sa.BigInteger(), nullable=False),
        sa.Column("expires_at", sa.BigInteger(), nullable=False),
        sa.Column("confirmed_at", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("token_hash", name=op.f("pk_consent_confirmations")),
    )
    op.create_index(op.f("ix_consent_confirmations_subject_id"), "consent_confirmations", ["subject_id"], unique=False)
    op.create_table(
        "notice_views",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=True, nullable=False),
        sa.Column("subject_id", sa.BigInteger(), nullable=False),
        sa.Column("notice", sa.String(length=63), nullable=False),
        sa.Column("notice_version", sa.Integer(), nullable=False),
        sa.Column("language", sa.String(length=35), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("place", sa.String(length=128), nullable=True),
        sa.Column("source", sa.String(length=63), nullable=False),
        sa.Column("received_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_notice_views")),
    )
    op.create_index(op.f("ix_notice_views_subject_id"), "notice_views", ["subject_id"], unique=False)


def downgrade() -> None:
    op.drop_index(op.f("ix_notice_views_subject_id"), table_name="notice_views")
    op.drop_table("notice_views")
    op.drop_index(op.f("ix_consent_confirmations_subject_id"), table_name="consent_confirmations")
    op.drop_table("consent_confirmations")
