"""Checks of single things: a checkpoint, a receipt, two checkpoints, an opening."""

from __future__ import annotations

import json
from collections.abc import Sequence

from consent_gateway.audit.commitments import verify_opening
from consent_gateway.audit.merkle import leaf_hash
from consent_gateway.audit.proofs import verify_consistency, verify_inclusion
from consent_gateway.audit.receipts import parse_path, parse_receipt
from consent_gateway.audit.verifier.findings import Finding, FoundError, parsed
from consent_gateway.audit.verifier.trust import head_details, trust_in


def verify_checkpoint(vkey: str, note: bytes, *, witnesses: Sequence[str] = (), policy: bytes | None = None) -> Finding:
    """Check that the log with this key signed the checkpoint, and that enough witnesses have cosigned it.

    `witnesses` are vkeys that must all have cosigned, `policy` is a tlog-policy file whose quorum must be reached.
    """
    try:
        opened = trust_in(vkey, witnesses, policy).open_witnessed(note)
    except FoundError as found:
        return found.finding
    head = opened.checkpoint
    times = [f"{made.key.name} ({made.time})" for made in opened.signatures if made.time is not None]
    message = f"{head.size} entries signed by {head.origin}{'; cosigned by ' if times else ''}{', '.join(times)}"
    return Finding(ok=True, code="ok", message=message, details=head_details(head, opened.signatures))


def verify_receipt(
    vkey: str, receipt: bytes, entry: bytes, *, witnesses: Sequence[str] = (), policy: bytes | None = None
) -> Finding:
    """Check that the log with this key has `entry` at the index that the receipt names.

    `receipt` is a `.tlog-proof` file, `entry` the logged bytes; witnesses as for `verify_checkpoint`.
    """
    try:
        trust = trust_in(vkey, witnesses, policy)
        read = parsed("receipt", parse_receipt, receipt)
        opened = trust.open_witnessed(read.checkpoint)
    except FoundError as found:
        return found.finding
    head = opened.checkpoint
    if not verify_inclusion(read.index, head.size, leaf_hash(entry), read.path, head.root):
        message = f"the entry is not at index {read.index} of this log"
        return Finding(ok=False, code="inclusion", message=message, index=read.index)
    message = f"entry {read.index} of {head.size}, log {head.origin}"
    details = head_details(head, opened.signatures)
    return Finding(ok=True, code="ok", message=message, index=read.index, details=details)


def verify_prefix(
    vkey: str,
    old: bytes,
    new: bytes,
    proof: bytes,
    *,
    witnesses: Sequence[str] = (),
    policy: bytes | None = None,
) -> Finding:
    """Check that the checkpoint `old` is a prefix of `new`, both signed notes; witnesses must have cosigned `new`.

    `proof` is a file of base64 hashes, one a line, empty for equal sizes. From size 0 nothing can be proven.
    """
    try:
        trust = trust_in(vkey, witnesses, policy)
        before, opened = trust.open(old).checkpoint, trust.open_witnessed(new)
        path = parsed("consistency", parse_path, _lines(proof))
    except FoundError as found:
        return found.finding
    after = opened.checkpoint
    if before.origin != after.origin:
        return Finding(ok=False, code="origin", message="the two checkpoints are of different logs")
    if not verify_consistency(before.size, after.size, before.root, after.root, path):
        message = f"size {before.size} is not shown to be a prefix of size {after.size}"
        return Finding(ok=False, code="consistency", message=message)
    message = f"{before.size} is a prefix of {after.size}, log {after.origin}"
    details = {"earlier": before.size, **head_details(after, opened.signatures)}
    return Finding(ok=True, code="ok", message=message, details=details)


def _lines(data: bytes) -> list[str]:
    """Return the lines of a file of base64; bytes that are none become characters that are none either."""
    text = data.decode("ascii", "replace").removesuffix("\n")
    return text.split("\n") if text else []


def verify_payload(entry: bytes, name: str, salt: bytes, payload: bytes) -> Finding:
    """Check that `payload` is what the entry committed to under `name`; check the entry by its receipt as well."""
    try:
        commitment = bytes.fromhex(json.loads(entry.decode())["commitments"][name])
    except (ValueError, LookupError, TypeError, RecursionError):
        return Finding(ok=False, code="entry", message="the entry has no such commitment")
    if not verify_opening(commitment, salt, payload):
        return Finding(ok=False, code="opening", message="the payload is not what was committed to")
    return Finding(ok=True, code="ok", message=f"the payload is what the entry committed to as {name}")
