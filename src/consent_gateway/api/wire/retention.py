"""The report of the job of retention."""

from __future__ import annotations

from pydantic import BaseModel


class RetentionRunOut(BaseModel):
    """One day's run; `finished_at` is null while it runs, or after it died. `held`: spared by legal holds."""

    day: str
    started_at: str
    finished_at: str | None
    counts: dict[str, int]


class RetentionOut(BaseModel):
    """The newest runs, the registered periods by purpose and source, and `gaps`: purposes and sources without one."""

    runs: list[RetentionRunOut]
    purposes: dict[str, str]
    sources: dict[str, str]
    gaps: dict[str, list[str]]
