"""The US sections of the GPP as data: one table each, in the order in which the bits are written.

Every field has two bits: 0 not applicable, 1 and 2 as its name says (3 means nothing). `Name*n` is a list of n such
fields. Facts: GPP section specifications (b27beb4) and the reference encoder (iabgpp 3.2.0), which agree field by field
except where `docs/signals.md` says so.

What `SensitiveDataProcessing` = 1 means differs, and so does 2: in California, Utah and Iowa 1 is "opted out" and 2
"did not opt out"; everywhere else, the national section included, 1 is "no consent" and 2 "consent".
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property
from typing import NamedTuple

VERSION_PAIRS = 3  # the version has six bits


class Sensitive(StrEnum):
    """What a value of 1 in `SensitiveDataProcessing` says."""

    OPT_OUT = "opt_out"
    CONSENT = "consent"


class Sub(StrEnum):
    """The one sub-section that a section may have after its core."""

    NONE = "none"
    GPC = "gpc"  # two bits of type, one bit of signal
    SENSITIVE = "sensitive"  # SensitiveDataProcessing*8, no type


@dataclass(frozen=True)
class Layout:
    """One section: its version field, the versions that are understood, and the fields of its core."""

    id: int
    name: str
    fields: tuple[tuple[str, int], ...]  # name and length; 0: a single value
    sub: Sub
    sensitive: Sensitive
    versions: frozenset[int]
    version_field: str

    @classmethod
    def of(
        cls,
        section: int,
        name: str,
        text: str,
        *,
        sub: Sub = Sub.GPC,
        sensitive: Sensitive = Sensitive.CONSENT,
        versions: frozenset[int] = frozenset({1}),
        version_field: str = "Version",
    ) -> Layout:
        """Return the layout of fields that are given as words: `Name`, or `Name*n` for a list."""
        parts = [word.partition("*") for word in text.split()]
        fields = tuple((field, int(length or 0)) for field, _, length in parts)
        return cls(section, name, fields, sub, sensitive, versions, version_field)

    @cached_property
    def cuts(self) -> tuple[Cut, ...]:
        """Where each field of the core is, after the version."""
        return cuts_of(self.fields, VERSION_PAIRS)

    @property
    def bits(self) -> int:
        """The length of the core with its version."""
        return 2 * self.cuts[-1].past


class Cut(NamedTuple):
    """Where a field is, counted in fields of two bits; a single value stands alone."""

    name: str
    first: int
    past: int
    single: bool


def cuts_of(fields: tuple[tuple[str, int], ...], start: int) -> tuple[Cut, ...]:
    """Return where fields are that follow one another from `start`."""
    found, at = [], start
    for name, length in fields:
        past = at + (length or 1)
        found.append(Cut(name, at, past, not length))
        at = past
    return tuple(found)


_MSPA = " MspaCoveredTransaction MspaOptOutOptionMode MspaServiceProviderMode"
_NATIONAL = (
    "SharingNotice SaleOptOutNotice SharingOptOutNotice TargetedAdvertisingOptOutNotice"
    " SensitiveDataProcessingOptOutNotice SensitiveDataLimitUseNotice"
    " SaleOptOut SharingOptOut TargetedAdvertisingOptOut"
)

# 1, 2: KnownChildSensitiveDataConsents are 13 to 16, below 13 and, in version 2, below 17.
USNAT_SHORT = Layout.of(
    7,
    "usnat",
    _NATIONAL + " SensitiveDataProcessing*12 KnownChildSensitiveDataConsents*2 PersonalDataConsents" + _MSPA,
    versions=frozenset({1, 2}),
)
USNAT_LONG = Layout.of(
    7,
    "usnat",
    _NATIONAL + " SensitiveDataProcessing*16 KnownChildSensitiveDataConsents*3 PersonalDataConsents" + _MSPA,
    versions=frozenset({1, 2}),
)
# 1, 2: KnownChildSensitiveDataConsents are selling and sharing, unlike in the national section.
USCA = Layout.of(
    8,
    "usca",
    "SaleOptOutNotice SharingOptOutNotice SensitiveDataLimitUseNotice SaleOptOut SharingOptOut"
    " SensitiveDataProcessing*9 KnownChildSensitiveDataConsents*2 PersonalDataConsents" + _MSPA,
    sensitive=Sensitive.OPT_OUT,
)
_SHARING = "SharingNotice SaleOptOutNotice TargetedAdvertisingOptOutNotice SaleOptOut TargetedAdvertisingOptOut "
_PROCESSING = "ProcessingNotice SaleOptOutNotice TargetedAdvertisingOptOutNotice SaleOptOut TargetedAdvertisingOptOut "
_MORE = " AdditionalDataProcessingConsent"


USVA = Layout.of(
    9, "usva", _SHARING + "SensitiveDataProcessing*8 KnownChildSensitiveDataConsents" + _MSPA, sub=Sub.NONE
)  # fmt: skip
USCO = Layout.of(10, "usco", _SHARING + "SensitiveDataProcessing*7 KnownChildSensitiveDataConsents" + _MSPA)
USUT = Layout.of(
    11,
    "usut",
    "SharingNotice SaleOptOutNotice TargetedAdvertisingOptOutNotice SensitiveDataProcessingOptOutNotice SaleOptOut"
    " TargetedAdvertisingOptOut SensitiveDataProcessing*8 KnownChildSensitiveDataConsents" + _MSPA,
    sub=Sub.NONE,
    sensitive=Sensitive.OPT_OUT,
)
USCT = Layout.of(12, "usct", _SHARING + "SensitiveDataProcessing*8 KnownChildSensitiveDataConsents*3" + _MSPA)
USFL = Layout.of(
    13,
    "usfl",
    _PROCESSING + "SensitiveDataProcessing*8 KnownChildSensitiveDataConsents*3" + _MORE + _MSPA,
    sub=Sub.NONE,
)
USMT = Layout.of(14, "usmt", _SHARING + "SensitiveDataProcessing*8 KnownChildSensitiveDataConsents*3" + _MORE + _MSPA)
USOR = Layout.of(
    15, "usor", _PROCESSING + "SensitiveDataProcessing*11 KnownChildSensitiveDataConsents*3" + _MORE + _MSPA
)
USTX = Layout.of(16, "ustx", _PROCESSING + "SensitiveDataProcessing*8 KnownChildSensitiveDataConsents" + _MORE + _MSPA)
USDE = Layout.of(
    17, "usde", _PROCESSING + "SensitiveDataProcessing*9 KnownChildSensitiveDataConsents*5" + _MORE + _MSPA
)
USIA = Layout.of(
    18,
    "usia",
    "ProcessingNotice SaleOptOutNotice TargetedAdvertisingOptOutNotice SensitiveDataOptOutNotice SaleOptOut"
    " TargetedAdvertisingOptOut SensitiveDataProcessing*8 KnownChildSensitiveDataConsents" + _MSPA,
    sensitive=Sensitive.OPT_OUT,
)
USNE = Layout.of(19, "usne", _PROCESSING + "SensitiveDataProcessing*8 KnownChildSensitiveDataConsents" + _MORE + _MSPA)
USNH = Layout.of(
    20, "usnh", _PROCESSING + "SensitiveDataProcessing*8 KnownChildSensitiveDataConsents*3" + _MORE + _MSPA
)
USNJ = Layout.of(
    21, "usnj", _PROCESSING + "SensitiveDataProcessing*10 KnownChildSensitiveDataConsents*5" + _MORE + _MSPA
)
USTN = Layout.of(22, "ustn", _PROCESSING + "SensitiveDataProcessing*8 KnownChildSensitiveDataConsents" + _MORE + _MSPA)
USMN = Layout.of(23, "usmn", _PROCESSING + "SensitiveDataProcessing*8 KnownChildSensitiveDataConsents" + _MORE + _MSPA)


_YOUNGER = "MspaCoveredTransaction MspaMode " + _PROCESSING
_YOUNGER_CHILD = _YOUNGER + "KnownChildSensitiveDataConsents" + _MORE
_VERSION = "MspaVersion"
USMD = Layout.of(24, "usmd", _YOUNGER + "AdditionalDataProcessingConsent", version_field=_VERSION)
USIN = Layout.of(25, "usin", _YOUNGER_CHILD, sub=Sub.SENSITIVE, version_field=_VERSION)
USKY = Layout.of(26, "usky", _YOUNGER_CHILD, sub=Sub.SENSITIVE, version_field=_VERSION)
USRI = Layout.of(27, "usri", _YOUNGER_CHILD, sub=Sub.SENSITIVE, version_field=_VERSION)

TCF_EU, TCF_CA, USP, USNAT = 2, 5, 6, 7
LAYOUTS: Mapping[int, Layout] = {
    layout.id: layout
    for layout in (
        USCA, USVA, USCO, USUT, USCT, USFL, USMT, USOR, USTX, USDE, USIA, USNE, USNH, USNJ, USTN, USMN, USMD, USIN,
        USKY, USRI,
    )
}  # fmt: skip
NAMES: Mapping[int, str] = {
    TCF_EU: "tcfeuv2",
    TCF_CA: "tcfcav1",
    USP: "uspv1",
    USNAT: "usnat",
    **{layout.id: layout.name for layout in LAYOUTS.values()},
}
