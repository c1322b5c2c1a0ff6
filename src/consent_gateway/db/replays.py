"""What past answers were computed from: points of facts by digest, sets of packs by digest, vocabularies.

Nothing here is about a person: a point of facts is a class that many people are in, and only an opening, which goes
with the person, says which one was whose. Rows are written once and never changed.
"""

from __future__ import annotations

from collections.abc import Mapping

from sqlalchemy import select

from consent_gateway.db.dialects import insert_ignoring
from consent_gateway.db.engine import Session
from consent_gateway.db.tables import decision_facts, policy_sets, vocabularies


def put_facts(session: Session, vocabulary: str, table: str, points: Mapping[str, str], at: int) -> None:
    """Keep points (digest to hexadecimal bits) with their vocabulary (its id, and its table as JSON)."""
    insert_ignoring(session, vocabularies, [{"id": vocabulary, "facts": table, "recorded_at": at}], vocabularies.c.id)
    # In one order everywhere, so that two who keep the same points wait for each other and not in a circle.
    rows = [{"digest": d, "vocabulary": vocabulary, "bits": points[d], "recorded_at": at} for d in sorted(points)]
    insert_ignoring(session, decision_facts, rows, decision_facts.c.digest)


def put_set(session: Session, digest: str, members: str, at: int) -> None:
    """Keep what a set of packs is made of."""
    row = {"digest": digest, "members": members, "recorded_at": at}
    insert_ignoring(session, policy_sets, [row], policy_sets.c.digest)


def find_facts(session: Session, digest: str) -> tuple[str, str] | None:
    """Return the vocabulary's table (JSON) and the bits of a point, None if it was never kept."""
    statement = (
        select(vocabularies.c.facts, decision_facts.c.bits)
        .join(vocabularies, vocabularies.c.id == decision_facts.c.vocabulary)
        .where(decision_facts.c.digest == digest)
    )
    row = session.execute(statement).first()
    return None if row is None else (row.facts, row.bits)


def find_set(session: Session, digest: str) -> str | None:
    """Return the members of a set of packs, None if it was never kept."""
    statement = select(policy_sets.c.members).where(policy_sets.c.digest == digest)
    return session.execute(statement).scalar()
