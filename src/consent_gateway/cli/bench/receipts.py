"""How long from a decision's answer until its receipt is there: one person asking, over a blocking connection."""

from __future__ import annotations

import re
import socket
import time
from collections import Counter
from itertools import cycle, islice
from time import monotonic

from consent_gateway.cli.bench.http import HOST, AnswerReader, encode
from consent_gateway.cli.bench.job import Job, Outcome

POLL_SECONDS, PATIENCE_SECONDS = 0.001, 10.0
_OK, _NOT_FOUND = 200, 404
_UID = re.compile(rb'"uid":"([0-9a-f]{32})"')
_PIECE = 1 << 16


def receipts(job: Job) -> Outcome:
    """Ask for `job.count` decisions, one after the other, and for the receipt of each until it is given.

    The latency counts from the answer of the decision, polls included. TimeoutError if a receipt does not come.
    """
    latencies: list[int] = []
    failures: Counter[str] = Counter()
    begun = monotonic()
    with socket.create_connection((HOST, job.port), timeout=PATIENCE_SECONDS) as line:
        line.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for request in islice(cycle(job.requests), job.count):
            status, body = exchange(line, request)
            uid = _UID.search(body)
            if status != _OK or uid is None:
                failures[str(status)] += 1
                continue
            latencies.append(round(_wait(line, job.key, uid[1].decode()) * 1e6))
    return Outcome(monotonic() - begun, job.count, latencies, dict(failures))


def exchange(line: socket.socket, request: bytes) -> tuple[int, bytes]:
    """Send a request and return status and body of its answer; ConnectionError if the server closes."""
    line.sendall(request)
    reader = AnswerReader(keep=True)
    while True:
        piece = line.recv(_PIECE)
        if not piece:
            raise ConnectionResetError("the server closed the connection")
        status = reader.feed(piece)
        if status:
            return status, reader.body


def _wait(line: socket.socket, key: str, uid: str) -> float:
    request = encode("GET", f"/v1/audit/entries/{uid}/receipt", key)
    answered = monotonic()
    while (waited := monotonic() - answered) < PATIENCE_SECONDS:
        status, _ = exchange(line, request)
        if status == _OK:
            return monotonic() - answered
        if status != _NOT_FOUND:
            raise ConnectionError(f"the receipt answered {status}")
        time.sleep(POLL_SECONDS)
    raise TimeoutError(f"no receipt after {waited:.0f} s")
