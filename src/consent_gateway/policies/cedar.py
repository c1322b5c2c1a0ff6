"""A pack as Cedar text, so that another engine can check ours: default deny and forbid-overrides are Cedar's own.

Every fact is a string attribute of the context. Duties have no counterpart in Cedar and are left out; so is the
territory: the text says what the pack answers where it binds. Ids and citations go along as annotations.
"""

from __future__ import annotations

import json
from collections.abc import Iterable

from consent_gateway.domain.decisions import Effect
from consent_gateway.policies.rules import Condition, Pack, Rule

_VERBS = {Effect.PERMIT: "permit", Effect.DENY: "forbid"}


def to_cedar(pack: Pack) -> str:
    """Return the permit and deny rules of `pack` as Cedar policies."""
    return "\n\n".join(_policies(pack)) + "\n"


def _policies(pack: Pack) -> Iterable[str]:
    for rule in pack.rules:
        if rule.effect in _VERBS:
            yield _policy(rule)


def _policy(rule: Rule) -> str:
    lines = [
        f"@id({_quoted(rule.id)})",
        f"@cites({_quoted(rule.cites)})",
        f"@reason({_quoted(rule.reason)})",
        f"{_VERBS[rule.effect]} (principal, action, resource)",
    ]
    if rule.when.allowed:
        lines.append(f"when {{ {_conjunction(rule.when)} }}")
    lines += [f"unless {{ {_conjunction(condition)} }}" for condition in rule.unless]
    return "\n".join(lines) + ";"


def _conjunction(condition: Condition) -> str:
    return " && ".join(_membership(name, sorted(values)) for name, values in condition.allowed.items())


def _membership(name: str, values: list[str]) -> str:
    if len(values) == 1:
        return f"context.{name} == {_quoted(values[0])}"
    return f"[{', '.join(map(_quoted, values))}].contains(context.{name})"


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)
