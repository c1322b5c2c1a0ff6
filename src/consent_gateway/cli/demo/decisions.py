"""Step 3: one question about one person at a time, under three laws and under none that is known.

Every question says in advance what must come out. The answers are kept for the report: outcome, the reason that
decided with its article, in English and Chinese, and what would have to change.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from consent_gateway.cli.demo.histories import MARKETING, PARTNER, SHARING
from consent_gateway.cli.demo.setup import MAIL_HOUSE
from consent_gateway.cli.demo.tour import Tour

PERMIT, DENY = "permit", "deny"
OURSELVES = "self"


@dataclass(frozen=True, slots=True)
class Question:
    """Who (a part of the story), what for, how, towards whom; and the outcome that must come."""

    part: str
    about: str
    must: str
    purpose: str = MARKETING
    channel: str = "email"
    recipient: str = MAIL_HOUSE


QUESTIONS = (
    Question("de_yes", "Germany, agreed in two steps", PERMIT),
    Question("de_silent", "Germany, never asked", DENY),
    Question("de_withdrawn", "Germany, took the yes back", DENY),
    Question("de_minor", "Germany, 14 years old, no guardian", DENY),
    Question("us_silent", "California, never asked", PERMIT),
    Question("us_gpc", "California, browser sends GPC", DENY, SHARING, "online_ads", PARTNER),
    Question("cn_yes", "China, agreed", PERMIT, recipient=OURSELVES),
    Question("cn_silent", "China, never asked", DENY, recipient=OURSELVES),
    Question("cn_yes", "China, sharing never agreed to", DENY, SHARING, "online_ads", PARTNER),
    Question("unknown_silent", "residence unknown, never asked", DENY),
)


def explain(tour: Tour) -> None:
    """Ask every question with its explanation; the outcome, a cited reason and a way out must be there."""
    answers = [judge(tour, question, _ask(tour, question)) for question in QUESTIONS]
    uncited = [a["about"] for a in answers if not leading_reason(a).get("citation")]
    tour.check("every answer names its article", not uncited, ", ".join(uncited))
    hopeless = [a["about"] for a in answers if a["outcome"] == DENY and not _tells_way_out(a)]
    tour.check("every denial tells what would change it, in two languages", not hopeless, ", ".join(hopeless))
    tour.facts["decisions"] = answers


def _ask(tour: Tour, question: Question) -> dict[str, Any]:
    return decide(
        tour, {"member_no": tour.crowd.parts[question.part].member_no}, question.purpose, question.channel,
        question.recipient, explain=True,
    )  # fmt: skip


def decide(
    tour: Tour, subject: dict[str, Any], purpose: str, channel: str, recipient: str, *, explain: bool = False
) -> dict[str, Any]:
    """Ask for one decision; `subject` names the person by identifier or pseudonym."""
    body = {"purpose": purpose, "channel": channel, "recipient": recipient, "subject": subject, "explain": explain}
    answer: dict[str, Any] = tour.api.post("/v1/decisions", body)
    return answer


def judge(tour: Tour, question: Question, answer: dict[str, Any]) -> dict[str, Any]:
    """Hold an answer to the outcome that must come; return it with the question, for the report."""
    detail = f"{answer['reason_code']}: {leading_reason(answer).get('citation', '')}"
    tour.check(f"{question.about}: {question.must}", answer["outcome"] == question.must, detail)
    asked = f"{question.purpose}\n{question.channel}, {question.recipient}"
    return {"about": question.about, "question": asked, **answer}


def leading_reason(answer: dict[str, Any]) -> dict[str, Any]:
    """Return the reason that decided: the first with the answer's own code, else the first; {} without reasons."""
    reasons: list[dict[str, Any]] = answer["reasons"]
    named = [reason for reason in reasons if reason["code"] == answer["reason_code"]]
    return (named or reasons or [{}])[0]


def _tells_way_out(answer: dict[str, Any]) -> bool:
    """Tell whether there are changes and each says in both languages what would have to be so."""
    changes: list[dict[str, Any]] = answer["changes"]
    return bool(changes) and all(change["fact"] and change["text"] and change["text_zh"] for change in changes)
