"""The servers under load: subprocesses, started on free ports and ended by their process ids."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from consent_gateway.cli.bench.http import HOST, encode
from consent_gateway.cli.bench.places import Place
from consent_gateway.cli.bench.receipts import exchange
from consent_gateway.cli.processes import free_port, stop
from consent_gateway.errors import UnavailableError
from consent_gateway.settings import PREFIX

READY_SECONDS, STOP_SECONDS, POLL_SECONDS = 120.0, 15.0, 0.05
_OK = 200


@dataclass(frozen=True, slots=True)
class Server:
    """A process that answers HTTP on `port` of this machine."""

    pid: int
    port: int


@contextmanager
def gateway_server(place: Place) -> Iterator[Server]:
    """Serve the store of `place` as `consent-gateway serve` does; UnavailableError if it does not come up."""
    port = free_port()
    command = ("-m", "consent_gateway", "serve", "--port", str(port))
    with _serving(command, port, place.environment(), place.directory / "serve.log") as server:
        yield server


@contextmanager
def echo_server(directory: Path) -> Iterator[Server]:
    """Serve the bare echo; UnavailableError if it does not come up."""
    port = free_port()
    command = ("-m", "consent_gateway.cli.bench.echo", str(port))
    with _serving(command, port, {}, directory / "echo.log") as server:
        yield server


@contextmanager
def _serving(command: tuple[str, ...], port: int, settings: Mapping[str, str], log: Path) -> Iterator[Server]:
    outer = {name: value for name, value in os.environ.items() if not name.startswith(PREFIX)}
    with log.open("ab") as sink:
        process = subprocess.Popen(  # noqa: S603 - this interpreter, modules of this package
            [sys.executable, *command], stdout=sink, stderr=subprocess.STDOUT, env={**outer, **settings}
        )
        try:
            _wait(process, port, log)
            yield Server(process.pid, port)
        finally:
            stop(process, STOP_SECONDS)


def _wait(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    deadline = time.monotonic() + READY_SECONDS
    while not _ready(port):
        if process.poll() is not None or time.monotonic() > deadline:
            last = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()[-3:]
            raise UnavailableError(f"a server of the benchmark did not come up: {' '.join(last)}")
        time.sleep(POLL_SECONDS)


def _ready(port: int) -> bool:
    try:
        with socket.create_connection((HOST, port), timeout=2) as line:
            return exchange(line, encode("GET", "/health/ready"))[0] == _OK
    except OSError:
        return False
