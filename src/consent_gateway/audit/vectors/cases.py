"""One case of a vector file: what it wants, what was answered, and whether a difference is one that is allowed.

A difference is never hidden. It is *allowed* when this package refuses what the file wants accepted and a rule written
down here says why; then it is listed with that reason and does not count as a failure.
"""

from __future__ import annotations

from dataclasses import dataclass

ACCEPT, REFUSE = "accept", "refuse"


@dataclass(frozen=True, slots=True)
class Case:
    """The answer to one case; `reason` says why a refusal of what is wanted accepted is right, empty if it is not."""

    name: str
    wanted: str
    got: str
    reason: str = ""

    @property
    def agrees(self) -> bool:
        """Tell whether the answer is the wanted one."""
        return self.wanted == self.got

    def __str__(self) -> str:
        return f"{self.name}: wanted {self.wanted}, got {self.got}"


@dataclass(frozen=True, slots=True)
class VectorRun:
    """What the cases of a file came to: how many there are, and which were answered otherwise than they want."""

    cases: int
    differences: tuple[Case, ...]
    allowed: tuple[Case, ...]


def answer(name: str, *, wanted: bool, got: bool, reason: str = "") -> Case:
    """Return the case that something is to be accepted or refused; `reason` counts for a wrong refusal alone."""
    return Case(name, _word(accepted=wanted), _word(accepted=got), reason if wanted and not got else "")


def equal(name: str, wanted: object, got: object) -> Case:
    """Return the case that a value is to be computed; values are shown as text, bytes as hex."""
    return Case(name, _shown(wanted), _shown(got))


def run_of(cases: list[Case]) -> VectorRun:
    """Return the run of these cases."""
    wrong = [case for case in cases if not case.agrees]
    differences = tuple(case for case in wrong if not case.reason)
    return VectorRun(len(cases), differences, tuple(case for case in wrong if case.reason))


def _word(*, accepted: bool) -> str:
    return ACCEPT if accepted else REFUSE


def _shown(value: object) -> str:
    return value.hex() if isinstance(value, bytes) else str(value)
