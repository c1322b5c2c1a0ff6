"""the chains that entries of the log belong to: their heads, and which wait with a pending entry.

Revision ID: 0029
Revises: 0028
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0029"
down_revision = "0028"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("audit_pending", sa.Column("chains", sa.LargeBinary(), nullable=True))
    op.create_table(
        "audit_chains",
        sa.Column("chain_key", sa.LargeBinary(length=32), nullable=False),
        sa.Column("count", sa.BigInteger(), nullable=False),
        sa.Column("link", sa.LargeBinary(length=32), nullable=False),
        sa.PrimaryKeyConstraint("chain_key", name=op.f("pk_audit_chains")),
        sqlite_with_rowid=False,
    )


def downgrade() -> None:
    op.drop_table("audit_chains")
    op.drop_column("audit_pending", "chains")
