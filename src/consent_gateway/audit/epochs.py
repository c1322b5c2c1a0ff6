"""Epochs of the log: how a log goes on under a new name and key, and how an auditor follows.

A log that lost entries it had published (a restored backup, a fork) must not go on under its name: it would sign a
second root for a size that it signed before, which is proof of a fork for ever. It opens an *epoch* instead: a new
origin (`<origin>/epoch-<k>`) and a new key over the tree of the entries that survived. A planned change of the log's
key is the same step with nothing lost.

The key of the epoch before signs a *statement*: a signed note whose text is::

    consent-gateway/log-epoch@v1
    origin <origin of the epoch before>
    epoch <number of the new one>
    vkey <verifier key of the new one>
    surviving <size> <root, base64>
    lost <from> <until> <root, base64>     absent when nothing is lost

`lost` says that entries [from, until) as they were published are not in this log any more, and names the root of the
last checkpoint of the epoch before that is known, of `until` entries. After a rollback `from` is `surviving`; after a
fork, or a rollback that went on writing, it is the largest size that is known to be common to both histories.

The new epoch's first entry (index `surviving`) is `log.epoch_opened` and holds the SHA-256 of the statement, so that it
cannot be signed later or twice. Its first line is no origin and its second no number: no reader takes it for a
checkpoint.

What an auditor does: pin the vkey of the first epoch, follow the statements (`follow`), and hold every checkpoint that
was kept against what they admit (`judge`): it is a prefix of what there is, or it lies in a range that was given up
and named, or the log is not what it says. Receipts and exports of an older epoch are checked with that epoch's key.

Stand-alone: standard library, and `checkpoints`, `merkle`, `notes` and `proofs` of this package.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from hashlib import sha256

from consent_gateway.audit.checkpoints import Checkpoint, open_note, pinned_key
from consent_gateway.audit.merkle import HASH_BYTES
from consent_gateway.audit.notes import VerifierKey, from_base64, parse_decimal, to_base64

STATEMENT_HEADER = "consent-gateway/log-epoch@v1"
FIRST_EPOCH = 1
_SUFFIX = re.compile(r"/epoch-([1-9][0-9]{0,8})\Z")
_LABELS = ("origin", "epoch", "vkey", "surviving", "lost")

RootAt = Callable[[int], bytes]
"""The root that the log at hand had at a size that it has reached."""


class Anchor(StrEnum):
    """How the log stands to a checkpoint kept elsewhere."""

    HOLDS = "holds"
    ROLLED_BACK = "rolled_back"  # fewer entries than were published: refuse writes, open a new epoch
    FORKED = "forked"  # as many entries, but others
    FOREIGN = "foreign"  # the checkpoint is of another log


@dataclass(frozen=True, slots=True)
class Loss:
    """Entries [`start`, `until`) as they were published are gone; `root` is that of the last checkpoint, of `until`."""

    start: int
    until: int
    root: bytes


@dataclass(frozen=True, slots=True)
class Succession:
    """One step from an epoch to the next, as its statement says it: `surviving` entries under `root` went on."""

    origin: str
    epoch: int
    vkey: str
    surviving: int
    root: bytes
    lost: Loss | None = None

    @property
    def text(self) -> str:
        """The text that the key of the epoch before signs."""
        lines = [
            STATEMENT_HEADER,
            f"origin {self.origin}",
            f"epoch {self.epoch}",
            f"vkey {self.vkey}",
            f"surviving {self.surviving} {to_base64(self.root)}",
        ]
        if self.lost is not None:
            lines.append(f"lost {self.lost.start} {self.lost.until} {to_base64(self.lost.root)}")
        return "\n".join((*lines, ""))


@dataclass(frozen=True, slots=True)
class Epoch:
    """One epoch of a log: its number, its key (whose name is its origin), and the step that opened it."""

    number: int
    key: VerifierKey
    opened: Succession | None = None


def epoch_origin(origin: str, number: int) -> str:
    """Return the origin line of an epoch of the log whose first epoch is named `origin`."""
    return origin if number == FIRST_EPOCH else f"{origin}/epoch-{number}"


def epoch_number(origin: str, found: str) -> int | None:
    """Return which epoch of the log `origin` an origin line names; None if it is another log's."""
    if found == origin:
        return FIRST_EPOCH
    match = _SUFFIX.fullmatch(found.removeprefix(origin)) if found.startswith(origin) else None
    return int(match[1]) if match is not None and int(match[1]) > FIRST_EPOCH else None


