"""Connections to PostgreSQL that never wait for ever.

The driver waits for an answer as long as the socket is open, and neither TCP nor the server's own time limits end that
wait when a server, or something before it, keeps the socket open and says nothing. So every wait has a bound here:

- **COMMIT and ROLLBACK** end at the deadline. What was asked is then in doubt, and `db.engine` says so. No cancellation
  is ever sent: a server that waits for its synchronous standby would give up that wait and call it a commit.
- **A statement** that is silent for half of the deadline is asked about over a second connection. As long as the server
  says that it works on it (an import, a migration, a lock that it waits for), the wait goes on, up to `statement`
  seconds, which the server enforces as well. If the server does not answer there either, or does not know the
  statement, it is given up within the deadline.
- **Making a connection** ends after half of the deadline, as long as the name of the host resolves.

What is given up is closed: nobody knows what its server would say next. For hosts that vanish, TCP's own limits follow
the deadline.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Generator, Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from time import monotonic
from typing import Any, Self, TypeVar

from psycopg import Connection, OperationalError
from psycopg.errors import ConnectionTimeout

Value = TypeVar("Value")

_LEAST_CONNECT_SECONDS = 2  # what libpq and the driver make of anything less; `_connect_gen` ends it earlier
_IDLE_SECONDS = 60  # how long a transaction may stand still while its process is busy elsewhere
_TICK_SECONDS = 0.1
_KEEPALIVES = 3
# Durable without touching a row that anybody else could hold: a record in the write-ahead log, flushed by its commit.
_TRY = "SELECT pg_logical_emit_message(true, 'consent-gateway', '')"
_connecting: ContextVar[float] = ContextVar("_connecting", default=math.inf)  # seconds
_STATE = "SELECT state FROM pg_stat_activity WHERE pid = %s"


class SilentServerError(OperationalError):
    """The server did not answer in time; the connection is closed."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """The deadline in seconds, and how long one statement may take that the server works on; 0: as long as it likes."""

    deadline: float
    statement: float = 0.0

    @property
    def patience(self) -> float:
        """After how many seconds of silence a server is asked whether it works on the statement."""
        return self.deadline / 2

    def parameters(self) -> dict[str, Any]:
        """Return the parameters of a connection that the server, libpq and TCP enforce."""
        limits = {
            "lock_timeout": f"{round(self.deadline * 1000)}ms",
            "statement_timeout": f"{round(self.statement * 1000)}ms",
            "idle_in_transaction_session_timeout": f"{_IDLE_SECONDS}s",
        }
        seconds = max(1, round(self.deadline))
        return {
            "connect_timeout": max(_LEAST_CONNECT_SECONDS, math.floor(self.patience)),
            "options": " ".join(f"-c {name}={value}" for name, value in limits.items()),
            "keepalives": 1,
            "keepalives_idle": seconds,
            "keepalives_interval": max(1, seconds // _KEEPALIVES),
            "keepalives_count": _KEEPALIVES,
            "tcp_user_timeout": round(self.deadline * 1000),
        }


class BoundConnection(Connection[Any]):
    """A connection whose waits are bounded; `on_silence` is told before the error is raised."""

    bounds: Bounds = Bounds(math.inf)
    is_working: Callable[[int], bool] | None = None  # asks about a backend over another connection; None: do not ask
    on_silence: Callable[[], None] | None = None
    _ending: bool = False

    @classmethod
    def within(cls, bounds: Bounds, parameters: Mapping[str, Any]) -> Self:
        """Connect with limits on every wait; raises psycopg's errors, SilentServerError when nobody answers."""
        token = _connecting.set(bounds.patience)
        try:
            made = cls.connect(**{**parameters, **bounds.parameters()})
        except ConnectionTimeout:
            raise SilentServerError("no connection in time") from None
        finally:
            _connecting.reset(token)
        made.bounds = bounds
        return made

    @classmethod
    def _connect_gen(cls, conninfo: str = "") -> Generator[Any, Any, Self]:
        end = monotonic() + _connecting.get()
        steps = super()._connect_gen(conninfo)
        try:
            step = next(steps)
            while True:
                step = steps.send((yield step))
                if monotonic() >= end:
                    raise ConnectionTimeout("connection timeout expired")
        except StopIteration as made:
            found: Self = made.value
            return found
        finally:
            steps.close()

    def commit(self) -> None:
        """Commit within the deadline; SilentServerError leaves in doubt whether it was."""
        self._end(super().commit)

    def rollback(self) -> None:
        """Roll back within the deadline."""
        self._end(super().rollback)

    def _end(self, act: Callable[[], None]) -> None:
        self._ending = True
        try:
            act()
        finally:
            self._ending = False

    def wait(
        self, gen: Generator[Any, Any, Value], interval: float = _TICK_SECONDS, timeout: float | None = None
    ) -> Value:
        """Run the driver's steps of one answer, and look at the clock between them."""
        return super().wait(self._watched(gen), min(interval, self.bounds.patience), timeout)

    def _watched(self, gen: Generator[Any, Any, Value]) -> Generator[Any, Any, Value]:
        begun = asked = monotonic()
        try:
            step = next(gen)
            while True:
                step = gen.send((yield step))
                now = monotonic()
                if now - asked >= self.bounds.patience:
                    self._require_life(now - begun)
                    asked = monotonic()
        except StopIteration as end:
            found: Value = end.value
            return found
        finally:
            gen.close()

    def _require_life(self, waited: float) -> None:
        """Give up unless waiting on makes sense."""
        if self._ending or self.is_working is None:
            hopeless = waited >= self.bounds.deadline
        else:
            most = self.bounds.statement + self.bounds.deadline if self.bounds.statement else math.inf
            hopeless = waited >= most or not self.is_working(self.pgconn.backend_pid)
        if not hopeless:
            return
        self.pgconn.finish()
        if self.on_silence is not None:
            self.on_silence()
        raise SilentServerError("the server did not answer in time")


class Server:
    """Where connections go: makes them for the pool, and asks the server how it is over connections of its own."""

    def __init__(self, bounds: Bounds, parameters: Mapping[str, Any], on_silence: Callable[[], None]) -> None:
        self._bounds, self._parameters, self._on_silence = bounds, dict(parameters), on_silence

    def connect(self) -> BoundConnection:
        """Return a connection for the pool."""
        made = BoundConnection.within(self._bounds, self._parameters)
        made.is_working, made.on_silence = self.is_working, self._on_silence
        return made

    def is_working(self, backend: int) -> bool:
        """Tell whether the server works on a statement of this backend; True where it answers that it cannot tell."""
        try:
            with self._asking() as connection:
                connection.bounds = Bounds(self._bounds.patience)
                row = connection.execute(_STATE, (backend,)).fetchone()
        except SilentServerError:
            return False
        except OperationalError:
            return True  # too many connections, for one: it lives
        return row is not None and not str(row[0]).startswith("idle")

    def try_commit(self) -> None:
        """Commit something that says nothing, as durable as everything else; raises psycopg's errors."""
        with self._asking() as connection:
            connection.execute(_TRY)

    def _asking(self) -> BoundConnection:
        return BoundConnection.within(Bounds(self._bounds.deadline), self._parameters)
