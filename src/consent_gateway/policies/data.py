"""Packs as plain data, for programs: the same rules as the text, every condition as fact to the values it admits."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from consent_gateway.policies.rules import Condition, Pack, Rule
from consent_gateway.policies.vocabulary import BY_NAME


def pack_as_data(pack: Pack) -> dict[str, Any]:
    """Return a pack as JSON values; rules keep the order of the text."""
    return {
        "id": pack.id,
        "version": pack.version,
        "title": pack.title,
        "title_zh": pack.title_zh,
        "jurisdiction": pack.jurisdiction,
        "effective_from": str(pack.effective_from),
        "effective_until": None if pack.effective_until is None else str(pack.effective_until),
        "review_by": str(pack.review_by),
        "reviewer": pack.reviewer,
        "default_reason": pack.default_reason,
        "territory": [condition_as_data(condition) for condition in pack.territory],
        "settings": {setting.id: setting.value for setting in pack.settings},
        "rules": [rule_as_data(rule) for rule in pack.rules],
    }


def rule_as_data(rule: Rule) -> dict[str, Any]:
    """Return a rule as JSON values."""
    return {
        "id": rule.id,
        "law": rule.law,
        "cites": rule.cites,
        "mark": rule.mark.value,
        "effect": rule.effect.value,
        "when": condition_as_data(rule.when),
        "unless": [condition_as_data(condition) for condition in rule.unless],
        "needs": list(rule.needs),
        "reason": rule.reason,
        "obligations": list(rule.obligations),
        "when_permitted": rule.when_permitted,
        "settings": dict(rule.settings),
        "effective_from": None if rule.effective_from is None else str(rule.effective_from),
        "effective_until": None if rule.effective_until is None else str(rule.effective_until),
    }


def condition_as_data(condition: Condition) -> Mapping[str, list[str]]:
    """Return a condition: fact to the values it admits, both in the order of the vocabulary."""
    return {
        name: [value for value in fact.values if value in condition.allowed[name]]
        for name, fact in BY_NAME.items()
        if name in condition.allowed
    }
