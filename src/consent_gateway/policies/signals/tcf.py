"""Reading IAB TCF consent strings, versions 2.2 and 2.3, and the Canadian string of the GPP (tcfcav1).

`decode_tcf` reads what is written, also in a string that the policy of today does not accept (`TcString.violations`).
Facts: TCF v2.3 technical specification; the reference library writes policy version 5.

A core segment comes first; further segments are known by their first three bits: 1 disclosed vendors, 2 allowed vendors
(no longer in use, still found), 3 the publisher's own purposes. Each may come once.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from consent_gateway.errors import SignalError
from consent_gateway.policies.signals.bits import Bits, Table, places, require_length
from consent_gateway.policies.signals.id_sets import MAX_ID, IdSet
from consent_gateway.policies.signals.tc_strings import (
    FEATURES,
    PURPOSES,
    CaString,
    Prompt,
    PublisherPurposes,
    Restriction,
    RestrictionType,
    TcString,
)

_TC_VERSION, _CA_VERSION = 2, 1
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


_TYPES = tuple(RestrictionType)  # two bits, after six of the purpose


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
        service_specific=bool(cut[9]),
        own_texts=bool(cut[10]),
        features=places(cut[11], FEATURES),
        consents=places(cut[12], PURPOSES),
        legitimate_interests=places(cut[13], PURPOSES),
        purpose_one_treatment=bool(cut[14]),
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
        own_texts=bool(cut[9]),
        features=places(cut[10], FEATURES),
        express=places(cut[11], PURPOSES),
        implied=places(cut[12], PURPOSES),
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


def _prompt(r: Bits, cut: list[int]) -> Prompt:
    return Prompt(
        created=cut[1],
        updated=cut[2],
        cmp_id=cut[3],
        cmp_version=cut[4],
        screen=cut[5],
        language=r.letters(cut[6], "ConsentLanguage"),
        vendor_list=cut[7],
        policy=cut[8],
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
        total += sum([last - first + 1 for first, last in vendors.ranges])
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
    core, *others = text.split(".")
    segments = _Segments(core)
    for number, written in enumerate(others, 2):
        r = Bits(written, f"{place} segment {number}")
        kind = r.number(3, "SegmentType")
        if kind in segments.seen:
            raise r.fail("SegmentType", "comes twice", at=0)
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
