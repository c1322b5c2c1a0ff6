"""The gateway's own data key, that of subject 0: what belongs to nobody yet lies under it.

Refused rows in quarantine, signals of nobody known, and kept replies with tokens. It is made when it is first needed,
re-wrapped by every roll and renewed with the others.

It is *lost* when its wrap does not open though the keyring is not older than the wrap: a backup was restored from
before an epoch that was destroyed since. Nothing brings it back, so what needs it is refused (`OwnKeyLostError`)
instead of failing as a bug would; a no of a stranger is kept all the same, without the string it came in. Two people
then give the gateway a new own key: what lay under the old one is marked as gone in the same transaction, with an entry
that counts it. That is the one way a ciphertext is given up, so it needs four eyes: should an escrowed keyring with the
epoch turn up, it is still the better way.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Literal

from consent_gateway.audit.entries import EntryKind
from consent_gateway.db import intake as intake_rows
from consent_gateway.db import key_jobs as job_rows
from consent_gateway.db import resealing as rows
from consent_gateway.db import subjects as subject_rows
from consent_gateway.domain.approvals import Action, Approval
from consent_gateway.errors import ConflictError, KeyringError, OwnKeyLostError, RaceError
from consent_gateway.services.work import approvals
from consent_gateway.services.work.gateway import Work
from consent_gateway.services.work.vault import GATEWAY_ITSELF, SEALED_REPLY
from consent_gateway.vault.failures import VaultError
from consent_gateway.vault.keys import wrapped_epoch

_EVER = (1 << 62) - 1


class OwnKeyState(StrEnum):
    """How it stands with the gateway's own key.

    `none`: nothing needed it yet; `newer`: the keyring of this process is older, and cannot tell.
    """

    NONE = "none"
    HELD = "held"
    LOST = "lost"
    NEWER = "newer"


@dataclass(frozen=True, slots=True)
class OwnKey:
    """The state, the key epoch of the wrap, and how much lies under it: refused rows, signals, replies."""

    state: OwnKeyState
    epoch: int | None = None
    quarantined: int = 0
    signals: int = 0
    replies: int = 0


def own_key(work: Work) -> bytes:
    """Return the gateway's own data key, made when it is first needed.

    `OwnKeyLostError` if it is lost; KeyringError while this process's keyring is older than it.
    """
    wrapped = subject_rows.wrapped_keys(work.session, [GATEWAY_ITSELF]).get(GATEWAY_ITSELF)
    if wrapped is None:
        dek, fresh = work.gateway.vault.new_key(GATEWAY_ITSELF, work.registers.least_epoch)
        subject_rows.add_keys(work.session, [{"subject_id": GATEWAY_ITSELF, "wrapped_dek": fresh}])
        return dek
    found = _opened(work, wrapped)
    if found is OwnKeyState.NEWER:
        raise KeyringError("The keyring is older than the store: bring the newest one")
    if found is OwnKeyState.LOST:
        raise OwnKeyLostError
    return found


def status(work: Work) -> OwnKey:
    """Return how it stands, with what lies under it."""
    wrapped = subject_rows.wrapped_keys(work.session, [GATEWAY_ITSELF]).get(GATEWAY_ITSELF)
    if wrapped is None:
        return OwnKey(OwnKeyState.NONE)
    found = _opened(work, wrapped)
    return OwnKey(
        OwnKeyState.HELD if isinstance(found, bytes) else found,
        wrapped_epoch(wrapped),
        rows.count_own(work.session, "quarantine"),
        rows.count_own(work.session, "signal"),
        sum(kept != SEALED_REPLY for _, _, kept in rows.replies(work.session, SEALED_REPLY)),
    )


def propose(work: Work) -> Approval:
    """Propose to give the gateway a new own key; ConflictError while nothing is lost, errors of `approvals.propose`."""
    lost = _require_lost(work)
    return approvals.propose(work, Action.RENEW_OWN_KEY, {"epoch": lost.epoch or 0})


def renew(work: Work) -> OwnKey:
    """Make a new own key by an approval of exactly that, mark what lay under the lost one as gone, return what it was.

    Reasons of refused rows and what signals did stay; a request whose reply is gone is answered with a conflict when it
    is repeated, and is not carried out again. ConflictError while nothing is lost; ForbiddenError if nobody approved.
    """
    work.changed_registers()  # whoever writes under it is waited for, and none begins
    lost = _require_lost(work)
    approval = approvals.use(work, Action.RENEW_OWN_KEY, {"epoch": lost.epoch or 0})
    (wrapped,) = rows.lock_keys(work.session, [GATEWAY_ITSELF]).values()
    _, fresh = work.gateway.vault.new_key(GATEWAY_ITSELF, work.registers.least_epoch)
    if job_rows.swap_wraps(work.session, [(fresh, GATEWAY_ITSELF, wrapped)]) != 1:
        raise RaceError
    intake_rows.empty_quarantine(work.session, _EVER)
    rows.empty_own_signals(work.session)
    for principal, key, _ in rows.replies(work.session, SEALED_REPLY):
        rows.put_reply(work.session, principal, key, SEALED_REPLY)
    counts = {"quarantined": lost.quarantined, "signals": lost.signals, "replies": lost.replies}
    work.record(EntryKind.OWN_KEY_RENEWED, {"epoch": lost.epoch, "approval": approval.id, **counts})
    return lost


def _require_lost(work: Work) -> OwnKey:
    found = status(work)
    if found.state is not OwnKeyState.LOST:
        raise ConflictError("the gateway's own key is not lost")
    return found


def _opened(work: Work, wrapped: bytes) -> bytes | Literal[OwnKeyState.LOST, OwnKeyState.NEWER]:
    try:
        return work.gateway.vault.unwrap(GATEWAY_ITSELF, wrapped)
    except VaultError:
        newest = work.gateway.vault.provider.keyring.current_epoch
        return OwnKeyState.NEWER if wrapped_epoch(wrapped) > newest else OwnKeyState.LOST
