"""circumstances of contact points, when people last said no, and what a contact was for.

Revision ID: 0008
Revises: 0007
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

_INSTANTS = ("opted_out_at", "refused_at", "revoked_email", "revoked_phone", "confirmed_email", "confirmed_phone")
_MEDIA = {"email": "('email')", "phone": "('sms', 'call')"}


def upgrade() -> None:
    op.create_table(
        "circumstances",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=True, nullable=False),
        sa.Column("subject_id", sa.BigInteger(), nullable=False),
        sa.Column("contact_point", sa.BigInteger(), nullable=False),
        sa.Column("source", sa.String(length=63), nullable=False),
        sa.Column("subscriber", sa.String(length=10), nullable=True),
        sa.Column("in_sale", sa.Boolean(), nullable=True),
        sa.Column("opt_out_offered", sa.Boolean(), nullable=True),
        sa.Column("expressed_interest", sa.Boolean(), nullable=True),
        sa.Column("collected_day", sa.Integer(), nullable=True),
        sa.Column("received_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_circumstances")),
    )
    op.create_index(op.f("ix_circumstances_subject_id"), "circumstances", ["subject_id"], unique=False)
    op.add_column("contacts", sa.Column("purpose", sa.String(length=63), nullable=True))
    for name in ("email_facts", "phone_facts"):
        op.add_column("audience_rows", sa.Column(name, sa.Integer(), server_default="0", nullable=False))
    for name in _INSTANTS:
        op.add_column("audience_rows", sa.Column(name, sa.BigInteger(), nullable=True))
    _backfill()


def _backfill() -> None:
    """Write what is known from the ledger and the choices: nobody may be asked again because a column is new."""
    _newest("opted_out_at", "choice_events", "choice IN ('sale_share_opt_out', 'limit_sensitive', 'gpc') AND active")
    _newest("refused_at", "consent_events", "kind IN ('refused', 'withdrawn')")
    for medium, channels in _MEDIA.items():
        reached = f"kind = 'withdrawn' AND (channel IS NULL OR channel IN {channels})"
        ledger = f"SELECT at, subject_id FROM consent_events WHERE {reached}"  # noqa: S608 - constants of this file
        choices = "SELECT at, subject_id FROM choice_events WHERE choice = 'objection' AND active"
        _newest(f"revoked_{medium}", f"({ledger} UNION ALL {choices})", "1 = 1")
    # A signal that was on once: 131072 is the bit `GPC_SEEN`, 16 the bit `GPC`, which held both until now.
    op.execute("UPDATE audience_rows SET flags = flags + 131072 WHERE (flags & 16) <> 0 AND (flags & 131072) = 0")


def _newest(column: str, table: str, condition: str) -> None:
    said = f"said.subject_id = audience_rows.subject_id AND {condition}"
    newest = f"SELECT max(said.at) FROM {table} AS said WHERE {said}"  # noqa: S608 - constants of this file
    op.execute(f"UPDATE audience_rows SET {column} = ({newest})")  # noqa: S608 - as above


def downgrade() -> None:
    with op.batch_alter_table("audience_rows") as batch_op:
        for name in (*_INSTANTS, "email_facts", "phone_facts"):
            batch_op.drop_column(name)
    with op.batch_alter_table("contacts") as batch_op:
        batch_op.drop_column("purpose")
    op.drop_index(op.f("ix_circumstances_subject_id"), table_name="circumstances")
    op.drop_table("circumstances")
