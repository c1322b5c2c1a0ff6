"""People who turn up in the course of the story: one for each part in a chapter, invented, beside the households."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from consent_gateway.cli.demo.histories import MARKETING, NOTICE, instant
from consent_gateway.cli.demo.tour import Tour
from consent_gateway.clock import system_clock

Ref = dict[str, str]
GROWN_UP = "1980-05-17"
SOURCE = "crm"


def arrive(tour: Tour, country: str, **identifiers: str) -> None:
    """Take in one customer of full age from the customer register; raises LookupError if the row is refused."""
    row = {"country": country, "birth_date": GROWN_UP, **identifiers}
    _send(tour, "subjects", row)


def agree(tour: Tour, subject: Ref, *, days_ago: int = 0, version: int = 1) -> None:
    """Record a well-made yes to marketing by e-mail, given on a web form under a version of the notice."""
    say(tour, subject, "given", days_ago=days_ago, properties=["affirmative", "evidence"], **shown(version))


def shown(version: int = 1) -> dict[str, Any]:
    """Return what proves a yes on a web form: the text that was shown, and how it was said."""
    return {"notice": NOTICE, "notice_version": version, "language": "en", "method": "web_form"}


def say(tour: Tour, subject: Ref, kind: str, *, days_ago: int = 0, **more: Any) -> dict[str, Any]:
    """Record what somebody said about marketing by e-mail; raises LookupError if it is refused."""
    at = instant(system_clock() - timedelta(days=days_ago))
    fact = {"subject": subject, "purpose": MARKETING, "channel": "email", "kind": kind, "at": at}
    return _send(tour, "consents", fact | more)


def _send(tour: Tour, kind: str, row: dict[str, Any]) -> dict[str, Any]:
    answer: dict[str, Any] = tour.api.post(f"/v1/{kind}", {"source": SOURCE, "items": [row]})
    if answer["rejected"]:
        raise LookupError(f"{kind}: {answer['rejections'][0]['reasons']}")
    return answer
