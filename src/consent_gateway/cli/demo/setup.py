"""Step 0: tell an empty gateway where data comes from, who may get it, and what people were told."""

from __future__ import annotations

from typing import Any

from consent_gateway.cli.demo.histories import MARKETING, NOTICE, PARTNER, SEGMENTING, SHARING
from consent_gateway.cli.demo.tour import Tour

MAIL_HOUSE, SEGMENT = "mail_house", "frequent_and_silent"
VISITS, SILENT_DAYS = 20, 30

_TEXTS = {
    "en": (
        "What we do with your address",
        """If you agree, we write to you about offers in our shops. You can take this back at any time, as easily
as you gave it. Towards Example Ads we name you only if you agree to that separately.""",
    ),
    "de": (
        "Was wir mit Ihrer Adresse tun",
        """Wenn Sie zustimmen, schreiben wir Ihnen über Angebote unserer Läden. Sie können das jederzeit ebenso
einfach widerrufen. Gegenüber Example Ads nennen wir Sie nur, wenn Sie dem gesondert zustimmen.""",
    ),
    "zh": (
        "我们如何使用您的联系方式",
        """经您同意，我们会向您发送门店优惠信息。您可以随时同样便捷地撤回同意。
向 Example Ads 提供信息须另行取得您的单独同意。""",
    ),
}

NOTICES: tuple[dict[str, Any], ...] = tuple(
    {"id": NOTICE, "version": 1, "language": language, "title": title, "text": text}
    for language, (title, text) in _TEXTS.items()
)
SOURCES: tuple[dict[str, Any], ...] = (
    {
        "id": "crm",
        "name": "Customer register",
        "channel": "web",
        "party": "first",
        "notice": NOTICE,
        "purposes": [MARKETING, SHARING, SEGMENTING],
    },
    {
        "id": "pos",
        "name": "Tills of the shops",
        "channel": "pos",
        "party": "first",
        "notice": NOTICE,
        "purposes": [MARKETING, SEGMENTING],
    },
    {
        "id": "partner_list",
        "name": "Bought address list",
        "channel": "file",
        "party": "third",
        "purposes": [MARKETING],
    },
)
RECIPIENTS: tuple[dict[str, Any], ...] = (
    {
        "id": MAIL_HOUSE,
        "name": "Example Mail House",
        "kind": "processor",
        "country": "DE",
        "contract": True,
        "transfer_mechanism": "none",
        "party": {"address": "Example Road 2, 20095 Hamburg", "contact": "Privacy team"},
    },
    {
        "id": PARTNER,
        "name": "Example Ads",
        "kind": "third_party",
        "country": "US",
        "contract": True,
        "transfer_mechanism": "scc",
    },
)
TRAITS: tuple[dict[str, Any], ...] = (
    {
        "id": "purchase_count",
        "type": "integer",
        "origin": "event_count",
        "event_type": "purchase",
        "description": "How many baskets were paid for",
    },
    {
        "id": "last_purchase",
        "type": "date",
        "origin": "event_last",
        "event_type": "purchase",
        "description": "When the last basket was paid for",
    },
    {"id": "household_size", "type": "integer", "origin": "declared", "description": "People in the household"},
)
SEGMENTS: tuple[dict[str, Any], ...] = (
    {
        "id": SEGMENT,
        "expression": {
            "all": [
                {"trait": "purchase_count", "op": ">=", "value": VISITS},
                {"trait": "last_purchase", "older_than": f"{SILENT_DAYS}d"},
            ]
        },
        "description": f"At least {VISITS} purchases, none for {SILENT_DAYS} days",
    },
)
REGISTERS = (
    ("notices", NOTICES),
    ("sources", SOURCES),
    ("recipients", RECIPIENTS),
    ("traits", TRAITS),
    ("segments", SEGMENTS),
)


def register(tour: Tour) -> None:
    """Fill the registers and read them back: everything that was sent must be listed."""
    for name, items in REGISTERS:
        for item in items:
            tour.api.post(f"/v1/{name}", item)
        listed = {item["id"] for item in _items(tour.api.get(f"/v1/{name}"))}
        wanted = {item["id"] for item in items}
        tour.check(f"{name} registered", wanted <= listed, ", ".join(sorted(wanted)))
    purposes = {item["id"] for item in _items(tour.api.get("/v1/purposes"))}
    tour.check("a fresh store knows the standard purposes", {MARKETING, SHARING, SEGMENTING} <= purposes)


def _items(answer: Any) -> list[dict[str, Any]]:
    """Return the items of a list answer, be it bare or wrapped with its paging."""
    items: list[dict[str, Any]] = answer if isinstance(answer, list) else answer["items"]
    return items
