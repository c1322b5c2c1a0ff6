"""Which kind of signal a text is, told by the text alone."""

from __future__ import annotations

from enum import StrEnum

from consent_gateway.policies.signals.bits import broken, require_length
from consent_gateway.policies.signals.gpc import GpcSignal, says_opt_out
from consent_gateway.policies.signals.gpp import GppString, decode_gpp
from consent_gateway.policies.signals.tc_strings import TcString
from consent_gateway.policies.signals.tcf import decode_tcf
from consent_gateway.policies.signals.us import UspString, decode_usp

Signal = TcString | GppString | UspString | GpcSignal
_USP_LENGTH = 4


class SignalKind(StrEnum):
    """The signals that are understood."""

    GPC = "gpc"
    TCF = "tcf"
    GPP = "gpp"
    USP = "usp"


def kind_of(text: str) -> SignalKind:
    """Return the kind of a signal; SignalError if it begins like none.

    A GPP header begins with type 3 (`D`), a TC string with version 2 (`C`), a US Privacy string has four characters
    and begins with 1, and a value of `Sec-GPC` is a digit or a list of such.
    """
    require_length(text, "signal")
    if text.startswith("D"):
        return SignalKind.GPP
    if text.startswith("C"):
        return SignalKind.TCF
    if len(text) == _USP_LENGTH and text.startswith("1") and "," not in text:
        return SignalKind.USP
    if text.strip(" \t,") and not text.strip(" \t,01"):
        return SignalKind.GPC
    raise broken("signal", "", 0, "begins like no TCF, GPP or US Privacy string and is no value of Sec-GPC")


def decode(text: str, kind: SignalKind | None = None) -> Signal:
    """Return a signal decoded as `kind`, or as what it looks like; SignalError names section, field and bit.

    A value of `Sec-GPC` is never wrong: anything but an exact 1 is no signal.
    """
    match kind or kind_of(text):
        case SignalKind.GPP:
            return decode_gpp(text)
        case SignalKind.TCF:
            return decode_tcf(text, "core")
        case SignalKind.USP:
            return decode_usp(text)
        case SignalKind.GPC:
            require_length(text, "signal")
            return GpcSignal(says_opt_out([text]))
