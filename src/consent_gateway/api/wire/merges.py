"""Merging people and taking it back: who is meant, why, and what it changes."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, Field

from consent_gateway.api.wire.base import EntryOut, Strict, SubjectRefIn


class MergeIn(Strict):
    """Two who are one person, why that is known, and whether only to show what it would change."""

    subjects: Annotated[list[SubjectRefIn], Field(min_length=2, max_length=2)]
    reason: Literal["duplicate", "identity_conflict", "customer_request"]
    dry_run: bool = False


class UnmergeIn(Strict):
    """Which merge is taken back and why."""

    merge: Annotated[int, Field(ge=1, le=(1 << 63) - 1)]
    reason: Literal["wrong_match", "customer_request"]
    dry_run: bool = False


class StandingChangeOut(BaseModel):
    """The state of one purpose on one channel (towards a named recipient) for each person before and after, and why."""

    purpose: str
    channel: str
    recipient: str | None
    before: list[str]
    after: list[str]
    reason: str


class ChoiceChangeOut(BaseModel):
    """Whether a choice is on for each person before and after."""

    choice: str
    before: list[bool]
    after: list[bool]


class MergedPersonOut(BaseModel):
    """One person who comes of it: the pseudonym under which the caller knows them, and how many subjects they are."""

    pseudonym: str
    subjects: int


class MergeOut(BaseModel):
    """What a merge or its undoing changed, or would change; `merge` names it, null if nothing was recorded."""

    changed: bool
    dry_run: bool
    merge: int | None
    people: list[MergedPersonOut]
    standings: list[StandingChangeOut]
    choices: list[ChoiceChangeOut]
    entries: list[EntryOut]


class MergeRecordOut(BaseModel):
    """A merge as it is kept: the two who were named, under pseudonyms of the caller, and what it changed."""

    merge: int
    subjects: list[str]
    reason: str
    rules: str
    at: str
    undone_at: str | None
    undone_reason: str | None
    standings: list[StandingChangeOut]
    choices: list[ChoiceChangeOut]


class MergesOut(BaseModel):
    """Merges, oldest first; `next` is what to send as `after`, null at the end."""

    items: list[MergeRecordOut]
    next: int | None
