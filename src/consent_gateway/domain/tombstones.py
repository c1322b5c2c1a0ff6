"""When a person who was erased may come back: by an act of their own from after the erasure, and by nothing else.

A tombstone keeps stale files and restored backups from bringing somebody back. It does not speak for what the person
does later. Who was erased because a period was over asked for nothing; who was erased by right did, so that two keys
look at the proof before that is set aside.
"""

from __future__ import annotations

from enum import StrEnum

RETENTION = "retention"  # the reason of an erasure that nobody asked for


class OwnAct(StrEnum):
    """What a person did themselves that shows that they are there again."""

    CONSENT = "consent"
    ORDER = "order"
    ACCOUNT = "account"
    REQUEST = "request"


def is_later(acted_at: int, erased_at: int) -> bool:
    """Tell whether an act (seconds) is from after an erasure; in the same second the erasure wins."""
    return acted_at > erased_at


def needs_four_eyes(reason: str) -> bool:
    """Tell whether an erasure was by right: of everything but retention nobody knows that it was not."""
    return reason != RETENTION
