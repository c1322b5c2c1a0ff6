"""What a web page's consent platform sends: a TC string (IAB TCF v2.3), and a GPP string with a Californian section.

Written from the specifications, because the product reads such strings and never makes one.
"""

from __future__ import annotations

import base64
from collections.abc import Collection
from datetime import datetime

_PURPOSES, _FEATURES = 24, 12
_CALIFORNIA = "000011"  # section 8 of GPP in the Fibonacci code
_NOTICES = (1, 1, 1)  # of sale, of sharing, of the right to limit: all were shown
_OPT_OUTS = (2, 2)  # of sale, of sharing: "did not opt out" by any button
_REST = (0,) * 12 + (2, 0, 0)  # sensitive data, children, other consents; no MSPA transaction


def tc_string(made: datetime, purposes: Collection[int], vendor: int) -> str:
    """Return the TC string of somebody who was shown `vendor` and consented to `purposes`, and to it if to any."""
    day = int(made.replace(hour=0, minute=0, second=0, microsecond=0).timestamp()) * 10
    core = _number(2, 6) + _number(day, 36) * 2 + _number(300, 12) + _number(1, 12) + _number(1, 6)
    core += _letters("DE") + _number(48, 12) + _number(5, 6) + "10" + "0" * _FEATURES
    core += _field(purposes, _PURPOSES) + "0" * _PURPOSES + "0" + _letters("DE")
    core += _vendors([vendor] if purposes else []) + _vendors([]) + _number(0, 12)
    return f"{_text(core)}.{_text('001' + _vendors([vendor]))}"


def gpp_string(*, gpc: bool) -> str:
    """Return a GPP string whose Californian section says nothing but, perhaps, that the browser sends GPC."""
    header = _number(3, 6) + _number(1, 6) + _number(1, 12) + "0" + _CALIFORNIA
    core = _number(1, 6) + "".join(_number(value, 2) for value in (*_NOTICES, *_OPT_OUTS, *_REST))
    return f"{_text(header)}~{_text(core)}.{_text('01' + ('1' if gpc else '0'))}"


def _number(value: int, width: int) -> str:
    return f"{value:0{width}b}"


def _letters(two: str) -> str:
    return "".join(_number(ord(letter) - ord("A"), 6) for letter in two)


def _field(ids: Collection[int], width: int) -> str:
    return "".join("1" if n in ids else "0" for n in range(1, width + 1))


def _vendors(ids: Collection[int]) -> str:
    largest = max(ids, default=0)
    return _number(largest, 16) + "0" + _field(ids, largest)


def _text(bits: str) -> str:
    filled = bits + "0" * (-len(bits) % 8)
    return base64.urlsafe_b64encode(int(filled, 2).to_bytes(len(filled) // 8)).decode().rstrip("=")
