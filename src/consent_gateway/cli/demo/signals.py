"""A web page's signals: a cookie banner's yes and no, and Global Privacy Control from a browser nobody knows yet.

A signal only restricts or fills. The browser's no waits until its owner signs in (11 CCR 7025(c)); the banner's yes is
a consent towards the vendor that was shown, its no ends it.
"""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from consent_gateway.cli.demo.banner import gpp_string, tc_string
from consent_gateway.cli.demo.decisions import DENY, PERMIT, decide, leading_reason
from consent_gateway.cli.demo.guests import SOURCE, Ref, arrive
from consent_gateway.cli.demo.histories import PARTNER, SHARING, instant
from consent_gateway.cli.demo.server import Finished
from consent_gateway.cli.demo.tour import Tour
from consent_gateway.clock import system_clock

VENDOR, PURPOSES = 755, (1, 3, 4)
CALIFORNIAN = {"member_no": "WEB-1", "device_id": "demo-browser-1"}
GERMAN = {"member_no": "WEB-2", "device_id": "demo-browser-2"}
MAPPING = {
    "purposes": [{"tcf_purposes": PURPOSES, "purpose": SHARING, "channel": "online_ads"}],
    "vendors": [{"tcf_vendor": VENDOR, "recipient": PARTNER}],
}


def hear(tour: Tour) -> None:
    """Take in the signals of two visitors and ask what may be done with each."""
    text = gpp_string(gpc=True)
    with ThreadPoolExecutor(1) as beside:  # a command takes a second to start
        decoding = beside.submit(tour.commands.gateway, "signals", "decode", text)
        tour.api.post("/v1/signal-mappings", MAPPING)
        _banner_says_yes_and_no(tour)
    _browser_says_no(tour, text, decoding.result())


def _browser_says_no(tour: Tour, text: str, done: Finished) -> None:
    """A GPP string of an unknown browser is decoded, waits, and binds when a Californian signs in with it."""
    gpc = done.status == 0 and '"Gpc": true' in done.output
    tour.check("the GPP string is decoded: a Californian section, Gpc on", gpc, text)
    tour.check("the browser is nobody's yet, and its signal is taken in", _send(tour, CALIFORNIAN, text) == 1)
    arrive(tour, "US-CA", **CALIFORNIAN)
    answer = _ask(tour, CALIFORNIAN)
    reason = leading_reason(answer)
    denied = answer["outcome"] == DENY and "11 CCR 7025" in reason.get("citation", "")
    tour.check("its owner signs in from California: sharing is denied", denied, _why(answer))
    tour.facts["signals"] = {"gpp": text, "california": answer, "kept": _kept(tour, CALIFORNIAN, text)}


def _kept(tour: Tour, who: Ref, text: str) -> list[dict[str, Any]]:
    """Return what the gateway shows of somebody's signals; the string itself must not be among it."""
    pseudonym = tour.api.post("/v1/subjects/lookup", {"identifier": _named(who)})["pseudonym"]
    items: list[dict[str, Any]] = tour.api.get(f"/v1/subjects/{pseudonym}/signals")["items"]
    did = [choice for item in items for choice in item["effects"].get("choices", [])]
    sealed = text not in json.dumps(items)
    tour.check("they can be shown what their signal did, without the string", did == ["gpc"] and sealed, ", ".join(did))
    return items


def _banner_says_yes_and_no(tour: Tour) -> None:
    arrive(tour, "DE", **GERMAN)
    before = _ask(tour, GERMAN)
    tour.check("a visitor from Germany who was not asked: sharing is denied", before["outcome"] == DENY, _why(before))
    now = system_clock()
    _send(tour, GERMAN, tc_string(now, PURPOSES, VENDOR))
    given = _ask(tour, GERMAN)
    tour.check("the banner's TC string says yes to this vendor: permitted", given["outcome"] == PERMIT, _why(given))
    _send(tour, GERMAN, tc_string(now, (), VENDOR))
    taken = _ask(tour, GERMAN)
    tour.check("the next string says no: denied", taken["outcome"] == DENY, _why(taken))


def _send(tour: Tour, who: Ref, text: str) -> int:
    row = {"subject": {"device_id": who["device_id"]}, "raw": text, "at": instant(system_clock())}
    accepted: int = tour.api.post("/v1/signals", {"source": SOURCE, "items": [row]})["accepted"]
    return accepted


def _ask(tour: Tour, who: Ref) -> dict[str, Any]:
    return decide(tour, _named(who), SHARING, "online_ads", PARTNER, explain=True)


def _named(who: Ref) -> Ref:
    return {"member_no": who["member_no"]}


def _why(answer: dict[str, Any]) -> str:
    return f"{answer['reason_code']}: {leading_reason(answer).get('citation', '')}"
