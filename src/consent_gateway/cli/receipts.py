"""The commands for consent receipts: check one without any store, print the keys they are signed with."""

from __future__ import annotations

from consent_gateway.cli.lazy import LazyGroup, Place

_PLACES = {
    "verify": Place(
        "receipt_checks",
        "verify",
        "Check a receipt offline: DOCUMENT is the file as it was issued; status 1 and the first thing that is wrong.",
    ),
    "keys": Place("receipt_keys", "print_keys", "Print the public keys of receipts as a JWK set."),
}

receipts = LazyGroup("receipts", _PLACES, help="Consent receipts: verify them offline, print the keys.")
