"""epochs of the log, its copies outside of the store, and what witnesses signed.

Revision ID: 0026
Revises: 0025
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0026"
down_revision = "0025"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "log_epochs",
        sa.Column("epoch", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("origin", sa.String(length=160), nullable=False),
        sa.Column("vkey", sa.String(length=320), nullable=False),
        sa.Column("reason", sa.String(length=63), nullable=False),
        sa.Column("surviving", sa.BigInteger(), nullable=False),
        sa.Column("lost_from", sa.BigInteger(), nullable=True),
        sa.Column("lost_until", sa.BigInteger(), nullable=True),
        sa.Column("statement", sa.LargeBinary(), nullable=False),
        sa.Column("entry_uid", sa.LargeBinary(length=16), nullable=False),
        sa.Column("opened_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("epoch", name=op.f("pk_log_epochs")),
    )
    op.create_table(
        "log_copies",
        sa.Column("place", sa.String(length=64), nullable=False),
        sa.Column("name", sa.String(length=32), nullable=False),
        sa.Column("kept_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("place", name=op.f("pk_log_copies")),
    )
    op.create_table(
        "log_witnesses",
        sa.Column("witness", sa.String(length=64), nullable=False),
        sa.Column("origin", sa.String(length=160), nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("cosigned_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("witness", "origin", name=op.f("pk_log_witnesses")),
    )
    op.create_table(
        "log_witnessed",
        sa.Column("id", sa.SmallInteger(), autoincrement=False, nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("checkpoint", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_log_witnessed")),
    )


def downgrade() -> None:
    op.drop_table("log_witnessed")
    op.drop_table("log_witnesses")
    op.drop_table("log_copies")
    op.drop_table("log_epochs")
