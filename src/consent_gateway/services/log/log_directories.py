"""A directory that holds the log in the tlog-tiles layout, and the two ways in which files come into it.

A tile and a bundle never change, so a file that is there is compared and never written again. What differs is where the
newest checkpoint stands, and what is allowed on the medium:

- `PlainDirectory` is what a web server serves as a log: a file is written beside its place, flushed and moved there, so
  that it is whole or absent; `checkpoint` is replaced, and partial tiles that have grown go away.
- `AppendOnlyDirectory` is for media that forget nothing (write-once file systems, `chattr +a`, object locks): nothing
  is replaced, moved or removed. Checkpoints are `checkpoint.<size>`, the largest counts. A file that a crash cut short
  is completed by appending, and each file is made read-only once it is whole, which is how write-once file systems
  are told that it is (docs/retention-lock.md).

Files are flushed as they are written; folders by `publish`, before the checkpoint that needs them stands there.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from consent_gateway.errors import ConflictError

CHECKPOINT = "checkpoint"
_FINISHED = 0o444


class LogDirectory(Protocol):
    """A directory of the log, on one kind of medium."""

    @property
    def path(self) -> Path:
        """Where it is."""
        ...

    def read(self, name: str) -> bytes | None:
        """Return a tile or bundle that is there, None if it is not."""
        ...

    def put(self, name: str, content: bytes) -> bytes | None:
        """Write a tile or bundle unless there is something: then that is returned, and left as it is."""
        ...

    def notes(self) -> Iterable[tuple[str, bytes]]:
        """Yield names and contents of the checkpoints, the newest first."""
        ...

    def publish(self, size: int, note: bytes, outgrown: Iterable[str]) -> None:
        """Flush every folder, put the checkpoint of `size` entries there, let go of files that it does not need."""
        ...


@dataclass(slots=True)
class PlainDirectory:
    """One checkpoint, which is replaced; files come by moving."""

    path: Path
    touched: set[Path] = field(default_factory=set)

    def read(self, name: str) -> bytes | None:
        """Return a file; see `LogDirectory`."""
        return _read(self.path / name)

    def put(self, name: str, content: bytes) -> bytes | None:
        """Write a file unless it is there; see `LogDirectory`."""
        found = self.read(name)
        if found is None:
            self._move_in(name, content)
        return found

    def notes(self) -> Iterable[tuple[str, bytes]]:
        """Yield the one checkpoint, if there is one."""
        note = self.read(CHECKPOINT)
        return () if note is None else ((CHECKPOINT, note),)

    def publish(self, size: int, note: bytes, outgrown: Iterable[str]) -> None:  # noqa: ARG002 - names nothing here
        """Replace the checkpoint; then remove what it outgrew. See `LogDirectory`."""
        _flush_folders(self.path, self.touched)
        self._move_in(CHECKPOINT, note)
        _flush_folders(self.path, self.touched)
        for name in outgrown:
            (self.path / name).unlink(missing_ok=True)
            with suppress(OSError):  # another partial tile is still in it
                (self.path / name).parent.rmdir()

    def _move_in(self, name: str, content: bytes) -> None:
        path = self.path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        self.touched.add(path.parent)
        temporary = path.with_name(path.name + ".part")
        with temporary.open("wb") as file:
            file.write(content)
            _flush(file.fileno())
        temporary.replace(path)


@dataclass(slots=True)
class AppendOnlyDirectory:
    """A checkpoint for each size; nothing is replaced, moved or removed."""

    path: Path
    touched: set[Path] = field(default_factory=set)

    def read(self, name: str) -> bytes | None:
        """Return a file; see `LogDirectory`."""
        return _read(self.path / name)

    def put(self, name: str, content: bytes) -> bytes | None:
        """Write a file unless it is there; one that was cut short is completed. See `LogDirectory`."""
        path = self.path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        self.touched.add(path.parent)
        found = self.read(name)
        if found is not None and (len(found) >= len(content) or not content.startswith(found)):
            if found == content and path.stat().st_mode & 0o222:
                _finish(path, b"")
            return found
        _finish(path, content[len(found or b"") :])
        return None

    def notes(self) -> Iterable[tuple[str, bytes]]:
        """Yield the checkpoints, of the largest size first."""
        names = (path.name for path in self.path.glob(f"{CHECKPOINT}.*"))
        sizes = sorted((int(size) for name in names if (size := name.partition(".")[2]).isdecimal()), reverse=True)
        return ((name, (self.path / name).read_bytes()) for name in (f"{CHECKPOINT}.{size}" for size in sizes))

    def publish(self, size: int, note: bytes, outgrown: Iterable[str]) -> None:  # noqa: ARG002 - nothing ever goes
        """Add the checkpoint of this size, unless the directory has one. See `LogDirectory`."""
        _flush_folders(self.path, self.touched)
        self.put(f"{CHECKPOINT}.{size}", note)
        _flush_folders(self.path, self.touched)


def open_directory(path: Path, *, append_only: bool) -> LogDirectory:
    """Return the directory at `path`; ConflictError if it was begun in the other layout."""
    has_one, has_many = (path / CHECKPOINT).exists(), any(path.glob(f"{CHECKPOINT}.[0-9]*"))
    if append_only and has_one:
        raise ConflictError("the directory has a checkpoint that is replaced: it is no append-only export")
    if not append_only and has_many and not has_one:
        raise ConflictError("the directory is an append-only export: say --append-only")
    return AppendOnlyDirectory(path) if append_only else PlainDirectory(path)


def _read(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None


def _finish(path: Path, rest: bytes) -> None:
    with path.open("ab") as file:
        file.write(rest)
        _flush(file.fileno())
        with suppress(PermissionError):  # whoever may only append (`chattr +a`) may not change modes either
            os.fchmod(file.fileno(), _FINISHED)


def _flush(descriptor: int) -> None:
    os.fsync(descriptor)


def _flush_folders(root: Path, touched: set[Path]) -> None:
    """Flush the folders that got a file, and those between them and the root: names are durable, too."""
    root.mkdir(parents=True, exist_ok=True)
    folders = {root, *(folder for leaf in touched for folder in (leaf, *leaf.parents) if folder.is_relative_to(root))}
    for folder in folders:
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            _flush(descriptor)
        finally:
            os.close(descriptor)
    touched.clear()
