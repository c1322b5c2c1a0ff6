"""Sealed calls in a file outside of the database, for the time in which the database may not be believed.

One line of JSON each, appended under a lock and flushed before `append` returns; what a crash cut off is no line. Every
process that serves the store sees the same file (like the tombstone file). The content is sealed by the vault's
letterbox; in clear are who brought it, when, and how many rows it has.

Lines are taken in their order. Whoever adds one does not wait for who takes many: only the last few are taken under the
lock. Under it the file is emptied too, and what a caller does about the one or the other is done, so that nothing falls
between.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from consent_gateway.errors import StoreError

_MODE = 0o600
_FLAGS = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
_CHUNK = 1 << 20
MAX_SPOOL_BYTES = 1 << 30
AT_ONCE = 16  # lines that one call of `act` gets, and as a rule the most for which who adds one waits
_TURNS = 4  # after so many, lines come faster than they are taken: then who adds one waits for all of them
Act = Callable[[Sequence[Mapping[str, Any]]], None]


class SpoolFile:
    """The file at `path`; safe to use from several threads and processes."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._taking = threading.Lock()

    def append(
        self, line: Mapping[str, Any], then: Callable[[], None] = lambda: None, first: Callable[[], None] = lambda: None
    ) -> None:
        """Add one line, durable on return; `then` is called before anybody can take it.

        `first` is called when nobody takes lines; if it raises, the line is not added. StoreError if it cannot be.
        """
        content = json.dumps(line, separators=(",", ":")).encode() + b"\n"
        with self._locked() as descriptor:
            first()
            size = _whole(descriptor)
            if size + len(content) > MAX_SPOOL_BYTES:
                raise StoreError("the spool is full", retry_after=60)
            try:
                os.ftruncate(descriptor, size)
                os.lseek(descriptor, size, os.SEEK_SET)
                _write(descriptor, content)
            except OSError:
                with contextlib.suppress(OSError):
                    os.ftruncate(descriptor, size)
                raise
            then()

    def has_lines(self) -> bool:
        """Tell whether anything waits, without waiting for whoever has the file."""
        return self.path.is_file() and self.path.stat().st_size > 0

    def count(self) -> int:
        """Return how many lines wait; StoreError if the file cannot be read."""
        if not os.path.lexists(self.path):
            return 0
        with self._locked() as descriptor:
            return len(_lines(descriptor))

    def take(self, act: Act, then: Callable[[], None] = lambda: None) -> int:
        """Give all lines to `act`, some at a time, in order, and empty the file; returns how many.

        If `act` raises, all stay.
        `then` is called when the file is empty, before anybody can add to it. `act` sees a line again if a crash comes
        before the file is empty, and if another process takes it too: it has to know what was done.
        """
        try:
            with self._taking:
                return self._taken(act, then)
        except StoreError:
            if os.path.lexists(self.path):
                raise
        then()  # there is no file, and nobody can make one
        return 0

    def _taken(self, act: Act, then: Callable[[], None]) -> int:
        done: list[bytes] = []
        for turn in range(_TURNS + 1):
            with self._locked() as descriptor:
                lines = _lines(descriptor)
                if lines[: len(done)] != done:
                    done = []  # another process emptied the file meanwhile, and it was filled anew
                left = lines[len(done) :]
                if len(left) <= AT_ONCE or turn == _TURNS:
                    _give(left, act)
                    if lines:
                        os.ftruncate(descriptor, 0)
                        os.fsync(descriptor)
                    then()
                    break
            _give(left, act)
            done = lines
        return len(lines)

    @contextlib.contextmanager
    def _locked(self) -> Iterator[int]:
        try:
            descriptor = os.open(self.path, _FLAGS, _MODE)
        except OSError:
            raise StoreError("the spool cannot be opened", retry_after=5) from None
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield descriptor
        except OSError:
            raise StoreError("the spool cannot be read or written", retry_after=5) from None
        finally:
            os.close(descriptor)  # closing releases the lock


def _give(lines: list[bytes], act: Act) -> None:
    for start in range(0, len(lines), AT_ONCE):
        act([json.loads(line) for line in lines[start : start + AT_ONCE]])


def _read(descriptor: int) -> bytes:
    os.lseek(descriptor, 0, os.SEEK_SET)
    parts = list[bytes]()
    while part := os.read(descriptor, _CHUNK):
        parts.append(part)
    return b"".join(parts)


def _lines(descriptor: int) -> list[bytes]:
    return _read(descriptor).split(b"\n")[:-1]


def _whole(descriptor: int) -> int:
    """Return how many bytes are whole lines; reads from the end, for what lies before is whole."""
    end = os.lseek(descriptor, 0, os.SEEK_END)
    while end:
        start = max(end - _CHUNK, 0)
        if at := os.pread(descriptor, end - start, start).rfind(b"\n") + 1:
            return start + at
        end = start
    return 0


def _write(descriptor: int, content: bytes) -> None:
    left = memoryview(content)
    while left:
        left = left[os.write(descriptor, left) :]
    os.fsync(descriptor)
