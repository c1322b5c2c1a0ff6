"""What somebody still holds after they were erased: a consent receipt that proves itself without the gateway.

The receipt (fields of ISO/IEC TS 27560) is signed and committed to by the log. `consent-gateway receipts verify` and
the verifier in one file read three files and no store.
"""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor

import httpx

from consent_gateway.audit.singlefile import build_single_file
from consent_gateway.cli.demo.histories import MARKETING
from consent_gateway.cli.demo.proof import integrated
from consent_gateway.cli.demo.second_step import NEWCOMER
from consent_gateway.cli.demo.server import Finished
from consent_gateway.cli.demo.setup import MAIL_HOUSE
from consent_gateway.cli.demo.tour import Tour

CONTROLLER = {
    "name": "Example Shops GmbH",
    "country": "DE",
    "party": {"address": "Example Street 1, 10115 Berlin", "contact": "Privacy team"},
}
PROCESSING = {
    "data_categories": [{"type": "EmailAddress"}],
    "subject_categories": ["Customer"],
    "retention": "P2Y",
    "withdrawal_method": "the link in every message",
    "storage_locations": ["DE"],
    "recipients": [MAIL_HOUSE],
}
DECLARED = ("id", "kind", "title", "title_zh", "dpv_iri", "basis", "parent", "channels")
QUESTION = {"subject": NEWCOMER, "purpose": MARKETING, "channel": "email"}


def keep(tour: Tour) -> None:
    """Issue a receipt of the confirmed yes, erase the person, and verify what they hold, as it is and altered."""
    _register(tour)
    issued = tour.api.post_for_bytes("/v1/consents/receipt", QUESTION)
    receipt = json.loads(issued)["receipt"]
    _hand_over(tour, issued, receipt["log"]["entry"])
    told = [leaf for leaf in NEWCOMER.values() if leaf.encode() in issued]
    tour.check("a receipt is issued, and has no identifier in it", not told, f"{len(issued)} bytes")
    _erase(tour)
    _verify(tour)
    tour.facts["receipt"] = receipt


def _register(tour: Tour) -> None:
    """Say what a receipt has to say: who answers, and what is done with the data."""
    tour.api.post("/v1/controller", CONTROLLER)
    purpose = next(p for p in tour.api.get("/v1/purposes")["items"] if p["id"] == MARKETING)
    declared = {name: purpose[name] for name in DECLARED if purpose[name] is not None}
    tour.api.post("/v1/purposes", declared | {"processing": PROCESSING})


def _hand_over(tour: Tour, issued: bytes, entry: str) -> None:
    """Write what the person keeps: the receipt, the keys of receipts, the entry of the log; and an altered copy."""
    places = tour.places
    places.consent_receipt.write_bytes(issued)
    places.receipt_keys.write_bytes(tour.api.content("/v1/receipts/keys"))
    places.receipt_entry.write_bytes(integrated(tour, f"/v1/audit/entries/{entry}/bytes"))
    places.altered_receipt.write_bytes(issued.replace(MARKETING.encode(), b"everything", 1))


def _erase(tour: Tour) -> None:
    pseudonym = tour.api.post("/v1/subjects/lookup", {"identifier": NEWCOMER})["pseudonym"]
    erased = tour.api.post(f"/v1/subjects/{pseudonym}/erase", {"reason": "request"})["erased"]
    refused = tour.api.problem("POST", "/v1/consents/receipt", QUESTION)
    gone = refused is not None and refused.status == httpx.codes.NOT_FOUND
    tour.check("the person is erased; nobody can issue another receipt", erased and gone)


def _verify(tour: Tour) -> None:
    """Verify the receipt by the product's command, and an altered copy by one file that has nothing of the product."""
    places, commands = tour.places, tour.commands
    places.verifier.write_text(build_single_file(), encoding="utf-8")
    keys, entry = str(places.receipt_keys), str(places.receipt_entry)
    kept, changed = str(places.consent_receipt), str(places.altered_receipt)
    with ThreadPoolExecutor(2) as pool:
        one = pool.submit(commands.gateway, "receipts", "verify", kept, "--key", keys, "--entry", entry)
        other = pool.submit(commands.run, "-I", str(places.verifier), "consent", changed, keys, entry)
        genuine, altered = one.result(), other.result()
    tour.check("receipts verify, offline: their receipt holds, and is in the log", genuine.status == 0, _last(genuine))
    found = altered.status == 1 and "altered" in altered.output
    tour.check("python -I verify.py: a receipt with one word changed does not", found, _last(altered))


def _last(done: Finished) -> str:
    return done.output.strip()[-200:]
