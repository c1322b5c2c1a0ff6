"""The gate of the log: whether anything may be written, and if not, why.

What has no entry must not happen (promise P4), and an entry of a log that is not the one that was published proves
nothing (P6). So whoever finds that the log does not stand reports a fault under the name of its source, and takes it
back when it is gone; while there is any, `Gateway.work` refuses and the sequencer stands still. Only work that cures
the log goes on (see `Gateway.work`).

Reading the gate is reading one attribute. Faults halt the log; pressure only refuses new writes, so that what is
pending can be integrated. A store that does not answer is a fault too: when it does again it may be another one, so its
log is checked before anything is written, and what was kept meanwhile comes first.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

from consent_gateway.audit.checkpoints import Checkpoint
from consent_gateway.errors import AuditBacklogError, GatewayError, LogHaltedError, StoreError

_RETRY_HALTED, _RETRY_PRESSED, _RETRY_STORE = 60, 2, 2
SPOOL = "spool"  # the source under which the gate stays closed until the spool is in the store
SILENCE = "silence"  # that of a store that does not answer


class FaultKind(StrEnum):
    """Why the log does not stand; the order is that of their weight."""

    FORKED = "forked"
    ROLLED_BACK = "rolled_back"
    FOREIGN = "foreign"
    ALTERED = "altered"  # entries, tiles or the head are not what was hashed and signed
    REPLACED = "replaced"  # the file of the store is another one than this process has open
    UNCHECKED = "unchecked"  # copies are configured, and none could be compared since the start
    SILENT = "silent"  # the store does not answer; nothing is known against its log
    SETTLING = "settling"  # noes that came meanwhile are brought into the store


_OF_THE_STORE = frozenset({FaultKind.SILENT, FaultKind.SETTLING})
_WEIGHT = {kind: number for number, kind in enumerate(FaultKind)}
_TEXTS = {
    FaultKind.FORKED: "the log is not the one that was published: same size, other entries",
    FaultKind.ROLLED_BACK: "the log has fewer entries than were published: the store was set back",
    FaultKind.FOREIGN: "a kept checkpoint is of another log or key",
    FaultKind.ALTERED: "the stored log does not hash to its signed head",
    FaultKind.REPLACED: "the file of the store was replaced under the running process: restart it",
    FaultKind.SILENT: "the store does not answer",
    FaultKind.SETTLING: "what came while nothing could be written is brought into the store first",
    FaultKind.UNCHECKED: "the log could not be compared with any kept checkpoint yet",
}


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that is wrong with the log; `detail` holds numbers and names of ours, nothing of people."""

    kind: FaultKind
    detail: str = ""

    def __str__(self) -> str:
        return _TEXTS[self.kind] + (f" ({self.detail})" if self.detail else "")


@dataclass(frozen=True, slots=True)
class Change:
    """What the gate says when it closes or opens."""

    halted: bool
    kind: str
    source: str


class LogGate:
    """The faults of one process by their sources; thread-safe."""

    __slots__ = ("_faults", "_lock", "evidence", "fault", "has_spool", "on_change", "pressed", "refusal")

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._faults: dict[str, Fault] = {}
        self.evidence: dict[str, Checkpoint] = {}  # what a witness showed against the log, by source
        self.fault: Fault | None = None  # the heaviest one, None while the log stands
        self.has_spool = False  # whether anything can be kept meanwhile, which then comes first
        self.pressed = False  # whether more entries are pending than may be
        self.on_change: Callable[[Change], None] = lambda _change: None
        self.refusal: Callable[[], GatewayError] | None = None  # what work is refused with; None: it is not

    @property
    def faults(self) -> dict[str, Fault]:
        """Every fault by its source."""
        with self._lock:
            return dict(self._faults)

    def report(self, source: str, fault: Fault | None) -> None:
        """Say what `source` found; None takes back what it said before."""
        with self._lock:
            before = self._faults.get(source)
            if fault is None:
                self._faults.pop(source, None)
            else:
                self._faults[source] = fault
                if self.has_spool:
                    self._faults.setdefault(SPOOL, Fault(FaultKind.SETTLING))
            self._settle()
        if fault is not None and (before is None or before.kind is not fault.kind):
            self.on_change(Change(halted=True, kind=fault.kind.value, source=source))
        elif fault is None and before is not None:
            self.on_change(Change(halted=False, kind=before.kind.value, source=source))

    def press(self, *, pressed: bool) -> None:
        """Say whether the backlog is above its limit."""
        with self._lock:
            self.pressed = pressed
            self._settle()

    def _settle(self) -> None:
        self.fault = min(self._faults.values(), key=lambda fault: _WEIGHT[fault.kind], default=None)
        if self.fault is not None:
            self.refusal = _refusing(self.fault)
        else:
            self.refusal = (lambda: AuditBacklogError(retry_after=_RETRY_PRESSED)) if self.pressed else None


def _refusing(fault: Fault) -> Callable[[], GatewayError]:
    text = str(fault)
    if fault.kind in _OF_THE_STORE:
        return lambda: StoreError(text, retry_after=_RETRY_STORE)
    return lambda: LogHaltedError(text, retry_after=_RETRY_HALTED)
