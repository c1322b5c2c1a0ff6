"""The gateway as a subprocess: made on an empty store, started on a free port, stopped at the end.

The demo reaches the gateway the way a user does: `python -m consent_gateway init` makes the store and prints the
first API key once, `serve` runs it. What the server prints goes to a log file, whose tail is shown if it dies.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

from consent_gateway.cli.processes import free_port, stop

COMMAND = ("-m", "consent_gateway")
READY_SECONDS, STOP_SECONDS, POLL_SECONDS = 120.0, 10.0, 0.05
_KEY = re.compile(r"\bcg_[A-Za-z0-9]+_[A-Za-z0-9_-]+")
_ENVIRONMENT_PREFIX = "CONSENT_GATEWAY_"


class CommandError(Exception):
    """A command of the gateway failed, or its server did not come up; the message has the tail of its output."""


@dataclass(frozen=True, slots=True)
class Finished:
    """A command that has ended: its exit status and everything it printed."""

    status: int
    output: str


@dataclass(frozen=True, slots=True)
class Commands:
    """Runs the gateway's commands with this interpreter; `cache` is a directory for compiled modules.

    Where the environment forbids Python to keep compiled modules, every command would compile the whole gateway again
    (two seconds each): then, and only then, they share `cache`.
    """

    cache: Path

    def run(self, *command: str) -> Finished:
        """Run a Python command line (`-m consent_gateway ...`) to its end; any exit status is an answer."""
        done = subprocess.run(  # noqa: S603 - this interpreter, arguments of this package
            [sys.executable, *command],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
            env=self.environment(os.environ),
        )
        return Finished(done.returncode, done.stdout)

    def gateway(self, *arguments: str) -> Finished:
        """Run `consent-gateway` with `arguments` to its end."""
        return self.run(*COMMAND, *arguments)

    def create(self, store: Path) -> str:
        """Make an empty store with keyring, schema and the first API key; return that key. An old store is removed.

        Raises CommandError if `init` fails or prints no key.
        """
        shutil.rmtree(store, ignore_errors=True)
        store.parent.mkdir(parents=True, exist_ok=True)
        done = self.gateway("init", "--store", str(store))
        key = _KEY.search(done.output)
        if done.status != 0 or key is None:
            raise CommandError(f"`consent-gateway init` failed ({done.status}): {_tail(done.output)}")
        return key.group()

    @contextmanager
    def serving(self, store: Path, log: Path) -> Iterator[str]:
        """Serve `store` on a free port of this machine; yield the base URL once it is ready, stop it in the end.

        Raises CommandError if the server ends or is not ready in time.
        """
        port = free_port()
        url = f"http://127.0.0.1:{port}"
        command = [sys.executable, *COMMAND, "serve", "--store", str(store), "--port", str(port)]
        with log.open("wb") as sink:
            process = subprocess.Popen(  # noqa: S603 - this interpreter, arguments of this package
                command, stdout=sink, stderr=subprocess.STDOUT, env=self.environment(os.environ)
            )
            try:
                _wait(process, url, log)
                yield url
            finally:
                stop(process, STOP_SECONDS)

    def environment(self, outer: Mapping[str, str]) -> dict[str, str]:
        """Return `outer` without the settings of another gateway: the demo has a store of its own."""
        inner = {name: value for name, value in outer.items() if not name.startswith(_ENVIRONMENT_PREFIX)}
        if inner.pop("PYTHONDONTWRITEBYTECODE", ""):
            inner["PYTHONPYCACHEPREFIX"] = str(self.cache.absolute())
        return inner


def _wait(process: subprocess.Popen[bytes], url: str, log: Path) -> None:
    deadline = time.monotonic() + READY_SECONDS
    while not _ready(url):
        if process.poll() is not None:
            raise CommandError(f"the gateway ended ({process.returncode}): {_tail(log.read_text(errors='replace'))}")
        if time.monotonic() > deadline:
            raise CommandError(f"the gateway was not ready after {READY_SECONDS:.0f} s; see {log}")
        time.sleep(POLL_SECONDS)


def _ready(url: str) -> bool:
    try:
        return httpx.get(f"{url}/health/ready", timeout=2, trust_env=False).status_code == httpx.codes.OK
    except httpx.TransportError:
        return False


def _tail(text: str, lines: int = 8) -> str:
    return "\n".join(text.strip().splitlines()[-lines:])
