"""Identifiers that carry their own proof: a check digit that is wrong is a typing error, and some numbers are no keys.

Only what is declared by its shape is judged, so that an operator's own numbers stay their own business:

- `device_id` of 15 digits: an IMEI (3GPP TS 23.003 annex B, Luhn);
- `external_id` that begins with `LEI:` (ISO 17442) or `USCC:` (GB 32100, 统一社会信用代码): a company's number;
- an 18-digit resident identity card number of the PRC (GB 11643, 居民身份证) as any identifier is refused though it is
  right: it tells birth date, birthplace and sex, and marketing needs none of that to tell customers apart (PIPL Art 6).

Asked where customers come in, never where somebody is looked up: a no counts by whatever identifier it names, and an
identifier that was stored before stays findable.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from stdnum import imei, lei
from stdnum.cn import ric, uscc

from consent_gateway.vault.normal_forms import Normalised, Rejected

_IMEI_DIGITS = 15
_CARD_DIGITS = 18
_SCHEMES: Final[Mapping[str, Callable[[str], bool]]] = {"LEI": lei.is_valid, "USCC": uscc.is_valid}
_OPERATORS_OWN = frozenset({"member_no", "external_id", "openid", "device_id"})


def doubtful(form: Normalised) -> Rejected | None:
    """Return why a new customer must not be known by this identifier; None for all but the declared shapes."""
    if form.kind not in _OPERATORS_OWN:
        return None
    text = form.value
    if len(text) == _CARD_DIGITS and text[:-1].isdigit() and ric.is_valid(text):
        return Rejected(
            "identity_card_number", "A resident identity card number is sensitive: use a number of your own"
        )
    if form.kind == "device_id" and len(text) == _IMEI_DIGITS and text.isdigit() and not imei.is_valid(text):
        return Rejected("device_id_checksum", "The check digit of this IMEI is wrong: read it again")
    scheme, _, number = text.partition(":")
    if form.kind == "external_id" and scheme in _SCHEMES and not _SCHEMES[scheme](number):
        return Rejected("external_id_checksum", f"The check digits of this {scheme} are wrong: read it again")
    return None
