"""signals: what browsers and consent platforms said, and how TCF numbers are read.

Revision ID: 0007
Revises: 0006
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "signals",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=True, nullable=False),
        sa.Column("subject_id", sa.BigInteger(), nullable=True),
        sa.Column("identifier_kind", sa.String(length=16), nullable=True),
        sa.Column("token", sa.LargeBinary(length=16), nullable=True),
        sa.Column("kind", sa.String(length=8), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("source", sa.String(length=63), nullable=False),
        sa.Column("sealed", sa.LargeBinary(), nullable=False),
        sa.Column("displayed", sa.Boolean(), nullable=True),
        sa.Column("effects", sa.Text(), nullable=False),
        sa.Column("received_at", sa.BigInteger(), nullable=False),
        sa.Column("linked_at", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_signals")),
    )
    op.create_index(op.f("ix_signals_subject_id"), "signals", ["subject_id"], unique=False)
    op.create_index("ix_signals_identifier_kind_token", "signals", ["identifier_kind", "token"], unique=False)
    op.create_table(
        "signal_mappings",
        sa.Column("kind", sa.String(length=8), nullable=False),
        sa.Column("rule", sa.SmallInteger(), autoincrement=False, nullable=False),
        sa.Column("number", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("purpose", sa.String(length=63), nullable=True),
        sa.Column("channel", sa.String(length=16), nullable=True),
        sa.Column("recipient", sa.String(length=63), nullable=True),
        sa.PrimaryKeyConstraint("kind", "rule", "number", name=op.f("pk_signal_mappings")),
    )


def downgrade() -> None:
    op.drop_table("signal_mappings")
    op.drop_index("ix_signals_identifier_kind_token", table_name="signals")
    op.drop_index(op.f("ix_signals_subject_id"), table_name="signals")
    op.drop_table("signals")
