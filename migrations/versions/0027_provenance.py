"""which source told about people who came before that was kept: as far as the store knows it.

What is known of such a person: the sources that told how their addresses were obtained, and the import of customers at
the very second in which they came (their row and the counts of the import were written in one transaction). Where there
is neither, the sources of what was said about them. Who is left has no source; retention bounds them by when they came.

Revision ID: 0027
Revises: 0026
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0027"
down_revision = "0026"
branch_labels = None
depends_on = None

_FILL = """
    INSERT INTO subject_sources (subject_id, source, last_at)
    SELECT told.subject_id, told.source, MAX(told.at) FROM ({told}) AS told
    WHERE told.source IS NOT NULL
      AND EXISTS (SELECT 1 FROM subjects WHERE subjects.id = told.subject_id)
      AND NOT EXISTS (SELECT 1 FROM subject_sources AS known WHERE known.subject_id = told.subject_id)
    GROUP BY told.subject_id, told.source
"""
_CAME_BY = """
    SELECT subject_id, source, received_at AS at FROM circumstances
    UNION ALL SELECT subjects.id AS subject_id, imports.source, imports.at FROM subjects
    JOIN imports ON imports.at = subjects.created_at AND imports.kind = 'subjects'
"""
_SAID_BY = """
    SELECT subject_id, source, received_at AS at FROM consent_events
    UNION ALL SELECT subject_id, source, received_at AS at FROM choice_events
    UNION ALL SELECT subject_id, source, received_at AS at FROM notice_views
"""


def upgrade() -> None:
    connection = op.get_bind()
    for told in (_CAME_BY, _SAID_BY):
        connection.execute(sa.text(_FILL.format(told=told)))


def downgrade() -> None:
    """Leave what was filled in: it is true of the former release too."""
