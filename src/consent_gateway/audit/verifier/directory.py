"""A whole log in the tlog-tiles layout, hashed again and compared with its signed checkpoint.

`walk` hashes; this module compares the result with what was signed, now and before. A log that extends every
checkpoint the auditor has kept is append-only as far as the auditor can know: so what was rewritten with the log's own
key is found here, and named by the two kept sizes between which it lies.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from itertools import takewhile
from pathlib import Path

from consent_gateway.audit.checkpoints import Checkpoint, parse_checkpoint
from consent_gateway.audit.epochs import Epoch
from consent_gateway.audit.notes import MAX_NOTE_BYTES, parse_note
from consent_gateway.audit.verifier.epochs import (
    Step,
    check_first_entry,
    check_steps,
    epoch_details,
    is_given_up,
    losses_told,
    steps_of,
)
from consent_gateway.audit.verifier.files import LogFiles
from consent_gateway.audit.verifier.findings import Finding, FoundError
from consent_gateway.audit.verifier.published import MapFiles
from consent_gateway.audit.verifier.strict import EntryFacts
from consent_gateway.audit.verifier.trust import Trust, head_details, trust_in
from consent_gateway.audit.verifier.walk import (
    Job,
    Progress,
    Walk,
    first_difference,
    read_entry,
    runs_in_order,
    runs_spread,
    worker_processes,
)


def verify_directory(
    vkey: str,
    directory: Path,
    *,
    progress: Progress | None = None,
    checkpoint: bytes | None = None,
    earlier: bytes | Sequence[bytes] = (),
    exports: Sequence[Path] = (),
    statements: Sequence[bytes] = (),
    witnesses: Sequence[str] = (),
    policy: bytes | None = None,
    strict: bool = False,
    maps: Sequence[bytes] = (),
    jobs: int = 1,
) -> Finding:
    """Re-hash a whole log kept in the tlog-tiles layout and compare it with its newest checkpoint.

    Every entry is hashed again and compared with its tile, every tile above with the one below, the root with the
    signed checkpoint; `checkpoint` is one that was fetched elsewhere, to be compared with instead of that file.
    `earlier` are checkpoints (signed notes) that the auditor kept: the log must extend each of them. `exports` are
    whole directories that were kept: the log must extend them too, and the entry that differs is named. `statements`
    are those of its epochs, in order, `vkey` being the key of the first: what they name as lost is no fault. `strict`
    also reads every entry: its form, and that no uid stands there twice; so do `maps`, files of maps of chains that the
    log must have published, in which no chain goes on after the erasure that ended it. `jobs` processes share the
    hashing. The finding names the first bad entry where one can be named; where nothing tells, the first that nothing
    kept vouches for.
    """
    try:
        trust = trust_in(vkey, witnesses, policy, statements)
        note = _note_in(directory) if checkpoint is None else checkpoint
        opened = trust.open_witnessed(note)
        head = opened.checkpoint
        notes = [earlier] if isinstance(earlier, bytes) else earlier
        kept = _kept(trust, head, [*notes, *map(_note_in, exports)])
        steps = steps_of(trust.epochs, statements, head.size)
        sizes = (*(known.size for known in kept), *(step.opened.surviving for step in steps))
        job = Job(directory, head.size, sizes, strict or bool(maps))
        files = MapFiles(maps) if maps else None
        facts = _check_directory(job, head, kept, (trust.epochs, steps), files, progress, jobs)
        for step in steps:
            index = step.opened.surviving
            check_first_entry(read_entry(job, index), step.epoch, step.statement, index)
    except FoundError as found:
        return _located(found.finding, directory, exports)
    details = {**head_details(head, opened.signatures), "earlier": [known.size for known in kept], **facts}
    details |= {"epochs": epoch_details(trust.epochs)} if trust.epochs else {}
    lost = losses_told(trust.epochs)
    message = f"{head.size} entries, root {head.root.hex()}{'; lost, and named by a statement: ' if lost else ''}{lost}"
    return Finding(ok=True, code="ok", message=message, details=details)


def _note_in(directory: Path) -> bytes:
    """Return the checkpoint file of a directory."""
    files = LogFiles(directory)
    return files.read(files.newest_checkpoint(), MAX_NOTE_BYTES)


def _kept(trust: Trust, head: Checkpoint, notes: Sequence[bytes]) -> list[Checkpoint]:
    """Return the auditor's own checkpoints, smallest first, without those that were given up beyond the log's end.

    Raises FoundError unless they can be of this log, in its newest epoch.
    """
    if trust.epochs and head.origin != trust.epochs[-1].key.name:
        raise FoundError("rolled_back", f"the log is as it was before epoch {trust.epochs[-1].number}", head.size)
    origins = {head.origin, *(epoch.key.name for epoch in trust.epochs)}
    opened = sorted((trust.open(note).checkpoint for note in notes), key=lambda known: known.size)
    kept = [k for k in opened if k.size <= head.size or not (trust.epochs and is_given_up(trust.epochs, k))]
    for known in kept:
        if known.origin not in origins:
            raise FoundError("origin", "an earlier checkpoint is of another log")
        if known.size > head.size:
            message = f"{head.size} entries, but {known.size} were published before"
            raise FoundError("rolled_back", message, head.size)
    return kept


def _check_directory(
    job: Job,
    head: Checkpoint,
    kept: Sequence[Checkpoint],
    followed: tuple[Sequence[Epoch], Sequence[Step]],
    maps: MapFiles | None,
    progress: Progress | None,
    jobs: int,
) -> dict[str, object]:
    """Raise the first thing that is wrong with the tree of `head`, or with it as a successor of those kept."""
    epochs, steps = followed
    with ExitStack() as stack:
        facts = EntryFacts(stack, maps) if job.strict else None
        runs = runs_spread(stack.enter_context(worker_processes(jobs)), job, jobs) if jobs > 1 else runs_in_order(job)
        root, roots = Walk(job).go(runs, facts, progress)
        if epochs:
            kept = [known for known in kept if roots[known.size] == known.root or not is_given_up(epochs, known)]
        _check_roots(head, root, kept, roots)
        check_steps(steps, roots)
        if facts is None:
            return {}
        facts.check()
        return {"strict": facts.details}


def _check_roots(head: Checkpoint, root: bytes, kept: Sequence[Checkpoint], roots: Mapping[int, bytes]) -> None:
    """Raise unless the entries hash to the signed root, and their beginnings to those kept.

    What was changed lies behind the last kept size that holds: that is the first entry nothing vouches for.
    """
    holding = list(takewhile(lambda known: roots[known.size] == known.root, kept))
    since = holding[-1].size if holding else 0
    if root != head.root:
        message = "the entries do not hash to the root of the signed checkpoint"
        where = f"; the first {since} are those published before" if since else ""
        raise FoundError("root", message + where, since if kept else None)
    if len(holding) < len(kept):
        size = kept[len(holding)].size
        where = f"one of {since} to {size - 1} was changed"
        raise FoundError("prefix", f"the first {size} entries are not those published before: {where}", since)


def _located(finding: Finding, directory: Path, exports: Sequence[Path]) -> Finding:
    """Return the finding with the first entry that differs from what was kept, if its hashes can tell."""
    if finding.code not in {"root", "prefix"}:
        return finding
    differing = [index for export in exports if (index := _first_difference(directory, export)) is not None]
    if not differing:
        return finding
    message = f"{finding.message}; entry {min(differing)} is not as it was exported before"
    return replace(finding, message=message, index=min(differing))


def _first_difference(directory: Path, export: Path) -> int | None:
    """Return the first entry of a kept export whose hash differs now; None if there is none, or it can't be read."""
    try:
        return first_difference(directory, export, parse_checkpoint(parse_note(_note_in(export)).text).size)
    except FoundError:
        return None
