"""maps of chains that are written in parts: a leaf keeps what it was until the map of its attempt is published.

Revision ID: 0032
Revises: 0031
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0032"
down_revision = "0031"
branch_labels = None
depends_on = None


def upgrade() -> None:
    attempts = op.create_table(
        "audit_map_attempts",
        sa.Column("id", sa.SmallInteger(), autoincrement=False, nullable=False),
        sa.Column("attempt", sa.BigInteger(), nullable=False),
        sa.Column("moved_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_audit_map_attempts")),
    )
    op.bulk_insert(attempts, [{"id": 1, "attempt": 0, "moved_at": 0}])
    op.add_column("audit_map_leaves", sa.Column("was_count", sa.BigInteger(), server_default="0", nullable=False))
    op.add_column("audit_map_leaves", sa.Column("was_link", sa.LargeBinary(length=32), nullable=True))
    op.add_column("audit_map_leaves", sa.Column("attempt", sa.BigInteger(), server_default="0", nullable=False))
    op.add_column("audit_maps", sa.Column("attempt", sa.BigInteger(), server_default="0", nullable=False))


def downgrade() -> None:
    op.drop_column("audit_maps", "attempt")
    op.drop_column("audit_map_leaves", "attempt")
    op.drop_column("audit_map_leaves", "was_link")
    op.drop_column("audit_map_leaves", "was_count")
    op.drop_table("audit_map_attempts")
