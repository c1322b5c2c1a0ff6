"""how fast a job over keys may go and until when it rests, and the generations of the index whose key is to go.

Revision ID: 0023
Revises: 0022
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0023"
down_revision = "0022"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("key_jobs", sa.Column("rate", sa.Integer(), nullable=True))
    op.add_column("key_jobs", sa.Column("rests_until", sa.BigInteger(), nullable=True))
    op.create_table(
        "index_destructions",
        sa.Column("generation", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("approval", sa.String(length=32), nullable=False),
        sa.Column("decided_at", sa.BigInteger(), nullable=False),
        sa.Column("destroyed_at", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("generation", name=op.f("pk_index_destructions")),
    )


def downgrade() -> None:
    op.drop_table("index_destructions")
    with op.batch_alter_table("key_jobs") as batch_op:
        batch_op.drop_column("rests_until")
        batch_op.drop_column("rate")
