"""the hashes of an audience's manifest, from which a member is proven in, or somebody else out.

Revision ID: 0028
Revises: 0027
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0028"
down_revision = "0027"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "audience_manifests",
        sa.Column("audience_id", sa.String(length=32), nullable=False),
        sa.Column("hashes", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("audience_id", name=op.f("pk_audience_manifests")),
    )


def downgrade() -> None:
    op.drop_table("audience_manifests")
