"""What all wire models share: strictness, the grammars of names and texts, instants, and who is meant."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime
from functools import lru_cache
from typing import Annotated, Self

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    StringConstraints,
    TypeAdapter,
    ValidationError,
    model_validator,
)
from pydantic_core import PydanticKnownError

from consent_gateway.api.problems import FieldTextError
from consent_gateway.services.work.items import (
    SubjectRef,
)

MAX_TEXT = 200

Slug = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]{0,62}$")]
NO_NUL = r"^[^\x00]*$"  # PostgreSQL keeps no NUL in text
Text = Annotated[str, StringConstraints(max_length=MAX_TEXT, pattern=NO_NUL)]
LongText = Annotated[str, StringConstraints(max_length=10_000, pattern=NO_NUL)]
Identifier = Annotated[str, StringConstraints(min_length=1, max_length=320)]
Language = Annotated[str, StringConstraints(pattern=r"^[A-Za-z]{2,3}(-[A-Za-z0-9]{2,8}){0,2}$")]
Key = Annotated[str, StringConstraints(min_length=1, max_length=64, pattern=NO_NUL)]
Region = Annotated[str, StringConstraints(max_length=6)]
_LONG_NUMBER = re.compile(r"[0-9]{7}")
_DAY = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_YEAR = re.compile(r"[0-9]{4}-")


def _in_range(at: datetime) -> datetime:
    if not 1 <= at.year <= 9998:  # noqa: PLR2004 - the offset must not carry it out of the calendar
        raise FieldTextError("is not an instant of the calendar")
    return at


def _nowhere_private(place: str) -> str:
    if _LONG_NUMBER.search(place):
        raise FieldTextError("must not hold a number of seven digits or more: name a region, a path or a store")
    return place


def _written(value: object) -> object:
    # Also a number would be read, as seconds or, if it is large, as milliseconds: nobody knows what was meant.
    if not (isinstance(value, str) and _YEAR.match(value)):
        raise PydanticKnownError("datetime_parsing", {"error": "not a text that begins with a year"})
    try:
        return _INSTANT.validate_python(value)
    except ValidationError as error:
        raise PydanticKnownError("datetime_parsing", {"error": error.errors()[0]["type"]}) from None


def _written_day(value: object) -> object:
    if not (isinstance(value, str) and _DAY.fullmatch(value)):
        raise PydanticKnownError("date_parsing", {"error": "not a day written as YYYY-MM-DD"})
    try:
        return date.fromisoformat(value)
    except ValueError:
        raise PydanticKnownError("date_parsing", {"error": "not a day of the calendar"}) from None


# Read before the type is looked at: a whole body that is read strictly would refuse the text.
_INSTANT: TypeAdapter[datetime] = TypeAdapter(datetime)
Day = Annotated[date, BeforeValidator(_written_day)]
Instant = Annotated[AwareDatetime, BeforeValidator(_written), AfterValidator(_in_range)]


# A region, the path of a page, or a store; no query, no address, and no number that could be somebody's.
_PLACE = r"^[A-Za-z0-9/][A-Za-z0-9_./:-]{0,127}$"
Place = Annotated[str, StringConstraints(pattern=_PLACE), AfterValidator(_nowhere_private)]


class Strict(BaseModel):
    """No unknown fields, no coercion, and no input in an error."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True, hide_input_in_errors=True)


def seconds(at: datetime | None) -> int | None:
    """Return an instant in seconds."""
    return None if at is None else int(at.timestamp())


@lru_cache(maxsize=256)
def instant(at: int) -> str:
    """Return an instant as RFC 3339 in UTC."""
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


class ContactPointIn(Strict):
    """One identifier itself; `region` for a phone without `+`."""

    member_no: Identifier | None = None
    email: Identifier | None = None
    phone: Identifier | None = None
    device_id: Identifier | None = None
    openid: Identifier | None = None
    region: Region | None = None

    @model_validator(mode="after")
    def _exactly_one(self) -> Self:
        if len(self.model_fields_set - {"region"}) != 1:
            kinds = ", ".join(name for name in type(self).model_fields if name != "region")
            raise FieldTextError(f"needs exactly one of {kinds}")
        return self

    def ref(self) -> SubjectRef:
        """Return the plain value."""
        kind = next(iter(self.model_fields_set - {"region"}))
        return SubjectRef(kind, getattr(self, kind) or "", self.region)


class SubjectRefIn(ContactPointIn):
    """Who is meant: exactly one of a pseudonym of the caller or an identifier; `region` for a phone without `+`."""

    pseudonym: Identifier | None = None


class ReasonOut(BaseModel):
    """One thing that is wrong with a row: where, a stable code, and what to do; never the value."""

    path: str
    code: str
    message: str


class EntryOut(BaseModel):
    """Where the log has it: ask `/v1/audit/entries/{uid}/receipt` for the proof."""

    uid: str
