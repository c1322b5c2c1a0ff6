"""The threads that look after the log of one process: self-check, backlog, the map of chains, a thread for each copy.

A thread for each place, because one that is slow must not hold up the others; none of them is on the way of a commit.
Copies are written as soon as a batch was published, at most once in `COPY_PACE_SECONDS`, and compared at least once in
every interval of the self-check.

A store that falls silent closes the gate at once. It is asked again every second; when it answers its log is checked,
for it may be another store (a standby that was behind), and only then may anything be written.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from consent_gateway.audit.kept.port import Copy
from consent_gateway.db import log_store
from consent_gateway.errors import StoreError
from consent_gateway.services.log import maps, spool
from consent_gateway.services.log.checkpoint_copies import Copies
from consent_gateway.services.log.self_check import SelfCheck
from consent_gateway.services.log.witnessing import Witnessing
from consent_gateway.services.threads.loops import Loop
from consent_gateway.services.work.gateway import Gateway
from consent_gateway.services.work.log_gate import SILENCE, Fault, FaultKind

COPY_PACE_SECONDS = 1.0
BACKLOG_SECONDS = 1.0
MAP_SECONDS = 60.0  # between looks whether another map is due
ASK_SECONDS = 1.0
_STOP_SECONDS = 15.0


@dataclass(frozen=True, slots=True)
class Care:
    """How the log is looked after: seconds between self-checks, and how many entries may be pending."""

    check_seconds: float = 60.0
    pending_limit: int = 200_000
    bundles: int = 64
    witness_seconds: float = 10.0


class LogKeeper:
    """All threads of one process; `check` is the self-check that was run before anything was served."""

    def __init__(
        self,
        gateway: Gateway,
        check: SelfCheck,
        care: Care,
        on_error: Callable[[Exception], None],
        witnessing: Witnessing | None = None,
    ) -> None:
        self._gateway, self._check, self._care = gateway, check, care
        self._copies = check.copies
        self._followers = [self._follower(copy, on_error) for copy in check.copies.copies]
        self.witnessing, self._on_error = witnessing, on_error
        if witnessing is not None and witnessing.witnesses:
            seconds = care.witness_seconds
            self._followers.append(Loop("log-witnesses", self._witnessed, on_error, idle=seconds, pace=seconds))
        self._waited = False  # whether the last check found lines in the spool that are not ours
        self._silence = Loop("log-silence", self._answers, on_error, idle=ASK_SECONDS)
        self._mapping = Loop("log-map", self._mapped, on_error, idle=MAP_SECONDS, first=False)
        self._loops = [
            self._silence,
            Loop("log-check", self._checked, on_error, idle=care.check_seconds, pace=min(care.check_seconds, 1.0)),
            Loop("log-backlog", self._measured, on_error, idle=BACKLOG_SECONDS, pace=BACKLOG_SECONDS),
            self._mapping,
            *self._followers,
        ]

    @property
    def copies(self) -> Copies:
        """How each copy stands."""
        return self._copies

    def start(self) -> None:
        """Begin."""
        self._gateway.on_published = self.published
        self._gateway.store.watch_silence(self._fell_silent)
        for loop in self._loops:
            loop.start()

    def published(self) -> None:
        """Say that there is a new checkpoint."""
        for loop in self._followers:
            loop.wake()

    def stop(self) -> None:
        """Write the last checkpoint to every copy that answers, and end."""
        for loop in self._loops:
            loop.stop(seconds=_STOP_SECONDS)
        self._gateway.store.watch_silence(None)

    def _follower(self, copy: Copy, on_error: Callable[[Exception], None]) -> Loop:
        def bring() -> bool:
            if self._gateway.store.is_silent:
                return True
            before = self._copies.states[copy.name].trouble
            state = self._copies.bring(copy)
            spool.settle(self._gateway)
            if state.trouble is not None and state.trouble != before:
                on_error(CopyTroubleError(copy.name, state.trouble))
            return state.trouble is None

        idle = min(self._care.check_seconds, 60.0)
        return Loop(f"log-{copy.name}", bring, on_error, idle=idle, pace=COPY_PACE_SECONDS, last=True)

    def _witnessed(self) -> bool:
        witnessing = self.witnessing
        if witnessing is None:
            return True
        before = dict(witnessing.states)
        witnessing.round()
        for name, state in witnessing.states.items():
            if state.trouble is not None and state.trouble != before[name].trouble:
                self._on_error(CopyTroubleError(f"witness_{name}", state.trouble))
        return True

    def _fell_silent(self) -> None:
        self._gateway.gate.report(SILENCE, Fault(FaultKind.SILENT))
        self._silence.wake()

    def _answers(self) -> bool:
        """Ask a store that fell silent, and check its log before the gate opens."""
        store, gate = self._gateway.store, self._gateway.gate
        if not store.is_silent and SILENCE not in gate.faults:
            return True
        try:
            store.ask()
            self._check.check_store()
        except StoreError:  # told when it fell silent
            return False
        if store.is_silent:
            return False
        gate.report(SILENCE, None)
        spool.settle(self._gateway)
        return True

    def _checked(self) -> bool:
        if self._gateway.store.is_silent:
            return True
        self._check.check_store()
        spool.settle(self._gateway)
        self._adopt()
        return True

    def _adopt(self) -> None:
        """Bring in what another process left in the spool, once every copy was compared since it was seen there."""
        waits = self._gateway.gate.fault is None and spool.waits(self._gateway)
        if waits and self._waited:
            spool.notice(self._gateway)
        self._waited = waits

    def _mapped(self) -> bool:
        """Publish the next map of chains when it is due; in a thread of its own, since every chain is looked at."""
        if not self._may_map():
            return True
        for _ in maps.publishing(self._gateway):
            if self._mapping.stops:
                break
        return True

    def _may_map(self) -> bool:
        """Tell whether a map is due and can be made; not by who was woken to end and would leave what is begun."""
        gateway = self._gateway
        free = not (self._mapping.stops or gateway.store.is_silent) and gateway.gate.refusal is None
        return free and maps.due(gateway)

    def _measured(self) -> bool:
        if self._gateway.store.is_silent:
            return True
        measure_backlog(self._gateway, self._care.pending_limit)
        spool.settle(self._gateway)
        return True


class CopyTroubleError(Exception):
    """A copy cannot be used; told once each time that the trouble changes."""

    def __init__(self, name: str, trouble: str) -> None:
        super().__init__(name, trouble)
        self.name, self.trouble = name, trouble


def measure_backlog(gateway: Gateway, limit: int) -> int:
    """Tell the gate whether more entries are pending than may be, and return about how many are.

    It opens again at half of the limit, so that it does not flutter.
    """
    with gateway.store.reading() as session:
        found = log_store.backlog(session)
    pressed = gateway.gate.pressed
    if found > limit or (pressed and found <= limit // 2):
        gateway.gate.press(pressed=found > limit)
    return found
