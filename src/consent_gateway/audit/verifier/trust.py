"""What the auditor pins, and checkpoints opened with nothing but that.

The key of the log comes from the auditor, never from the log. Witnesses come as keys that must all have cosigned, as
a policy file with a quorum (C2SP tlog-policy), or both. A policy may also list the logs: then the pinned key must be
among them, and `POLICY_LOGS` in its place means any of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from consent_gateway.audit.checkpoints import (
    Checkpoint,
    OpenedCheckpoint,
    Verified,
    open_checkpoint,
    pinned_key,
    witness_key,
)
from consent_gateway.audit.epochs import Epoch
from consent_gateway.audit.notes import VerifierKey
from consent_gateway.audit.verifier.epochs import epochs_from
from consent_gateway.audit.verifier.findings import FoundError, parsed
from consent_gateway.audit.witness_policy import WitnessPolicy, parse_policy, require_all

POLICY_LOGS = "-"
"""In place of a vkey: any log that the policy lists."""


@dataclass(frozen=True, slots=True)
class Trust:
    """The logs that are trusted (at least one), and what must hold of the witnesses: every one of the policies."""

    logs: tuple[VerifierKey, ...]
    policies: tuple[WitnessPolicy, ...]
    epochs: tuple[Epoch, ...] = ()  # of the one log that was followed, none if no statements were given

    @property
    def witnesses(self) -> tuple[VerifierKey, ...]:
        """Every witness that is known, each once."""
        return tuple(dict.fromkeys(key for policy in self.policies for key in policy.witness_keys))

    def open(self, note: bytes) -> OpenedCheckpoint:
        """Return the checkpoint in `note`, signed by a trusted log; every known cosignature on it holds.

        Raises FoundError otherwise. Whether there are enough of them is for `require_witnesses`.
        """
        named = [log for log in self.logs if note.startswith(log.name.encode() + b"\n")]
        failed = ""
        for log in named or self.logs[:1]:  # an origin that is not trusted is refused by whichever log is asked
            try:
                return open_checkpoint(note, log, self.witnesses)
            except ValueError as error:
                failed = str(error)
        raise FoundError("checkpoint", failed)

    def open_witnessed(self, note: bytes) -> OpenedCheckpoint:
        """Return the checkpoint in `note`, signed by a trusted log and cosigned as the policies ask; or FoundError."""
        opened = self.open(note)
        cosigned = {signature.key for signature in opened.signatures}
        lacks = [lack for policy in self.policies if (lack := policy.lacking(cosigned))]
        if lacks:
            raise FoundError("witness", "; ".join(lacks))
        return opened


def trust_in(
    vkey: str, witnesses: Sequence[str] = (), policy: bytes | None = None, statements: Sequence[bytes] = ()
) -> Trust:
    """Return what is pinned by a vkey (or `POLICY_LOGS`), witness vkeys that must all have cosigned, and a policy file.

    With `statements` the vkey is that of the log's first epoch, and the keys of those after it are trusted as well.
    Raises FoundError (`vkey`, `policy`, `epoch`) when one of them is not what it should be, or when they contradict.
    """
    read = WitnessPolicy() if policy is None else parsed("policy", parse_policy, policy)
    listed = tuple(party.key for party in read.logs)
    keys = [parsed("vkey", witness_key, witness) for witness in witnesses]
    all_of = parsed("vkey", require_all, keys)
    logs = listed if vkey == POLICY_LOGS else (parsed("vkey", pinned_key, vkey),)
    if not logs:
        raise FoundError("policy", "no log is pinned: the policy lists none")
    if listed and logs[0] not in listed:
        raise FoundError("policy", "the policy does not list the pinned log")
    epochs = epochs_from(logs[0].vkey, statements) if statements else ()
    trust = Trust((*logs, *(epoch.key for epoch in epochs[1:])), (read, all_of), epochs)
    if {log.public_key for log in trust.logs}.intersection(witness.public_key for witness in trust.witnesses):
        raise FoundError("vkey", "a witness has the key of the log")
    return trust


def head_details(head: Checkpoint, signatures: Sequence[Verified] = ()) -> dict[str, object]:
    """Return what a finding says about a checkpoint: origin, size, root in hex, cosignatures with their times."""
    cosigned = [
        {"witness": signature.key.name, "vkey": signature.key.vkey, "time": signature.time}
        for signature in signatures
        if signature.time is not None
    ]
    return {"origin": head.origin, "size": head.size, "root": head.root.hex(), "cosigned": cosigned}
