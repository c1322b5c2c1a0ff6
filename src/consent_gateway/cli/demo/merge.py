"""Two profiles turn out to be one person: a no of either ends an older yes of the other, and undoing restores (P11)."""

from __future__ import annotations

from typing import Any

from consent_gateway.cli.demo.decisions import DENY, PERMIT, decide
from consent_gateway.cli.demo.guests import agree, arrive, say
from consent_gateway.cli.demo.histories import MARKETING
from consent_gateway.cli.demo.setup import MAIL_HOUSE
from consent_gateway.cli.demo.tour import Tour

MEMBER = {"member_no": "CARD-7", "email": "maria.lindt@example.org"}
SHOPPER = {"email": "m.lindt@example.net"}
BOTH = [{"member_no": MEMBER["member_no"]}, SHOPPER]


def unite(tour: Tour) -> None:
    """Merge somebody who agreed with somebody who withdrew since, look at both, and take it back."""
    arrive(tour, "DE", **MEMBER)
    agree(tour, BOTH[0], days_ago=60)
    arrive(tour, "DE", **SHOPPER)
    agree(tour, SHOPPER, days_ago=90)
    say(tour, SHOPPER, "withdrawn", days_ago=10)
    _holds(tour, "apart: the card holder agreed, the web shopper took the yes back", PERMIT, DENY)
    shown = _merge(tour, dry_run=True)
    tour.check("a dry run shows what would change", shown["dry_run"] and _changes(shown), _changes(shown))
    _holds(tour, "and changed nothing", PERMIT, DENY)
    merged = _merge(tour, dry_run=False)
    tour.check("merged, with its entry in the log", merged["changed"] and merged["entries"])
    _holds(tour, "as one person: the no is kept, whichever address is used", DENY, DENY)
    body = {"merge": merged["merge"], "reason": "wrong_match"}
    tour.check("the merge is taken back", tour.api.post("/v1/subjects/unmerge", body)["changed"])
    _holds(tour, "apart again: everything is as it was", PERMIT, DENY)
    tour.facts["merge"] = shown["standings"]


def _merge(tour: Tour, *, dry_run: bool) -> dict[str, Any]:
    body = {"subjects": BOTH, "reason": "duplicate", "dry_run": dry_run}
    answer: dict[str, Any] = tour.api.post("/v1/subjects/merge", body)
    return answer


def _changes(answer: dict[str, Any]) -> str:
    lines = [f"{s['purpose']} {s['channel']}: {' + '.join(s['before'])} > {' '.join(s['after'])} ({s['reason']})"
             for s in answer["standings"] if s["purpose"] == MARKETING and s["channel"] == "email"]  # fmt: skip
    return "; ".join(lines)


def _holds(tour: Tour, claim: str, *must: str) -> None:
    answers = [decide(tour, dict(who), MARKETING, "email", MAIL_HOUSE) for who in BOTH]
    found = tuple(answer["outcome"] for answer in answers)
    tour.check(claim, found == must, ", ".join(answer["reason_code"] for answer in answers))
