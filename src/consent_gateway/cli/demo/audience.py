"""Step 2: the audience "bought often, silent for a month", for two recipients, with the loss at every stage.

The demo counts the segment on its own from the baskets and holds the gateway to it, and it looks up everybody in the
segment who said no, or who never said yes where that is needed: none of them may be in the audience.
"""

from __future__ import annotations

import json
from collections import Counter
from datetime import datetime
from itertools import pairwise
from typing import Any

from consent_gateway.cli.demo.histories import MARKETING, PARTNER, SHARING
from consent_gateway.cli.demo.people import Person, member_no
from consent_gateway.cli.demo.setup import MAIL_HOUSE, SEGMENT, SILENT_DAYS, VISITS
from consent_gateway.cli.demo.tour import Audience, Tour
from consent_gateway.clock import system_clock

STAGES = ("population", "segment", "consent", "law", "suppression", "cap", "quiet_hours", "reachable")
DAY = 86_400


def serve_audiences(tour: Tour) -> None:
    """Resolve the segment for the mail house and for the partner, and hold both to what the input says."""
    before = in_segment(tour, system_clock())
    ours = tour.audiences[MAIL_HOUSE] = resolve(tour, MARKETING, "email", MAIL_HOUSE)
    theirs = tour.audiences[PARTNER] = resolve(tour, SHARING, "email", PARTNER)
    _judge_segment(tour, ours, before, in_segment(tour, system_clock()))
    for name, audience in tour.audiences.items():
        _judge_shape(tour, name, audience)
    shared = set(ours.members) & set(theirs.members)
    tour.check("the two recipients can not join their tables", not shared, f"{len(shared)} pseudonyms in common")
    _judge_members(tour, ours, before)
    tour.facts["audiences"] = {name: audience.answer for name, audience in tour.audiences.items()}


def in_segment(tour: Tour, at: datetime) -> list[Person]:
    """Return who, seen at `at`, bought often and not lately; counted from the input, not asked of the gateway."""
    visits = Counter(basket.household for basket in tour.journey.baskets)
    last = {basket.household: basket.at for basket in tour.journey.baskets}  # baskets are in order of time
    silent_since = int(at.timestamp()) - SILENT_DAYS * DAY
    chosen = {h for h, n in visits.items() if n >= VISITS and last[h] < silent_since}
    numbers = {member_no(household) for household in chosen}
    return [person for person in tour.crowd.members if person.member_no in numbers]


def resolve(tour: Tour, purpose: str, channel: str, recipient: str) -> Audience:
    """Ask for the audience of the segment and stream its members."""
    question = {"segment": SEGMENT, "purpose": purpose, "channel": channel, "recipient": recipient}
    answer = tour.api.post("/v1/audiences", question)
    if answer.get("population") is not None:  # shown beside the waterfall: here it is its first line
        first = {"stage": STAGES[0], "lost": 0, "remaining": answer["population"], "reasons": {}}
        answer["waterfall"].insert(0, first)
    return Audience(answer, members_of(tour, answer["id"]))


def members_of(tour: Tour, audience: str) -> list[str]:
    """Return the pseudonyms that the member stream gives now; it checks everybody again while it streams."""
    lines = tour.api.text(f"/v1/audiences/{audience}/members").splitlines()
    return [json.loads(line)["pseudonym"] for line in lines if line]


def _stages(audience: Audience) -> dict[str, dict[str, Any]]:
    return {stage["stage"]: stage for stage in audience.answer["waterfall"]}


def _judge_segment(tour: Tour, audience: Audience, before: list[Person], after: list[Person]) -> None:
    stages = _stages(audience)
    people = tour.facts["people"]
    shown = stages["population"]["remaining"]
    tour.check("the population is everybody who was taken in", _same(shown, people, people), f"{shown} of {people}")
    shown = stages["segment"]["remaining"]
    low, high = sorted((len(before), len(after)))
    tour.check("the segment is what the baskets say", _same(shown, low, high), f"{shown}; counted by hand: {low}")


def _same(shown: int | None, low: int, high: int) -> bool:
    """Compare a count with what it must be; a count below the floor is hidden (None), and then it must be small."""
    return low <= shown <= high if shown is not None else low < HIDDEN_BELOW


HIDDEN_BELOW = 10  # the default k-floor


def _judge_shape(tour: Tour, name: str, audience: Audience) -> None:
    rows, size = audience.answer["waterfall"], audience.answer["size"]
    tour.check(f"{name}: the waterfall has every stage", tuple(row["stage"] for row in rows) == STAGES)
    shown = [row["remaining"] for row in rows if row["remaining"] is not None]
    falls = all(a >= b for a, b in pairwise(shown))
    tour.check(f"{name}: the waterfall only falls", falls, " > ".join(map(str, shown)))
    members = len(audience.members)
    whole = members == len(set(audience.members)) and _same(size, members, members)
    tour.check(f"{name}: the stream has every member once", whole, f"{members} members")
    if rows[-1]["remaining"] is not None:
        tour.check(f"{name}: the size is what remains", rows[-1]["remaining"] == size)


def _judge_members(tour: Tour, audience: Audience, segment: list[Person]) -> None:
    members = set(audience.members)
    pseudonyms = {person: tour.pseudonym(person, MAIL_HOUSE) for person in segment}
    tour.check("every member is in the segment", members <= set(pseudonyms.values()))
    refusing = [p for p in segment if p.stops_marketing]
    inside = [p for p in refusing if pseudonyms[p] in members]
    tour.check("nobody who said no is in the audience", not inside, f"{len(inside)} of {len(refusing)} who said no")
    lacking = [p for p in segment if p.lacks_opt_in]
    inside = [p for p in lacking if pseudonyms[p] in members]
    tour.check(
        "nobody is in it without the yes that their law wants", not inside, f"{len(inside)} of {len(lacking)} without"
    )
    addressless = [p for p in segment if p.email is None and pseudonyms[p] in members]
    tour.check("nobody is in it who has no e-mail address", not addressless)
