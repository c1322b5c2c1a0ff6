"""A yes in two steps: what is pending permits nothing, opening the link changes nothing, pressing its button does.

A mail scanner opens every link. The link needs no API key: it carries a token that only the person was sent.
"""

from __future__ import annotations

import httpx

from consent_gateway.cli.demo.decisions import DENY, PERMIT, decide
from consent_gateway.cli.demo.guests import arrive, say, shown
from consent_gateway.cli.demo.histories import MARKETING
from consent_gateway.cli.demo.setup import MAIL_HOUSE
from consent_gateway.cli.demo.tour import Tour

NEWCOMER = {"email": "nora.neumann@example.org"}


def confirm(tour: Tour) -> None:
    """Ask somebody for a yes, open the link, press its button, and press it again."""
    arrive(tour, "DE", **NEWCOMER)
    asked = say(tour, NEWCOMER, "pending", confirm=True, properties=["affirmative", "evidence"], **shown())
    link = f"/v1/consents/confirmations/{asked['confirmations'][0]['token']}"
    _holds(tour, "asked and not confirmed: denied", DENY)
    page = tour.api.visit("GET", link)
    alone = page.status_code == httpx.codes.OK and "<button" in page.text and NEWCOMER["email"] not in page.text
    tour.check("the link opens a page with one button and nothing about the person", alone, f"{len(page.text)} bytes")
    _holds(tour, "opening it changed nothing", DENY)
    pressed = tour.api.visit("POST", link)
    tour.check("the button confirms", pressed.status_code == httpx.codes.OK)
    _holds(tour, "confirmed: permitted", PERMIT)
    again = tour.api.visit("POST", link)
    tour.check("a token works once", again.status_code == httpx.codes.CONFLICT, f"status {again.status_code}")
    tour.places.page.write_text(page.text, encoding="utf-8")


def _holds(tour: Tour, claim: str, must: str) -> None:
    answer = decide(tour, dict(NEWCOMER), MARKETING, "email", MAIL_HOUSE)
    tour.check(claim, answer["outcome"] == must, answer["reason_code"])
