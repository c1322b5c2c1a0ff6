"""A log that goes on under another name and key: what its statements admit, and whether the log is as they say.

The auditor pins the key of the first epoch and follows the statements (`audit.epochs`). A checkpoint that was kept then
holds in one of two ways: it is a beginning of the log, or it lies in what a statement gave up and named. A loss that is
named is told, never hidden: a finding lists each of them.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

from consent_gateway.audit.checkpoints import Checkpoint
from consent_gateway.audit.epochs import Anchor, Epoch, Succession, follow, judge, statement_digest
from consent_gateway.audit.verifier.findings import Finding, FoundError, parsed

_OPENED = "log.epoch_opened"


def epochs_from(vkey: str, statements: Sequence[bytes]) -> tuple[Epoch, ...]:
    """Return the epochs from the pinned key of the first on; FoundError at the first statement that does not hold."""
    return parsed("epoch", lambda notes: follow(vkey, notes), statements)


def verify_epochs(vkey: str, statements: Sequence[bytes]) -> Finding:
    """Check the statements of a log in order, from the key of its first epoch; tells each key and each loss."""
    try:
        epochs = epochs_from(vkey, statements)
    except FoundError as found:
        return found.finding
    losses = [epoch.opened.lost for epoch in epochs if epoch.opened is not None and epoch.opened.lost is not None]
    lost = ", ".join(f"{loss.start} to {loss.until - 1}" for loss in losses) or "nothing"
    message = f"epoch {epochs[-1].number}, vkey {epochs[-1].key.vkey}; lost: {lost}"
    return Finding(ok=True, code="ok", message=message, details={"epochs": epoch_details(epochs)})


def epoch_details(epochs: Sequence[Epoch]) -> list[dict[str, object]]:
    """Return what a finding says about epochs: number, vkey, what survived into it and what was lost before."""
    return [{"epoch": epoch.number, "vkey": epoch.key.vkey, **_opening(epoch.opened)} for epoch in epochs]


def _opening(opened: Succession | None) -> dict[str, object]:
    """Return what a statement says of the entries; nothing for the first epoch."""
    if opened is None:
        return {}
    lost = None if opened.lost is None else {"from": opened.lost.start, "until": opened.lost.until}
    return {"surviving": opened.surviving, "lost": lost}


def is_given_up(epochs: Sequence[Epoch], kept: Checkpoint) -> bool:
    """Tell whether a statement names the range in which a kept checkpoint lies as lost."""
    return judge(epochs, epochs[0].key.name, -1, bytes, kept) is Anchor.HOLDS  # of size -1: no root is asked for


def check_steps(epochs: Sequence[Epoch], roots: Mapping[int, bytes]) -> None:
    """Raise FoundError unless the log had, where each epoch was opened, the root that its statement names."""
    for epoch in epochs[1:]:
        if epoch.opened is not None and roots[epoch.opened.surviving] != epoch.opened.root:
            message = f"epoch {epoch.number} did not go on from the {epoch.opened.surviving} entries of its statement"
            raise FoundError("epoch", message)


def check_first_entry(entry: bytes, epoch: Epoch, statement: bytes, index: int) -> None:
    """Raise FoundError unless the first entry of an epoch records this statement."""
    try:
        match json.loads(entry.decode()):
            case {"kind": kind, "fields": {"statement": str(digest)}} if kind == _OPENED:
                holds = digest == statement_digest(statement).hex()
            case _:
                holds = False
    except (ValueError, RecursionError):
        holds = False
    if not holds:
        raise FoundError(
            "epoch", f"entry {index} does not record the statement that opened epoch {epoch.number}", index
        )
