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
    """The newest runs, the registered periods by purpose and source, and `gaps`: what has none.

    `fields`: of each registered field, the period for each of its purposes. `unsourced`: of how many people nobody
    knows which source told about them.
    """

    runs: list[RetentionRunOut]
    purposes: dict[str, str]
    sources: dict[str, str]
    gaps: dict[str, list[str]]
    fields: dict[str, dict[str, str]]
    unsourced: int
