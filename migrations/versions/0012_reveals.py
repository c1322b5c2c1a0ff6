"""fields that a purpose may reveal, quotas, and canaries.

Revision ID: 0012
Revises: 0011
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("purposes", sa.Column("reveals", sa.Text(), server_default="[]", nullable=False))
    op.create_table(
        "quotas",
        sa.Column("principal", sa.String(length=63), nullable=False),
        sa.Column("kind", sa.String(length=8), nullable=False),
        sa.Column("per_hour", sa.Integer(), nullable=True),
        sa.Column("per_day", sa.Integer(), nullable=True),
        sa.Column("suspended_at", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("principal", "kind", name=op.f("pk_quotas")),
    )
    op.create_table(
        "quota_units",
        sa.Column("principal", sa.String(length=63), nullable=False),
        sa.Column("kind", sa.String(length=8), nullable=False),
        sa.Column("unit", sa.LargeBinary(length=32), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("principal", "kind", "unit", name=op.f("pk_quota_units")),
    )
    op.create_index("ix_quota_units_principal_kind_at", "quota_units", ["principal", "kind", "at"], unique=False)
    op.create_table(
        "canaries",
        sa.Column(
            "subject_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=False, nullable=False
        ),
        sa.Column("planted_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("subject_id", name=op.f("pk_canaries")),
    )


def downgrade() -> None:
    op.drop_table("canaries")
    op.drop_index("ix_quota_units_principal_kind_at", table_name="quota_units")
    op.drop_table("quota_units")
    op.drop_table("quotas")
    with op.batch_alter_table("purposes") as batch_op:
        batch_op.drop_column("reveals")
