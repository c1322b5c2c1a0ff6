"""room for the longest legal basis: `recognised_legitimate_interest` has 30 characters.

Revision ID: 0010
Revises: 0009
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

_COLUMNS = {"purposes": False, "audiences": True}  # whether it may be NULL
_NARROW, _WIDE = sa.String(length=24), sa.String(length=32)


def upgrade() -> None:
    for table, nullable in _COLUMNS.items():
        with op.batch_alter_table(table) as batch_op:
            batch_op.alter_column("basis", existing_type=_NARROW, type_=_WIDE, existing_nullable=nullable)


def downgrade() -> None:
    for table, nullable in _COLUMNS.items():
        with op.batch_alter_table(table) as batch_op:
            batch_op.alter_column("basis", existing_type=_WIDE, type_=_NARROW, existing_nullable=nullable)
