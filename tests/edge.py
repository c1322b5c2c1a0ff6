"""A whole gateway behind a real socket, in this process: the application of `build_app`, served by uvicorn on a thread.

Everything that a deployment has is there (access log, security headers, body guard, router, worker); only the process
boundary is missing, and for that there is `serving`, which starts `consent-gateway serve` and can kill it.
"""

from __future__ import annotations

import io
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import uvicorn

from consent_gateway.api.openapi import document
from consent_gateway.app import build_app
from consent_gateway.assembly import build_gateway
from consent_gateway.clock import Clock, system_clock
from consent_gateway.services.log.audit_log import Sequencer
from consent_gateway.services.work import principals
from consent_gateway.services.work.gateway import Gateway
from consent_gateway.settings import Settings
from consent_gateway.setup import create_store
from consent_gateway.telemetry import Telemetry

ROOT = Path(__file__).resolve().parents[1]
SHARED = ROOT.parent / "shared"
READY_SECONDS, POLL_SECONDS = 120.0, 0.02
JSON = {"content-type": "application/json"}
NDJSON = {"content-type": "application/x-ndjson"}
CSV = {"content-type": "text/csv"}


@dataclass(repr=False)
class Edge:
    """A running gateway: where it listens, its first key, its parts, and what it logged."""

    url: str
    key: str
    gateway: Gateway
    settings: Settings
    litestar: Any
    log: io.BytesIO
    admin: httpx.Client
    clients: dict[str | None, httpx.Client] = field(default_factory=dict)

    @property
    def openapi(self) -> dict[str, Any]:
        return document(self.litestar)

    def issue(self, name: str, *scopes: str, recipient: str = "self") -> str:
        """Make an API key the way the command line does."""
        with self.gateway.work() as work:
            return principals.issue(work, name, recipient, frozenset(scopes))

    def revoke(self, name: str) -> None:
        with self.gateway.work() as work:
            principals.revoke(work, name)

    def client(self, key: str | None) -> httpx.Client:
        """A client under a key, or without one."""
        if key not in self.clients:
            self.clients[key] = client(self.url, key)
        return self.clients[key]

    def settle(self) -> None:
        """Integrate what is pending, so that receipts can be had at once."""
        Sequencer(self.gateway).drain()


def client(url: str, key: str | None) -> httpx.Client:
    headers = {"authorization": f"Bearer {key}"} if key else {}
    return httpx.Client(base_url=url, headers=headers, timeout=30, trust_env=False, verify=False)  # noqa: S501 - plain HTTP


def store_settings(directory: Path, url: str = "sqlite", **more: Any) -> Settings:
    """Settings of a store in `directory`, on PostgreSQL if `url` says so."""
    if not url.startswith("sqlite"):
        more["database_url"] = url
    return Settings(store_directory=directory, **({"k_floor": 2} | more))


@contextmanager
def running(directory: Path, url: str = "sqlite", *, clock: Clock = system_clock, **more: Any) -> Iterator[Edge]:
    """Make a store and serve it on a free port of the loopback interface."""
    settings = store_settings(directory, url, **more)
    made, key = create_store(settings)
    made.store.dispose()
    with opened(settings, key, clock) as edge:
        yield edge


@contextmanager
def opened(settings: Settings, key: str, clock: Clock = system_clock) -> Iterator[Edge]:
    """Serve a store that there is; `key` is that of an administrator."""
    log = io.BytesIO()
    telemetry = Telemetry(stream=log, level=settings.log_level)
    gateway = build_gateway(settings, clock)
    application = build_app(settings, telemetry, gateway)
    with _listening() as listener, _served(application.asgi, listener) as base:
        admin = client(base, key)
        edge = Edge(base, key, gateway, settings, application.litestar, log, admin)
        try:
            yield edge
        finally:
            for open_client in (admin, *edge.clients.values()):
                open_client.close()


@contextmanager
def _listening() -> Iterator[socket.socket]:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(128)
        yield listener


@contextmanager
def _served(asgi: Any, listener: socket.socket) -> Iterator[str]:
    config = uvicorn.Config(
        asgi,
        http="httptools",
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        date_header=False,
        proxy_headers=False,
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, name="edge")
    thread.start()
    try:
        _until(lambda: server.started or not thread.is_alive())
        if not server.started:
            raise RuntimeError("the server did not start")
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(READY_SECONDS)


def _until(done: Any) -> None:
    """Bounded polling for a server's readiness."""
    deadline = time.monotonic() + READY_SECONDS
    while not done():
        if time.monotonic() > deadline:
            raise TimeoutError
        time.sleep(POLL_SECONDS)


# -- a process of its own ------------------------------------------------------------------------------------------


def environment(**more: str) -> dict[str, str]:
    """The environment without settings of another gateway."""
    outer = {name: value for name, value in os.environ.items() if not name.startswith("CONSENT_GATEWAY_")}
    return outer | {"NO_COLOR": "1", "COLUMNS": "200"} | more


def run_cli(*arguments: object, **more: str) -> subprocess.CompletedProcess[str]:
    """Run `consent-gateway` to its end."""
    command = [sys.executable, "-m", "consent_gateway", *map(str, arguments)]
    return subprocess.run(
        command, capture_output=True, text=True, check=False, env=environment(**more), timeout=120, cwd=ROOT
    )


@dataclass
class Served:
    """`consent-gateway serve` in a process of its own."""

    url: str
    process: subprocess.Popen[bytes]
    log: Path

    def kill(self) -> None:
        """End it as a crash would: nothing can be tidied up."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait(READY_SECONDS)

    def stop(self) -> bool:
        """Ask it to end; tell whether it did so of itself (uvicorn ends by the signal once everything is tidied up)."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(READY_SECONDS) in (0, -signal.SIGTERM)


@contextmanager
def serving(
    directory: Path,
    log: Path,
    *,
    port: int | None = None,
    program: Sequence[str] = ("-m", "consent_gateway"),
    **more: str,
) -> Iterator[Served]:
    """Run `consent-gateway serve` over a store; its output is appended to `log`."""
    port = port or free_port()
    command = [sys.executable, *program, "serve", "--store", str(directory), "--port", str(port)]
    with log.open("ab") as sink:
        process = subprocess.Popen(command, stdout=sink, stderr=subprocess.STDOUT, env=environment(**more))
    served = Served(f"http://127.0.0.1:{port}", process, log)
    try:
        _until(lambda: _ready(served))
        yield served
    finally:
        if process.poll() is None:
            served.kill()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _ready(served: Served) -> bool:
    if served.process.poll() is not None:
        raise RuntimeError(served.log.read_text(errors="replace"))
    try:
        return httpx.get(f"{served.url}/health/ready", timeout=2, trust_env=False).is_success
    except httpx.TransportError:
        return False
