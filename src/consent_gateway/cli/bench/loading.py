"""Starting the load generator, and holding its answers to be successes."""

from __future__ import annotations

import subprocess
import sys
import tempfile

from consent_gateway.cli.bench.job import Job, Outcome
from consent_gateway.cli.bench.machine import cpu_seconds
from consent_gateway.errors import UnavailableError

_MODULE = "consent_gateway.cli.bench.load"


def put(job: Job, server: int) -> tuple[Outcome, float | None]:
    """Put a load on a server and return what came of it, and the server's CPU in microseconds an answer.

    `server` is its process id. UnavailableError if the generator fails or any answer is not a success: the rate of
    refusals is not a figure.
    """
    before = cpu_seconds(server)
    outcome = _generate(job)
    after = cpu_seconds(server)
    if outcome.failures:
        raise UnavailableError(f"of {outcome.total} answers, some were no success (by status): {outcome.failures}")
    if not outcome.latencies_us:
        raise UnavailableError("no answer came inside the window: make it longer")
    used = None if before is None or after is None else (after - before) / outcome.total * 1e6
    return outcome, used


def _generate(job: Job) -> Outcome:
    # Into a file: some hundred kilobytes of latencies need nobody who empties a pipe meanwhile.
    with tempfile.TemporaryFile("w+", encoding="ascii") as answer:
        done = subprocess.run(  # noqa: S603 - this interpreter, a module of this package
            [sys.executable, "-m", _MODULE],
            input=job.to_json() + "\n",
            stdout=answer,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
        answer.seek(0)
        text = answer.read()
    if done.returncode != 0 or not text.endswith("\n"):
        last = done.stderr.strip().splitlines()[-1:]
        raise UnavailableError(f"the load generator failed ({done.returncode}): {' '.join(last)}")
    return Outcome.from_json(text)
