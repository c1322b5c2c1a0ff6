"""The keyring's seal, and its recovery by shares: made, tried out, used.

Each leaves an entry in the log, written before it is done; no share is stored. Shares need four eyes: enough of them
are the keyring, with every key that it will ever have, and no key service is asked.

A drill opens a copy of the keyring with shares and changes nothing. It says what the copy would not bring back (keys
that were made after it) and what it should not bring back any more (keys that were destroyed since: such a copy undoes
their destruction for whoever has enough shares, and belongs destroyed).
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from consent_gateway.audit.entries import EntryKind
from consent_gateway.domain.approvals import Action, Approval
from consent_gateway.domain.registers import Principal
from consent_gateway.errors import ConflictError, GatewayError
from consent_gateway.services.work import approvals
from consent_gateway.services.work.gateway import Gateway, Work
from consent_gateway.vault.keyring import Keyring
from consent_gateway.vault.kms.port import Kms
from consent_gateway.vault.recovery import KEY_BYTES, RecoveryKey, public_of
from consent_gateway.vault.shares import Share, combine, set_of, split


@dataclass(frozen=True, slots=True)
class Drill:
    """What a copy and some shares would bring back: the set, which shares, keys it lacks, keys that were destroyed."""

    set_id: str
    shares: tuple[int, ...]
    lacks: tuple[str, ...]
    destroyed: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Resealed:
    """What seals the file now, what did before, and the keys at a former service that still open copies of it."""

    fingerprint: str
    kind: str
    former: str
    left: tuple[str, ...]


def reseal(gateway: Gateway, actor: Principal, kms: Kms) -> Resealed:
    """Seal the keyring's file by `kms`; the roots stay. A crash leaves the file of before or the new one, whole.

    It was decided before it is done, so that the log never lacks it; to do it again does no harm. Raises `KeyringError`
    while the former service owes a destruction.
    """
    custody = gateway.vault.custody
    custody.require_sound()
    held = custody.keyring.settle_destructions()
    fields = {"from": held.sealed_by, "to": kms.kind, "keyring": held.fingerprint()}
    with gateway.work(actor) as work:
        approvals.hold(work)
        work.record(EntryKind.KEYRING_RESEALED, {"step": "decided", **fields})
    sealed = held.reseal(kms)
    custody.use(sealed)
    with gateway.work(actor) as work:
        work.record(EntryKind.KEYRING_RESEALED, {"step": "done", **fields})
    left = sorted(held.key_names - sealed.key_names) if held.has_own_keys else []
    return Resealed(sealed.fingerprint(), sealed.sealed_by, held.sealed_by, tuple(left))


def propose_shares(work: Work, threshold: int, count: int) -> Approval:
    """Propose to make shares; somebody else approves it. `InputError` for numbers that cannot be."""
    _split(threshold, count)
    return approvals.propose(work, Action.MAKE_RECOVERY_SHARES, {"threshold": threshold, "count": count})


def make_shares(gateway: Gateway, actor: Principal, threshold: int, count: int) -> tuple[Share, ...]:
    """Give the keyring a new recovery key and return its shares, once; those of an earlier key open only old copies.

    `InputError` for numbers that cannot be, `ForbiddenError` if nobody approved exactly these. The entry is committed
    before the keyring changes: if that fails, the former shares hold, and the set in the log is not the keyring's.
    """
    private, shares = _split(threshold, count)
    custody = gateway.vault.custody
    custody.require_sound()
    numbers = {"threshold": threshold, "count": count}
    with gateway.work(actor) as work:
        approval = approvals.use(work, Action.MAKE_RECOVERY_SHARES, numbers)
        eyes = {"approval": approval.id, "proposed_by": approval.proposed_by, "approved_by": approval.approved_by}
        work.record(EntryKind.RECOVERY_SET, {"set": shares[0].set_id.hex(), **numbers, **eyes})
    custody.use(custody.keyring.use_recovery(RecoveryKey(public_of(private), threshold, count)))
    return shares


def _split(threshold: int, count: int) -> tuple[bytes, tuple[Share, ...]]:
    private = secrets.token_bytes(KEY_BYTES)
    return private, split(private, threshold, count)


def drill(gateway: Gateway, copy: Path, shares: Sequence[Share]) -> Drill:
    """Prove that `shares` open the keyring at `copy`, and that it is of this gateway; a failure is recorded as well.

    Raises `InputError` for shares that do not fit together, `KeyringError` for a copy that they do not open,
    `ConflictError` for the keyring of another gateway.
    """
    try:
        found = _drilled(gateway.vault.provider.keyring, copy, shares)
    except GatewayError as error:
        with gateway.work() as work:
            work.record(
                EntryKind.RECOVERY_DRILLED, {"outcome": "failed", "reason": error.code, "shares": _used(shares)}
            )
        raise
    with gateway.work() as work:
        outcome = {"outcome": "opened", "set": found.set_id, "shares": list(found.shares), "lacks": list(found.lacks)}
        work.record(EntryKind.RECOVERY_DRILLED, outcome)
    return found


def record_recovered(gateway: Gateway, shares: Sequence[Share]) -> None:
    """Record that the keyring in use was brought back by shares."""
    with gateway.work() as work:
        fields = {
            "set": shares[0].set_id.hex(),
            "shares": _used(shares),
            "keyring": gateway.vault.provider.keyring.fingerprint(),
        }
        work.record(EntryKind.KEYRING_RECOVERED, fields)


def _drilled(live: Keyring, copy: Path, shares: Sequence[Share]) -> Drill:
    private = combine(shares)
    found = Keyring.recover(copy, private)
    if found.fingerprint() != live.fingerprint():
        raise ConflictError("the shares open this keyring, and it is that of another gateway")
    ours, theirs = live.key_fingerprints(), found.key_fingerprints()
    lacks = tuple(name for name, print_ in ours.items() if theirs.get(name) != print_)
    destroyed = tuple(name for name in theirs if name not in ours)
    return Drill(set_of(public_of(private)).hex(), tuple(_used(shares)), lacks, destroyed)


def _used(shares: Sequence[Share]) -> list[int]:
    return sorted({share.index for share in shares})
