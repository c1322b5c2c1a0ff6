"""Single decisions, many at a time: what arrives while a transaction is being committed goes into the next one.

Each decision must be durable before it is answered, and the flush is the wall: one decision a transaction would be a
few hundred a second. So the loop gathers questions while the previous batch commits (no timer, self-tuning), and one
thread runs `services.disclosing.decisions.decide` for all of them: one read, one append, one commit. Every question
still gets its own answer and its own entry; a failed transaction fails exactly the questions that were in it.
"""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor

from consent_gateway.errors import RaceError, UnavailableError
from consent_gateway.services.disclosing.decisions import Ask, Decision, decide
from consent_gateway.services.work.gateway import Gateway

MAX_BATCH = 256
MAX_WAITING = 4096
_RETRIES = 2


class DecisionBatcher:
    """Belongs to one event loop. Bounded: beyond `MAX_WAITING` questions it sheds with 503."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self._waiting: list[tuple[Ask, asyncio.Future[Decision]]] = []
        self._running = False
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="decide")

    def submit(self, ask: Ask) -> asyncio.Future[Decision]:
        """Queue one question; the future carries its answer, or the error of its transaction."""
        if len(self._waiting) >= MAX_WAITING:
            raise UnavailableError("too many decisions are waiting", retry_after=1)
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Decision] = loop.create_future()
        self._waiting.append((ask, future))
        if not self._running:
            self._running = True
            # After this round of the loop, so that everything that is ready now is in the first batch.
            loop.call_soon(self._start, loop)
        return future

    def close(self) -> None:
        """Wait for the batch that is running."""
        self._thread.shutdown(wait=True)

    def _start(self, loop: asyncio.AbstractEventLoop) -> None:
        batch, self._waiting = self._waiting[:MAX_BATCH], self._waiting[MAX_BATCH:]
        if not batch:
            self._running = False
            return
        done = loop.run_in_executor(self._thread, self._decide, [ask for ask, _ in batch])
        done.add_done_callback(lambda result: self._finish(loop, batch, result))

    def _decide(self, asks: list[Ask]) -> list[Decision | Exception]:
        """Decide a batch; anew if somebody in it was erased meanwhile, who is then nobody to all of them."""
        for _ in range(_RETRIES):
            try:
                return self._decide_once(asks)
            except RaceError:
                continue
        return self._decide_once(asks)

    def _decide_once(self, asks: list[Ask]) -> list[Decision | Exception]:
        with self._gateway.work() as work:
            results = decide(work, asks)
        return list(results)

    def _finish(
        self,
        loop: asyncio.AbstractEventLoop,
        batch: list[tuple[Ask, asyncio.Future[Decision]]],
        result: asyncio.Future[list[Decision | Exception]],
    ) -> None:
        self._start(loop)  # the next batch begins before this one's answers are written
        error = result.exception()
        answers = [error] * len(batch) if error is not None else result.result()
        for (_, future), answer in zip(batch, answers, strict=True):
            if future.cancelled():
                continue
            if isinstance(answer, BaseException):
                future.set_exception(answer)
            else:
                future.set_result(answer)
