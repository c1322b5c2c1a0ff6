"""A whole log in the tlog-tiles layout, hashed again and compared with its signed checkpoint.

`walk` hashes; this module compares the result with what was signed, now and before. A log that extends every
checkpoint the auditor has kept is append-only as far as the auditor can know: so what was rewritten with the log's own
key is found here, and named by the two kept sizes between which it lies.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from consent_gateway.audit.checkpoints import Checkpoint
from consent_gateway.audit.notes import MAX_NOTE_BYTES
from consent_gateway.audit.verifier.files import LogFiles
from consent_gateway.audit.verifier.findings import Finding, FoundError
from consent_gateway.audit.verifier.strict import EntryFacts
from consent_gateway.audit.verifier.trust import Trust, head_details, trust_in
from consent_gateway.audit.verifier.walk import Job, Progress, Walk, runs_in_order, runs_spread, worker_processes


def verify_directory(
    vkey: str,
    directory: Path,
    *,
    progress: Progress | None = None,
    checkpoint: bytes | None = None,
    earlier: bytes | Sequence[bytes] = (),
    witnesses: Sequence[str] = (),
    policy: bytes | None = None,
    strict: bool = False,
    jobs: int = 1,
) -> Finding:
    """Re-hash a whole log kept in the tlog-tiles layout and compare it with its `checkpoint` file.

    Every entry is hashed again and compared with its tile, every tile above with the one below, the root with the
    signed checkpoint; `checkpoint` is one that was fetched elsewhere, to be compared with instead of that file.
    `earlier` are checkpoints (signed notes) that the auditor kept: the log must extend each of them. `strict` also
    reads every entry: its form, and that no uid stands there twice. `jobs` processes share the hashing. The finding
    names the first bad entry where one can be named.
    """
    try:
        trust = trust_in(vkey, witnesses, policy)
        note = LogFiles(directory).read("checkpoint", MAX_NOTE_BYTES) if checkpoint is None else checkpoint
        opened = trust.open_witnessed(note)
        head = opened.checkpoint
        kept = _kept(trust, head, [earlier] if isinstance(earlier, bytes) else earlier)
        job = Job(directory, head.size, tuple(known.size for known in kept), strict)
        facts = _check_directory(job, head, kept, progress, jobs)
    except FoundError as found:
        return found.finding
    details = {**head_details(head, opened.signatures), "earlier": [known.size for known in kept], **facts}
    return Finding(ok=True, code="ok", message=f"{head.size} entries, root {head.root.hex()}", details=details)


def _kept(trust: Trust, head: Checkpoint, notes: Sequence[bytes]) -> list[Checkpoint]:
    """Return the auditor's own checkpoints, smallest first; FoundError unless they can be of this log."""
    kept = sorted((trust.open(note).checkpoint for note in notes), key=lambda known: known.size)
    for known in kept:
        if known.origin != head.origin:
            raise FoundError("origin", "an earlier checkpoint is of another log")
        if known.size > head.size:
            message = f"{head.size} entries, but {known.size} were published before"
            raise FoundError("rolled_back", message, head.size)
    return kept


def _check_directory(
    job: Job, head: Checkpoint, kept: Sequence[Checkpoint], progress: Progress | None, jobs: int
) -> dict[str, object]:
    """Raise the first thing that is wrong with the tree of `head`, or with it as a successor of those kept."""
    with ExitStack() as stack:
        facts = EntryFacts(stack) if job.strict else None
        runs = runs_spread(stack.enter_context(worker_processes(jobs)), job, jobs) if jobs > 1 else runs_in_order(job)
        root, roots = Walk(job).go(runs, facts, progress)
        if root != head.root:
            raise FoundError("root", "the entries do not hash to the root of the signed checkpoint")
        _check_kept(kept, roots)
        if facts is None:
            return {}
        facts.check_uids()
        return {"strict": facts.details}


def _check_kept(kept: Sequence[Checkpoint], roots: dict[int, bytes]) -> None:
    """Raise at the first kept checkpoint that the log does not extend; up to the last that holds, all is as it was."""
    since = 0
    for known in kept:
        if roots[known.size] != known.root:
            what = f"the first {known.size} entries are not those published before"
            where = f": one of {since} to {known.size - 1} was changed" if known.size else ""
            raise FoundError("prefix", what + where, since)
        since = known.size
