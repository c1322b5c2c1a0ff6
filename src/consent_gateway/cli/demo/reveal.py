"""An address comes out for a reason: masked, decided at that moment, and recorded. A made-up person tells who looks.

GDPR Art 25(2) and 32: nobody sees what the purpose does not need; who saw what can be told afterwards.
"""

from __future__ import annotations

import json
from typing import Any

import httpx

from consent_gateway.cli.demo.client import Api
from consent_gateway.cli.demo.decisions import DENY, PERMIT
from consent_gateway.cli.demo.histories import MARKETING
from consent_gateway.cli.demo.receipt import DECLARED
from consent_gateway.cli.demo.tour import Tour

LISTED, OTHER = "email", "family_name"
WHY = {"reason": "complaint", "ticket": "CASE-1"}
CANARY = {"email": "robin.vogel@example.org", "given_name": "Robin", "family_name": "Vogel", "country": "DE"}
KEY = ("keys", "issue", "desk", "--scope", "reveal", "--scope", "reveal_plain", "--json")


def look(tour: Tour) -> None:
    """Reveal somebody who agreed, somebody who took it back, and somebody who does not exist."""
    _list_field(tour)
    desk = _desk(tour)
    try:
        _see(tour, desk)
        _set_off(tour, desk)
    finally:
        desk.close()


def _desk(tour: Tour) -> Api:
    """Return the API under the key of somebody who answers customers."""
    done = tour.commands.gateway(*KEY, "--store", str(tour.places.store))
    return Api(tour.api.url, json.loads(done.output)["api_key"])


def _list_field(tour: Tour) -> None:
    """Say in the register that the e-mail address may be revealed for marketing, and nothing else."""
    purpose = next(p for p in tour.api.get("/v1/purposes")["items"] if p["id"] == MARKETING)
    declared = {name: purpose[name] for name in DECLARED if purpose[name] is not None}
    tour.api.post("/v1/purposes", declared | {"reveals": [LISTED]})


def _see(tour: Tour, desk: Api) -> None:
    person = tour.crowd.parts["de_yes"]
    name, address = tour.pseudonym(person), person.email or ""
    masked = desk.post(f"/v1/subjects/{name}/reveal", _asking())
    shown = masked["values"].get(LISTED, [])
    hidden = masked["outcome"] == PERMIT and shown and address not in shown and "***" in shown[0]
    tour.check("somebody who agreed: the address, masked", hidden, ", ".join(shown))
    plain = desk.post(f"/v1/subjects/{name}/reveal", _asking(view="plain"))["values"].get(LISTED)
    tour.check("plain, for a key that may see it", plain == [address.lower()])
    refused = desk.problem("POST", f"/v1/subjects/{name}/reveal", _asking(fields=[OTHER]))
    tour.check("a field that the purpose does not list is refused", refused is not None and OTHER in str(refused))
    if tour.withdrawn is not None:
        gone = desk.post(f"/v1/subjects/{tour.pseudonym(tour.withdrawn)}/reveal", _asking(view="plain"))
        denied = gone["outcome"] == DENY and not gone["values"]
        tour.check("somebody who took it back: reasons, and no address", denied, gone["reason_code"])


def _set_off(tour: Tour, desk: Api) -> None:
    """Plant a made-up person and have them asked for: an ordinary answer, an alarm, and the key stands still."""
    canary = tour.api.post("/v1/canaries", {"source": "crm", "person": CANARY})["pseudonym"]
    answer = desk.post(f"/v1/subjects/{canary}/reveal", _asking())
    log = tour.places.server_log.read_text(encoding="utf-8", errors="replace")
    told = "canary" in json.dumps(answer).lower()
    tour.check("a canary: the answer tells nothing, the log raises an alarm", "canary.read" in log and not told)
    after = desk.problem("POST", f"/v1/subjects/{canary}/reveal", _asking())
    stopped = after is not None and after.status == httpx.codes.FORBIDDEN
    tour.check("who asked for it reveals nobody any more", stopped)


def _asking(**changes: Any) -> dict[str, Any]:
    return {"purpose": MARKETING, "channel": "email", "fields": [LISTED], **WHY, **changes}
