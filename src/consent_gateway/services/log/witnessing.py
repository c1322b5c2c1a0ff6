"""Have witnesses cosign the newest checkpoint, off the way of any commit, and notice when they know another log.

A round takes the head that is stored, asks every witness of the policy at once, each with the consistency proof from
what it is known to have signed, and keeps the checkpoint with its cosignatures once they are enough for the policy's
quorum. Witnesses that are slow, away or wrong are waited for within one deadline, and cost nothing else.

A witness that signed more than the store has (409) or something else (422) is evidence like a kept copy: it closes the
gate. Its checkpoint, if it shows it, is signed by our own key, and is what a new epoch will name as lost. The head is
read again before a larger size counts: another replica may have published meanwhile.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field

from consent_gateway.audit.kept.outbound import is_safe_url
from consent_gateway.audit.kept.port import KeptError
from consent_gateway.audit.kept.witnesses import Behind, Cosigned, Refusal, Reply, Witness, joined, outbound
from consent_gateway.audit.log import make_prefix_proof
from consent_gateway.audit.witness_policy import WitnessPolicy
from consent_gateway.db import log_state
from consent_gateway.errors import InputError
from consent_gateway.services.log.log_view import LogView, UnsoundError, view
from consent_gateway.services.work.gateway import Gateway
from consent_gateway.services.work.log_gate import Fault, FaultKind


@dataclass(frozen=True, slots=True)
class WitnessState:
    """How a witness answered last: the size it signed, when by its clock, or what the trouble is."""

    name: str
    size: int = 0
    time: int = 0
    trouble: str | None = "not_asked"


@dataclass(slots=True)
class Witnessing:
    """The witnesses of one process."""

    gateway: Gateway
    policy: WitnessPolicy
    witnesses: Sequence[Witness]
    states: dict[str, WitnessState] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Nobody was asked yet."""
        self.states = {witness.name: WitnessState(witness.name) for witness in self.witnesses}

    def round(self) -> bool:
        """Ask every witness about the stored head; returns whether the quorum is reached."""
        with self.gateway.store.reading() as session:
            try:
                log = view(session, self.gateway.log_keys)
            except UnsoundError:
                return False
            origin = log.epochs[-1].key.name
            known = {w.name: log_state.witness_size(session, w.place, origin) for w in self.witnesses}
            proofs = {name: _proof(log, size) for name, size in known.items()}
        if log.note is None or not self.witnesses:
            return True
        with ThreadPoolExecutor(len(self.witnesses), thread_name_prefix="witness") as pool:
            asked = [
                pool.submit(self._ask, w, log, min(known[w.name], log.size), proofs[w.name]) for w in self.witnesses
            ]
        notes = [note for future in asked if (note := future.result()) is not None]
        return self._keep(log, notes)

    def _ask(self, witness: Witness, log: LogView, old: int, proof: Sequence[bytes]) -> bytes | None:
        """Return the checkpoint with the witness's cosignature, None if there is none; tells the gate."""
        try:
            reply = self._add(witness, log, old, proof)
            if isinstance(reply, Behind) and reply.size <= log.size:
                reply = self._add(witness, log, reply.size, self._proof_from(log, reply.size))
            return self._settle(witness, log, reply)
        except KeptError as error:
            self.states[witness.name] = WitnessState(witness.name, trouble=error.trouble.value)
            return None

    def _add(self, witness: Witness, log: LogView, old: int, proof: Sequence[bytes]) -> Reply:
        now = int(self.gateway.clock().timestamp())
        return witness.add(log.epochs[-1].key, old, proof, log.note or b"", now)

    def _proof_from(self, log: LogView, old: int) -> Sequence[bytes]:
        """Return the proof from `old` to the head that was asked about, out of a fresh snapshot: tiles only grow."""
        with self.gateway.store.reading() as session:
            fresh = view(session, self.gateway.log_keys)
            return make_prefix_proof(old, log.size, fresh.read_tile)

    def _settle(self, witness: Witness, log: LogView, reply: Reply) -> bytes | None:
        source = f"witness_{witness.name}"
        if isinstance(reply, Cosigned):
            self.gateway.gate.report(source, None)
            self.states[witness.name] = WitnessState(witness.name, log.size, reply.time, None)
            with self.gateway.store.transaction() as session:
                log_state.put_witness(session, witness.place, log.epochs[-1].key.name, log.size, reply.time)
            return reply.note
        if isinstance(reply, Behind):
            self._ahead(witness, log, reply.size, source)
        elif reply is Refusal.FORK:
            self._against(witness, log, source, Fault(FaultKind.FORKED, f"{witness.name} signed another history"))
        else:
            self.states[witness.name] = WitnessState(witness.name, trouble=reply.value)
        return None

    def _ahead(self, witness: Witness, log: LogView, size: int, source: str) -> None:
        with self.gateway.store.reading() as session:
            fresh = view(session, self.gateway.log_keys)
        if fresh.size >= size or fresh.epoch != log.epoch:
            self.states[witness.name] = WitnessState(witness.name, size, 0, "busy")
            return
        detail = f"{witness.name} signed {size} entries, the store has {fresh.size}"
        self._against(witness, log, source, Fault(FaultKind.ROLLED_BACK, detail))

    def _against(self, witness: Witness, log: LogView, source: str, fault: Fault) -> None:
        self.states[witness.name] = WitnessState(witness.name, trouble=fault.kind.value)
        with suppress(KeptError, ValueError):
            shown = witness.newest(log.epochs[-1].key.name)
            if shown is not None:
                self.gateway.gate.evidence[source] = self.gateway.log_keys.open(shown)[1].checkpoint
        self.gateway.gate.report(source, fault)

    def _keep(self, log: LogView, notes: Sequence[bytes]) -> bool:
        cosigned = {w.key for w in self.witnesses if self.states[w.name].trouble is None}
        if not notes or self.policy.lacking(cosigned):
            return False
        with self.gateway.store.transaction() as session:
            log_state.put_witnessed(session, log.size, joined(notes))
        return True


def witnesses_of(policy: WitnessPolicy, seconds: float) -> tuple[Witness, ...]:
    """Return the witnesses of a policy that can be asked; InputError for an address that is not safe to call."""
    found = []
    for name, party in policy.witnesses.items():
        if not party.url:
            continue
        if not is_safe_url(party.url):
            raise InputError("an address in the witness policy is neither https nor on this machine")
        found.append(Witness(name, party.key, party.url, outbound(seconds)))
    return tuple(found)


def _proof(log: LogView, old: int) -> Sequence[bytes]:
    return make_prefix_proof(old, log.size, log.read_tile) if old <= log.size else ()
