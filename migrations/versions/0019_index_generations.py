"""index_generations: the blind index can move to another key; what is kept of strangers gets lasting tokens.

What strangers left so far carries tokens of generation 1 and stays findable by it; its number is written down, so that
the key of generation 1 is not destroyed while such a row is left. A contact point remembers whether it was on the
suppression list: the list's tokens are no longer those of the index.

Revision ID: 0019
Revises: 0018
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0019"
down_revision = "0018"
branch_labels = None
depends_on = None

_STRANGERS = ("suppressions", "waiting_opt_outs", "quarantine_identifiers", "signals")


def upgrade() -> None:
    op.create_table(
        "index_generations",
        sa.Column("generation", sa.SmallInteger(), autoincrement=False, nullable=False),
        sa.Column("state", sa.String(length=8), nullable=False),
        sa.Column("versions", sa.Text(), nullable=False),
        sa.Column("position", sa.BigInteger(), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("generation", name=op.f("pk_index_generations")),
        sa.UniqueConstraint("state", name=op.f("uq_index_generations_state")),
    )
    op.add_column("identifiers", sa.Column("point", sa.BigInteger(), nullable=True))
    op.add_column("identifiers", sa.Column("suppressed", sa.Boolean(), server_default=sa.false(), nullable=False))
    op.execute(
        "UPDATE identifiers SET suppressed = true WHERE EXISTS (SELECT 1 FROM suppressions s"
        " WHERE s.kind = identifiers.kind AND s.token = identifiers.token)"
    )
    op.execute("UPDATE signals SET token = NULL WHERE subject_id IS NOT NULL")
    for table in _STRANGERS:
        op.add_column(table, sa.Column("generation", sa.SmallInteger(), nullable=True))
        op.execute(f"UPDATE {table} SET generation = 1 WHERE token IS NOT NULL")  # noqa: S608 - the names above


def downgrade() -> None:
    for table in _STRANGERS:
        op.drop_column(table, "generation")
    op.drop_column("identifiers", "suppressed")
    op.drop_column("identifiers", "point")
    op.drop_table("index_generations")
