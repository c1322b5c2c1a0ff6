"""Processes that die by SIGKILL where a test says: the command line, run as it is, under a hook that is no part of it.

Run as a program this is a host: it imports the command line once and forks a process for each order it reads, so that
a death costs no start of an interpreter. The forked process is the product and nothing else, but for three things that
are changed from outside before the product is imported: the clock is ahead by as much as the order says, sleeping moves
that clock, and each *point* is counted: before a statement, before and after a commit, a flush or a rename. At the
point that the order names it sends SIGKILL to itself: nothing is tidied up, no `finally` runs, as after a power cut of
the process. An order may also name seconds, after which the host kills it from outside; and, in place of a command of
the command line, a function of the tests that works with the product's parts.
"""

from __future__ import annotations

import contextlib
import fcntl
import functools
import importlib
import json
import mmap
import os
import re
import signal
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

_SHARED = struct.Struct(">qdH")  # points that were passed, seconds that the clock is ahead, length of the last label
_LABEL = 80


# -- the host and its children -------------------------------------------------------------------------------------


class Points:
    """Counts the points of one process in memory that the host can read after its death."""

    def __init__(self, shared: mmap.mmap, ahead: float) -> None:
        self.shared, self.seen, self.ahead = shared, 0, ahead
        self.at: int | None = None
        self.match: re.Pattern[str] | None = None

    def order(self, at: int | None, match: str | None) -> None:
        """Die at point number `at`, or at the `at`-th point whose label matches."""
        self.at, self.match = at, None if match is None else re.compile(match)
        self._write("start")

    def passed(self, label: str) -> None:
        """One more point: maybe the last one."""
        if self.match is None or self.match.search(label):
            self.seen += 1
            self._write(label)
            if self.seen == self.at:
                os.kill(os.getpid(), signal.SIGKILL)

    def sleep(self, seconds: float) -> None:
        """Let the clock go on instead of waiting."""
        self.ahead += max(0.0, seconds)
        self._write("sleep")

    def _write(self, label: str) -> None:
        text = label.encode(errors="replace")[:_LABEL]
        self.shared[: _SHARED.size + len(text)] = _SHARED.pack(self.seen, self.ahead, len(text)) + text


