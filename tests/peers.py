"""Peers on the loopback interface that do what a test says: real sockets, answers to order, and every bad habit."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from socketserver import BaseServer


@dataclass
class Asked:
    """One request as it came in."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes


@dataclass
class Told:
    """An answer: `drip` sends the body byte by byte, `hang` sends nothing at all, until the peer is closed."""

    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    drip: bool = False
    hang: bool = False
    cut: bool = False  # close the connection without a word


Act = Callable[[Asked], Told]


@dataclass
class Peer:
    """A server on a free port; `act` can be exchanged while it runs."""

    url: str
    act: Act
    asked: list[Asked] = field(default_factory=list)
    closed: threading.Event = field(default_factory=threading.Event)


@contextmanager
def peer(act: Act) -> Iterator[Peer]:
    """Serve until the block ends."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def __getattr__(self, name: str) -> Callable[[], None]:
            if name.startswith("do_"):
                return self._answer
            raise AttributeError(name)

        def _answer(self) -> None:
            length = int(self.headers.get("content-length") or 0)
            headers = {name.lower(): value for name, value in self.headers.items()}
            asked = Asked(self.command, self.path, headers, self.rfile.read(length))
            served.asked.append(asked)
            self._tell(served.act(asked))

        def _tell(self, told: Told) -> None:
            self.close_connection = True
            if told.hang or told.cut:
                if told.hang:
                    served.closed.wait(30)
                return
            self.send_response_only(told.status)
            headers = {"content-length": str(len(told.body))} | told.headers
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()
            self._send(told)

        def _send(self, told: Told) -> None:
            try:
                if not told.drip:
                    self.wfile.write(told.body)
                    return
                for byte in told.body:
                    self.wfile.write(bytes([byte]))
                    self.wfile.flush()
                    if served.closed.wait(0.05):
                        return
            except OSError:
                pass  # the caller has hung up

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    class Server(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self: BaseServer, request: object, client_address: object) -> None:
            """Callers that hang up are what is tested."""

    server = Server(("127.0.0.1", 0), Handler)
    served = Peer(f"http://127.0.0.1:{server.server_address[1]}", act)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield served
    finally:
        served.closed.set()
        server.shutdown()
        server.server_close()
        thread.join()


@dataclass
class Shelf:
    """What a server of copies does: one resource with an entity tag, written conditionally, under a token."""

    token: str = ""
    held: bytes | None = None
    tags: bool = True

    def __call__(self, asked: Asked) -> Told:
        if self.token and asked.headers.get("authorization") != f"Bearer {self.token}":
            return Told(401)
        tag = None if self.held is None else f'"{sha256(self.held).hexdigest()}"'
        if asked.method == "PUT":
            if self.tags and not self._may(asked, tag):
                return Told(412)
            self.held = asked.body
            return Told(204)
        if self.held is None:
            return Told(404)
        return Told(200, {"etag": str(tag)} if self.tags else {}, self.held)

    @staticmethod
    def _may(asked: Asked, tag: str | None) -> bool:
        if asked.headers.get("if-none-match") == "*":
            return tag is None
        return asked.headers.get("if-match", tag) == tag
