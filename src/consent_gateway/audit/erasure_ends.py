"""How far a bundle reaches to the erasure of its person: what the entry `subject.erased` says of their chains.

The entry names every chain of one subject with its length, itself included. It comes after the bundle, which cannot
hold it: whoever was erased gets it with its receipt. Held against the bundle it tells how many entries are newer. At
least one is for each subject, the erasure itself; more came while the bundle was made, or after it.

Stand-alone: standard library and the stand-alone modules beside it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from consent_gateway.audit.bundle_files import ChainPart, hash_in_hex
from consent_gateway.audit.chains import chain_key
from consent_gateway.audit.entries import Entry, EntryKind, parse_entry
from consent_gateway.audit.merkle import leaf_hash
from consent_gateway.audit.proofs import verify_inclusion
from consent_gateway.audit.receipts import parse_receipt
from consent_gateway.audit.verifier.findings import FoundError, parsed
from consent_gateway.audit.verifier.trust import Trust

ErasureFiles = tuple[bytes, bytes]
"""The bytes of an entry `subject.erased`, and its receipt (a tlog-proof)."""


@dataclass(frozen=True, slots=True)
class Ending:
    """What erasures say of a bundle: how many entries are newer, and how many chains are not in it, or not ended."""

    index: int
    after: int
    missing: int
    open: int

    def told(self) -> dict[str, int]:
        """Return it as JSON values."""
        return {"index": self.index, "after": self.after, "chains_missing": self.missing, "chains_open": self.open}

    def __str__(self) -> str:
        """Return it for people."""
        newer = f"{self.after} entries are newer than the bundle, the erasure's own included"
        parts = [f"erased by entry {self.index}: {newer}"]
        parts += [f"{self.missing} chains that it ended are not in the bundle"] if self.missing else []
        parts += [f"{self.open} chains of the bundle are not ended by it"] if self.open else []
        return ", ".join(parts)


def check_endings(trust: Trust, chains: Sequence[ChainPart], files: Sequence[ErasureFiles]) -> Ending:
    """Return what the erasures of a person, one for each subject that they were, say of the bundle's chains.

    FoundError `erasure` for an entry that is not in the log, ends nobody, ends another's chains, or names fewer entries
    of one than the bundle has: then the log says two things.
    """
    held = {chain_key(chain.secret): len(chain.entries) for chain in chains}
    ended: dict[bytes, int] = {}
    last = -1
    for entry, receipt in files:
        index, found = _erasure(trust, entry, receipt)
        lengths = _lengths(index, found)
        if lengths.keys().isdisjoint(held):
            raise FoundError("erasure", f"entry {index} erased somebody else", index)
        if any(lengths.get(key, count) < count for key, count in held.items()):
            raise FoundError("erasure", f"entry {index} names fewer entries of a chain than the bundle has", index)
        ended |= lengths
        last = max(last, index)
    after = sum(count - held.get(key, 0) for key, count in ended.items())
    return Ending(last, after, len(ended.keys() - held.keys()), len(held.keys() - ended.keys()))


def _erasure(trust: Trust, raw: bytes, receipt: bytes) -> tuple[int, Entry]:
    """Return an erasure and its index, once the log is shown to have it."""
    read = parsed("erasure", parse_receipt, receipt)
    head = trust.open_witnessed(read.checkpoint).checkpoint
    if not verify_inclusion(read.index, head.size, leaf_hash(raw), read.path, head.root):
        raise FoundError("erasure", f"the erasure is not at index {read.index} of this log", read.index)
    entry = parsed("erasure", parse_entry, raw)
    if entry.kind is not EntryKind.SUBJECT_ERASED:
        raise FoundError("erasure", f"entry {read.index} erases nobody", read.index)
    return read.index, entry


def _lengths(index: int, entry: Entry) -> Mapping[bytes, int]:
    """Return the chains that an erasure ended, with their lengths."""
    found: dict[bytes, int] = {}
    chains = entry.fields.get("chains")
    for chain in chains if isinstance(chains, list) else ():
        match chain:
            case {"chain": str(key), "count": int(count)}:
                found[parsed("erasure", hash_in_hex, key)] = count
            case _:
                raise FoundError("erasure", f"entry {index} does not say which chains it ended", index)
    return found
