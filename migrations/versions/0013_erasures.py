"""erasures, each with the line that the tombstone file keeps; tombstones from before get lines of their own.

Revision ID: 0013
Revises: 0012
"""

from __future__ import annotations

import json

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None

_UID = 16


def upgrade() -> None:
    table = op.create_table(
        "erasures",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=True, nullable=False),
        sa.Column("uid", sa.LargeBinary(length=16), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("line", sa.LargeBinary(), nullable=False),
        sa.Column("filed_at", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_erasures")),
        sa.UniqueConstraint("uid", name=op.f("uq_erasures_uid")),
    )
    op.create_index(op.f("ix_erasures_filed_at"), "erasures", ["filed_at"], unique=False)
    if op.get_context().as_sql or table is None:
        return
    # Nobody can say any more which tombstones belong together: each becomes a line about no subject.
    found = op.get_bind().execute(sa.text("SELECT token, kind, erased_at FROM tombstones ORDER BY erased_at")).all()
    rows = [_row(bytes(token), kind, at) for token, kind, at in found]
    if rows:
        op.bulk_insert(table, rows)


def _row(token: bytes, kind: str, at: int) -> dict[str, object]:
    line = {
        "at": at,
        "last_id": 0,
        "points": [[kind, token.hex()]],
        "reason": "request",
        "subject": None,
        "suppressed": [],
        "uid": token[:_UID].hex(),
    }
    text = json.dumps(line, separators=(",", ":"), sort_keys=True)
    return {"uid": token[:_UID], "at": at, "line": text.encode(), "filed_at": None}


def downgrade() -> None:
    op.drop_index(op.f("ix_erasures_filed_at"), table_name="erasures")
    op.drop_table("erasures")
