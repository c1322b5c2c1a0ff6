"""Answers and differences as plain data, for programs."""

from __future__ import annotations

from typing import Any

from consent_gateway.domain.decisions import Answer
from consent_gateway.policies.diff import Edited


def answer_as_data(answer: Answer) -> dict[str, Any]:
    """Return an answer with its reasons as JSON values."""
    return {
        "outcome": answer.outcome.value,
        "reason_code": answer.reason_code,
        "packs": list(answer.packs),
        "obligations": list(answer.obligations),
        "reasons": [
            {
                "code": reason.code,
                "rule": reason.rule_id,
                "law": reason.law,
                "citation": reason.citation,
                "text": reason.text_en,
                "text_zh": reason.text_zh,
                "effect": reason.effect.value,
            }
            for reason in answer.reasons
        ],
    }


def edited_as_data(edited: Edited) -> dict[str, Any]:
    """Return what became of a pack or rule as JSON values: the members that differ, on both sides."""
    return {
        "pack": edited.pack,
        "id": edited.id,
        "edit": edited.edit.value,
        "fields": list(edited.fields),
        "old": {name: edited.old[name] for name in edited.fields if name in edited.old},
        "new": {name: edited.new[name] for name in edited.fields if name in edited.new},
    }
