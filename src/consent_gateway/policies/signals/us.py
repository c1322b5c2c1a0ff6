"""The US sections of the GPP, read by their tables, and the US Privacy string (uspv1)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace

from consent_gateway.errors import SignalError
from consent_gateway.policies.signals.bits import CHAR_BITS, broken, pairs_of
from consent_gateway.policies.signals.sections import USNAT_LONG, USNAT_SHORT, Cut, Layout, Sensitive, Sub, cuts_of

Value = int | tuple[int, ...]
_USP = re.compile(r"1[YN-]{3}", re.ASCII)
_NOTHING = 3  # the one value of two bits without a meaning
_GPC_TYPE, _GPC_ON = 1, 2  # two bits of type; the signal is the first of the next two bits
_SENSITIVE = "SensitiveDataProcessing"
_SENSITIVE_ALONE = cuts_of(((_SENSITIVE, 8),), 0)
_OPT_OUTS = ("SaleOptOut", "SharingOptOut", "TargetedAdvertisingOptOut")
OPTED_OUT = 1


@dataclass(frozen=True, slots=True)
class UsSection:
    """One decoded US section; `gpc` is None without a GPC sub-section. Do not change `values`."""

    id: int
    name: str
    version: int
    values: Mapping[str, Value]
    sensitive: Sensitive
    version_field: str = "Version"
    sub: Sub = Sub.NONE
    gpc: bool | None = None

    @property
    def sale_share_opted_out(self) -> bool:
        """Tell whether the person opted out of sale, sharing or targeted advertising; 2 and 0 say nothing."""
        return any(self.values.get(name) == OPTED_OUT for name in _OPT_OUTS)

    @property
    def sensitive_limited(self) -> bool:
        """Tell whether any sensitive category is opted out of, or, where consent is asked for, not consented to."""
        found = self.values.get(_SENSITIVE, ())
        return isinstance(found, tuple) and OPTED_OUT in found


@dataclass(frozen=True, slots=True)
class UspString:
    """A US Privacy string: version 1, then notice, opt-out of sale, LSPA coverage as Y, N or - (not applicable)."""

    notice: str
    opt_out_sale: str
    lspa_covered: str

    @property
    def sale_share_opted_out(self) -> bool:
        """Tell whether the person opted out of sale; N is not an opt-in."""
        return self.opt_out_sale == "Y"


@dataclass(frozen=True, slots=True)
class Undecoded:
    """A section that is there and was not read, and why; nothing is guessed about it."""

    id: int
    name: str | None
    reason: str


def decode_usp(text: str, place: str = "uspv1") -> UspString:
    """Return a US Privacy string decoded."""
    if not _USP.fullmatch(text):
        raise broken(place, "", 0, "is not a 1 and three of Y, N and -")
    return UspString(text[1], text[2], text[3])


def decode_us(layout: Layout, text: str) -> UsSection | Undecoded:
    """Return a US section decoded by its table; Undecoded for a version without one."""
    core, dot, rest = text.partition(".")
    pairs = pairs_of(core, layout.name)
    version = pairs[0] << 4 | pairs[1] << 2 | pairs[2]
    if version not in layout.versions:
        return Undecoded(layout.id, layout.name, f"no layout of version {version} is known")
    values = _values(layout.name, layout.cuts, pairs)
    sub, gpc = (layout.sub, _read_sub(layout, rest, values)) if dot else (Sub.NONE, None)
    return UsSection(
        layout.id, layout.name, version, values, layout.sensitive, layout.version_field, sub, gpc
    )  # fmt: skip


def decode_usnat(text: str) -> UsSection | Undecoded:
    """Return the national section decoded.

    Version 1 has 12 sensitive categories and 2 of children, version 2 has 16 and 3, and encoders in the field write
    either length under either version: the length decides how the bits are read, the version what is shown of them.
    """
    chars = len(text.partition(".")[0])
    written = USNAT_LONG if chars * CHAR_BITS >= USNAT_LONG.bits else USNAT_SHORT
    found = decode_us(written, text)
    if isinstance(found, Undecoded):
        return found
    shown = USNAT_SHORT if found.version == 1 else USNAT_LONG
    if shown is written:
        return found
    return replace(found, values={name: _fitted(found.values[name], length) for name, length in shown.fields})


def _fitted(value: Value, length: int) -> Value:
    return value if isinstance(value, int) else (value + (0,) * length)[:length]


def _values(place: str, cuts: tuple[Cut, ...], pairs: bytes) -> dict[str, Value]:
    """Return the fields of a table; `pairs` is what is written, a byte for two bits."""
    first, past = cuts[0].first, cuts[-1].past
    if len(pairs) < past or _NOTHING in pairs[first:past]:
        raise _unreadable(place, cuts, pairs)
    return {
        name: pairs[at] if single else tuple(pairs[at:end]) for name, at, end, single in cuts
    }  # fmt: skip


def _unreadable(place: str, cuts: tuple[Cut, ...], pairs: bytes) -> SignalError:
    at = pairs.find(_NOTHING, cuts[0].first, cuts[-1].past)
    message = f"the value {_NOTHING} means nothing"
    if at < 0:
        at, message = len(pairs), f"ends after {2 * len(pairs)} bits"
    name = next(cut.name for cut in cuts if at < cut.past)
    return broken(place, name, 2 * at, message)


def _read_sub(layout: Layout, text: str, values: dict[str, Value]) -> bool | None:
    place = f"{layout.name} sub-section"
    if layout.sub is Sub.NONE or "." in text:
        raise broken(place, "", 0, "there is one too many")
    pairs = pairs_of(text, place)
    if layout.sub is Sub.SENSITIVE:
        values |= _values(place, _SENSITIVE_ALONE, pairs)
        return None
    if pairs[0] != _GPC_TYPE:
        raise broken(place, "GpcSegmentType", 0, "is not a GPC sub-section")
    return pairs[1] >= _GPC_ON
