"""A copy of the checkpoint in a file, on another disk or mount than the store.

The file is replaced whole (written beside it, flushed, renamed, the directory flushed), so that it holds a checkpoint
at every instant. Writers take the lock of `<path>.lock` and look again at what is there: a second process that is
behind does not set it back.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from consent_gateway.audit.kept.port import MAX_KEPT_BYTES, Kept, KeptError, Trouble, digest_of

_MODE = 0o600
_LOCK_FLAGS = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW


@dataclass(frozen=True, slots=True)
class FileCopy:
    """A `Copy` at `path`."""

    name: str
    path: Path

    @property
    def place(self) -> str:
        """A digest of the path."""
        return digest_of("file", str(self.path))

    def read(self) -> Kept | None:
        """Return what the file holds, None if there is none."""
        try:
            with self.path.open("rb") as file:
                note = file.read(MAX_KEPT_BYTES + 1)
        except FileNotFoundError:
            return None
        except OSError:
            raise KeptError(Trouble.UNREACHABLE) from None
        if len(note) > MAX_KEPT_BYTES:
            raise KeptError(Trouble.TOO_LARGE)
        return Kept(note, sha256(note).hexdigest())

    def write(self, note: bytes, seen: Kept | None) -> None:
        """Replace the file; KeptError(CONFLICT) if it is not as it was seen."""
        with self._locked():
            if self.read() != seen:
                raise KeptError(Trouble.CONFLICT)
            try:
                _replace(self.path, note)
            except OSError:
                raise KeptError(Trouble.UNWRITABLE) from None

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        try:
            descriptor = os.open(self.path.with_name(self.path.name + ".lock"), _LOCK_FLAGS, _MODE)
        except OSError:
            raise KeptError(Trouble.UNWRITABLE) from None
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(descriptor)
            raise KeptError(Trouble.CONFLICT) from None
        try:
            yield
        finally:
            os.close(descriptor)  # closing releases the lock


def _replace(path: Path, content: bytes) -> None:
    """Write a file anew, whole or not at all, durable on return."""
    temporary = path.with_name(path.name + ".part")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, _MODE)
    try:
        left = memoryview(content)
        while left:
            left = left[os.write(descriptor, left) :]
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    temporary.replace(path)
    _sync_directory(path.parent)


def _sync_directory(directory: Path) -> None:
    with contextlib.suppress(OSError):  # a file system that cannot flush directories keeps names by itself
        descriptor = os.open(directory, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
