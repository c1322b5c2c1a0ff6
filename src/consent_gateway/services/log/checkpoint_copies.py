"""Checkpoints kept outside of the store: compare the log with each, and bring each to where the log is.

What a copy says is read *before* the log is, so that a healthy log is never behind what it published. A copy that holds
(see `audit.epochs.judge`) and is behind gets the newest checkpoint, over the version that was read; one that is ahead,
or of another log, is evidence: it is never overwritten, and it closes the gate until the log stands again or two people
open an epoch that names the loss. A copy that cannot be used is seen and tried again; it closes nothing once the log
was compared with some copy since the start.

A copy that holds nothing although it was written before is *lost*: it says nothing, and is begun anew by command only
(`consent-gateway audit copies renew`), for an attacker who sets the store back would also delete it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from consent_gateway.audit.checkpoints import Checkpoint
from consent_gateway.audit.epochs import Anchor
from consent_gateway.audit.kept.port import Copy, Kept, KeptError, Trouble
from consent_gateway.audit.log_keys import ForeignError
from consent_gateway.db import log_state
from consent_gateway.services.log.log_view import LogView, UnsoundError, view
from consent_gateway.services.work.gateway import Gateway
from consent_gateway.services.work.log_gate import Fault, FaultKind

_KINDS = {
    Anchor.ROLLED_BACK: FaultKind.ROLLED_BACK,
    Anchor.FORKED: FaultKind.FORKED,
    Anchor.FOREIGN: FaultKind.FOREIGN,
}
_SOURCE = "copies"


@dataclass(frozen=True, slots=True)
class CopyState:
    """How one copy stood when it was last looked at.

    `anchor` is None while nothing was compared; `trouble` says why. `size` and `epoch` are those of what it keeps,
    `head` the size of the log at that moment.
    """

    name: str
    anchor: Anchor | None = None
    trouble: str | None = None
    epoch: int = 0
    size: int = 0
    head: int = 0
    kept: Checkpoint | None = field(default=None, repr=False)

    @property
    def lag(self) -> int:
        """How many entries the copy is behind."""
        return max(self.head - self.size, 0)


@dataclass(slots=True)
class Copies:
    """The copies of one process, and how each stood last."""

    gateway: Gateway
    copies: Sequence[Copy]
    states: dict[str, CopyState] = field(default_factory=dict)
    compared: bool = False  # whether the log was compared with any copy since the start

    def __post_init__(self) -> None:
        """Until the log was compared with a copy, nothing is written where there are copies."""
        self.states = {copy.name: CopyState(copy.name, trouble="not_asked") for copy in self.copies}
        if self.copies:
            self.gateway.gate.report(_SOURCE, Fault(FaultKind.UNCHECKED))

    def compare(self, copy: Copy) -> CopyState:
        """Look at one copy and tell the gate; writes nothing."""
        return self._look(copy, write=False, renew=False)

    def bring(self, copy: Copy, *, renew: bool = False) -> CopyState:
        """Compare, and write the newest checkpoint if the copy is behind; `renew` begins a lost one anew."""
        return self._look(copy, write=True, renew=renew)

    def _look(self, copy: Copy, *, write: bool, renew: bool) -> CopyState:
        try:
            state = self._compared(copy, copy.read(), write=write, renew=renew)
        except KeptError as error:
            # Evidence stays evidence while its place cannot be reached: a new epoch has to name what it shows.
            state = replace(self.states[copy.name], anchor=None, trouble=error.trouble.value)
        except UnsoundError as error:
            self.gateway.gate.report("store", error.fault)
            state = CopyState(copy.name, trouble="log_unsound")
        self.states[copy.name] = state
        return state

    def _compared(self, copy: Copy, kept: Kept | None, *, write: bool, renew: bool) -> CopyState:
        with self.gateway.store.reading() as session:
            log = view(session, self.gateway.log_keys)
            state, fault = self._judged(copy.name, kept, log)
            lost = kept is None and log_state.is_known_copy(session, copy.place)
        self.gateway.gate.report(f"copy_{copy.name}", fault)
        if lost and not renew:
            return CopyState(copy.name, trouble="lost", head=log.size)
        self._settle()
        behind = (state.epoch, state.size) < (log.epoch, log.size)
        if write and fault is None and behind and log.note is not None:
            copy.write(log.note, kept)
            self._know(copy, new=kept is None)
            return CopyState(copy.name, Anchor.HOLDS, None, log.epoch, log.size, log.size)
        return state

    def _judged(self, name: str, kept: Kept | None, log: LogView) -> tuple[CopyState, Fault | None]:
        if kept is None:
            return CopyState(name, Anchor.HOLDS, head=log.size), None
        try:
            epoch, opened = log.keys.open(kept.note)
        except ForeignError:
            fault = Fault(FaultKind.FOREIGN, name)
            return CopyState(name, Anchor.FOREIGN, head=log.size), fault
        except ValueError:
            raise KeptError(Trouble.UNREADABLE) from None
        found = opened.checkpoint
        anchor = log.judge(found)
        state = CopyState(name, anchor, None, epoch, found.size, log.size, found)
        if anchor is Anchor.HOLDS:
            return state, None
        detail = f"{name} keeps {found.size} entries of epoch {epoch}, the store has {log.size} of epoch {log.epoch}"
        return state, Fault(_KINDS[anchor], detail)

    def _settle(self) -> None:
        self.compared = True
        self.gateway.gate.report(_SOURCE, None)

    def _know(self, copy: Copy, *, new: bool) -> None:
        if new:
            with self.gateway.store.transaction() as session:
                log_state.know_copy(session, copy.place, copy.name, int(self.gateway.clock().timestamp()))
