"""The keys of one log, epoch by epoch, and who signed a checkpoint of it.

The key of the first epoch is a root of the keyring; every later one is derived for its number (`Keyring`), so that the
holder of the keyring recognises checkpoints of every epoch, also of one that a restored store knows nothing of.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from consent_gateway.audit.checkpoints import OpenedCheckpoint, Signer, open_checkpoint, parse_checkpoint
from consent_gateway.audit.epochs import FIRST_EPOCH, epoch_number, epoch_origin
from consent_gateway.audit.notes import parse_note


class ForeignError(ValueError):
    """The checkpoint is of another log, or signed by a key that is not this log's."""


@dataclass(slots=True)
class LogKeys:
    """Signers by epoch; `seed` gives the 32-byte Ed25519 seed of one. Thread-safe: a signer made twice is equal."""

    origin: str
    seed: Callable[[int], bytes] = field(repr=False)
    _signers: dict[int, Signer] = field(default_factory=dict, repr=False)

    def signer(self, epoch: int = FIRST_EPOCH) -> Signer:
        """Return the signer of an epoch; its name is the epoch's origin."""
        found = self._signers.get(epoch)
        if found is None:
            found = self._signers[epoch] = Signer(epoch_origin(self.origin, epoch), self.seed(epoch))
        return found

    def open(self, note: bytes) -> tuple[int, OpenedCheckpoint]:
        """Return epoch and checkpoint of a note that this log signed.

        `ForeignError` for a note of another log or by another key; ValueError for what is no checkpoint at all.
        """
        claimed = parse_checkpoint(parse_note(note).text)
        epoch = epoch_number(self.origin, claimed.origin)
        if epoch is None:
            raise ForeignError("the checkpoint is of another log")
        try:
            return epoch, open_checkpoint(note, self.signer(epoch).key)
        except ValueError:
            raise ForeignError("the checkpoint is signed by a key that is not this log's") from None
