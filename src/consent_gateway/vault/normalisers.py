"""One spelling per identifier, so that a blind index finds it again; versioned, because the index depends on it.

`normalise(kind, value)` answers `Normalised` or `Rejected`, never an exception and never the value in a message.
E-mail: trimmed, NFC, domain as lower-case A-labels (IDNA), local part lower-cased by policy; dots and plus-tags stay,
for they are other mailboxes elsewhere. Phone: E.164, by the metadata that the field itself maintains.

This is the hot path of every import, and the libraries cost 20 to 160 µs a value. So the common spellings take a
regular expression that accepts a subset of what the library accepts, with the same answer (a differential test holds
it to that); the rest goes through the library once and is remembered. Those caches hold personal data in memory:
`clear_caches` belongs into every erasure.

A change of a rule's *answers* needs a new number in `VERSIONS`, and a new index generation to go with it.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Mapping
from datetime import date
from functools import lru_cache
from typing import Final

import phonenumbers
from email_validator import EmailNotValidError, validate_email

from consent_gateway.vault import normal_forms as forms
from consent_gateway.vault.normal_forms import Normalised, Rejected, has_controls

VERSIONS: Final[Mapping[str, int]] = {
    "email": 1,
    "phone": 1,
    "member_no": 1,
    "external_id": 1,
    "device_id": 1,
    "openid": 1,
    "name": 1,
    "country": 1,
    "region": 1,
    "date": 1,
    "birth_date": 1,
    "birth_year": 1,
}

MAX_LOCAL_BYTES = 64  # RFC 5321 section 4.5.3.1.1
MAX_EMAIL_BYTES = 254  # RFC 5321 section 4.5.3.1.3, less the angle brackets
_CACHED = 65_536

_PLAIN: Final[Mapping[str, Callable[[str], Normalised | Rejected]]] = {
    "member_no": forms.member_no,
    "external_id": forms.external_id,
    "device_id": forms.device_id,
    "openid": forms.openid,
    "name": forms.name,
    "country": forms.country,
    "region": forms.region,
}
_DATED: Final[Mapping[str, Callable[[str, date | None], Normalised | Rejected]]] = {
    "date": forms.day,
    "birth_date": forms.birth_date,
    "birth_year": forms.birth_year,
}

# Dot-atom of at most 64, LDH labels of at most 63 without "--" in third place, alphabetic top level: ASCII only.
_SIMPLE_EMAIL = re.compile(
    r"(?=[^@]{1,64}@)[a-z0-9!#$%&'*+/=?^_`{|}~-]+(?:\.[a-z0-9!#$%&'*+/=?^_`{|}~-]+)*"
    r"@(?:(?!..--)[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z]{2,63}",
    re.ASCII,
)
_PHONE_SEPARATORS: Final = str.maketrans("", "", " -./()\u00a0\u2010\u2011\u2012\u2013")
_PHONE = re.compile(r"\+?[0-9]{3,20}", re.ASCII)

# Scripts that may share one label (UTS 39 section 5.2, "highly restrictive"); all others stand alone.
_SHARED_SCRIPTS: Final = (
    frozenset({"LATIN", "CJK", "HIRAGANA", "KATAKANA"}),
    frozenset({"LATIN", "CJK", "BOPOMOFO"}),
    frozenset({"LATIN", "CJK", "HANGUL"}),
)


def normalise(kind: str, value: str, *, region: str | None = None, today: date | None = None) -> Normalised | Rejected:
    """Return the normal form of `value`, or why it has none.

    `kind` is a key of `VERSIONS`. `region` (ISO 3166-1 alpha-2) is where a phone number without `+` is dialled;
    `today` bounds dates. An unknown kind is `Rejected` too.
    """
    if kind == "email":
        return email(value)
    if kind == "phone":
        return phone(value, region)
    if kind in _PLAIN:
        return _PLAIN[kind](value)
    if kind in _DATED:
        return _DATED[kind](value, today)
    return Rejected("unknown_kind", "There is no such kind of value")


def email(value: str) -> Normalised | Rejected:
    """Return the address with lower-case local part and A-label domain; at most 254 bytes."""
    text = value.strip().lower() if value.isascii() else value
    if len(text) <= MAX_EMAIL_BYTES and _SIMPLE_EMAIL.fullmatch(text):
        return Normalised("email", text, 1)
    return _email_by_library(value)


def phone(value: str, region: str | None = None) -> Normalised | Rejected:
    """Return the E.164 number (ITU-T E.164: `+`, at most 15 digits), if such a number can exist.

    Without a leading `+` the `region` must be given; there is no default country. Extensions and letters are refused.
    """
    text = value.translate(_PHONE_SEPARATORS)
    if text[:1] == "+" and _is_simple_phone(text):
        return Normalised("phone", text, 1)
    return _phone_by_library(value, region)


def clear_caches() -> None:
    """Forget every value that was normalised; part of an erasure, on each process."""
    _email_by_library.cache_clear()
    _phone_by_library.cache_clear()


@lru_cache(maxsize=_CACHED)
def _email_by_library(value: str) -> Normalised | Rejected:
    text = unicodedata.normalize("NFC", value.strip())
    if len(text) > MAX_EMAIL_BYTES:
        return Rejected("email_too_long", "An e-mail address has at most 254 bytes, 64 before the @")
    if has_controls(text):
        return Rejected("email_control_character", "An e-mail address holds no control or invisible characters")
    try:
        parts = validate_email(text, check_deliverability=False, test_environment=True)
    except (EmailNotValidError, ValueError):
        return Rejected("email_invalid", "This is not an e-mail address that the internet could deliver to")
    if any(_mixes_scripts(label) for label in parts.domain.split(".")):
        return Rejected("email_mixed_scripts", "A label of the domain mixes scripts, as look-alikes do")
    local = unicodedata.normalize("NFC", parts.local_part.lower())
    address = f"{local}@{parts.ascii_domain.lower()}"
    if len(local.encode()) > MAX_LOCAL_BYTES or len(address.encode()) > MAX_EMAIL_BYTES:
        return Rejected("email_too_long", "An e-mail address has at most 254 bytes, 64 before the @")
    return Normalised("email", address, 1)


def _mixes_scripts(label: str) -> bool:
    """Tell whether a U-label holds letters of scripts that do not belong together."""
    scripts = {unicodedata.name(char, "?").split(maxsplit=1)[0] for char in label if char.isalpha()}
    return len(scripts) > 1 and not any(scripts <= shared for shared in _SHARED_SCRIPTS)


@lru_cache(maxsize=_CACHED)
def _phone_by_library(value: str, region: str | None) -> Normalised | Rejected:
    text = unicodedata.normalize("NFKC", value).strip().translate(_PHONE_SEPARATORS)
    if not _PHONE.fullmatch(text):
        return Rejected("phone_invalid", "A phone number has digits, a leading `+`, and separators only")
    if text[0] != "+" and region is None:
        return Rejected("phone_region_required", "Without a leading `+` the country of the number is needed")
    if region is not None and region not in phonenumbers.SUPPORTED_REGIONS:
        return Rejected("phone_region_unknown", "The country of the number is an ISO 3166-1 alpha-2 code")
    try:
        number = phonenumbers.parse(text, region)
    except phonenumbers.NumberParseException:
        return Rejected("phone_invalid", "This is not a phone number")
    if not phonenumbers.is_valid_number(number):
        return Rejected("phone_unassigned", "No such phone number can exist in that country")
    return Normalised("phone", phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164), 1)


def _is_simple_phone(text: str) -> bool:
    """Tell whether `+digits` is certainly valid and already E.164, by its country's own patterns."""
    digits = text[1:]
    if not (digits.isascii() and digits.isdigit()):
        return False
    for width in (1, 2, 3):
        if int(digits[:width]) in phonenumbers.COUNTRY_CODE_TO_REGION_CODE:
            return _valid_in(digits[:width], digits[width:])
    return False


def _valid_in(code: str, national: str) -> bool:
    pattern = _national_pattern(int(code))
    return pattern is not None and code[0] != "0" and pattern.fullmatch(national) is not None


@lru_cache(maxsize=512)
def _national_pattern(code: int) -> re.Pattern[str] | None:
    """Return what a national number of the calling code's main region matches, or None if that is not simple.

    Numbers that begin like a national prefix are left to the library, which may strip it.
    """
    region = phonenumbers.COUNTRY_CODE_TO_REGION_CODE[code][0]
    data = phonenumbers.PhoneMetadata.metadata_for_region(region, None)
    if data is None or data.leading_digits is not None:
        return None
    kinds = (data.fixed_line, data.mobile, data.toll_free, data.premium_rate, data.shared_cost, data.voip)
    patterns = [kind.national_number_pattern for kind in kinds if kind and kind.national_number_pattern]
    general = data.general_desc.national_number_pattern if data.general_desc else None
    prefix = f"(?!{data.national_prefix_for_parsing})" if data.national_prefix_for_parsing else ""
    return re.compile(f"{prefix}(?=(?:{general})$)(?:{'|'.join(patterns)})") if general and patterns else None