def statement_digest(note: bytes) -> bytes:
    """Return the SHA-256 of a statement (the signed note), which the first entry of the epoch holds."""
    return sha256(note).digest()


def parse_succession(text: str) -> Succession:
    """Return the step that a statement's text says; raises ValueError unless it is one, to the byte."""
    header, *lines = text.split("\n")
    values = dict(line.partition(" ")[::2] for line in lines if line)
    if header != STATEMENT_HEADER or [*values, "lost"][: len(_LABELS)] != [*_LABELS]:
        raise ValueError("not a statement about an epoch")
    surviving, root = _size_and_root(values["surviving"])
    number, key = parse_decimal(values["epoch"]), pinned_key(values["vkey"])
    loss = _loss(values["lost"], surviving) if "lost" in values else None
    found = Succession(values["origin"], number, key.vkey, surviving, root, loss)
    if found.text != text:
        raise ValueError("not a statement about an epoch")
    return found


def follow(vkey: str, statements: Sequence[bytes], *, origin: str | None = None) -> tuple[Epoch, ...]:
    """Return the epochs of a log from the pinned key of one of them (usually the first) and the statements after it.

    Each statement is a signed note by the key of the epoch before and names a new key, whose name is the next epoch's
    origin; numbers only grow. One is left out where a store was set back to before that epoch: then the statement is
    about the epoch left out, and keys of both have signed it. `origin` is that of the first epoch, where another one
    is pinned. Raises ValueError at the first that does not hold.
    """
    key = pinned_key(vkey)
    base = origin or key.name
    number = epoch_number(base, key.name)
    if number is None:
        raise ValueError("the pinned key is of another log")
    found = [Epoch(number, key)]
    for note in statements:
        before = found[-1]
        opened = parse_succession(open_note(note, (before.key,))[0].text)
        after = pinned_key(opened.vkey)
        if not before.number <= (epoch_number(base, opened.origin) or 0) < opened.epoch:
            raise ValueError("the statement does not follow on the epoch before")
        if after.name != epoch_origin(base, opened.epoch):
            raise ValueError("the key that the statement names is not one of the next epoch")
        found.append(Epoch(opened.epoch, after, opened))
    return tuple(found)


def judge(epochs: Sequence[Epoch], origin: str, size: int, root_at: RootAt, kept: Checkpoint) -> Anchor:
    """Tell how the log, `size` entries in the last of `epochs`, stands to a kept checkpoint of any epoch (promise P6).

    `origin` is that of the first epoch. The kept checkpoint's signature was checked before. It HOLDS as well if it
    lies in what a later statement gave up and named: nobody hides that loss.
    """
    number = epoch_number(origin, kept.origin)
    if number is None:
        return Anchor.FOREIGN
    if number > epochs[-1].number:
        return Anchor.ROLLED_BACK  # to before that epoch was opened
    if kept.size <= size and root_at(kept.size) == kept.root:
        return Anchor.HOLDS
    steps = [epoch.opened for epoch in epochs if epoch.number > number and epoch.opened is not None]
    if any(_is_given_up(step.lost, kept) for step in steps if step.lost is not None):
        return Anchor.HOLDS
    went_on = steps[0].surviving if steps else size
    return Anchor.ROLLED_BACK if kept.size > went_on else Anchor.FORKED


def _is_given_up(lost: Loss, kept: Checkpoint) -> bool:
    """Tell whether a statement names this checkpoint, or one after it, as lost."""
    return lost.start < kept.size < lost.until or (kept.size, kept.root) == (lost.until, lost.root)


def _loss(text: str, surviving: int) -> Loss:
    start, _, rest = text.partition(" ")
    until, root = _size_and_root(rest)
    loss = Loss(parse_decimal(start), until, root)
    if not loss.start < loss.until or loss.start > surviving:
        raise ValueError("not a statement about an epoch")
    return loss


def _size_and_root(text: str) -> tuple[int, bytes]:
    size, _, root = text.partition(" ")
    raw = from_base64(root)
    if len(raw) != HASH_BYTES:
        raise ValueError("a root has 32 bytes")
    return parse_decimal(size), raw
