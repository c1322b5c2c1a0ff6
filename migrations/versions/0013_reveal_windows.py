"""how much of a window for revealing many is used.

Revision ID: 0013
Revises: 0012
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"
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
