"""The tombstone file on disk: private, append-only, and durable before anybody relies on it.

One file belongs to one store and lies outside of its backups; every process that serves the store sees the same one.
Each path is a regular file of its owner, mode 0600, no link. Writers take the lock of `<path>.lock` (flock(2)), read
what others appended, write their lines in one go, and flush them to the disk: `append` returns once they are durable
in the file and in every copy. A line that was cut off by a crash or a full disk is no line: it was never relied on,
and the next writer cuts it away. Copies are byte for byte the beginning of the file or all of it.

The uids of all lines are held in memory (some 100 bytes each), so that appending reads only what is new.
Errors are `TombstoneError`; none names a path or a value.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import stat
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from consent_gateway.errors import TombstoneError
from consent_gateway.vault.keyring import Keyring
from consent_gateway.vault.tombstones import START, Burial, decode, encode, header, line_key, seal, unseal

NEWEST = 64  # more than there are writers: theirs are the lines that may stand in another order than their commits
_CHUNK = 1 << 20
_MODE = 0o600
_LAST = 1 << 16  # far more than a line
_TAIL = 65  # a MAC in hex and the line feed: what proves that a copy goes on where the file does


@dataclass(slots=True)
class _Known:
    """How far the file was read and verified: bytes, lines, the last MAC, and whose lines those are."""

    inode: int = -1
    size: int = 0
    lines: int = 0
    mac: bytes = START
    uids: set[bytes] = field(default_factory=set)
    newest: deque[bytes] = field(default_factory=lambda: deque(maxlen=NEWEST))


class TombstoneFile:
    """The file of one store with its copies; safe to use from several threads and processes."""

    def __init__(self, keyring: Keyring, path: Path, copies: Sequence[Path] = ()) -> None:
        self.path, self.copies = path, tuple(copies)
        self._key = line_key(keyring)
        self._known = _Known()

    def exists(self) -> bool:
        """Tell whether there is anything at the path."""
        return os.path.lexists(self.path)

    def create(self) -> None:
        """Make the file with its first line; one that is there already stays as it is."""
        with self._locked():
            if not self.exists():
                self._begin(self.path, [])
            self._catch_up()
            self._follow()

    def read(self) -> list[Burial]:
        """Return every line, verified from the first; TombstoneError if any does not hold, or a copy holds more."""
        with self._locked():
            self._known = _Known()
            burials = self._catch_up()
            self._follow()
        return burials

    def salvage(self) -> list[Burial]:
        """Return every line that holds, of the file and of each copy, once each: for whoever rebuilds the file."""
        found: dict[bytes, Burial] = {}
        for path in (self.path, *self.copies):
            with contextlib.suppress(TombstoneError):
                for text, _ in self._lines(_whole_lines(_read(path, 0)), START, 1):
                    if text != header():
                        burial = decode(text)
                        found[burial.uid] = burial
        return list(found.values())

    def append(self, burials: Iterable[Burial]) -> int:
        """Add those that are not in the file yet; returns how many, all durable. On an error none counts as added."""
        with self._locked():
            self._catch_up()
            fresh = {b.uid: b for b in burials if b.uid not in self._known.uids}
            if fresh:
                lines, _ = self._sealed([encode(b) for b in fresh.values()], self._known.mac)
                _extend(self.path, self._known.size, lines)
                self._catch_up()
            self._follow()
        return len(fresh)

    def replace(self, burials: Sequence[Burial], aside: str) -> None:
        """Write a new file of these lines; what was there, and each copy, is kept under its name with `aside` added."""
        with self._locked():
            for path in (self.path, *self.copies):
                if os.path.lexists(path):
                    _move(path, path.with_name(path.name + aside))
            self._begin(self.path, burials)
            self._known = _Known()
            self._catch_up()
            self._follow()

    def newest(self) -> list[bytes]:
        """Return the uids of the last lines (at most `NEWEST`), with what others appended; errors as `read`."""
        with self._locked():
            self._catch_up()
        return list(self._known.newest)

    def holds(self, uid: bytes) -> bool:
        """Tell whether a line of this uid was in the file when it was last read or written."""
        return uid in self._known.uids

    @property
    def lines(self) -> int:
        """How many erasures the file held when it was last read or written."""
        return len(self._known.uids)

    def _begin(self, path: Path, burials: Iterable[Burial]) -> None:
        lines, _ = self._sealed([header(), *(encode(b) for b in burials)], START)
        _create(path, lines)

    def _sealed(self, texts: Iterable[str], mac: bytes) -> tuple[bytes, bytes]:
        parts = []
        for text in texts:
            line, mac = seal(self._key, mac, text)
            parts.append(line)
        return b"".join(parts), mac

    def _catch_up(self) -> list[Burial]:
        """Verify what is new in the file, and return it; a file that was replaced or shortened is read anew."""
        status = _status(self.path)
        known = self._known
        if known.inode != status.st_ino or status.st_size < known.size:
            known = _Known(status.st_ino)
        lines = _whole_lines(_read(self.path, known.size))
        found = list(self._lines(lines, known.mac, known.lines + 1))
        burials = [decode(text) for text, _ in found if text != header()]
        known.uids.update(b.uid for b in burials)
        known.newest.extend(b.uid for b in burials)
        known.mac = found[-1][1] if found else known.mac
        known.lines += len(found)
        known.size += sum(len(line) + 1 for line in lines)
        self._known = known
        return burials

    def _lines(self, lines: Sequence[bytes], mac: bytes, first: int) -> Iterator[tuple[str, bytes]]:
        for number, found in enumerate(unseal(self._key, mac, lines, first), first):
            if (found[0] == header()) is not (number == 1):
                raise TombstoneError("the tombstone file is not of a version that this release reads")
            yield found

    def _follow(self) -> None:
        """Bring every copy to where the file is."""
        for copy in self.copies:
            if not os.path.lexists(copy):
                _create(copy, b"")
            held = _end_of_lines(copy)
            if held > self._known.size or not self._agrees(copy, held):
                raise TombstoneError("a copy of the tombstone file holds other lines than the file, or more of them")
            if held < self._known.size or _status(copy).st_size > held:
                _extend(copy, held, _read(self.path, held)[: self._known.size - held])

    def _agrees(self, copy: Path, size: int) -> bool:
        """Tell whether a copy ends like the file does at that byte: a MAC speaks for every line before it."""
        start = max(size - _TAIL, 0)
        return _read(copy, start)[: size - start] == _read(self.path, start)[: size - start]

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
        try:
            descriptor = os.open(self.path.with_name(self.path.name + ".lock"), flags, _MODE)
        except OSError:
            raise TombstoneError("the directory of the tombstone file cannot be written") from None
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)  # closing releases the lock


def _whole_lines(content: bytes) -> list[bytes]:
    """Return the lines that end; what a crash cut off does not."""
    return content.split(b"\n")[:-1]


def _end_of_lines(path: Path) -> int:
    """Return how many bytes of the file are whole lines."""
    size = _status(path).st_size
    start = max(size - _LAST, 0)
    tail = _read(path, start)
    return start + tail.rindex(b"\n") + 1 if b"\n" in tail else len(b"".join(_read(path, 0).rpartition(b"\n")[:2]))


def _status(path: Path) -> os.stat_result:
    try:
        found = path.lstat()
    except OSError:
        raise TombstoneError("there is no tombstone file at the configured path") from None
    _require_private(found)
    return found


def _require_private(status: os.stat_result) -> None:
    if not stat.S_ISREG(status.st_mode) or status.st_uid != os.geteuid() or stat.S_IMODE(status.st_mode) & 0o177:
        raise TombstoneError("the tombstone file must be a regular file of the gateway's user with mode 0600")


def _read(path: Path, start: int) -> bytes:
    """Return what the file holds from byte `start` on."""
    with _opened(path, os.O_RDONLY) as descriptor:
        os.lseek(descriptor, start, os.SEEK_SET)
        parts = []
        while part := os.read(descriptor, _CHUNK):
            parts.append(part)
    return b"".join(parts)


def _create(path: Path, content: bytes) -> None:
    """Make a file of these bytes, whole or not at all."""
    with _opened(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL) as descriptor:
        try:
            _write(descriptor, content)
        except OSError:
            path.unlink()
            raise
    _sync_directory(path.parent)


def _extend(path: Path, size: int, content: bytes) -> None:
    """Write `content` behind the first `size` bytes, durable on return; on an error the file has `size` bytes again."""
    with _opened(path, os.O_WRONLY) as descriptor:
        os.ftruncate(descriptor, size)
        os.lseek(descriptor, size, os.SEEK_SET)
        try:
            _write(descriptor, content)
        except OSError:
            with contextlib.suppress(OSError):
                os.ftruncate(descriptor, size)
            raise


def _write(descriptor: int, content: bytes) -> None:
    left = memoryview(content)
    while left:
        left = left[os.write(descriptor, left) :]
    os.fsync(descriptor)


def _move(path: Path, target: Path) -> None:
    try:
        path.rename(target)
    except OSError:
        raise TombstoneError("the directory of the tombstone file cannot be written") from None


@contextlib.contextmanager
def _opened(path: Path, flags: int) -> Iterator[int]:
    """Open a private file; any failure of the system, here or in the block, is TombstoneError."""
    try:
        descriptor = os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, _MODE)
        try:
            _require_private(os.fstat(descriptor))
            yield descriptor
        finally:
            os.close(descriptor)
    except OSError:
        raise TombstoneError("the tombstone file cannot be read or written: disk, mode or path") from None


def _sync_directory(directory: Path) -> None:
    with contextlib.suppress(OSError):  # a file system that cannot flush directories keeps names by itself
        descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
