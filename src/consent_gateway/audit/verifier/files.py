"""Reading a directory that an adversary wrote: regular files below it, of a bounded size, and nothing else.

A symbolic link could lead anywhere, opening a FIFO waits for ever, a sparse file of terabytes costs nothing to make.
So every part of a path is looked at before it is opened, links and special files are refused by name, and nothing
beyond the bound is read. Names of files come from the size of the tree, never from the directory.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path

from consent_gateway.audit.verifier.findings import FoundError

_OPEN = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)

_SIZE_DIGITS = 18


class LogFiles:
    """The files below `root`; the root itself may be a link, for the auditor has named it."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._folders: set[Path] = {root}

    def find(self, *names: str) -> str | None:
        """Return the first of these names under which there is anything, None if there is nothing."""
        return next((name for name in names if os.path.lexists(self._root / name)), None)

    def newest_checkpoint(self) -> str:
        """Return the name of the checkpoint that counts: `checkpoint`, else the largest `checkpoint.<size>`.

        The second is how a log lies on media on which nothing is replaced (docs/retention-lock.md).
        """
        if self.find("checkpoint") is not None:
            return "checkpoint"
        suffixes = (name.removeprefix("checkpoint.") for name in self._names() if name.startswith("checkpoint."))
        sizes = [int(suffix) for suffix in suffixes if suffix.isdecimal() and len(suffix) <= _SIZE_DIGITS]
        return f"checkpoint.{max(sizes)}" if sizes else "checkpoint"

    def _names(self) -> list[str]:
        try:
            return [path.name for path in self._root.iterdir()]
        except OSError:
            return []

    def read(self, name: str, limit: int, first: int | None = None) -> bytes:
        """Return the content of a file; FoundError, at the entry `first`, unless it is regular and within `limit`."""
        path = self._root / name
        try:
            self._check_folder(path.parent)
            if not stat.S_ISREG((found := path.lstat()).st_mode):
                raise FoundError("file", f"{name} is not a regular file", first)
            if found.st_size > limit:
                raise FoundError("file", f"{name} has {found.st_size} bytes, more than {limit}", first)
            with os.fdopen(os.open(path, _OPEN), "rb") as file:
                return file.read(limit)
        except OSError as error:
            raise FoundError("missing", f"{name}: {error.strerror}", first) from None

    def _check_folder(self, folder: Path) -> None:
        """Raise unless the folder and those between it and the root are real ones; each is looked at once."""
        if folder in self._folders:
            return
        self._check_folder(folder.parent)
        if not stat.S_ISDIR(folder.lstat().st_mode):
            raise FoundError("file", f"{folder.relative_to(self._root)} is not a directory")
        self._folders.add(folder)
