"""The keyring's file: who may read it, and how it is replaced without ever being half there.

Reading refuses a symbolic link, a file of another owner, and one that group or others may touch at all. Writing
goes to a temporary file in the same directory (mode 0600), which is flushed to the disk before it takes the
name, and then the directory is flushed: after a crash the old file or the new one is there, whole. Writers take
an advisory lock on the directory, because two lost updates would lose a key, and with it every row under it. What a
writer that was killed left there is a copy of the keyring that nobody knows of: the next one removes it first, so that
no destroyed key is in it.

Errors are `KeyringError`; none names a path or holds a byte of the file.
"""

from __future__ import annotations

import contextlib
import fcntl
import glob
import os
import secrets
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from consent_gateway.errors import KeyringError

MAX_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class FileStamp:
    """What tells one version of the file from another: device, inode, size and modification time (ns)."""

    device: int
    inode: int
    size: int
    modified_ns: int


def read_private(path: Path) -> tuple[bytes, FileStamp]:
    """Return the content and stamp of the private file at `path`.

    Raises `KeyringError` if it is missing, a link, not a regular file, of another owner, of a mode other than
    0600 or 0400, or larger than 1 MiB.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        raise KeyringError("There is no keyring at the configured path") from None
    except OSError:
        raise KeyringError("The keyring file cannot be read, or is a symbolic link") from None
    try:
        status = os.fstat(descriptor)
        _require_private(status)
        return read_up_to(descriptor, MAX_BYTES), _stamp(status)
    finally:
        os.close(descriptor)


def read_up_to(descriptor: int, limit: int) -> bytes:
    """Return at most `limit` bytes of an open file, however short the single reads are."""
    parts: list[bytes] = []
    while limit and (part := os.read(descriptor, limit)):
        parts.append(part)
        limit -= len(part)
    return b"".join(parts)


def stamp_of(path: Path) -> FileStamp | None:
    """Return the stamp of the file at `path` without opening it, or None if there is none."""
    try:
        return _stamp(path.lstat())
    except OSError:
        return None


def write_private(path: Path, content: bytes, *, replace: bool) -> FileStamp:
    """Write `content` at `path` atomically and durably, mode 0600, and return its stamp.

    With `replace` false an existing file is never touched: `KeyringError`. The same for more than 1 MiB, which
    `read_private` would refuse for ever after.
    """
    if len(content) > MAX_BYTES:
        raise KeyringError("The keyring holds too many keys to be read again: destroy past epochs and generations")
    temporary = path.with_name(f"{_temporary(path)}{secrets.token_hex(8)}")
    try:
        stamp = _write_new(temporary, content)
        if replace:
            temporary.replace(path)
        else:
            path.hardlink_to(temporary)  # link(2) refuses an existing name, which rename(2) does not
        _sync_directory(path.parent)
    except FileExistsError:
        raise KeyringError("There is a keyring at this path already; it is never overwritten") from None
    except OSError:
        raise KeyringError("The keyring file cannot be written") from None
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
    return stamp


def sweep(path: Path) -> None:
    """Remove what killed writers of the file at `path` left beside it; only for whoever holds the writers' lock."""
    try:
        for left in path.parent.glob(f"{glob.escape(_temporary(path))}*"):
            left.unlink(missing_ok=True)
    except OSError:
        raise KeyringError("A copy of the keyring that a killed process left cannot be removed") from None


def _temporary(path: Path) -> str:
    return f".{path.name}."


@contextlib.contextmanager
def locked(directory: Path) -> Iterator[None]:
    """Hold the exclusive advisory lock of `directory`, which all writers of its keyring take (flock(2))."""
    try:
        descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError:
        raise KeyringError("The keyring's directory cannot be opened") from None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)  # closing releases the lock


def _require_private(status: os.stat_result) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise KeyringError("The keyring is not a regular file")
    if status.st_uid != os.geteuid():
        raise KeyringError("The keyring belongs to another user")
    if stat.S_IMODE(status.st_mode) & 0o177:
        raise KeyringError("The keyring's mode must be 0600: group and others may not touch it")
    if status.st_size > MAX_BYTES:
        raise KeyringError("The keyring file is too large to be one")


def _stamp(status: os.stat_result) -> FileStamp:
    return FileStamp(status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns)


def _write_new(path: Path, content: bytes) -> FileStamp:
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    with os.fdopen(os.open(path, flags, 0o600), "wb") as file:
        os.fchmod(file.fileno(), 0o600)  # whatever the umask took away
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
        return _stamp(os.fstat(file.fileno()))


def _sync_directory(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
