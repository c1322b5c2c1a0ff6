"""Generations of the blind index: which one counts, which one is being filled, which ones are on their way out.

A generation is a key with the versions of the normalisers that its values are computed by. At each instant exactly one
*counts*: every identifier has a row under it, so that its UNIQUE key alone keeps an identifier with one person. During
a move another is *moving*: whoever writes adds a row under it as well, and a job adds those of everybody else. When
none is missing it begins to count, in one transaction that waits for every writer, and the former one is *leaving*.

    counts 1  --start-->  counts 1, moving 2  --switch-->  counts 2, leaving 1  --drop-->  counts 2
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum

FIRST = 1  # the generation of a store that was never moved
NORMAL_VERSION = 1  # the version of every normaliser under it


class GenerationState(StrEnum):
    """Where a generation stands."""

    COUNTS = "counts"
    MOVING = "moving"
    LEAVING = "leaving"


@dataclass(frozen=True, slots=True)
class Generation:
    """One generation as it stands: since when (seconds), and the version of each kind's normaliser under it."""

    number: int
    state: GenerationState
    at: int = 0
    versions: Mapping[str, int] = field(default_factory=dict)

    def version(self, kind: str) -> int:
        """Return the version of the normaliser by which identifiers of a kind are found under this generation."""
        return self.versions.get(kind, NORMAL_VERSION)


@dataclass(frozen=True, slots=True)
class Generations:
    """Every generation that has rows, or gets them."""

    counts: Generation = Generation(FIRST, GenerationState.COUNTS)
    moving: Generation | None = None
    leaving: Generation | None = None

    def others(self) -> Iterator[Generation]:
        """Return the generations under which an identifier can be found too, besides the one that counts."""
        return (g for g in (self.moving, self.leaving) if g is not None)


def generations(found: Mapping[GenerationState, Generation]) -> Generations:
    """Return the generations of a store by their rows; a store that was never moved has none."""
    counts = found.get(GenerationState.COUNTS, Generations().counts)
    return Generations(counts, found.get(GenerationState.MOVING), found.get(GenerationState.LEAVING))
