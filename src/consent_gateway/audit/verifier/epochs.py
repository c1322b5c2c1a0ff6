"""A log that goes on under another name and key: what its statements admit, and whether the log is as they say.

The auditor pins the key of the first epoch and follows the statements (`audit.epochs`). A checkpoint that was kept then
holds in one of two ways: it is a beginning of the log, or it lies in what a statement gave up and named. A loss that is
named is told, never hidden: a finding lists each of them.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from consent_gateway.audit.checkpoints import Checkpoint
from consent_gateway.audit.epochs import Anchor, Epoch, Succession, follow, judge, statement_digest
from consent_gateway.audit.verifier.findings import Finding, FoundError, parsed

_OPENED = "log.epoch_opened"


class Step(NamedTuple):
    """How an epoch was opened, and the statement that says so."""

    epoch: Epoch
    opened: Succession
    statement: bytes


def epochs_from(vkey: str, statements: Sequence[bytes]) -> tuple[Epoch, ...]:
    """Return the epochs from the pinned key of the first on; FoundError at the first statement that does not hold."""
    return parsed("epoch", lambda notes: follow(vkey, notes), statements)


def verify_epochs(vkey: str, statements: Sequence[bytes]) -> Finding:
    """Check the statements of a log in order, from the key of its first epoch; tells each key and each loss."""
    try:
        epochs = epochs_from(vkey, statements)
    except FoundError as found:
        return found.finding
    message = f"epoch {epochs[-1].number}, vkey {epochs[-1].key.vkey}; lost: {losses_told(epochs) or 'nothing'}"
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


def steps_of(epochs: Sequence[Epoch], statements: Sequence[bytes], size: int) -> list[Step]:
    """Return the steps that a log of `size` entries has to show, in order: each epoch, how and by what it was opened.

    An epoch that the store was set back to before is none of them: its first entry is lost. FoundError unless the
    statement that goes on from before it says so, and for a step beyond the end of the log.
    """
    each = zip(epochs[1:], statements, strict=True)
    steps = list[Step]()
    for step in (Step(epoch, epoch.opened, statement) for epoch, statement in each if epoch.opened is not None):
        while steps and steps[-1].opened.surviving >= step.opened.surviving:
            _require_lost(steps.pop(), step.epoch.number, step.opened)
        steps.append(step)
    for step in steps:
        if step.opened.surviving > size:
            message = f"epoch {step.epoch.number} went on from {step.opened.surviving} entries, the log has {size}"
            raise FoundError("epoch", message, size)
    return steps


def _require_lost(step: Step, number: int, later: Succession) -> None:
    """Raise FoundError unless a later statement names the first entry of an epoch as lost."""
    first = step.opened.surviving
    if later.lost is None or not later.lost.start <= first < later.lost.until:
        message = f"epoch {number} went on from before epoch {step.epoch.number} and does not say that it is lost"
        raise FoundError("epoch", message, first)


def check_steps(steps: Sequence[Step], roots: Mapping[int, bytes]) -> None:
    """Raise FoundError unless the log had, where each epoch was opened, the root that its statement names."""
    for epoch, opened, _ in steps:
        if roots[opened.surviving] != opened.root:
            message = f"epoch {epoch.number} did not go on from the {opened.surviving} entries of its statement"
            raise FoundError("epoch", message)


def losses_told(epochs: Sequence[Epoch]) -> str:
    """Return what statements gave up of the entries that were published, for the message of a finding."""
    lost = [loss for epoch in epochs if epoch.opened is not None and (loss := epoch.opened.lost) is not None]
    return ", ".join(f"{loss.start} to {loss.until - 1}" for loss in lost)


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
