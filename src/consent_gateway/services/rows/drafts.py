"""What the rows of a batch say about each person, put together before anything of it is written."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from consent_gateway.db.subjects import Token
from consent_gateway.domain.fields import RevealField
from consent_gateway.domain.ids import SubjectId, TraitId
from consent_gateway.domain.registers import Registers
from consent_gateway.domain.subjects import join_regions, split_regions
from consent_gateway.services.rows.cleaning import Clean
from consent_gateway.vault.normal_forms import Normalised

POSTAL_ADDRESS = RevealField.POSTAL_ADDRESS.value


@dataclass(slots=True)
class Draft:
    """One person as a batch changes them: who they are so far, and everything the rows add."""

    subject_id: SubjectId | None
    rows: list[Clean] = field(default_factory=list)
    identifiers: dict[Token, Normalised] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Facts:
    """What rows say about one person, put together."""

    regions: str
    birth_month: int | None
    profile: dict[str, str]
    traits: dict[str, int | str]
    address: str | None = None


def put_together(draft: Draft, regions: str = "", born: int | None = None) -> Facts:
    """Put the rows together: every claimed region counts, and of two birth dates the later (LAW part 2)."""
    if len(draft.rows) == 1 and not regions and born is None:  # the short way for most: one row about somebody new
        (row,) = draft.rows
        return Facts(row.region, row.birth_month, row.profile, row.traits, row.address)
    claimed = [r for r in split_regions(regions) if r] + [row.region for row in draft.rows]
    births = [b for b in (born, *(row.birth_month for row in draft.rows)) if b is not None]
    profile: dict[str, str] = {}
    traits: dict[str, int | str] = {}
    address = None
    for row in draft.rows:
        profile |= row.profile
        traits |= row.traits
        address = row.address or address
    return Facts(join_regions(claimed), max(births, default=None), profile, traits, address)


def contact_points(identifiers: Mapping[Token, Normalised]) -> list[list[str]]:
    """Return identifiers as the contact group holds them."""
    return [[form.kind, form.value] for form in identifiers.values()]


def contact_content(identifiers: Mapping[Token, Normalised], address: str | None) -> dict[str, Any]:
    """Return what the contact group of a new person holds."""
    content: dict[str, Any] = {"points": contact_points(identifiers)}
    return content if address is None else content | {POSTAL_ADDRESS: address}


def trait_columns(registers: Registers, traits: Mapping[str, int | str]) -> dict[str, int | str]:
    """Return declared traits by the column of the audience row that holds each."""
    return {registers.traits[TraitId(name)].slot: value for name, value in traits.items()}
