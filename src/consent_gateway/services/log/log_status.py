"""How the log stands, for people and programs: one report for `audit status`, `doctor` and the API."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

from consent_gateway.db import log_state, log_store
from consent_gateway.services.log.checkpoint_copies import Copies, CopyState
from consent_gateway.services.log.witnessing import WitnessState
from consent_gateway.services.work.gateway import Gateway
from consent_gateway.services.work.log_gate import SPOOL


@dataclass(frozen=True, slots=True)
class LogStatus:
    """Head, epoch, what waits, the faults by their sources, and every copy."""

    origin: str
    vkey: str
    epoch: int
    size: int
    pending: int
    faults: dict[str, str]
    copies: tuple[CopyState, ...]
    witnesses: tuple[WitnessState, ...] = ()

    @property
    def stands(self) -> bool:
        """Whether nothing is wrong with the log itself; a copy that cannot be reached is no fault of it."""
        return not self.faults

    @property
    def whole(self) -> bool:
        """Whether the log stands and every copy and witness can be used."""
        troubles = [copy.trouble for copy in self.copies] + [witness.trouble for witness in self.witnesses]
        return self.stands and not any(troubles)

    def as_json(self) -> dict[str, Any]:
        """Return it as JSON values."""
        copies = [
            {
                "name": copy.name,
                "stands": None if copy.anchor is None else copy.anchor.value,
                "trouble": copy.trouble,
                "epoch": copy.epoch,
                "size": copy.size,
                "behind": copy.lag,
            }
            for copy in self.copies
        ]
        return {name: value for name, value in asdict(self).items() if name != "copies"} | {
            "stands": self.stands,
            "copies": copies,
        }


def log_status(gateway: Gateway, copies: Copies, witnesses: Iterable[WitnessState] = ()) -> LogStatus:
    """Return how the log stands as the last check found it."""
    with gateway.store.reading() as session:
        stored = log_store.stored_head(session)
        epoch, waiting = log_state.current_epoch(session), log_store.pending_count(session)
    found = gateway.gate.faults
    told = {source: fault for source, fault in found.items() if source != SPOOL or len(found) == 1}
    faults = {source: f"{fault.kind.value}: {fault}" for source, fault in sorted(told.items())}
    key = gateway.log_keys.signer(epoch).key
    size = 0 if stored is None else stored.size
    return LogStatus(key.name, key.vkey, epoch, size, waiting, faults, tuple(copies.states.values()), tuple(witnesses))
