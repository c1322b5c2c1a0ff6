"""API keys: made once, shown once, stored as a hash; each belongs to a recipient and carries scopes.

A key is `cg_<principal>_<43 characters>`: 256 random bits, so a plain SHA-256 is enough to store (ASVS 7.2.3).
"""

from __future__ import annotations

import hashlib
import secrets

from consent_gateway.audit.entries import EntryKind
from consent_gateway.db import registers as register_rows
from consent_gateway.domain.ids import RecipientId, is_slug
from consent_gateway.domain.registers import Principal
from consent_gateway.errors import AuthenticationError, ConflictError, FieldProblem, InputError, NotFoundError
from consent_gateway.services.work.gateway import Work

SCOPES = frozenset(
    {
        "admin",
        "ingest",
        "decide",
        "audience",
        "erase",
        "hold",
        "identity",
        "audit",
        "policy",
        "approve",
        "keys",
        "reveal",
        "reveal_plain",
        "disclose",
        "access",
    }
)
_SECRET_BYTES = 32
# Whom entries name where no key acted: a key of that name would write what nobody could tell from theirs.
RESERVED = frozenset({"system", "confirmation", "software"})


def issue(work: Work, principal_id: str, recipient: str, scopes: frozenset[str]) -> str:
    """Make an API key and return it; it cannot be shown again.

    InputError names what is wrong; ConflictError for a name that was ever used; AuthenticationError if the caller's own
    key was revoked meanwhile, for a revoked key must not leave another behind.
    """
    if not is_slug(principal_id):
        raise InputError(fields=(FieldProblem("$.id", "invalid_name", "use a lower-case word such as crm"),))
    if principal_id in RESERVED:
        raise InputError(fields=(FieldProblem("$.id", "reserved_name", "the log uses this name for itself"),))
    if not scopes or not scopes <= SCOPES:
        allowed = ", ".join(sorted(SCOPES))
        raise InputError(fields=(FieldProblem("$.scopes", "unknown_scope", f"scopes are: {allowed}"),))
    work.changed_registers()  # one at a time from here on, and with what others registered and revoked
    if not work.is_live(work.actor):
        raise AuthenticationError
    if recipient not in work.registers.recipients:
        raise InputError(fields=(FieldProblem("$.recipient", "unknown_recipient", "no such recipient"),))
    key = f"cg_{principal_id}_{secrets.token_urlsafe(_SECRET_BYTES)}"
    principal = Principal(principal_id, RecipientId(recipient), scopes)
    if not register_rows.add_principal(work.session, principal, digest(key), work.now):
        raise ConflictError("a key of that name exists: revoke it and choose another name")
    work.changed_registers()
    work.record(EntryKind.KEY_ISSUED, {"principal": principal_id, "recipient": recipient, "scopes": sorted(scopes)})
    return key


def revoke(work: Work, principal_id: str) -> None:
    """Revoke a key; NotFoundError if there is no such live key."""
    work.changed_registers()
    if not register_rows.revoke_principal(work.session, principal_id, work.now):
        raise NotFoundError("there is no live key of that name")
    work.changed_registers()
    work.record(EntryKind.KEY_REVOKED, {"principal": principal_id})


def digest(key: str) -> bytes:
    """Return what is stored of a key."""
    return hashlib.sha256(key.encode()).digest()
