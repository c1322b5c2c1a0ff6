"""Something between a gateway and PostgreSQL that keeps its sockets open and says nothing, from a moment that a test says.

Bytes go through until the proxy is frozen. From then on it accepts whoever comes, reads what is sent, and hands on
nothing in either direction until it thaws; then what it held goes on its way, also of a client that has gone since, as
in a network that delays, or is lost, if the test says so. A test freezes it at once, or at a *point*: the n-th time that a client sends what matches,
either before that is handed on (the server never hears of it) or after (it does, and its answer does not come).
"""

from __future__ import annotations

import contextlib
import re
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

from sqlalchemy.engine import make_url

_CHUNK = 1 << 16
_JOIN_SECONDS = 10
COMMIT = rb"COMMIT"


class Proxy:
    """Between anybody and one server."""

    def __init__(self, reach: Callable[[], socket.socket]) -> None:
        self._reach = reach
        self._open = threading.Event()
        self._open.set()
        self._lock = threading.Lock()
        self._point: tuple[re.Pattern[bytes], int, bool] | None = None
        self._sockets: list[socket.socket] = []
        self._threads: list[threading.Thread] = []
        self.frozen = threading.Event()
        self.accepted = 0
        self._closing = self._drop = False
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._start(self._accept)

    def freeze(self) -> None:
        """Hand on nothing more."""
        self._open.clear()
        self.frozen.set()

    def freeze_at(self, pattern: bytes = rb"", nth: int = 1, *, heard: bool) -> None:
        """Freeze when a client sends what matches for the `nth` time from now; `heard`: after the server got it."""
        self.frozen.clear()
        with self._lock:
            self._point = re.compile(pattern), nth, heard

    def thaw(self, *, drop: bool = False) -> None:
        """Hand on what was held, or cut the connections of which anything was held, and go on."""
        with self._lock:
            self._point, self._drop = None, drop
        self.frozen.clear()
        self._open.set()

    def close(self) -> None:
        with self._lock:
            self._closing = True
            sockets = [self._listener, *self._sockets]
        self.thaw()
        for each in sockets:
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:  # grows meanwhile: a thread may have started another
            thread.join(_JOIN_SECONDS)
        for each in (self._listener, *self._sockets):
            each.close()

    def _start(self, act: Callable[..., None], *arguments: object) -> None:
        thread = threading.Thread(target=act, args=arguments, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                self.accepted += 1
                self._keep(client)
                self._start(self._serve, client)

    def _keep(self, one: socket.socket) -> None:
        with self._lock:
            self._sockets.append(one)
            if self._closing:
                one.shutdown(socket.SHUT_RDWR)

    def _serve(self, client: socket.socket) -> None:
        self._open.wait()
        with contextlib.suppress(OSError):
            server = self._reach()
            self._keep(server)
            self._start(lambda: self._pump(server, client, asking=False))
            self._pump(client, server, asking=True)

    def _pump(self, source: socket.socket, target: socket.socket, *, asking: bool) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(_CHUNK):
                heard = self._reached(data) if asking else None
                if heard is False:
                    self.freeze()
                if heard is True:
                    self.freeze()  # first, so that no answer slips through
                elif not self._open.is_set():
                    self._open.wait()
                    if self._drop:
                        break
                target.sendall(data)
        self._open.wait()
        with contextlib.suppress(OSError):
            target.shutdown(socket.SHUT_WR)

    def _reached(self, data: bytes) -> bool | None:
        """Tell whether this is the point: False to freeze before the server hears of it, True after, None if not."""
        with self._lock:
            if self._point is None:
                return None
            pattern, nth, heard = self._point
            if not pattern.search(data):
                return None
            self._point = (pattern, nth - 1, heard) if nth > 1 else None
            return heard if nth == 1 else None


@contextlib.contextmanager
def stalling(url: str) -> Iterator[tuple[Proxy, str]]:
    """A proxy before the server of a database, and the URL of the database through it."""
    parsed = make_url(url)
    host, port = str(parsed.query.get("host") or parsed.host), parsed.port or 5432

    def reach() -> socket.socket:
        if not host.startswith("/"):
            return socket.create_connection((host, port))
        found = socket.socket(socket.AF_UNIX)
        found.connect(str(Path(host) / f".s.PGSQL.{port}"))
        return found

    proxy = Proxy(reach)
    through = parsed.set(host="127.0.0.1", port=proxy.port, query={"sslmode": "disable", "gssencmode": "disable"})
    try:
        yield proxy, through.render_as_string(hide_password=False)
    finally:
        proxy.close()
