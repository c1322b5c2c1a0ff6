"""Published vectors held against what the vault makes: pseudonyms, and digests of customer lists.

Two formats: our own (`root`, `pseudonyms`, `refused`, `moves`), and lists of digests that platforms publish (`vectors`
with `scheme`, `kind`, `raw`, the normalised spelling and the digest). Every difference is reported with its place.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from phonenumbers.geodata.locale import LOCALE_DATA

from consent_gateway.errors import InputError
from consent_gateway.vault.customer_match import MatchField, Platform, match_digest, match_form, meta_country, meta_name
from consent_gateway.vault.keyring import Keyring
from consent_gateway.vault.normal_forms import Normalised
from consent_gateway.vault.normalisers import normalise
from consent_gateway.vault.pseudonyms import Pseudonymiser
from consent_gateway.vault.roots import Roots

_FIELDS = {"email": MatchField.EMAIL, "em": MatchField.EMAIL, "phone": MatchField.PHONE, "ph": MatchField.PHONE}
_REGION = re.compile(r"(.*) \[country ([A-Z]{2})\]", re.DOTALL)
_SEVERAL = "cross_platform_trap"  # one value, its spelling on each platform


@dataclass(frozen=True, slots=True)
class Difference:
    """One thing that a file expects and that is made otherwise."""

    place: str
    expected: object
    got: object


@dataclass(slots=True)
class Comparison:
    """What was compared: how many expectations, and which did not hold."""

    format: str
    checked: int = 0
    differences: list[Difference] = field(default_factory=list)

    def check(self, place: str, expected: object, got: object) -> None:
        """Count one expectation, and keep it if it does not hold."""
        self.checked += 1
        if expected != got:
            self.differences.append(Difference(place, expected, got))


def compare(document: object) -> Comparison:
    """Hold a vector file against the vault; InputError if it is none of the formats, or says what nobody knows."""
    try:
        if isinstance(document, Mapping) and {"root", "pseudonyms", "refused"} <= document.keys():
            return _pseudonyms(document, bytes.fromhex(document["root"]))
        if isinstance(document, Mapping) and document.get("vectors"):
            return _digests(document["vectors"])
    except (KeyError, TypeError, ValueError, AttributeError):
        raise InputError("a vector lacks a member, or one of it is of the wrong kind") from None
    raise InputError("a vector file has `root`, `pseudonyms` and `refused`, or `vectors` with `scheme` and `raw`")


# -- pseudonyms ----------------------------------------------------------------------------------------------------


def _pseudonyms(document: Mapping[str, Any], root: bytes) -> Comparison:
    other = bytes(32)  # of the other roots nothing is used
    maker = Pseudonymiser(Keyring(Roots({1: other}, {1: other}, root, other, other, other)))
    found = Comparison("pseudonyms")
    for n, case in enumerate(document["pseudonyms"]):
        place, recipient, number = f"pseudonyms[{n}]", case["recipient"], case["subject_id"]
        found.check(f"{place}.text", case["text"], maker.pseudonym(number, recipient, case["epoch"]))
        found.check(f"{place}.subject_id", number, maker.resolve(case["text"], recipient))
    for n, case in enumerate(document["refused"]):
        found.check(f"refused[{n}]", None, maker.resolve(case["text"], case["recipient"]))
    for n, case in enumerate(document.get("moves", ())):
        found.check(f"moves[{n}].new", case["new"], _moved(maker, case))
    return found


def _moved(maker: Pseudonymiser, case: Mapping[str, Any]) -> str | None:
    (number,) = maker.resolve_all([case["old"]], case["recipient"], case["counting"])
    return None if number is None else maker.pseudonym(number, case["recipient"], case["epoch"])


# -- digests -------------------------------------------------------------------------------------------------------


def _digests(vectors: list[Mapping[str, Any]]) -> Comparison:
    found = Comparison("digests")
    for n, vector in enumerate(vectors):
        for platform, normalized, hexed in _expected(vector):
            form = _spelled(platform, vector["kind"], vector["raw"])
            digest = match_digest(platform, form)
            place = f"vectors[{n}].{platform}"
            found.check(f"{place}.normalized", normalized, form)
            found.check(f"{place}.sha256_hex", hexed, _hex(platform, digest))
            if "sha256_base64" in vector:
                found.check(f"{place}.sha256_base64", vector["sha256_base64"], digest)
    return found


def _expected(vector: Mapping[str, Any]) -> Iterator[tuple[Platform, str, str]]:
    """Yield the platforms of a vector, each with the spelling and the digest that it expects."""
    if vector["scheme"] != _SEVERAL:
        yield Platform(vector["scheme"]), vector["normalized"], vector["sha256_hex"]
        return
    for name in vector:
        who, _, what = name.rpartition("_")
        if what == "normalized":
            for platform in who.split("_"):
                yield Platform(platform), vector[name], vector[f"{who}_hex"]


def _spelled(platform: Platform, kind: str, raw: str) -> str:
    """Return a raw value as the vault would hold it and the platform spell it."""
    if kind == "fn":
        return meta_name(raw)
    if kind == "country":
        return meta_country(_country(raw))
    named = _REGION.fullmatch(raw)
    value, region = (named[1], named[2]) if named else (raw, None)
    if _FIELDS[kind] is MatchField.PHONE and region is None and not value.startswith("+"):
        value = f"+{value}"  # without a country the number begins with the country's code
    form = normalise(_FIELDS[kind].value, value, region=region)
    return match_form(platform, _FIELDS[kind], form.value) if isinstance(form, Normalised) else form.code


def _country(name: str) -> str:
    """Return the code of a country by its English name, or what is a code already."""
    named = (code for code, texts in LOCALE_DATA.items() if texts["aa"].casefold() == name.casefold())
    return next(named, name)


def _hex(platform: Platform, digest: str) -> str:
    return base64.b64decode(digest).hex() if platform is Platform.UID2 else digest
