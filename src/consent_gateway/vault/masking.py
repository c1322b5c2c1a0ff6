"""Masked views: enough to recognise one's own data, too little to use someone else's.

A masked text never has the length of the original: the run of stars is always three. Inputs are normal forms.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

STARS = "***"
_LONG_NATIONAL = 8
_LONG_ID = 12

# ITU-T E.164 assigned country codes of one and two digits; every other code has three
_ONE_DIGIT: Final = frozenset("17")
_TWO_DIGIT_CODES = """
    20 27 30 31 32 33 34 36 39 40 41 43 44 45 46 47 48 49 51 52 53 54 55 56 57 58 60 61 62 63 64 65 66 81 82 84 86
    90 91 92 93 94 95 98
"""
_TWO_DIGITS: Final = frozenset(_TWO_DIGIT_CODES.split())


def mask(kind: str, value: str) -> str:
    """Return the masked view of a normal form; three stars for a kind without one."""
    masker = _MASKERS.get(kind)
    return masker(value) if masker else STARS


def mask_email(address: str) -> str:
    """Return `j***@example.com`: the first letter if there are more, and the domain."""
    local, _, domain = address.rpartition("@")
    return f"{local[0] if len(local) > 1 else ''}{STARS}@{domain}"


def mask_phone(number: str) -> str:
    """Return `+49 *** 1234`: country code and last four digits; the last two of a short number."""
    digits = number.removeprefix("+")
    width = 1 if digits[:1] in _ONE_DIGIT else 2 if digits[:2] in _TWO_DIGITS else 3
    national = digits[width:]
    shown = 4 if len(national) >= _LONG_NATIONAL else 2
    return f"+{digits[:width]} {STARS} {national[-shown:] if len(national) > shown else ''}".rstrip()


def mask_name(full_name: str) -> str:
    """Return `J*** D***`: the first letter of each word; a word of one letter is all stars."""
    return " ".join(f"{word[0] if len(word) > 1 else ''}{STARS}" for word in full_name.split()) or STARS


def mask_id(value: str) -> str:
    """Return the last four characters of an id that is long enough to keep its secret, else three stars."""
    return f"{STARS}{value[-4:]}" if len(value) >= _LONG_ID else STARS


def mask_date(value: str) -> str:
    """Return the year of an ISO date: `1984-***`."""
    return f"{value[:4]}-{STARS}"


def mask_address(value: str) -> str:
    """Return `B***`: the first letter of the last word, which is the town or the country; without one, three stars."""
    words = [word for word in value.replace(",", " ").split() if word[0].isalpha()]
    return f"{words[-1][0] if words and len(words[-1]) > 1 else ''}{STARS}"


_MASKERS: Final[Mapping[str, Callable[[str], str]]] = {
    "email": mask_email,
    "phone": mask_phone,
    "name": mask_name,
    "given_name": mask_name,
    "family_name": mask_name,
    "member_no": mask_id,
    "external_id": mask_id,
    "device_id": mask_id,
    "openid": mask_id,
    "date": mask_date,
    "birth_date": mask_date,
    "postal_address": mask_address,
}
