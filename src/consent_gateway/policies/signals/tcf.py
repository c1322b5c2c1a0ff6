"""IAB TCF consent strings, versions 2.2 and 2.3, and the Canadian string of the GPP (tcfcav1).

`decode_tcf` reads what is written, also in a string that the policy of today does not accept; `TcString.violations`
names the rules of TCF v2.3 that it breaks. Who acts on a string asks for them: the gateway records no yes from a string
that breaks one. Facts: TCF v2.3 technical specification; the reference library writes policy version 5.

A core segment comes first; further segments are known by their first three bits: 1 disclosed vendors, 2 allowed vendors
(no longer in use, still found), 3 the publisher's own purposes. Each may come once.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntEnum

from consent_gateway.errors import SignalError
from consent_gateway.policies.signals.bits import MAX_ID, Bits, IdSet, Table, broken, places, require_length

LEAST_POLICY = 4  # TCF v2.2 and later; an older string is invalid since 2023-11-20
PURPOSES, FEATURES = 24, 12
_TC_VERSION, _CA_VERSION = 2, 1
_CONSENT_ONLY = frozenset({3, 4, 5, 6})  # TCF v2.2: no legitimate interest for these purposes
_MOST_RESTRICTED = PURPOSES * MAX_ID  # every vendor for every purpose, once
_PROMPT = {
    "Version": 6,
    "Created": 36,
    "LastUpdated": 36,
    "CmpId": 12,
    "CmpVersion": 12,
    "ConsentScreen": 6,
    "ConsentLanguage": 12,
    "VendorListVersion": 12,
    "TcfPolicyVersion": 6,
}
_EU_CORE = Table.of(
    **_PROMPT,
    IsServiceSpecific=1,
    UseNonStandardTexts=1,
    SpecialFeatureOptIns=FEATURES,
    PurposesConsent=PURPOSES,
    PurposesLITransparency=PURPOSES,
    PurposeOneTreatment=1,
    PublisherCC=12,
)
_CA_CORE = Table.of(
    **_PROMPT,
    UseNonStandardStacks=1,
    SpecialFeatureExpressConsent=FEATURES,
    PurposesExpressConsent=PURPOSES,
    PurposesImpliedConsent=PURPOSES,
)


class RestrictionType(IntEnum):
    """What a publisher says about a vendor and a purpose."""

    NOT_ALLOWED = 0
    REQUIRE_CONSENT = 1
    REQUIRE_LEGITIMATE_INTEREST = 2
    UNDEFINED = 3


_TYPES = tuple(RestrictionType)  # two bits, after six of the purpose


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


@dataclass(slots=True)
class _Segments:
    core: str = ""
    disclosed: IdSet | None = None
    allowed: IdSet | None = None
    publisher: PublisherPurposes | None = None
    seen: set[int] = field(default_factory=set)


def decode_tcf(text: str, place: str = "tcfeuv2") -> TcString:
    """Return a TC string decoded; SignalError names segment, field and bit."""
    segments = _segments(text, place, canadian=False)
    r = Bits(segments.core, place)
    _require_version(r, _TC_VERSION)
    cut = r.cut(_EU_CORE)
    return TcString(
        prompt=_prompt(r, cut),
        service_specific=cut[9] == "1",
        own_texts=cut[10] == "1",
        features=places(cut[11]),
        consents=places(cut[12]),
        legitimate_interests=places(cut[13]),
        purpose_one_treatment=cut[14] == "1",
        country=r.letters(cut[15], "PublisherCC"),
        vendor_consents=r.vendors("VendorConsent"),
        vendor_interests=r.vendors("VendorLegitimateInterest"),
        restrictions=_restrictions(r, fixed=True),
        disclosed=segments.disclosed,
        allowed=segments.allowed,
        publisher=segments.publisher,
    )


def decode_tcf_ca(text: str, place: str = "tcfcav1") -> CaString:
    """Return a Canadian string decoded: Fibonacci ranges as the GPP says, else fixed ones as older encoders wrote."""
    segments = _segments(text, place, canadian=True)
    try:
        return _ca_core(segments, place, fixed=False)
    except SignalError as error:
        try:
            return _ca_core(segments, place, fixed=True)
        except SignalError:
            raise error from None


def _ca_core(segments: _Segments, place: str, *, fixed: bool) -> CaString:
    r = Bits(segments.core, place)
    _require_version(r, _CA_VERSION)
    cut = r.cut(_CA_CORE)
    return CaString(
        prompt=_prompt(r, cut),
        own_texts=cut[9] == "1",
        features=places(cut[10]),
        express=places(cut[11]),
        implied=places(cut[12]),
        vendor_express=_ids(r, "VendorExpressConsent", fixed=fixed),
        vendor_implied=_ids(r, "VendorImpliedConsent", fixed=fixed),
        restrictions=_restrictions(r, fixed=fixed),
        disclosed=segments.disclosed,
        publisher=segments.publisher,
    )


def _ids(r: Bits, name: str, *, fixed: bool) -> IdSet:
    return r.vendors(name) if fixed else r.optimized(name)


def _require_version(r: Bits, version: int) -> None:
    if r.number(6, "Version") != version:
        raise r.fail("Version", f"only version {version} is understood", at=0)
    r.at = 0


def _prompt(r: Bits, cut: list[str]) -> Prompt:
    return Prompt(
        created=int(cut[1], 2),
        updated=int(cut[2], 2),
        cmp_id=int(cut[3], 2),
        cmp_version=int(cut[4], 2),
        screen=int(cut[5], 2),
        language=r.letters(cut[6], "ConsentLanguage"),
        vendor_list=int(cut[7], 2),
        policy=int(cut[8], 2),
    )


def _restrictions(r: Bits, *, fixed: bool) -> tuple[Restriction, ...]:
    """Return the publisher restrictions; those of one purpose and type are joined, in the order of the first."""
    count = r.number(12, "NumPubRestrictions")
    if not count:
        return ()
    found: dict[tuple[int, int], list[IdSet]] = {}
    total = 0
    for _ in range(count):
        start = r.at
        key = r.number(8, "PubRestrictions")
        vendors = IdSet(ranges=r.ranges("PubRestrictions")) if fixed else r.optimized("PubRestrictions")
        for first, last in vendors.ranges:
            total += last - first + 1
        if total > _MOST_RESTRICTED:
            raise r.fail("PubRestrictions", "names more vendors than there can be", at=start)
        found.setdefault(divmod(key, len(_TYPES)), []).append(vendors)
    return tuple([Restriction(purpose, _TYPES[kind], _joined(ids)) for (purpose, kind), ids in found.items()])


def _joined(sets: list[IdSet]) -> IdSet:
    if len(sets) == 1:
        return sets[0]
    return IdSet(ranges=tuple([pair for ids in sets for pair in (*((n, n) for n in ids.listed()), *ids.ranges)]))


# -- segments ----------------------------------------------------------------------------------------------------


def _segments(text: str, place: str, *, canadian: bool) -> _Segments:
    require_length(text, place)
    core, *others = text.split(".", 5)
    segments = _Segments(core)
    for number, written in enumerate(others, 2):
        r = Bits(written, f"{place} segment {number}")
        kind = r.number(3, "SegmentType")
        if kind in segments.seen:
            raise broken(r.place, "SegmentType", 0, "comes twice")
        segments.seen.add(kind)
        _read_segment(segments, r, kind, canadian=canadian)
    return segments


def _read_segment(segments: _Segments, r: Bits, kind: int, *, canadian: bool) -> None:
    if kind == 1:
        segments.disclosed = _disclosed(r, canadian=canadian)
    elif kind == 2 and not canadian:  # noqa: PLR2004 - the segment's number in the specification
        segments.allowed = r.vendors("AllowedVendors")
    elif kind == 3:  # noqa: PLR2004
        segments.publisher = _publisher(r)
    else:
        raise r.fail("SegmentType", "no such segment is known", at=0)


def _disclosed(r: Bits, *, canadian: bool) -> IdSet:
    if not canadian:
        return r.vendors("DisclosedVendors")
    start = r.at
    try:
        return r.optimized("DisclosedVendors")
    except SignalError:
        r.at = start
        return r.vendors("DisclosedVendors")


def _publisher(r: Bits) -> PublisherPurposes:
    consents = r.numbers(PURPOSES, "PubPurposesConsent")
    interests = r.numbers(PURPOSES, "PubPurposesLITransparency")
    custom = r.number(6, "NumCustomPurposes")
    if not custom:
        return PublisherPurposes(consents, interests)
    return PublisherPurposes(
        consents,
        interests,
        custom,
        r.numbers(custom, "CustomPurposesConsent"),
        r.numbers(custom, "CustomPurposesLITransparency"),
    )
