"""A pack as Cedar, so that another engine can check ours: default deny and forbid-overrides are Cedar's own.

Every fact is an attribute of the context. Its domain is closed, and Cedar can say so: the type of a fact is an
*enumerated entity type* whose members are its values, so that the validator refuses a value that does not exist, which
a string could not. `to_cedar` gives the policies, `cedar_schema` the schema that they are valid under, and
`cedar_context` the context of a request. Duties have no counterpart in Cedar and are left out; so is the territory: the
text says what the pack answers where it binds. Ids and citations go along as annotations.
"""

from __future__ import annotations

import json
from collections.abc import Iterable

from consent_gateway.domain.decisions import Effect
from consent_gateway.policies.rules import Condition, Pack, Rule
from consent_gateway.policies.vocabulary import FACTS, Fact, Facts

_VERBS = {Effect.PERMIT: "permit", Effect.DENY: "forbid"}
_FLAG, _FLAG_VALUES = "Flag", ("no", "yes")
PRINCIPAL, ACTION, RESOURCE = "Party", "use", "PersonalData"


def to_cedar(pack: Pack) -> str:
    """Return the permit and deny rules of `pack` as Cedar policies."""
    return "\n\n".join(_policies(pack)) + "\n"


def cedar_schema() -> str:
    """Return the schema, in Cedar's own syntax, under which every pack's policies are valid."""
    domains = {_type(fact): fact.values for fact in FACTS}
    enums = [f"entity {name} enum [{', '.join(map(_quoted, values))}];" for name, values in domains.items()]
    attributes = [f"    @doc({_quoted(fact.en)})\n    {fact.name}: {_type(fact)}," for fact in FACTS]
    return "\n".join(
        [
            f"entity {PRINCIPAL};",
            f"entity {RESOURCE};",
            *enums,
            f"action {ACTION} appliesTo {{",
            f"  principal: [{PRINCIPAL}],",
            f"  resource: [{RESOURCE}],",
            "  context: {",
            *attributes,
            "  },",
            "};",
            "",
        ]
    )


def cedar_context(facts: Facts) -> dict[str, dict[str, dict[str, str]]]:
    """Return the context of a request about one point, in Cedar's JSON form."""
    return {fact.name: {"__entity": {"type": _type(fact), "id": facts[fact.name]}} for fact in FACTS}


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
    return " && ".join(_membership(name, sorted(values)) for name, values in condition.allowed.items()) or "true"


def _membership(name: str, values: list[str]) -> str:
    members = [f"{_TYPES[name]}::{_quoted(value)}" for value in values]
    if len(members) == 1:
        return f"context.{name} == {members[0]}"
    return f"[{', '.join(members)}].contains(context.{name})"


def _type(fact: Fact) -> str:
    """Return the type of a fact: yes and no are one type, every other domain is a type of its own."""
    return _FLAG if fact.values == _FLAG_VALUES else fact.name[0].upper() + fact.name[1:]


_TYPES = {fact.name: _type(fact) for fact in FACTS}


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)
