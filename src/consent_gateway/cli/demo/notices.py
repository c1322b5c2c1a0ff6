"""A notice changes in what people agreed to: a yes is outdated where the law wants them informed, and not elsewhere.

GDPR Art 4(11) and PIPL Art 14 want consent that is informed, so a yes under the old text ends with the new one. Where
nobody had to be asked before (15 USC 7704), nothing ends.
"""

from __future__ import annotations

from consent_gateway.cli.demo.audience import resolve
from consent_gateway.cli.demo.decisions import DENY, OURSELVES, PERMIT, decide
from consent_gateway.cli.demo.guests import Ref, agree
from consent_gateway.cli.demo.histories import MARKETING
from consent_gateway.cli.demo.people import OPT_OUT_COUNTRIES, Person, Profile
from consent_gateway.cli.demo.setup import MAIL_HOUSE, NOTICES
from consent_gateway.cli.demo.tour import Tour, identifier

OUTDATED = "consent_outdated"
NEXT = 2


def change(tour: Tour) -> None:
    """Register a material version of the notice and ask the same questions before and after."""
    german, chinese = (identifier(tour.crowd.parts[part]) for part in ("de_yes", "cn_yes"))
    american = identifier(_american(tour))
    cast = (("Germany", german, MAIL_HOUSE), ("China", chinese, OURSELVES), ("the USA", american, MAIL_HOUSE))
    before = [_ask(tour, who, to)[0] for _, who, to in cast]
    tour.check("before: all three agreed to the old text, and may be written to", set(before) == {PERMIT})
    audience = resolve(tour, MARKETING, "email", MAIL_HOUSE)
    for notice in NOTICES:
        text = f"{notice['text']}\n(2)"
        tour.api.post("/v1/notices", {**notice, "version": NEXT, "text": text, "material": True})
    for place, who, to in cast[:2]:
        outcome, code = _ask(tour, who, to)
        tour.check(f"{place}: the yes is outdated", (outcome, code) == (DENY, OUTDATED), code)
    outcome, code = _ask(tour, american, MAIL_HOUSE)
    tour.check("the USA: nothing changes", outcome == PERMIT, code)
    _judge_audience(tour, audience.members)
    agree(tour, german, version=NEXT)
    tour.check("a yes under the new text counts", _ask(tour, german, MAIL_HOUSE)[0] == PERMIT)


def _judge_audience(tour: Tour, before: list[str]) -> None:
    after = resolve(tour, MARKETING, "email", MAIL_HOUSE)
    reasons = {code for row in after.answer["waterfall"] for code in row.get("reasons") or {}}
    fewer = set(after.members) < set(before) and OUTDATED in reasons
    tour.check("the audience loses who has to be asked again", fewer, f"{len(before)} > {len(after.members)}")
    tour.facts["notice"] = {"members_before": len(before), "members_after": len(after.members)}


def _american(tour: Tour) -> Person:
    """Return somebody in the United States who agreed under the old text; raises LookupError if there is nobody."""
    agreed = (p for p in tour.crowd.members if p.profile is Profile.GIVEN and p.email and not p.stops_marketing)
    found = next((p for p in agreed if p.country in OPT_OUT_COUNTRIES), None)
    if found is None:
        raise LookupError("nobody in the United States agreed")
    return found


def _ask(tour: Tour, who: Ref, recipient: str) -> tuple[str, str]:
    answer = decide(tour, who, MARKETING, "email", recipient)
    return answer["outcome"], answer["reason_code"]
