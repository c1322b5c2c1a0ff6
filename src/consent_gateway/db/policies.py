"""Pack texts, their activations and candidates as rows.

Whoever changes them holds the version of the registers first (`registers.bump`), so that they change one at a time and
every replica sees the change at its next transaction. Texts are named by their digest and never change.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from typing import Any

from sqlalchemy import delete, insert, select, update

from consent_gateway.db.dialects import add_up, insert_ignoring
from consent_gateway.db.engine import Session
from consent_gateway.db.tables import policy_activations, policy_shadow_counts, policy_texts
from consent_gateway.domain.policies import Activation, Candidate, Policies

_known: dict[str, str] = {}  # texts by digest, whatever store they came from: a digest names one text
_KEPT = 256
_t = policy_texts.c


def load(session: Session) -> Policies:
    """Return what is in force and what is watched, with the texts that anybody may still need."""
    rows = session.execute(select(policy_activations).order_by(policy_activations.c.number))
    activations = tuple(Activation(**row) for row in rows.mappings())
    found = session.execute(
        select(_t.name, _t.version, _t.sha256).where(_t.shadow.is_(True)).order_by(_t.name, _t.version, _t.sha256)
    )
    shadows = tuple(Candidate(*row) for row in found)
    # The last one of a name may lie ahead; then the one before it is in force.
    last_two = {a.sha256 for n in {a.name for a in activations} for a in [a for a in activations if a.name == n][-2:]}
    return Policies(activations, shadows, texts(session, {*last_two, *(s.sha256 for s in shadows)}))


def texts(session: Session, wanted: Iterable[str]) -> dict[str, str]:
    """Return the texts of these digests; one that the store lost is left out, one that was altered is returned as is.

    Who reads a text compares it with its digest; see `services.deciding.law`.
    """
    digests = set(wanted)
    missing = sorted(d for d in digests if d not in _known)
    read = {}
    if missing:
        found = session.execute(select(_t.sha256, _t.text).where(_t.sha256.in_(missing)))
        read = {row.sha256: row.text for row in found}
    if len(_known) > _KEPT:
        _known.clear()
    held = {d: _known[d] for d in digests if d in _known}
    _known.update({d: text for d, text in read.items() if digest(text) == d})
    return held | read


def digest(text: str) -> str:
    """Return what names a text: the SHA-256 of its UTF-8 bytes, as 64 hex digits."""
    return hashlib.sha256(text.encode()).hexdigest()


def add_text(session: Session, name: str, version: int, text: str, at: int) -> str:
    """Keep a text, once; return its digest."""
    named = digest(text)
    row = {"sha256": named, "name": name, "version": version, "text": text, "recorded_at": at, "shadow": False}
    insert_ignoring(session, policy_texts, [row], policy_texts.c.sha256)
    return named


def update_text(session: Session, sha256: str, **changes: Any) -> None:
    """Change what is said about a text: who proposes it, whether it is in shadow."""
    session.execute(update(policy_texts).where(_t.sha256 == sha256).values(**changes))


def text_rows(session: Session, name: str | None = None, version: int | None = None) -> list[dict[str, Any]]:
    """Return the texts (of a name, of a version), the one recorded last first."""
    statement = select(policy_texts).order_by(_t.name, _t.version.desc(), _t.recorded_at.desc(), _t.sha256)
    if name is not None:
        statement = statement.where(_t.name == name)
    if version is not None:
        statement = statement.where(_t.version == version)
    return [dict(row) for row in session.execute(statement).mappings()]


def add_activation(session: Session, activation: Activation) -> None:
    """Put a text in force; the caller holds the version of the registers, so that numbers are not taken twice."""
    row = {c.name: getattr(activation, c.name) for c in policy_activations.columns}
    session.execute(insert(policy_activations), [row])


def add_shadow_counts(session: Session, found: Sequence[dict[str, Any]]) -> None:
    """Add to what was counted about candidates in shadow."""
    add_up(session, policy_shadow_counts, found, policy_shadow_counts.c.questions)


def shadow_counts(session: Session, sha256: str) -> list[dict[str, Any]]:
    """Return what was counted about one candidate."""
    statement = select(policy_shadow_counts).where(policy_shadow_counts.c.sha256 == sha256)
    return [dict(row) for row in session.execute(statement).mappings()]


def forget_shadow_counts(session: Session, sha256: str) -> None:
    """Begin to count anew."""
    session.execute(delete(policy_shadow_counts).where(policy_shadow_counts.c.sha256 == sha256))
