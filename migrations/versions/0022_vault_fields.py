"""what the vault may hold of people: sensitive fields with their category, and for what a field is kept how long.

Revision ID: 0022
Revises: 0021
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0022"
down_revision = "0021"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "vault_fields",
        sa.Column("id", sa.String(length=63), nullable=False),
        sa.Column("category", sa.String(length=32), nullable=True),
        sa.Column("purposes", sa.Text(), nullable=False),
        sa.Column("retention", sa.String(length=16), server_default="", nullable=False),
        sa.Column("description", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_vault_fields")),
    )


def downgrade() -> None:
    op.drop_table("vault_fields")
