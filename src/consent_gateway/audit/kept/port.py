"""What a kept copy of the checkpoint can do.

A copy holds one signed note. It is read with a version, and written only over that version, so that of two processes
that write at once one is told so and reads again: a copy never goes back.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from hashlib import sha256
from typing import Protocol

MAX_KEPT_BYTES = 65_536  # a checkpoint with twenty ML-DSA-44 cosignatures


class Trouble(StrEnum):
    """Why a copy or a witness could not be used; also what logs and `audit status` say."""

    UNREACHABLE = "unreachable"
    TIMEOUT = "timeout"
    REFUSED = "refused"  # it answered, and not with what was asked for
    REDIRECTED = "redirected"  # it named another address, which is not asked
    TOO_LARGE = "too_large"
    CONFLICT = "conflict"  # another process wrote it since it was read
    UNREADABLE = "unreadable"  # what it holds is no checkpoint
    UNWRITABLE = "unwritable"
    CLOCK = "clock"  # a cosignature of another time: the witness's clock is wrong, or ours
    BEARER = "bearer"  # the file with the bearer token cannot be read
    CREDENTIALS = "credentials"  # the file with the credentials of NATS cannot be read, or holds none


class KeptError(Exception):
    """A copy or witness that cannot be used now; the log goes on without it for a while."""

    def __init__(self, trouble: Trouble) -> None:
        super().__init__(trouble.value)
        self.trouble = trouble


@dataclass(frozen=True, slots=True)
class Kept:
    """What a copy holds: the note, and the version that a writer must have seen."""

    note: bytes
    version: str


class Copy(Protocol):
    """One place outside of the store."""

    @property
    def name(self) -> str:
        """A short name for logs and metrics, such as `file_1`."""
        ...

    @property
    def place(self) -> str:
        """A digest of where it is: another address is another copy."""
        ...

    def read(self) -> Kept | None:
        """Return what is kept, None if nothing ever was. Raises KeptError."""
        ...

    def write(self, note: bytes, seen: Kept | None) -> None:
        """Keep `note` in the place of what was `seen`; durable on return. KeptError(CONFLICT) if it has changed."""
        ...


def digest_of(kind: str, address: str) -> str:
    """Return a name for a place that shows nothing of it."""
    return sha256(f"{kind}\0{address}".encode()).hexdigest()
