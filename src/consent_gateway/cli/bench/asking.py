"""One request at a time, timed from here: for calls that take far longer than a client does."""

from __future__ import annotations

import json
import socket
from time import perf_counter
from typing import Any

from consent_gateway.cli.bench.http import HOST
from consent_gateway.cli.bench.receipts import exchange
from consent_gateway.cli.bench.serving import Server
from consent_gateway.errors import UnavailableError

_FAILED, _PATIENCE_SECONDS = 300, 60.0


def timed(server: Server, request: bytes) -> tuple[bytes, float]:
    """Return the body of the answer and the milliseconds it took; UnavailableError unless it is a success."""
    with socket.create_connection((HOST, server.port), timeout=_PATIENCE_SECONDS) as line:
        begun = perf_counter()
        status, body = exchange(line, request)
        took = (perf_counter() - begun) * 1000
    if status >= _FAILED:
        raise UnavailableError(f"a request of the benchmark answered {status}: {body[:200].decode(errors='replace')}")
    return body, took


def ask(server: Server, request: bytes) -> Any:
    """Return the JSON of the answer; UnavailableError unless it is a success."""
    return json.loads(timed(server, request)[0])
