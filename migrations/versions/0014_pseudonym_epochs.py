"""pseudonym epochs: which one a sector of recipients is at, and until when the former ones count.

Revision ID: 0014
Revises: 0013
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "pseudonym_epochs",
        sa.Column("sector", sa.String(length=63), nullable=False),
        sa.Column("epoch", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("begun_at", sa.BigInteger(), nullable=True),
        sa.Column("counts_until", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("sector", "epoch", name=op.f("pk_pseudonym_epochs")),
    )


def downgrade() -> None:
    op.drop_table("pseudonym_epochs")