def _around(points: Points, label: str, act: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(act)
    def wrapped(*arguments: Any, **named: Any) -> Any:
        points.passed(f"before {label}")
        found = act(*arguments, **named)
        points.passed(f"after {label}")
        return found

    return wrapped


def _hook(points: Points) -> Callable[[], int]:
    """Change what is to be changed, import the command line, and return its `main`."""
    time.sleep = points.sleep
    os.fsync = _around(points, "fsync", os.fsync)
    fcntl.flock = _around(points, "flock", fcntl.flock)
    Path.replace = _around(points, "replace", Path.replace)  # type: ignore[method-assign]
    Path.hardlink_to = _around(points, "link", Path.hardlink_to)  # type: ignore[method-assign]
    Path.unlink = _around(points, "unlink", Path.unlink)  # type: ignore[method-assign]

    from sqlalchemy import Engine, event  # noqa: PLC0415 - the order is the point
    from sqlalchemy.engine.default import DefaultDialect  # noqa: PLC0415

    from consent_gateway import clock  # noqa: PLC0415

    real = clock.system_clock
    clock.system_clock = lambda: real() + timedelta(seconds=points.ahead)
    DefaultDialect.do_commit = _around(points, "commit", DefaultDialect.do_commit)  # type: ignore[method-assign]
    event.listen(Engine, "before_cursor_execute", lambda _c, _cur, sql, *_more: points.passed(" ".join(sql.split())))
    from consent_gateway.cli import making, serving  # noqa: F401, PLC0415
    from consent_gateway.cli.keys import data_keys, destroying, indexes, rolling  # noqa: F401, PLC0415
    from consent_gateway.cli.main import main  # noqa: PLC0415

    return main


def _host() -> None:
    shared = mmap.mmap(-1, 4096)
    points = Points(shared, 0.0)
    main = _hook(points)
    for module in sys.argv[1:]:
        importlib.import_module(module)
    print("ready", flush=True)
    for line in sys.stdin:
        order = json.loads(line)
        child = os.fork()
        if child == 0:
            _child(points, main, order)
        status = _ended(child, order.get("after"))
        seen, ahead, length = _SHARED.unpack_from(shared)
        label = shared[_SHARED.size : _SHARED.size + length].decode(errors="replace")
        print(json.dumps({"status": status, "points": seen, "ahead": ahead, "label": label}), flush=True)


def _child(points: Points, main: Callable[[], int], order: dict[str, Any]) -> None:
    points.ahead = order["ahead"]
    points.order(order.get("at"), order.get("match"))
    os.environ.update(order["env"])
    out = os.open(order["out"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    for number in (1, 2):
        os.dup2(out, number)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    sys.argv = ["consent-gateway", *order["argv"]]
    status = 70
    try:
        if order.get("act"):
            module, _, name = order["act"].partition(":")
            getattr(importlib.import_module(module), name)(*order["argv"])
            status = 0
        else:
            main()
    except SystemExit as ended:
        status = int(ended.code or 0)
    except BaseException as error:  # noqa: BLE001 - whatever it is belongs into the output
        print(repr(error))
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


def _ended(child: int, after: float | None) -> int:
    """Return the exit status of the child, negative for a signal; kill it from outside after so many seconds."""
    timer = None
    if after is not None:
        timer = threading.Timer(after, _kill, (child,))
        timer.start()
    _, status = os.waitpid(child, 0)
    if timer is not None:
        timer.cancel()
    return os.waitstatus_to_exitcode(status)


def _kill(child: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(child, signal.SIGKILL)


# -- what tests use ------------------------------------------------------------------------------------------------


@dataclass
class End:
    """How a process ended: status (negative: the signal), what it printed, how many points it passed and the last."""

    status: int
    output: str
    points: int
    label: str

    @property
    def killed(self) -> bool:
        return self.status == -signal.SIGKILL


@dataclass
class Host:
    """Runs commands over one store, each in a process of its own; the clock of the next is never behind the last's."""

    process: subprocess.Popen[str]
    out: Path
    env: dict[str, str] = field(default_factory=dict)
    ahead: float = 0.0

    def run(
        self,
        *argv: object,
        at: int | None = None,
        match: str | None = None,
        after: float | None = None,
        act: str | None = None,
    ) -> End:
        """Run a command; it dies at point `at` (of those whose label matches), or `after` so many seconds.

        `act`: a function `module:name` of the tests to run in its place, with the arguments as text.
        """
        order = {"argv": [str(a) for a in argv], "at": at, "match": match, "after": after, "act": act}
        more = {"env": self.env, "out": str(self.out), "ahead": self.ahead}
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps(order | more) + "\n")
        self.process.stdin.flush()
        found = json.loads(self.process.stdout.readline())
        self.ahead = max(self.ahead, found["ahead"])
        return End(found["status"], self.out.read_text(errors="replace"), found["points"], found["label"])

    def told(self, *argv: object) -> Any:
        """Run a command with `--json` to its end and return what it printed."""
        end = self.run(*argv, "--json")
        assert end.status == 0, end
        return json.loads(end.output)

    def later(self, seconds: float) -> None:
        """Let the clock of the next processes be ahead by more."""
        self.ahead += seconds


@contextlib.contextmanager
def hosting(out: Path, env: dict[str, str], *modules: str) -> Iterator[Host]:
    """A host for commands, with settings of one gateway in `env`; `modules` are those of the functions to run."""
    outer = {name: value for name, value in os.environ.items() if not name.startswith("CONSENT_GATEWAY_")}
    command = [sys.executable, str(Path(__file__).resolve()), *modules]
    pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, env=outer | {"NO_COLOR": "1"}, **pipes) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        yield Host(process, out, env)
        assert process.stdin is not None
        process.stdin.close()
        process.wait(30)


# -- a server whose clock a test moves -----------------------------------------------------------------------------


_AHEAD = "--ahead"  # what tells it from a host, whose arguments are modules


def _clocked(ahead: Path) -> None:
    """Run the command line under a clock that is ahead by as many seconds as the file says."""
    from consent_gateway import clock  # noqa: PLC0415 - before anything that keeps the clock

    real = clock.system_clock
    clock.system_clock = lambda: real() + timedelta(seconds=float(ahead.read_text()))
    from consent_gateway.cli.main import main  # noqa: PLC0415

    main()


def clocked(ahead: Path) -> tuple[str, ...]:
    """What to run instead of `-m consent_gateway` for a clock that is ahead by what is written in `ahead`."""
    return str(Path(__file__).resolve()), _AHEAD, str(ahead)


if __name__ == "__main__":
    if sys.argv[1:2] == [_AHEAD]:
        file = Path(sys.argv[2])
        del sys.argv[1:3]
        _clocked(file)
    else:
        _host()
