"""how much of a window for revealing many is used.

Revision ID: 0018
Revises: 0017
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0018"
down_revision = "0017"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "reveal_windows",
        sa.Column("approval", sa.String(length=32), nullable=False),
        sa.Column("used", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("approval", name=op.f("pk_reveal_windows")),
    )


def downgrade() -> None:
    op.drop_table("reveal_windows")
