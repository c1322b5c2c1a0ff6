"""The normal form of a phone number: E.164 (ITU-T E.164: `+`, at most 15 digits), by the field's own metadata.

There is no default country: a number without `+` is dialled in the region that is named with it, or refused. The plain
spellings (`+digits`, and national digits in their region) are matched against that country's own patterns and give what
the library gives (differential tests over generated numbers); whatever begins like a prefix that the library may strip
or exchange goes through the library once and is remembered.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

import phonenumbers

from consent_gateway.vault.normal_forms import CACHED, Normalised, Rejected

VERSION: Final = 1
_MAX_RAW = 64  # 15 digits and as much decoration as anybody writes; what is longer is not remembered either
_SEPARATORS: Final = str.maketrans("", "", " -./()\u00a0\u2010\u2011\u2012\u2013")
_PHONE = re.compile(r"\+?[0-9]{3,20}", re.ASCII)
_INVALID = Rejected("phone_invalid", "A phone number has digits, a leading `+`, and separators only")
_REGION_REQUIRED = Rejected(
    "phone_region_required",
    "Write the number with `+` and its country code, or name the country in which it is dialled as it stands",
)


@dataclass(frozen=True, slots=True)
class _Plan:
    """How plain national numbers of one country look, and what is dialled before them at home."""

    code: str
    plain: re.Pattern[str]
    prefix: re.Pattern[str] | None
    abroad: re.Pattern[str] | None  # what is dialled there before another country's code


def phone(value: str, region: str | None = None) -> Normalised | Rejected:
    """Return the E.164 number, if such a number can exist.

    Without a leading `+` the `region` must be given; there is no default country. Extensions and letters are refused.
    """
    if len(value) > _MAX_RAW:
        return _INVALID
    text = value if value[1:].isdigit() else value.translate(_SEPARATORS)
    found = _simple(text) if text[:1] == "+" else None if region is None else _simple_national(text, region)
    return _by_library(value, region) if found is None else Normalised("phone", found, VERSION)


def clear_caches() -> None:
    """Forget every value that was normalised."""
    _by_library.cache_clear()


@lru_cache(maxsize=CACHED)
def _by_library(value: str, region: str | None) -> Normalised | Rejected:
    text = unicodedata.normalize("NFKC", value).strip().translate(_SEPARATORS)
    if not _PHONE.fullmatch(text):
        return _INVALID
    if text[0] != "+" and region is None:
        return _REGION_REQUIRED
    if region is not None and region not in phonenumbers.SUPPORTED_REGIONS:
        return Rejected("phone_region_unknown", "The country of the number is an ISO 3166-1 alpha-2 code")
    try:
        number = phonenumbers.parse(text, region)
    except phonenumbers.NumberParseException:
        return Rejected("phone_invalid", "This is not a phone number")
    if not phonenumbers.is_valid_number(number):
        return Rejected("phone_unassigned", "No such phone number can exist in that country")
    return Normalised("phone", phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164), VERSION)


def _simple(text: str) -> str | None:
    """Return `+digits` if it is certainly valid and already E.164, by its country's own patterns."""
    code, plan = _plan_behind(text[1:4])
    return text if plan is not None and plan.plain.fullmatch(text, code) else None


@lru_cache(maxsize=2048)
def _plan_behind(three: str) -> tuple[int, _Plan | None]:
    """Return where the national number begins behind a `+` and these three digits, and the plan of their country."""
    for width in (1, 2, 3) if three.isascii() and three.isdigit() and three[0] != "0" else ():
        regions = phonenumbers.COUNTRY_CODE_TO_REGION_CODE.get(int(three[:width]))
        if regions is not None:
            return width + 1, _plan(regions[0])
    return 0, None


def _simple_national(text: str, region: str) -> str | None:
    """Return the E.164 form of digits as they are dialled in `region`; None where only the library can tell."""
    plan = _plan(region)
    if plan is None or (plan.abroad is not None and plan.abroad.match(text)):
        return None
    own = text
    if plan.prefix is not None and (found := plan.prefix.match(text)):
        if found[0] != "0" or any(found.groups()):
            return None
        own = text[1:]
    return f"+{plan.code}{own}" if plan.plain.fullmatch(own) and not own.startswith(plan.code) else None


@lru_cache(maxsize=512)
def _plan(region: str) -> _Plan | None:
    """Return how plain numbers of a country look, None if that is not simple: it shares its code as a junior, say.

    A number that begins like a national prefix, or as dialled like the country's own code, is not plain: the library
    may strip that. A single trunk zero before what is plain is all that is stripped here.
    """
    data = phonenumbers.PhoneMetadata.metadata_for_region(region, None)
    if data is None or phonenumbers.region_code_for_country_code(data.country_code or 0) != region:
        return None
    kinds = (data.fixed_line, data.mobile, data.toll_free, data.premium_rate, data.shared_cost, data.voip)
    patterns = [kind.national_number_pattern for kind in kinds if kind and kind.national_number_pattern]
    general = data.general_desc.national_number_pattern if data.general_desc else None
    if data.leading_digits is not None or not general or not patterns:
        return None
    parsed = data.national_prefix_for_parsing
    prefix = f"(?!{parsed})" if parsed else ""
    plain = f"{prefix}(?=(?:{general})$)(?:{'|'.join(patterns)})"
    home = re.compile(parsed, re.ASCII) if parsed else None
    abroad = re.compile(data.international_prefix, re.ASCII) if data.international_prefix else None
    return _Plan(str(data.country_code), re.compile(plain, re.ASCII), home, abroad)
