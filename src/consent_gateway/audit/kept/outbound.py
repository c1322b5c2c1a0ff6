"""One HTTP call to an address out of the operator's settings, and to no other.

Nobody who calls the gateway can make it call out: addresses come from settings and policy files alone. Redirects are
not followed, proxies of the environment are not used, an address without TLS is refused unless it is on this machine.
The whole call has a deadline (a peer that sends a byte now and then gains nothing by it) and the answer a size; both
are cut off, never waited out.
"""

from __future__ import annotations

import contextlib
import ssl
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from time import monotonic
from urllib.parse import urlsplit

import httpx

from consent_gateway.audit.kept.port import KeptError, Trouble

_LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})
_PLAIN = {"accept-encoding": "identity"}  # what is kept is compared to the byte, and nothing is unpacked here
_REDIRECTS = range(300, 400)
_SECRET_BYTES = 4096


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back: status, headers (names in lower case) and body."""

    status: int
    headers: Mapping[str, str] = field(repr=False)
    body: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Outbound:
    """Calls with one deadline (seconds for a whole call) and one limit of size (bytes of an answer)."""

    seconds: float
    most: int

    def call(self, method: str, url: str, *, headers: Mapping[str, str] | None = None, body: bytes = b"") -> Answer:
        """Send one request; KeptError says why there is no answer. Any status but a redirect is an answer."""
        begun = monotonic()
        try:
            sent = {**_PLAIN, **(headers or {})}
            with self._client() as client, client.stream(method, url, headers=sent, content=body or None) as found:
                if found.status_code in _REDIRECTS:
                    raise KeptError(Trouble.REDIRECTED)
                return Answer(found.status_code, found.headers, self._read(found))
        except (httpx.HTTPError, httpx.InvalidURL, httpx.StreamError, RuntimeError, OSError):
            late = monotonic() - begun >= self.seconds
            raise KeptError(Trouble.TIMEOUT if late else Trouble.UNREACHABLE) from None

    @contextlib.contextmanager
    def _client(self) -> Iterator[httpx.Client]:
        """Give a client that is closed at the deadline, whatever it is doing then."""
        with httpx.Client(timeout=self.seconds, verify=_trust(), trust_env=False, follow_redirects=False) as client:
            guard = threading.Timer(self.seconds, client.close)
            guard.daemon = True
            guard.start()
            try:
                yield client
            finally:
                guard.cancel()

    def _read(self, found: httpx.Response) -> bytes:
        parts, size = list[bytes](), 0
        for part in found.iter_raw():
            size += len(part)
            if size > self.most:
                raise KeptError(Trouble.TOO_LARGE)
            parts.append(part)
        return b"".join(parts)


@lru_cache(maxsize=1)
def _trust() -> ssl.SSLContext:
    """Return the system's certificate authorities, which take a tenth of a second to load."""
    return ssl.create_default_context()


def is_safe_url(url: str) -> bool:
    """Tell whether an address is https, or plain http on this machine, and carries no password and no fragment."""
    try:
        parts = urlsplit(url)
        named = bool(parts.hostname) and parts.username is None and parts.password is None and not parts.fragment
    except ValueError:
        return False
    return named and (parts.scheme == "https" or (parts.scheme == "http" and parts.hostname in _LOOPBACK))


def bearer(secret_file: Path | None) -> dict[str, str]:
    """Return the header of a bearer token that is read from its file for each call, since agents renew it there."""
    if secret_file is None:
        return {}
    try:
        token = secret_file.read_bytes()[:_SECRET_BYTES].strip()
    except OSError:
        raise KeptError(Trouble.BEARER) from None
    if not token or not token.isascii() or not token.decode().isprintable():
        raise KeptError(Trouble.BEARER)
    return {"authorization": f"Bearer {token.decode()}"}
