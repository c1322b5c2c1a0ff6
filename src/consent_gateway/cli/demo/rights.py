"""Steps 4 and 5: one person withdraws, another is erased; both hold at once and everywhere (promises P2 and P8)."""

from __future__ import annotations

import csv
import io
from typing import Any

import httpx

from consent_gateway.cli.demo.audience import members_of, resolve
from consent_gateway.cli.demo.decisions import DENY, PERMIT, decide
from consent_gateway.cli.demo.dirt import COLUMNS, clean
from consent_gateway.cli.demo.histories import MARKETING, instant
from consent_gateway.cli.demo.intake import stored
from consent_gateway.cli.demo.people import Person
from consent_gateway.cli.demo.setup import MAIL_HOUSE
from consent_gateway.cli.demo.tour import Tour
from consent_gateway.clock import system_clock


def withdraw(tour: Tour) -> None:
    """Withdraw the consent of a member of the mail house's audience; no decision and no audience has them after."""
    audience = tour.audiences[MAIL_HOUSE]
    person, pseudonym = _first_member(tour, audience.members)
    subject = {"member_no": person.member_no}
    before = decide(tour, subject, MARKETING, "email", MAIL_HOUSE)
    tour.check("before: the member may be written to", before["outcome"] == PERMIT, before["reason_code"])
    said = _say_no(tour, person)
    after = decide(tour, subject, MARKETING, "email", MAIL_HOUSE)
    tour.check("after: the next decision denies", after["outcome"] == DENY, after["reason_code"])
    again = members_of(tour, audience.answer["id"])
    gone = set(audience.members) - set(again)
    tour.check("the audience handed out before drops them, and no one else", gone == {pseudonym}, f"{len(gone)} gone")
    fresh = resolve(tour, MARKETING, "email", MAIL_HOUSE)
    tour.check("the next audience does not have them", pseudonym not in fresh.members, f"{len(fresh.members)} left")
    entries = said.get("entries") or [after["entry"]]  # without the consent's own, the denial's entry proves as much
    tour.withdrawn, tour.consent_entry = person, entries[0]["uid"]


def _first_member(tour: Tour, members: list[str]) -> tuple[Person, str]:
    """Return somebody of the audience who agreed and plays no part, and their pseudonym for the mail house.

    Raises LookupError if the audience has nobody of whom the input says that they agreed.
    """
    wanted, parts = set(members), set(tour.crowd.parts.values())
    for person in (p for p in tour.crowd.members if p not in parts):
        pseudonym = tour.pseudonym(person, MAIL_HOUSE)
        if pseudonym in wanted and not person.lacks_opt_in:
            return person, pseudonym
    raise LookupError("the audience has no member to withdraw")


def _say_no(tour: Tour, person: Person) -> dict[str, Any]:
    item = {
        "subject": {"member_no": person.member_no},
        "purpose": MARKETING,
        "channel": "email",
        "kind": "withdrawn",
        "at": instant(system_clock()),
        "method": "unsubscribe_link",
    }
    answer: dict[str, Any] = tour.api.post("/v1/consents", {"source": "crm", "items": [item]})
    tour.check("the withdrawal is accepted", answer["accepted"] == 1)
    return answer


def erase(tour: Tour) -> None:
    """Erase a person: unknown from then on, refused when they are sent again, and not found in the raw store."""
    person = next(p for p in tour.crowd.members if p.email and p.phone and p not in tour.crowd.parts.values())
    answer = tour.api.post(f"/v1/subjects/{tour.pseudonym(person)}/erase", {"reason": "request"})
    tour.check("the erasure is done and logged", answer["erased"] and answer["entry"]["uid"])
    refused = tour.api.problem("POST", "/v1/subjects/lookup", {"identifier": {"email": person.email}})
    tour.check("the lookup knows nobody", refused is not None and refused.status == httpx.codes.NOT_FOUND)
    after = decide(tour, {"email": person.email}, MARKETING, "email", MAIL_HOUSE)
    tour.check("a decision denies as for any stranger", after["outcome"] == DENY, after["reason_code"])
    _send_again(tour, person)
    for name, value in (("e-mail", person.email), ("phone", person.phone)):
        found = stored(tour, (value or "").lower().encode())
        tour.check(f"the raw store does not contain the {name}", found == 0, f"{found} found")
    tour.facts["erasure"] = {"tombstones": answer["tombstones"], "entry": answer["entry"]["uid"]}


def _send_again(tour: Tour, person: Person) -> None:
    """Import the row of the erased person once more: the tombstone refuses it."""
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerow(clean(person))
    answer = tour.api.upload(
        "/v1/imports/subjects?source=crm", text.getvalue().encode(), "text/csv", "demo-after-erasure"
    )
    codes = {reason["code"] for rejection in answer["rejections"] for reason in rejection["reasons"]}
    tour.check(
        "their row is refused when it comes again", answer["rejected"] == 1 and "erased" in codes, ", ".join(codes)
    )
