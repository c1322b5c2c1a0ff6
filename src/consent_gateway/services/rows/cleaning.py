"""Cleaning customer rows: every field to its normal form, every problem named by its path, nothing guessed.

Unknown is not the same as empty, and contact data is never invented: a phone number without a country is refused
rather than dialled somewhere.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import date

from consent_gateway.db.subjects import Token
from consent_gateway.domain.circumstances import Told, day_number
from consent_gateway.domain.ids import TraitId
from consent_gateway.domain.registers import Registers
from consent_gateway.domain.segments import TraitDefinition, TraitOrigin, TraitType
from consent_gateway.domain.subjects import birth_month, is_placeholder
from consent_gateway.errors import FieldProblem
from consent_gateway.services.identity.people import phone_region
from consent_gateway.services.rows.intake import Incoming, Refusals
from consent_gateway.services.work.gateway import Work
from consent_gateway.services.work.items import SubjectItem
from consent_gateway.vault.checksums import doubtful
from consent_gateway.vault.normal_forms import Normalised, Rejected, postal_address
from consent_gateway.vault.normalisers import normalise

_NAMES = ("given_name", "family_name")
_MAX_TEXT_TRAIT = 64
_EARLIEST_DAY = day_number(date(1990, 1, 1))
_IDENTIFYING = re.compile(r"@|[0-9]{7}", re.ASCII)  # traits lie outside of the vault (promise P7)
_YEAR_AND_MONTH = re.compile(r"[0-9]{4}-[0-9]{2}\Z")
_WHOLE_NUMBER = re.compile(r"-?[0-9]{1,19}\Z")  # more digits never fit, and int() refuses thousands of them


@dataclass(slots=True)
class Clean:
    """One row after cleaning: normal forms with their keyed hashes, and the facts that could be read."""

    row: Incoming[SubjectItem]
    identifiers: dict[Token, Normalised]
    region: str
    birth_month: int | None
    profile: dict[str, str]
    traits: dict[str, int | str]
    told: Told | None = None
    address: str | None = None


def clean_all(work: Work, refusals: Refusals, rows: Iterable[tuple[Incoming[SubjectItem], SubjectItem]]) -> list[Clean]:
    """Return the rows in normal form; each that has something wrong with it is refused with everything that is."""
    token = work.gateway.vault.tokens(work.registers.index.counts)
    cleaned = (_clean(work, refusals, row, item, token) for row, item in rows)
    return [row for row in cleaned if row is not None]


def _clean(
    work: Work, refusals: Refusals, row: Incoming[SubjectItem], item: SubjectItem, token: Callable[[Normalised], Token]
) -> Clean | None:
    problems: list[FieldProblem] = []
    region = _region(item.country, problems)
    forms = _identifiers(item, region, problems)
    born = _birth(item.birth_date, work.instant.date(), problems)
    profile = _profile(item, problems)
    traits = read_traits(work.registers, item.traits, problems)
    told, address = _told(work, item, problems), _address(item.postal_address, problems)
    tokens = {token(form): form for form in forms}
    if not forms and not problems:
        problems.append(FieldProblem("$", "no_identifier", "a row needs at least one identifier"))
    if problems:
        refusals.refuse(row, *problems)
        return None
    return Clean(row, tokens, region, born, profile, traits, told, address)


def _identifiers(item: SubjectItem, region: str, problems: list[FieldProblem]) -> list[Normalised]:
    forms = []
    dialled = phone_region(region or None)
    for kind, value in item.identifiers.items():
        form = normalise(kind, value, region=dialled)
        if isinstance(form, Rejected):
            problems.append(FieldProblem(f"$.{kind}", form.code, form.message))
        elif is_placeholder(form.kind, form.value):
            problems.append(
                FieldProblem(f"$.{kind}", "placeholder_identifier", "many share this: it identifies nobody")
            )
        elif (doubt := doubtful(form)) is not None:
            problems.append(FieldProblem(f"$.{kind}", doubt.code, doubt.message))
        else:
            forms.append(form)
    return forms


def _region(country: str | None, problems: list[FieldProblem]) -> str:
    if not country:
        return ""
    form = normalise("region", country)
    if isinstance(form, Rejected):
        problems.append(FieldProblem("$.country", form.code, form.message))
        return ""
    return form.value


def _address(text: str | None, problems: list[FieldProblem]) -> str | None:
    if not text:
        return None
    form = postal_address(text)
    if isinstance(form, Rejected):
        problems.append(FieldProblem("$.postal_address", form.code, form.message))
        return None
    return form.value


def _told(work: Work, item: SubjectItem, problems: list[FieldProblem]) -> Told | None:
    day = None if item.told is None else item.told.collected_day
    if day is not None and not _EARLIEST_DAY <= day <= day_number(work.instant.date()) + 1:
        problems.append(FieldProblem("$.collection.on", "impossible_date", "the day is before 1990 or in the future"))
    return item.told


def _birth(text: str | None, today: date, problems: list[FieldProblem]) -> int | None:
    if not text:
        return None
    day = f"{text}-01" if _YEAR_AND_MONTH.match(text) else text
    form = normalise("birth_date" if "-" in day else "birth_year", day, today=today)
    if isinstance(form, Rejected):
        problems.append(FieldProblem("$.birth_date", form.code, form.message))
        return None
    return birth_month(form.value)


def _profile(item: SubjectItem, problems: list[FieldProblem]) -> dict[str, str]:
    profile: dict[str, str] = {}
    for name in _NAMES:
        value = getattr(item, name)
        if not value:
            continue
        form = normalise("name", value)
        if isinstance(form, Rejected):
            problems.append(FieldProblem(f"$.{name}", form.code, form.message))
        else:
            profile[name] = form.value
    if item.birth_date:
        profile["birth_date"] = item.birth_date
    if item.language:
        profile["language"] = item.language
    return profile


def read_traits(
    registers: Registers, values: Mapping[str, object], problems: list[FieldProblem]
) -> dict[str, int | str]:
    """Return the declared traits of a row, each checked against its declaration."""
    found: dict[str, int | str] = {}
    for name, value in values.items():
        trait = registers.traits.get(TraitId(name))
        if trait is None or trait.origin != TraitOrigin.DECLARED:
            problems.append(FieldProblem("$.traits", "unknown_trait", "no such declared trait is registered"))
            continue
        read = _trait_value(trait, value)
        if isinstance(read, str) and _IDENTIFYING.search(read):
            message = "a trait identifies nobody: no address, and no number of seven digits or more"
            problems.append(FieldProblem(f"$.traits.{name}", "identifying_trait", message))
        elif read is None:
            problems.append(FieldProblem(f"$.traits.{name}", "wrong_type", f"the trait is of type {trait.type}"))
        else:
            found[name] = read
    return found


def _trait_value(trait: TraitDefinition, value: object) -> int | str | None:
    if trait.type == TraitType.TEXT:
        return value if isinstance(value, str) and 0 < len(value) <= _MAX_TEXT_TRAIT and "\0" not in value else None
    if trait.type == TraitType.BOOLEAN:
        return int(value) if isinstance(value, bool) else {"true": 1, "false": 0}.get(str(value))
    if isinstance(value, bool):
        return None
    if isinstance(value, str) and _WHOLE_NUMBER.match(value):
        value = int(value)
    return value if isinstance(value, int) and abs(value) < 1 << 62 else None
