"""The port to whatever keeps the keys that seal a keyring's roots.

A `Kms` holds keys that never leave it and wraps small secrets (32 bytes) under them. Each secret is bound to a context:
a wrap opens under its own key and in its own context only, by contract of every provider. The bytes of a wrap are the
provider's own affair.

A failure is one of two. `KeyServiceError`: the service did not answer, or says that it cannot now; asking again may
help. `KeyringError(NOT_OPENED)`: it answered, and the wrap does not open - another key, another context, damage, a
destroyed key. The two must not be mixed up: only the first may be waited out.

There is no `rewrap`: Transit's leaves the associated data out of the bargain, so that moving a secret is opening it
and wrapping it again, its context unchanged, for every provider alike.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

NOT_OPENED = "The keyring does not open with this secret, or the file is damaged"


@dataclass(frozen=True, slots=True)
class Bound:
    """Bytes that belong to one key and one context: a secret to wrap, or a wrap to open."""

    key: str
    context: bytes
    content: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Destruction:
    """What became of a key that was to be destroyed: gone already (`by` is None), or for certain at `by`."""

    by: datetime | None = None


class Kms(Protocol):
    """A key service. `has_own_keys`: it keeps a key for each root that can be destroyed, and destroys it with it."""

    @property
    def kind(self) -> str:
        """The word that a keyring file carries for this provider."""

    @property
    def has_own_keys(self) -> bool:
        """Whether `create_key` makes a key of its own for each label."""

    @property
    def destruction_seconds(self) -> int:
        """How long a key opens, or can be brought back, after its destruction was asked for; 0: it is gone at once."""

    def create_key(self, label: str) -> str:
        """Make a key and return how to name it from now on; the same label again finds the same living key.

        Raises `KeyServiceError`, also for a label whose key is about to be destroyed.
        """

    def wrap(self, secrets: Sequence[Bound]) -> list[bytes]:
        """Wrap each secret under its key, bound to its context; in their order. Raises as told above."""

    def unwrap(self, wraps: Sequence[Bound]) -> list[bytes]:
        """Open each wrap; in their order. Raises as told above; all or nothing."""

    def schedule_destroy(self, key: str) -> Destruction:
        """Destroy a key as soon as the service allows, and say when; a key that is gone already counts as destroyed."""

    def check(self) -> None:
        """Raise `KeyServiceError` unless the service answers and is in order; touches no key."""
