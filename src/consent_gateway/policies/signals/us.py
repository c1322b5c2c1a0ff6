"""The US sections of the GPP, read by their tables, and the US Privacy string (uspv1)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from consent_gateway.errors import SignalError
from consent_gateway.policies.signals.bits import bits_of, broken
from consent_gateway.policies.signals.sections import USNAT_LONG, USNAT_SHORT, Layout, Sensitive, Sub

Value = int | tuple[int, ...]
_USP = re.compile(r"1[YN-]{3}", re.ASCII)
_PAIR = {"00": 0, "01": 1, "10": 2}  # 11 means nothing
_VERSION_BITS, _GPC_TYPE, _GPC_BITS = 6, "01", 3
_SENSITIVE = "SensitiveDataProcessing"
_SENSITIVE_LENGTH = 8
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
    bits = bits_of(core, layout.name)
    version = _number(layout, bits)
    if version not in layout.versions:
        return Undecoded(layout.id, layout.name, f"no layout of version {version} is known")
    values = _values(layout, bits)
    if not dot:
        sub, gpc = Sub.NONE, None
    else:
        sub, gpc = layout.sub, _read_sub(layout, rest, values)
    return UsSection(
        layout.id, layout.name, version, values, layout.sensitive, layout.version_field, sub, gpc
    )  # fmt: skip


def decode_usnat(text: str) -> UsSection | Undecoded:
    """Return the national section decoded.

    Version 1 has 12 sensitive categories and 2 of children, version 2 has 16 and 3, and encoders in the field write
    either length under either version: the length decides how the bits are read, the version what is shown of them.
    """
    chars = len(text.partition(".")[0])
    found = decode_us(USNAT_LONG if chars * 6 >= USNAT_LONG.bits else USNAT_SHORT, text)
    if isinstance(found, Undecoded):
        return found
    shown = USNAT_SHORT if found.version == 1 else USNAT_LONG
    values = {name: _fitted(found.values[name], length) for name, length in shown.fields}
    return UsSection(
        found.id, found.name, found.version, values, found.sensitive, sub=found.sub, gpc=found.gpc
    )  # fmt: skip


def _fitted(value: Value, length: int) -> Value:
    return value if isinstance(value, int) else (value + (0,) * length)[:length]


def _number(layout: Layout, bits: str) -> int:
    if len(bits) < _VERSION_BITS:
        raise broken(layout.name, layout.version_field, 0, "is cut off")
    return int(bits[:_VERSION_BITS], 2)


def _values(layout: Layout, bits: str) -> dict[str, Value]:
    at = _VERSION_BITS
    values: dict[str, Value] = {}
    try:
        for name, length in layout.fields:
            if length:
                end = at + 2 * length
                values[name] = tuple([_PAIR[bits[n : n + 2]] for n in range(at, end, 2)])
                at = end
            else:
                values[name] = _PAIR[bits[at : at + 2]]
                at += 2
    except KeyError:
        raise _unreadable(layout.name, name, at, bits) from None
    return values


def _unreadable(place: str, name: str, at: int, bits: str) -> SignalError:
    while _PAIR.get(bits[at : at + 2]) is not None:
        at += 2
    message = "the value 3 means nothing" if bits[at : at + 2] == "11" else f"ends after {len(bits)} bits"
    return broken(place, name, at, message)


def _read_sub(layout: Layout, text: str, values: dict[str, Value]) -> bool | None:
    place = f"{layout.name} sub-section"
    if layout.sub is Sub.NONE or "." in text:
        raise broken(place, "", 0, "there is one too many")
    bits = bits_of(text, place)
    if layout.sub is Sub.SENSITIVE:
        table = Layout(layout.id, place, ((_SENSITIVE, _SENSITIVE_LENGTH),), Sub.NONE, layout.sensitive)
        values |= _values(table, "0" * _VERSION_BITS + bits)
        return None
    if bits[:2] != _GPC_TYPE or len(bits) < _GPC_BITS:
        raise broken(place, "GpcSegmentType", 0, "is not a GPC sub-section")
    return bits[2] == "1"
