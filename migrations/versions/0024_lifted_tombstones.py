"""why each tombstone was set, and since when it is lifted: who was erased may come back by an act of their own.

The reasons of erasures so far are in their lines. Of a tombstone without a line nobody knows the reason any more; it
counts as one by right.

Revision ID: 0024
Revises: 0023
"""

from __future__ import annotations

import json

import sqlalchemy as sa
from alembic import op

revision = "0024"
down_revision = "0023"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("tombstones", sa.Column("reason", sa.String(length=24), server_default="", nullable=False))
    op.add_column("tombstones", sa.Column("lifted_at", sa.BigInteger(), nullable=True))
    op.create_index(op.f("ix_tombstones_lifted_at"), "tombstones", ["lifted_at"])
    connection = op.get_bind()
    lines = [
        json.loads(bytes(row.line)) for row in connection.execute(sa.text("SELECT line FROM erasures ORDER BY id"))
    ]
    reasons = [
        {"token": bytes.fromhex(token), "reason": line["reason"]} for line in lines for _, token in line["points"]
    ]
    if reasons:
        connection.execute(sa.text("UPDATE tombstones SET reason = :reason WHERE token = :token"), reasons)


def downgrade() -> None:
    op.drop_index(op.f("ix_tombstones_lifted_at"), table_name="tombstones")
    with op.batch_alter_table("tombstones") as batch_op:
        batch_op.drop_column("lifted_at")
        batch_op.drop_column("reason")
