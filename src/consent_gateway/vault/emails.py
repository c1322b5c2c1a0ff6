"""The normal form of an e-mail address: trimmed, NFC, lower case, the domain as A-labels (UTS 46, IDNA 2008).

Dots and plus-tags stay, for they are other mailboxes elsewhere. A label of the domain that mixes scripts, as
look-alikes of another label do, is refused (UTS 39 section 5.2); one that is whole in another script stays another
address, because its A-label is another one. So no spelling is ever taken for somebody else's address.

Three ways, each a subset of the next with the same answer (differential tests hold them to that): ASCII by one bounded
regular expression; an ASCII local part with the domain's answer remembered, since lists name few domains; the library.
"""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache
from typing import Final

from email_validator import EmailNotValidError, validate_email

from consent_gateway.vault.normal_forms import CACHED, Normalised, Rejected, has_controls

VERSION: Final = 1
MAX_LOCAL_BYTES = 64  # RFC 5321 section 4.5.3.1.1
MAX_EMAIL_BYTES = 254  # RFC 5321 section 4.5.3.1.3, less the angle brackets
_MAX_RAW = 1000  # what is longer even with its spaces is no address, and is not remembered either
_CLEARLY_SHORT = 200  # below this no spelling of the domain comes near the limits of length

# Dot-atom of at most 64, LDH labels of at most 63 without "--" in third place, alphabetic top level: ASCII only.
_LOCAL: Final = r"(?=[^@]{1,64}@)[a-z0-9!#$%&'*+/=?^_`{|}~-]+(?:\.[a-z0-9!#$%&'*+/=?^_`{|}~-]+)*@"
_SIMPLE = re.compile(_LOCAL + r"(?:(?!..--)[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z]{2,63}", re.ASCII)
_SIMPLE_LOCAL = re.compile(_LOCAL, re.ASCII | re.IGNORECASE)

_TOO_LONG = Rejected("email_too_long", "An e-mail address has at most 254 bytes, 64 before the @")

# Scripts that may share one label (UTS 39 section 5.2, "highly restrictive"); all others stand alone.
_SHARED_SCRIPTS: Final = (
    frozenset({"LATIN", "CJK", "HIRAGANA", "KATAKANA"}),
    frozenset({"LATIN", "CJK", "BOPOMOFO"}),
    frozenset({"LATIN", "CJK", "HANGUL"}),
)


def email(value: str) -> Normalised | Rejected:
    """Return the address with lower-case local part and A-label domain; at most 254 bytes."""
    if value.isascii():
        text = value.strip().lower()
        if len(text) <= MAX_EMAIL_BYTES and _SIMPLE.fullmatch(text):
            return Normalised("email", text, VERSION)
    elif len(value) <= _CLEARLY_SHORT:
        found = _by_domain(value.strip())
        if found is not None:
            return found
    return _TOO_LONG if len(value) > _MAX_RAW else _by_library(value)


def clear_caches() -> None:
    """Forget every value that was normalised."""
    _by_library.cache_clear()
    _domain_by_library.cache_clear()


def _by_domain(text: str) -> Normalised | Rejected | None:
    """Answer for a plain local part before an international domain; None where only the library can tell."""
    local = _SIMPLE_LOCAL.match(text)
    if local is None or not local[0].isascii():  # without regard to case, the Kelvin sign is a k
        return None
    domain = _domain_by_library(text[local.end() :])
    if isinstance(domain, Rejected):
        return domain
    address = local[0].lower() + domain
    return Normalised("email", address, VERSION) if len(address) <= _CLEARLY_SHORT else None


@lru_cache(maxsize=CACHED)
def _domain_by_library(domain: str) -> str | Rejected:
    """Return the A-labels of a domain, or why an address there has no normal form."""
    found = _by_library.__wrapped__("a@" + domain)
    return found if isinstance(found, Rejected) else found.value[2:]


@lru_cache(maxsize=CACHED)
def _by_library(value: str) -> Normalised | Rejected:
    text = unicodedata.normalize("NFC", value.strip())
    if len(text) > MAX_EMAIL_BYTES:
        return _TOO_LONG
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
        return _TOO_LONG
    return Normalised("email", address, VERSION)


def _mixes_scripts(label: str) -> bool:
    """Tell whether a U-label holds letters of scripts that do not belong together."""
    scripts = {unicodedata.name(char, "?").split(maxsplit=1)[0] for char in label if char.isalpha()}
    return len(scripts) > 1 and not any(scripts <= shared for shared in _SHARED_SCRIPTS)
