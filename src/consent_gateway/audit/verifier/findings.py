"""The result of a check, and the one exception by which it leaves the depth of a walk.

`Finding` is what every check returns. `FoundError` carries the first thing that is wrong up to the check that catches
it; it never leaves the package. Codes are stable, so that a program may act on them; messages are for people, name the
place and hold nothing of what an adversary wrote but key and file names.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TypeVar

_Raw = TypeVar("_Raw")
_Value = TypeVar("_Value")


@dataclass(frozen=True, slots=True)
class Finding:
    """The result of a check: `code` is stable, `message` is for people, `index` the first entry concerned.

    `details` says what was seen, as JSON values: sizes, roots in hex, who cosigned and when (epoch seconds).
    """

    ok: bool
    code: str
    message: str
    index: int | None = None
    details: Mapping[str, object] = field(default_factory=dict)

    def __str__(self) -> str:
        return f"ok {self.message}" if self.ok else f"FAIL {self.code}: {self.message}"


class FoundError(Exception):
    """Carries the first thing that is wrong out of the walk; never leaves the package."""

    def __init__(self, code: str, message: str, index: int | None = None) -> None:
        super().__init__(message)
        self.finding = Finding(ok=False, code=code, message=message, index=index)


def parsed(code: str, parse: Callable[[_Raw], _Value], raw: _Raw) -> _Value:
    """Return `parse(raw)`; its ValueError is raised as a FoundError with this code."""
    try:
        return parse(raw)
    except ValueError as error:
        raise FoundError(code, str(error)) from None
