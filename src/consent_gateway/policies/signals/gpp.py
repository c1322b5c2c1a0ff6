"""IAB Global Privacy Platform strings: a header that lists sections, and the sections, joined by "~".

The header says type 3, version 1, and the section ids as Fibonacci ranges, ascending; exactly as many sections follow,
in that order. A section whose id or version has no table here is named as undecoded and not guessed at. A section that
has a table and does not fit it makes the whole string undecodable: half a string is not what the person said.
"""

from __future__ import annotations

from dataclasses import dataclass

from consent_gateway.policies.signals.bits import Bits, broken, require_length
from consent_gateway.policies.signals.sections import LAYOUTS, NAMES, TCF_CA, TCF_EU, USNAT, USP
from consent_gateway.policies.signals.tc_strings import CaString, TcString
from consent_gateway.policies.signals.tcf import decode_tcf, decode_tcf_ca
from consent_gateway.policies.signals.us import (
    Undecoded,
    UspString,
    UsSection,
    decode_us,
    decode_usnat,
    decode_usp,
)

Section = TcString | CaString | UspString | UsSection | Undecoded
_TYPE, _VERSION = 3, 1
_HEADER = "header"


@dataclass(frozen=True, slots=True)
class GppString:
    """One decoded GPP string: the section ids of its header, and the sections in the same order."""

    ids: tuple[int, ...]
    sections: tuple[Section, ...]

    def section(self, section: int) -> Section | None:
        """Return the section of an id, None if the string has none."""
        return self.sections[self.ids.index(section)] if section in self.ids else None

    @property
    def undecoded(self) -> tuple[Undecoded, ...]:
        """Return the sections that were not read."""
        return tuple(s for s in self.sections if isinstance(s, Undecoded))


def decode_gpp(text: str) -> GppString:
    """Return a GPP string decoded; SignalError names section, field and bit."""
    require_length(text, _HEADER)
    header, *written = text.split("~")
    ids = section_ids(header, len(written))
    return GppString(ids, tuple([_section(n, part) for n, part in zip(ids, written, strict=True)]))


def section_ids(header: str, sections: int) -> tuple[int, ...]:
    """Return the section ids that a header lists; SignalError unless it lists exactly as many as there are."""
    r = Bits(header, _HEADER)
    if r.number(6, "Type") != _TYPE:
        raise r.fail("Type", f"is not {_TYPE}", at=0)
    if r.number(6, "Version") != _VERSION:
        raise r.fail("Version", f"only version {_VERSION} is understood", at=6)
    ranges = r.fibonacci_ranges("SectionIds")
    listed = sum([last - first + 1 for first, last in ranges])
    if listed != sections:
        raise broken(_HEADER, "SectionIds", 12, f"lists {listed} sections, {sections} follow")
    return tuple([n for first, last in ranges for n in range(first, last + 1)])


def _section(section: int, text: str) -> Section:
    if section in LAYOUTS:
        return decode_us(LAYOUTS[section], text)
    if section == USNAT:
        return decode_usnat(text)
    if section == TCF_EU:
        return decode_tcf(text)
    if section == TCF_CA:
        return decode_tcf_ca(text)
    if section == USP:
        return decode_usp(text)
    return Undecoded(section, NAMES.get(section), "no layout of this section is known")
