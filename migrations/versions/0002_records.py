"""what records and receipts say: the controller, the parties, the processing.

Revision ID: 0002
Revises: 0001
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

_PARTY = ("address", "contact", "email", "phone", "url")


def upgrade() -> None:
    op.create_table(
        "controller",
        sa.Column("id", sa.SmallInteger(), autoincrement=False, nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("country", sa.String(length=6), nullable=False),
        *_texts(*_PARTY, "policy_url", "representative", "officer", "authority", "measures"),
        sa.Column("registered_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_controller")),
    )
    op.create_table(
        "recipient_parties",
        sa.Column("recipient", sa.String(length=63), nullable=False),
        *_texts(*_PARTY),
        sa.PrimaryKeyConstraint("recipient", name=op.f("pk_recipient_parties")),
    )
    op.create_table(
        "purpose_processing",
        sa.Column("purpose", sa.String(length=63), nullable=False),
        *_texts("data_categories", "subject_categories"),
        sa.Column("retention", sa.String(length=16), nullable=False),
        *_texts("retention_criteria", "withdrawal_method", "storage_locations", "recipients", "service"),
        sa.PrimaryKeyConstraint("purpose", name=op.f("pk_purpose_processing")),
    )


def downgrade() -> None:
    op.drop_table("purpose_processing")
    op.drop_table("recipient_parties")
    op.drop_table("controller")


def _texts(*names: str) -> tuple[sa.Column, ...]:
    return tuple(sa.Column(name, sa.Text(), nullable=False) for name in names)
