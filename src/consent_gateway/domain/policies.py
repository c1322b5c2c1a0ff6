"""Which pack texts are in force when: an append-only list of activations, and the candidates in shadow.

A text is named by the SHA-256 of its bytes. An activation puts one text in the place `name` (a pack's id, or
"reasons" for the catalogue) from `effective_at` on; it stays until the next activation of that place takes effect.
Nothing is ever overwritten, so that what was in force at any past instant can be computed.

Two people change the law: who activates is not who proposed. The gateway's own texts are the one exception: they are
activated by the software that brings them, under the name `SOFTWARE`, and never over a text that people activated.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

SOFTWARE = "software"
CATALOGUE = "reasons"


class PolicyState(StrEnum):
    """What a text is: a word of each listing."""

    CANDIDATE = "candidate"
    SHADOW = "shadow"
    SCHEDULED = "scheduled"
    ACTIVE = "active"
    RETIRED = "retired"


@dataclass(frozen=True, slots=True)
class Activation:
    """One text put in force; `number` grows, `effective_at` (seconds) grows with it for each name."""

    number: int
    name: str
    version: int
    sha256: str
    effective_at: int
    proposed_by: str
    approved_by: str
    activated_at: int

    @property
    def scheduled(self) -> bool:
        """Tell whether it waits for an instant after the one at which it was made."""
        return self.effective_at > self.activated_at

    @property
    def by_people(self) -> bool:
        """Tell whether people, not the software, put it in force."""
        return self.approved_by != SOFTWARE


@dataclass(frozen=True, slots=True)
class Candidate:
    """A text that is watched in shadow beside the one in force."""

    name: str
    version: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Policies:
    """One version of what is in force; without any activation the shipped packs are.

    `texts` holds the text of every activation that is in force or lies ahead, and of every candidate in shadow. It
    follows from the other two and is left out of comparisons: equal policies are equal law.
    """

    activations: tuple[Activation, ...] = ()
    shadows: tuple[Candidate, ...] = ()
    texts: Mapping[str, str] = field(default_factory=dict, compare=False, repr=False)

    def in_force(self, at: int) -> dict[str, Activation]:
        """Return the activation of each name that counts at `at` (seconds).

        One that was not scheduled counts for whoever sees it, also if their clock is behind.
        """
        return {a.name: a for a in self.activations if not a.scheduled or a.effective_at <= at}

    def switches(self) -> list[int]:
        """Return the instants at which scheduled activations take effect."""
        return [a.effective_at for a in self.activations if a.scheduled]

    def latest(self, name: str) -> Activation | None:
        """Return the last activation of a name, also one that lies ahead."""
        return next((a for a in reversed(self.activations) if a.name == name), None)
