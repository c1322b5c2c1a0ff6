"""Epochs of pseudonyms as use cases: begin the next one, and move a recipient's names into it.

A recipient keeps tables under the names it was given. When its epoch is rolled it sends the old names and gets the new
ones: blocks are decrypted and encrypted again, no data key is opened, no identifier is read, and whoever was erased is
answered like a name that was made up (EDPB Guidelines 01/2025 §91: replaced by a second keyed function, identities are
not rebuilt). The log learns how many names went from which epoch to which, and no name.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from consent_gateway.audit.entries import EntryKind
from consent_gateway.db import registers as register_rows
from consent_gateway.db import subjects as subject_rows
from consent_gateway.domain.epochs import MAX_OVERLAP_SECONDS, Epochs
from consent_gateway.domain.ids import RecipientId, SubjectId
from consent_gateway.errors import FieldProblem, InputError, NotFoundError, TooLargeError
from consent_gateway.services.identity.people import NOBODY
from consent_gateway.services.work.gateway import Work

MAX_CONVERTED = 100_000
UNKNOWN_NAME = FieldProblem("$.pseudonyms", "unknown_pseudonym", "nobody has this pseudonym, or not any more")


@dataclass(frozen=True, slots=True)
class Converted:
    """The names of `epoch` for the names that were sent, in their order; None for whoever has none."""

    epoch: int
    names: list[str | None]
    uid: bytes

    @property
    def refused(self) -> int:
        """How many names mean nobody."""
        return self.names.count(None)


def roll(work: Work, recipient: RecipientId, overlap_seconds: int) -> Epochs:
    """Begin the next epoch for a recipient and everybody of its sector; former names count for the overlap.

    No former name counts longer than that, whatever an earlier roll said: 0 ends them all. NotFoundError without such a
    recipient, InputError for an overlap that is negative or beyond `MAX_OVERLAP_SECONDS`.
    """
    if not 0 <= overlap_seconds <= MAX_OVERLAP_SECONDS:
        message = f"0 to {MAX_OVERLAP_SECONDS} seconds"
        raise InputError(fields=(FieldProblem("$.overlap_seconds", "out_of_range", message),))
    work.changed_registers()  # one at a time from here on: an epoch begins once
    if recipient not in work.registers.recipients:
        raise NotFoundError
    sector = work.registers.sector(recipient)
    epochs = work.registers.epochs_of(sector).rolled(work.now, overlap_seconds)
    register_rows.put_epochs(work.session, sector, epochs, work.now)
    work.changed_registers()
    fields = {"recipient": recipient, "sector": sector, "epoch": epochs.current, "overlap_seconds": overlap_seconds}
    work.record(EntryKind.PAIRWISE_EPOCH_CREATED, fields)
    return epochs


def convert(work: Work, names: Sequence[str]) -> Converted:
    """Return the current names of the caller's recipient for its names of any epoch that still counts.

    Forged, foreign, ended and malformed names and those of erased people are all None. TooLargeError beyond
    `MAX_CONVERTED` names. One entry in the log, with counts by epoch.
    """
    if len(names) > MAX_CONVERTED:
        raise TooLargeError(f"at most {MAX_CONVERTED:,} pseudonyms a call")
    maker, recipient = work.gateway.vault.pseudonymiser, work.actor.recipient
    sector = work.registers.sector(recipient)
    epochs = work.registers.epochs_of(sector)
    ids = maker.resolve_all(names, sector, epochs.counting(work.now))
    # Nobody is asked about too: a made-up name is not told from that of an erased person by its queries.
    live = subject_rows.existing(work.session, {NOBODY if i is None else SubjectId(i) for i in ids})
    kept = [i for i in ids if i in live]
    made = iter(maker.bulk(kept, sector, epochs.current))
    new = [next(made) if i in live else None for i in ids]
    by_epoch = Counter(
        name.partition("-")[0].removeprefix("p") for name, i in zip(names, ids, strict=True) if i in live
    )
    fields = {"recipient": recipient, "sector": sector, "epoch": epochs.current, "from": dict(sorted(by_epoch.items()))}
    uid = work.record(EntryKind.PSEUDONYMS_CONVERTED, fields | {"names": len(names), "refused": len(names) - len(kept)})
    return Converted(epochs.current, new, uid)
