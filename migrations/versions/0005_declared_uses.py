"""what registers declare about uses: marks, sensitive categories, further bases, destinations, exports.

Revision ID: 0005
Revises: 0004
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("purposes", sa.Column("marks", sa.Text(), server_default="[]", nullable=False))
    op.add_column("purposes", sa.Column("sensitive", sa.Text(), server_default="[]", nullable=False))
    op.add_column("purposes", sa.Column("bases", sa.Text(), server_default="[]", nullable=False))
    op.add_column("purposes", sa.Column("requested", sa.String(length=63), nullable=True))
    op.add_column("recipients", sa.Column("destination", sa.String(length=24), nullable=True))
    op.add_column("traits", sa.Column("sensitive", sa.String(length=63), nullable=True))
    op.create_table(
        "exports",
        sa.Column("year", sa.SmallInteger(), autoincrement=False, nullable=False),
        sa.Column("people", sa.BigInteger(), nullable=False),
        sa.Column("sensitive_people", sa.BigInteger(), nullable=False),
        sa.Column("declared_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("year", name=op.f("pk_exports")),
    )


def downgrade() -> None:
    op.drop_table("exports")
    with op.batch_alter_table("traits") as batch_op:
        batch_op.drop_column("sensitive")
    with op.batch_alter_table("recipients") as batch_op:
        batch_op.drop_column("destination")
    with op.batch_alter_table("purposes") as batch_op:
        for name in ("requested", "bases", "sensitive", "marks"):
            batch_op.drop_column(name)
