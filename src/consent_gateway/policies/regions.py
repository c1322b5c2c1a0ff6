"""Regions as the law sees them: who is a member, from which age a child consents, what data is sensitive where.

A region is an ISO 3166-1 alpha-2 country, or an ISO 3166-2 state of the USA. "US" alone means that the state is
not known, so that every state counts as a candidate. Sources are named at each table; all are marked V2 or K in
the rule matrix and are to be re-checked yearly.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from typing import NamedTuple

from consent_gateway.policies.vocabulary import words

# GDPR Art 8(1): age from which a child consents alone to an information society service. The states' laws of
# 2018-2020; NO 13, IS 13, LI 16 by EEA. DK and SI are reported as raised later: see `_UNSETTLED`.
CHILD_AGE: dict[str, int] = {
    **dict.fromkeys(("BE", "FI", "SE", "PT", "EE", "LV", "MT", "NO", "IS"), 13),
    **dict.fromkeys(("AT", "BG", "CY", "IT", "LT", "ES"), 14),
    **dict.fromkeys(("FR", "CZ", "GR", "DK", "SI"), 15),
    **dict.fromkeys(("DE", "HR", "HU", "IE", "LU", "NL", "PL", "RO", "SK", "LI", "EU"), 16),
}
# Ages that are not verified: below the lower one a child is a child; between the two the pack's setting decides.
_UNSETTLED: dict[str, tuple[int, int, str]] = {"DK": (13, 15, "dk_13_14"), "SI": (15, 16, "si_15")}
EEA = frozenset(CHILD_AGE)
UK = frozenset({"GB", "UK"})
# GDPR Art 45: adequacy decisions; the USA only for certified recipients, which is the mechanism "adequacy".
ADEQUATE = frozenset(words("AD AR CA CH FO GG IL IM JE JP KR NZ UY"))
# Opt-out preference signals are binding there besides California (rule matrix 1.3).
SIGNAL_STATES = frozenset(f"US-{state}" for state in words("CO CT DE MD MT NE NH NJ OR TX"))
# Calling hours end at 20:00; Florida and Oklahoma also cap at three contacts in 24 hours (rule matrix 1.4).
HOURS_STATES = frozenset({"US-FL", "US-OK", "US-WA"})
CAP_STATES = frozenset({"US-FL", "US-OK"})

# What each law calls special or sensitive. A category that is not listed is sensitive under every law.
_GDPR_9 = frozenset(
    words(
        "racial race ethnic ethnicity racial_ethnic racial_or_ethnic_origin political political_opinion religion "
        "religious philosophical belief union trade_union union_membership genetic biometric health sex_life "
        "sexual_orientation sex_orientation"
    )
)
_CCPA_AE = (_GDPR_9 - {"political", "political_opinion"}) | frozenset(
    words(
        "precise_geolocation geolocation government_id ssn id_number passport driver_licence account_credentials "
        "account_login financial_account citizenship immigration message_contents neural"
    )
)
_PIPL_28 = frozenset(
    words(
        "biometric religion religious belief specific_identity health financial_account account_credentials "
        "whereabouts precise_geolocation geolocation minor_under_14 genetic sex_life sexual_orientation "
        "government_id ssn id_number passport"
    )
)
_KNOWN = _GDPR_9 | _CCPA_AE | _PIPL_28


class Sensitivity(NamedTuple):
    """Whether data counts as special (GDPR Art 9), sensitive (Civ. 1798.140(ae)) and sensitive (PIPL Art 28)."""

    special_category: bool
    sensitive_us: bool
    sensitive_cn: bool


class Places(NamedTuple):
    """Which territories a person may be in; all of the candidates, never a guess at one of them."""

    at_eu: bool
    at_uk: bool
    at_ca: bool
    at_us: bool
    us_other: bool
    us_signal_state: bool
    us_hours_state: bool
    us_cap_state: bool
    at_cn: bool
    at_unknown: bool


def sensitivity(categories: Iterable[str]) -> Sensitivity:
    """Classify the sensitive categories involved; an unlisted category is sensitive everywhere."""
    found = set(categories)
    unlisted = bool(found - _KNOWN)
    return Sensitivity(*(unlisted or not found.isdisjoint(law) for law in (_GDPR_9, _CCPA_AE, _PIPL_28)))


def normal_region(region: str | None) -> str | None:
    """Return the region as the tables spell it: upper case; a subdivision outside of the USA is its country."""
    if not region:
        return None
    name = region.strip().upper()
    return name if name.startswith("US-") else name.partition("-")[0]


def places(regions: Iterable[str | None]) -> Places:
    """Return where a person with these candidate regions may be; no candidate at all is unknown.

    LAW part 2.1: the candidates are united. A region that no shipped pack covers counts as unknown, so that the
    strictest profile applies (part 2.4).
    """
    found = {normal_region(region) for region in regions} or {None}
    american = {name for name in found if name is not None and (name == "US" or name.startswith("US-"))}
    somewhere = "US" in american
    covered = EEA | UK | american | {"CN"}
    return Places(
        at_eu=not found.isdisjoint(EEA),
        at_uk=not found.isdisjoint(UK),
        at_ca=somewhere or "US-CA" in american,
        at_us=bool(american),
        us_other=bool(american - {"US-CA"}),
        us_signal_state=somewhere or not american.isdisjoint(SIGNAL_STATES),
        us_hours_state=somewhere or not american.isdisjoint(HOURS_STATES),
        us_cap_state=somewhere or not american.isdisjoint(CAP_STATES),
        at_cn="CN" in found,
        at_unknown=bool(found - covered),
    )


def child_class(age: int | None, regions: tuple[str | None, ...], controller: str | None) -> str:
    """Return the value of the fact `eu_child`: the highest age of the candidates counts (LAW 2.3).

    Where no candidate is a member state the controller's own state counts, and else 16, the Regulation's age.
    """
    if age is None:
        return "unknown"
    settled, unsettled = _child_ages(regions, controller)
    if age < settled:
        return "yes"
    return next((name for below, name in unsettled if age < below), "no")


@lru_cache(maxsize=4096)
def _child_ages(regions: tuple[str | None, ...], controller: str | None) -> tuple[int, tuple[tuple[int, str], ...]]:
    """Return the highest settled age of consent, and the unsettled ages above it with their classes."""
    states = [name for name in map(normal_region, regions) if name in CHILD_AGE]
    home = normal_region(controller)
    counting = states or [home if home in CHILD_AGE else "EU"]
    settled = max(_UNSETTLED[s][0] if s in _UNSETTLED else CHILD_AGE[s] for s in counting if s is not None)
    return settled, tuple(_UNSETTLED[s][1:] for s in counting if s in _UNSETTLED)


def establishment(country: str | None) -> str:
    """Return the value of the fact `controller` for the country of establishment."""
    name = normal_region(country)
    if name in EEA:
        return "eu"
    if name in UK:
        return "uk"
    return "cn" if name == "CN" else "other"


def recipient_place(country: str | None) -> str:
    """Return the value of the fact `recipient_place`; None means that data stays where it is."""
    name = normal_region(country)
    if name is None:
        return "none"
    known = {"eu": "eea", "uk": "uk", "cn": "cn"}.get(establishment(name))
    return known or ("adequate" if name in ADEQUATE else "other")
