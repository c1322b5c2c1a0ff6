"""The load generator: `python -m consent_gateway.cli.bench.load`, a job on standard input, its outcome on output.

A process of its own, so that the server's interpreter does not share its lock with its clients; it should cost far
less than what it measures. Requests are encoded beforehand and answers are not parsed beyond their length. It speaks
to 127.0.0.1 alone, keeps connections open and has at most one request under way on each.

Open loop: a request that is due while no connection is free waits, and its waiting counts (no coordinated omission).
Its event loop waits with `select`, which has microseconds; `epoll` and libuv have milliseconds, and up to one of them
would be added to every latency.
"""

from __future__ import annotations

import asyncio
import gc
import math
import selectors
import sys
from collections import Counter, deque
from collections.abc import Callable
from itertools import cycle
from time import monotonic
from typing import cast

import uvloop

from consent_gateway.cli.bench.http import HOST, AnswerReader
from consent_gateway.cli.bench.job import Job, Outcome
from consent_gateway.cli.bench.receipts import receipts
from consent_gateway.cli.demo.dice import Dice

SEED = "consent-gateway/bench/1"
PATIENCE_SECONDS = 60.0
_FIRST_FAILURE = 300
_BITS = 1 << 53


def main() -> None:
    """Read a job, do it, write its outcome."""
    job = Job.from_json(sys.stdin.readline())
    gc.disable()  # this process ends before garbage matters
    sys.stdout.write(run(job).to_json() + "\n")


def run(job: Job) -> Outcome:
    """Put the load of `job` on the server; ConnectionError if the server goes away, TimeoutError if it hangs."""
    if job.mode == "receipts":
        return receipts(job)
    if job.mode == "open":
        with asyncio.Runner(loop_factory=lambda: asyncio.SelectorEventLoop(selectors.SelectSelector())) as runner:
            return runner.run(OpenLoad(job).run())
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(ClosedLoad(job).run())


def arrivals(rate: float, seconds: float, label: str = "arrivals") -> list[float]:
    """Return the instants in `[0, seconds)` of a Poisson process of `rate` a second; the same on every machine."""
    dice = Dice(label, SEED)
    instants: list[float] = []
    now = 0.0
    while True:
        now -= math.log((dice.below(_BITS) + 1) / _BITS) / rate
        if now >= seconds:
            return instants
        instants.append(now)


class Line(asyncio.Protocol):
    """One connection: asks, and tells `on_answer` the status when the answer is complete."""

    def __init__(self, on_answer: Callable[[Line, int], None], on_loss: Callable[[], None]) -> None:
        self._on_answer, self._on_loss = on_answer, on_loss
        self._reader = AnswerReader()
        self._transport: asyncio.WriteTransport | None = None
        self.due = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self._transport = cast("asyncio.WriteTransport", transport)  # uvloop's is one, but not by inheritance

    def ask(self, request: bytes, due: float) -> None:
        """Send a request whose latency counts from `due`."""
        self.due = due
        if self._transport is not None:
            self._transport.write(request)

    def data_received(self, data: bytes) -> None:
        """Take a piece of an answer."""
        status = self._reader.feed(data)
        if status:
            self._on_answer(self, status)

    def connection_lost(self, _: Exception | None) -> None:
        """Say that the connection is gone."""
        self._transport = None
        self._on_loss()

    def close(self) -> None:
        """Close the connection."""
        if self._transport is not None:
            self._transport.close()


class _Load:
    """What both loads share: lines, counts, and the end."""

    def __init__(self, job: Job) -> None:
        self.job = job
        self.turn = cycle(job.requests)
        self.latencies: list[int] = []
        self.late: list[int] = []
        self.failures: Counter[str] = Counter()
        self.total = 0
        self.lines: list[Line] = []
        self.window = (0.0, math.inf)

    async def run(self) -> Outcome:
        """Open the lines, load, wait for every answer, close."""
        self.loop = loop = asyncio.get_running_loop()
        self.finished: asyncio.Future[None] = loop.create_future()
        for _ in range(self.job.connections):
            _, line = await loop.create_connection(lambda: Line(self.answered, self._lost), HOST, self.job.port)
            self.lines.append(line)
        begun = monotonic()
        self.window = (begun + self.job.warmup, begun + self.job.warmup + self.job.seconds)
        self.begin()
        await asyncio.wait_for(self.finished, self.job.warmup + self.job.seconds + PATIENCE_SECONDS)
        seconds = self.job.seconds or monotonic() - begun
        for line in self.lines:
            line.close()
        return Outcome(seconds, self.total, self.latencies, dict(self.failures), self.late)

    def begin(self) -> None:
        """Send the first requests."""
        raise NotImplementedError

    def answered(self, line: Line, status: int) -> None:
        """Count an answer, and go on."""
        raise NotImplementedError

    def count(self, status: int, due: float, now: float, placed: float) -> None:
        """Count an answer that came `now` to a request that was due at `due`; inside the window if `placed` is."""
        self.total += 1
        if status >= _FIRST_FAILURE:
            self.failures[str(status)] += 1
        if self.window[0] <= placed < self.window[1]:
            self.latencies.append(round((now - due) * 1e6))

    def end(self) -> None:
        """Say that every answer is there."""
        if not self.finished.done():
            self.finished.set_result(None)

    def _lost(self) -> None:
        if not self.finished.done():
            self.finished.set_exception(ConnectionResetError("the server closed a connection"))


class ClosedLoad(_Load):
    """Each line sends its next request as soon as it has its answer; an answer belongs to the instant it came at."""

    def begin(self) -> None:
        """Send one request on every line."""
        if self.job.count:
            self.window = (self.window[0], math.inf)
        self.left = self.job.count or math.inf
        self.busy = len(self.lines)
        for line in self.lines:
            self._next(line, monotonic())

    def answered(self, line: Line, status: int) -> None:
        """Count, and send the next request while there is one to send."""
        now = monotonic()
        self.count(status, line.due, now, now)
        self._next(line, now)

    def _next(self, line: Line, now: float) -> None:
        if self.left > 0 and now < self.window[1]:
            self.left -= 1
            line.ask(next(self.turn), now)
            return
        self.busy -= 1
        if not self.busy:
            self.end()


class OpenLoad(_Load):
    """Requests become due whether or not answers came; an answer belongs to the instant its request was due at."""

    def begin(self) -> None:
        """Plan every arrival and wait for the first."""
        begun = monotonic()
        self.due = deque(begun + at for at in arrivals(self.job.rate, self.job.warmup + self.job.seconds))
        self.window = (begun + self.job.warmup, begun + self.job.warmup + self.job.seconds)
        self.left = len(self.due)
        self.free = deque(self.lines)
        self.waiting: deque[float] = deque()
        if not self.left:
            self.end()
        self._tick()

    def answered(self, line: Line, status: int) -> None:
        """Count, and give the line to the request that has waited longest."""
        self.count(status, line.due, monotonic(), line.due)
        self.left -= 1
        if self.waiting:
            line.ask(next(self.turn), self.waiting.popleft())
        else:
            self.free.append(line)
        if not self.left:
            self.end()

    def _tick(self) -> None:
        now = monotonic()
        while self.due and self.due[0] <= now:
            due = self.due.popleft()
            if due >= self.window[0]:
                self.late.append(round((now - due) * 1e6))
            if self.free:
                self.free.popleft().ask(next(self.turn), due)
            else:
                self.waiting.append(due)
        if self.due:
            self.loop.call_at(self.due[0], self._tick)  # the default loop's clock is `monotonic`


if __name__ == "__main__":
    main()
