"""where consent was given, who spoke for a child, and which versions of a notice are material.

Revision ID: 0006
Revises: 0005
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    with op.batch_alter_table("consent_events", schema=None) as batch_op:
        batch_op.add_column(sa.Column("place", sa.String(length=128), nullable=True))
        batch_op.add_column(sa.Column("guardian", sa.BigInteger(), nullable=True))
        batch_op.create_index(batch_op.f("ix_consent_events_guardian"), ["guardian"], unique=False)
    with op.batch_alter_table("notices", schema=None) as batch_op:
        batch_op.add_column(sa.Column("material", sa.Boolean(), server_default=sa.false(), nullable=False))
        batch_op.add_column(sa.Column("purposes", sa.Text(), server_default="[]", nullable=False))


def downgrade() -> None:
    with op.batch_alter_table("notices", schema=None) as batch_op:
        batch_op.drop_column("purposes")
        batch_op.drop_column("material")
    with op.batch_alter_table("consent_events", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_consent_events_guardian"))
        batch_op.drop_column("guardian")
        batch_op.drop_column("place")
