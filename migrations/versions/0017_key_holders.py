"""which process holds which key epochs, and which epochs are no more.

Revision ID: 0017
Revises: 0016
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0017"
down_revision = "0016"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "key_holders",
        sa.Column("holder", sa.String(length=32), nullable=False),
        sa.Column("epochs", sa.Text(), nullable=False),
        sa.Column("seen_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("holder", name=op.f("pk_key_holders")),
    )
    op.create_table(
        "key_destructions",
        sa.Column("epoch", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("approval", sa.String(length=32), nullable=False),
        sa.Column("decided_at", sa.BigInteger(), nullable=False),
        sa.Column("destroyed_at", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("epoch", name=op.f("pk_key_destructions")),
    )


def downgrade() -> None:
    op.drop_table("key_destructions")
    op.drop_table("key_holders")
