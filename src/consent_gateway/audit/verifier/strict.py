"""What holds of honest entries beyond their hashes: their form, what they say, their uids, the course of their times.

A tree commits to bytes, whatever they say. A log of this product holds canonical entries of the closed list alone, each
says what its kind may say (`catalogue`) and each uid is there once, so anything else was not written by it. An entry of
a kind that is about somebody has a place in their chain: one without would be in nobody's bundle. Times are a different
matter: writers have clocks of their own, so entries a little out of order are honest and a clock that was set back is
no fraud; the largest step back is reported, never refused. Where the log publishes the map of its chains, its sum must
be the number of entries before it that say they are in one (`maps`): nobody's entry is left out.

Memory stays nearly flat however long the log is (8 bytes an entry, for the sums), and whatever it says: of each entry
only what is of a bounded size is kept, and uids go to temporary files by a hash that nobody who wrote them could know,
each of which is looked through by itself.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from tempfile import TemporaryFile
from typing import IO

from consent_gateway.audit.catalogue import problems
from consent_gateway.audit.commitments import UID_BYTES
from consent_gateway.audit.entries import Entry, parse_entry
from consent_gateway.audit.maps import MAP_PUBLISHED, SumCheck
from consent_gateway.audit.merkle import HASH_BYTES
from consent_gateway.audit.verifier.findings import FoundError
from consent_gateway.audit.verifier.published import Ended, MapFiles, chains_ended

Fact = tuple[bytes, int, tuple[str, ...], Mapping[str, object] | None, Ended]
"""Uid, time (epoch ms) and names of the commitments of an entry; what it says of a map; which chains it ended."""
_NO_FIELD = " is no field of "
_INDEX_BYTES = 8
_FACT_BYTES = UID_BYTES + _INDEX_BYTES
_SHARES = 64


def entry_facts(first: int, entries: Sequence[bytes]) -> list[Fact]:
    """Return the facts of each entry, `first` being the index of the first; FoundError for one of another form."""
    facts = list[Fact]()
    for index, entry in enumerate(entries, first):
        try:
            read = parse_entry(entry)
            ended = chains_ended(read)
        except ValueError as error:
            raise FoundError("entry", f"entry {index}: {_reason(error)}", index) from None
        if found := problems(read):
            raise FoundError("entry", f"entry {index}: {_problem(found)}", index)
        facts.append((read.uid, read.at, tuple(read.commitments), _published(read), ended))
    return facts


def _published(entry: Entry) -> Mapping[str, object] | None:
    """Return what an entry says about a map, and of the root no more than a root has; None if it publishes none."""
    said = entry.fields
    if entry.kind != MAP_PUBLISHED:
        return None
    counts = {name: said[name] for name in ("size", "entries", "chains")}
    return counts | {"root": str(said["root"])[: 2 * HASH_BYTES]}


def _problem(found: Sequence[str]) -> str:
    """Return the first thing that is wrong by our own words: a field that is none has a name that somebody made up."""
    return next((text for text in found if _NO_FIELD not in text), "it has a field that its kind does not have")


def _reason(error: ValueError) -> str:
    """Return what is wrong; a kind that is not in the list is quoted by the enumeration, and is left out here."""
    text = str(error)
    return "its kind is not one that this verifier knows" if "is not a valid EntryKind" in text else text


class EntryFacts:
    """Takes the facts of all entries in order; its temporary files are closed with `stack`."""

    def __init__(self, stack: ExitStack, maps: MapFiles | None = None) -> None:
        self._shares: list[IO[bytes]] = [stack.enter_context(_share()) for _ in range(_SHARES)]
        self._sums = SumCheck()
        self._maps = maps
        self._latest = 0
        self._count = 0
        self.step_back = 0
        self.step_back_index: int | None = None

    def take(self, facts: Iterable[Fact]) -> None:
        """Add the facts of the next entries."""
        for uid, at, commitments, published, ended in facts:
            try:
                self._sums.take(commitments, published)
            except ValueError as error:
                raise FoundError("map", str(error), self._count) from None
            if self._maps is not None:
                self._maps.ended(self._count, ended)
                if published is not None:
                    self._maps.published(self._count, published)
            self._shares[hash(uid) % _SHARES].write(uid + self._count.to_bytes(_INDEX_BYTES, "big"))
            if self._latest - at > self.step_back:
                self.step_back, self.step_back_index = self._latest - at, self._count
            self._latest = max(self._latest, at)
            self._count += 1

    def check(self) -> None:
        """Raise FoundError at the first entry whose uid an earlier one has; then for a file of a map that is wrong."""
        self._check_uids()
        if self._maps is not None:
            self._maps.check()

    def _check_uids(self) -> None:
        again = [index for share in self._shares if (index := _first_repeated(share)) is not None]
        if again:
            raise FoundError("uid", f"entry {min(again)} has the uid of an earlier one", min(again))

    @property
    def details(self) -> dict[str, object]:
        """Return what a finding says: how many entries, the largest step back of their times and where it is."""
        maps = (
            {} if self._sums.newest is None else {"map": dict(zip(("size", "entries"), self._sums.newest, strict=True))}
        )
        return maps | {"entries": self._count, "step_back_ms": self.step_back, "step_back_index": self.step_back_index}


def _share() -> IO[bytes]:
    """Return a file that is gone when it is closed."""
    return TemporaryFile()


def _first_repeated(share: IO[bytes]) -> int | None:
    """Return the index of the first record whose uid stands before it in the file; records are in order of index."""
    seen: set[bytes] = set()
    share.seek(0)
    while record := share.read(_FACT_BYTES):
        uid = record[:UID_BYTES]
        if uid in seen:
            return int.from_bytes(record[UID_BYTES:], "big")
        seen.add(uid)
    return None
