"""What a TC string and the Canadian string of the GPP say, as values; `tcf` reads them.

`TcString.violations` names the rules of TCF v2.3 that a string breaks. Who acts on a string asks for them: the gateway
records no yes from a string that breaks one. Facts: TCF v2.3 technical specification.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

from consent_gateway.policies.signals.id_sets import IdSet

LEAST_POLICY = 4  # TCF v2.2 and later; an older string is invalid since 2023-11-20
PURPOSES, FEATURES = 24, 12
_CONSENT_ONLY = frozenset({3, 4, 5, 6})  # TCF v2.2: no legitimate interest for these purposes


class RestrictionType(IntEnum):
    """What a publisher says about a vendor and a purpose."""

    NOT_ALLOWED = 0
    REQUIRE_CONSENT = 1
    REQUIRE_LEGITIMATE_INTEREST = 2
    UNDEFINED = 3


@dataclass(frozen=True, slots=True)
class Restriction:
    """One publisher restriction."""

    purpose: int
    type: RestrictionType
    vendors: IdSet


@dataclass(frozen=True, slots=True)
class PublisherPurposes:
    """What the publisher itself may do: standard purposes and its own, by consent and by legitimate interest.

    In the Canadian string: by express and by implied consent.
    """

    consents: tuple[int, ...] = ()
    legitimate_interests: tuple[int, ...] = ()
    custom: int = 0
    custom_consents: tuple[int, ...] = ()
    custom_legitimate_interests: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Prompt:
    """Who asked, when, in which words; instants in tenths of a second since the epoch, UTC."""

    created: int
    updated: int
    cmp_id: int
    cmp_version: int
    screen: int
    language: str
    vendor_list: int
    policy: int


@dataclass(frozen=True, slots=True)
class TcString:
    """One decoded TC string. A segment that is absent is None; purposes and features are numbers from 1."""

    prompt: Prompt
    service_specific: bool
    own_texts: bool
    features: tuple[int, ...]
    consents: tuple[int, ...]
    legitimate_interests: tuple[int, ...]
    purpose_one_treatment: bool
    country: str
    vendor_consents: IdSet
    vendor_interests: IdSet
    restrictions: tuple[Restriction, ...]
    disclosed: IdSet | None = None
    allowed: IdSet | None = None
    publisher: PublisherPurposes | None = None

    @property
    def violations(self) -> tuple[str, ...]:
        """Return the rules of TCF v2.3 that the string breaks; none: it may be relied on."""
        broken_rules = {
            "policy_version_lt_4": self.prompt.policy < LEAST_POLICY,
            "no_disclosed_vendors_segment": self.disclosed is None,
            "not_service_specific": not self.service_specific,
            "li_bits_3_to_6_set": not _CONSENT_ONLY.isdisjoint(self.legitimate_interests),
        }
        return tuple(rule for rule, holds in broken_rules.items() if holds)

    def consented(self, vendor: int, purpose: int) -> bool:
        """Tell whether a vendor that was shown may rely on consent for a purpose, and the publisher lets it."""
        shown = self.disclosed is not None and vendor in self.disclosed
        return shown and self.says_yes(vendor, purpose)

    def says_yes(self, vendor: int, purpose: int) -> bool:
        """Tell whether the bits say yes, shown or not, and the publisher lets the vendor rely on consent."""
        return purpose in self.consents and vendor in self.vendor_consents and self._lets(vendor, purpose)

    def _lets(self, vendor: int, purpose: int) -> bool:
        return all(
            r.type is RestrictionType.REQUIRE_CONSENT or r.purpose != purpose or vendor not in r.vendors
            for r in self.restrictions
        )


@dataclass(frozen=True, slots=True)
class CaString:
    """One decoded tcfcav1 section: express and implied consent (PIPEDA) instead of consent and interest."""

    prompt: Prompt
    own_texts: bool
    features: tuple[int, ...]
    express: tuple[int, ...]
    implied: tuple[int, ...]
    vendor_express: IdSet
    vendor_implied: IdSet
    restrictions: tuple[Restriction, ...]
    disclosed: IdSet | None = None
    publisher: PublisherPurposes | None = None
