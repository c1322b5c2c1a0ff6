"""Look at a YAML text before it is composed: how deep it nests, and how large its aliases make it.

The composer is recursive and follows aliases, so that a short text can exhaust the stack or the memory. Its events can
be read one after the other: a text that nests too deeply, refers to itself, or grows beyond any pack is refused here.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import yaml

from consent_gateway.errors import PolicyError

MAX_DEPTH = 16
MAX_NODES = 50_000
_OPENING = (yaml.MappingStartEvent, yaml.SequenceStartEvent)
_CLOSING = (yaml.MappingEndEvent, yaml.SequenceEndEvent)


def require_plain(name: str, events: Iterable[Any], most: int = MAX_NODES) -> None:
    """Raise `PolicyError` with the line unless the text that gives these `events` is small enough to be composed."""
    sizes: dict[str | None, int | None] = {}  # nodes below each anchor; None while it is open
    stack: list[tuple[str | None, int]] = []
    total = 0
    for event in events:
        line = event.start_mark.line + 1
        if isinstance(event, yaml.AliasEvent):
            size = sizes.get(event.anchor, 1)
            if size is None:
                raise PolicyError(f"{name}, line {line}: an alias refers to itself")
            total += size
        elif isinstance(event, _CLOSING):
            anchor, before = stack.pop()
            if anchor is not None:
                sizes[anchor] = total - before
        elif isinstance(event, (*_OPENING, yaml.ScalarEvent)):
            total += 1
            if event.anchor is not None:
                sizes[event.anchor] = 1 if isinstance(event, yaml.ScalarEvent) else None
            if isinstance(event, _OPENING):
                stack.append((event.anchor, total - 1))
        if len(stack) > MAX_DEPTH or total > most:
            raise PolicyError(f"{name}, line {line}: the text nests or repeats more than it may")
