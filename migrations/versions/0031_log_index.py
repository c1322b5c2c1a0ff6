"""the index of the log: which entries of each 256 have a kind, an actor, a purpose, an action.

Revision ID: 0031
Revises: 0030
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0031"
down_revision = "0030"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "audit_index",
        sa.Column("term", sa.String(length=160), nullable=False),
        sa.Column("block", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("bits", sa.LargeBinary(length=32), nullable=False),
        sa.PrimaryKeyConstraint("term", "block", name=op.f("pk_audit_index")),
    )
    op.create_table(
        "audit_index_blocks",
        sa.Column("block", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("min_at", sa.BigInteger(), nullable=False),
        sa.Column("max_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("block", name=op.f("pk_audit_index_blocks")),
    )


def downgrade() -> None:
    op.drop_table("audit_index_blocks")
    op.drop_table("audit_index")
