"""Digests of customer lists, as advertising platforms match them: the disclosure of an identifier, and nothing less.

A platform is sent SHA-256 of an address and knows the person if it holds the same address. So does anybody else who
holds the digest: all telephone numbers of a country are hashed in minutes, and an address book in a second. An unkeyed
digest is no pseudonym (EDPB Guidelines 01/2025 §88 and footnote 23); what is made here is personal data for whoever
receives it, and leaves only where the identifier itself might.

Each platform normalises in its own way, and one person has one digest for each:

==========  =====================================  ==========================================  ================
platform    e-mail                                 telephone                                   digest
==========  =====================================  ==========================================  ================
``meta``    lower case; dots and ``+tag`` stay     digits with country code, no ``+``          SHA-256, hex
``google``  lower case, no white space             E.164 with ``+``                            SHA-256, hex
``uid2``    lower case; gmail.com: neither dots    E.164 with ``+``                            SHA-256, base64
            nor ``+tag``
==========  =====================================  ==========================================  ================

Input are normal forms of the vault (`normalisers`): an address in lower case with the domain in A-labels, a number in
E.164. Nothing here keeps what it is given.
"""

from __future__ import annotations

import base64
import hashlib
import re
import unicodedata
from collections.abc import Callable, Mapping
from enum import StrEnum
from typing import Final

_GMAIL: Final = "gmail.com"


class Platform(StrEnum):
    """Who matches digests, each by its own rules."""

    META = "meta"
    GOOGLE = "google"
    UID2 = "uid2"


class MatchField(StrEnum):
    """What is matched by: contact points alone, because a name or a place would only say more than is needed."""

    EMAIL = "email"
    PHONE = "phone"


def match_form(platform: Platform, field: MatchField, value: str) -> str:
    """Return a contact point in the spelling that a platform hashes; `value` is the vault's normal form of it."""
    return _FORMS[platform, field](value)


def match_digest(platform: Platform, form: str) -> str:
    """Return the digest of a spelling in the encoding that a platform takes: base64 for UID2, hex for the others."""
    digest = hashlib.sha256(form.encode())
    return base64.b64encode(digest.digest()).decode() if platform is Platform.UID2 else digest.hexdigest()


def meta_name(value: str) -> str:
    """Return a name as Meta hashes it: lower case, without punctuation and white space around it."""
    text = unicodedata.normalize("NFC", value).strip().lower()
    return "".join(char for char in text if not unicodedata.category(char).startswith("P"))


def meta_country(code: str) -> str:
    """Return a country (ISO 3166-1 alpha-2) as Meta hashes it: lower case."""
    return code.lower()


def _email(value: str) -> str:
    return "".join(value.split()).lower()


def _uid2_email(value: str) -> str:
    local, _, domain = _email(value).rpartition("@")
    if domain == _GMAIL:
        local = local.partition("+")[0].replace(".", "")
    return f"{local}@{domain}"


def _e164(value: str) -> str:
    return "+" + _digits(value)


def _digits(value: str) -> str:
    return re.sub(r"[^0-9]", "", value).lstrip("0")


_FORMS: Final[Mapping[tuple[Platform, MatchField], Callable[[str], str]]] = {
    (Platform.META, MatchField.EMAIL): lambda value: value.strip().lower(),
    (Platform.META, MatchField.PHONE): _digits,
    (Platform.GOOGLE, MatchField.EMAIL): _email,
    (Platform.GOOGLE, MatchField.PHONE): _e164,
    (Platform.UID2, MatchField.EMAIL): _uid2_email,
    (Platform.UID2, MatchField.PHONE): _e164,
}
