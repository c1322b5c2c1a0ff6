"""Receipts: one file that proves one entry for ever, without asking the log again (C2SP tlog-proof).

::

    c2sp.org/tlog-proof@v1
    extra <base64>            optional, not authenticated
    index <decimal>
    <base64 hash>             one a line, leaf to root; none in a tree of one entry
                              (blank line)
    <checkpoint>              the signed note, verbatim

The entry itself is kept beside it. The order of lines, the spelling of numbers and base64 and the newlines are
all fixed; a reader that guesses is a reader that can be fooled.

Stand-alone: only the standard library, and `merkle` and `notes` of this package.
"""

from __future__ import annotations

from dataclasses import dataclass

from consent_gateway.audit.merkle import HASH_BYTES
from consent_gateway.audit.notes import from_base64, parse_decimal, to_base64

RECEIPT_HEADER = "c2sp.org/tlog-proof@v1"
MAX_PATH = 63  # the height of a tree of 2^63 entries
MAX_RECEIPT_BYTES = 2_000_000


@dataclass(frozen=True, slots=True)
class Receipt:
    """Entry `index` stands under the root of `checkpoint` (a signed note) by `path`; nothing of it is checked yet."""

    index: int
    path: tuple[bytes, ...]
    checkpoint: bytes
    extra: bytes | None = None

    def to_bytes(self) -> bytes:
        """Return the file; raises ValueError when a hash is not 32 bytes long or `extra` is empty."""
        if any(len(node) != HASH_BYTES for node in self.path) or self.extra == b"":
            raise ValueError("a receipt has hashes of 32 bytes and no empty extra data")
        extra = () if self.extra is None else (f"extra {to_base64(self.extra)}",)
        lines = (RECEIPT_HEADER, *extra, f"index {self.index}", *map(to_base64, self.path), "", "")
        return "\n".join(lines).encode() + self.checkpoint


def parse_receipt(data: bytes) -> Receipt:
    """Return the receipt in a `.tlog-proof` file; raises ValueError unless it is well-formed to the byte.

    The checkpoint is returned verbatim and not parsed: `checkpoints.open_checkpoint` does that with a pinned key.
    """
    head, blank, checkpoint = data.partition(b"\n\n")
    if not blank or len(data) > MAX_RECEIPT_BYTES or not head.isascii():
        raise ValueError("a receipt is ASCII lines, a blank line and a checkpoint")
    header, *lines = head.decode().split("\n")
    if header != RECEIPT_HEADER:
        raise ValueError("not a receipt of version 1")
    extra = _after("extra ", lines.pop(0)) if lines and lines[0].startswith("extra ") else None
    if not lines or extra == "":
        raise ValueError("the receipt has no index or empty extra data")
    index = parse_decimal(_after("index ", lines.pop(0)))
    return Receipt(index, parse_path(lines), checkpoint, None if extra is None else from_base64(extra))


def parse_path(lines: list[str]) -> tuple[bytes, ...]:
    """Return the hashes of a proof given as base64 lines; raises ValueError unless all are 32 bytes, at most 63."""
    if len(lines) > MAX_PATH:
        raise ValueError("the proof is longer than any tree is high")
    path = tuple(from_base64(line) for line in lines)
    if any(len(node) != HASH_BYTES for node in path):
        raise ValueError("a hash of the proof has not 32 bytes")
    return path


def _after(label: str, line: str) -> str:
    """Return what follows the label; raises ValueError when the line is another one."""
    if not line.startswith(label):
        raise ValueError(f"the receipt lacks its {label.strip()} line")
    return line.removeprefix(label)
