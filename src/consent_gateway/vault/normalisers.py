"""One spelling per identifier, so that a blind index finds it again; versioned, because the index depends on it.

`normalise(kind, value)` answers `Normalised` or `Rejected`, never an exception and never the value in a message. The
rules are in `emails`, `phones` and `normal_forms`.

This is the hot path of every import, and the libraries cost 20 to 160 µs a value. So the common spellings take a
regular expression that accepts a subset of what the library accepts, with the same answer (a differential test holds
it to that); the rest goes through the library once and is remembered. Those caches hold personal data in memory:
`clear_caches` belongs into every erasure.

A change of a rule's *answers* needs a new number in `VERSIONS`, its former self in `FORMER`, and a new generation of
the index to go with it: until a store has moved there, its people are found by the former rule. A new rule must take
what the former one made for its own (`new(old(x)) == new(x)`), because of a stored value only that is left. A former
rule stays for good: tombstones and what strangers left can never be computed anew.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import date
from typing import Final

from consent_gateway.vault import emails, phones
from consent_gateway.vault import normal_forms as forms
from consent_gateway.vault.emails import email
from consent_gateway.vault.normal_forms import Normalised, Rejected
from consent_gateway.vault.phones import phone

VERSIONS: Final[dict[str, int]] = {
    "email": emails.VERSION,
    "phone": phones.VERSION,
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

FORMER: Final[dict[str, Mapping[int, Callable[[str, str | None], Normalised | Rejected]]]] = {}
"""The rules of former versions, by kind and version: value and region to the answer of then."""

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


def normalise(kind: str, value: str, *, region: str | None = None, today: date | None = None) -> Normalised | Rejected:
    """Return the normal form of `value`, or why it has none.

    `kind` is a key of `VERSIONS`. `region` (ISO 3166-1 alpha-2) is where a phone number without `+` is dialled;
    `today` bounds dates. An unknown kind is `Rejected` too.
    """
    form = _by_rule(kind, value, region, today)
    if kind not in FORMER or isinstance(form, Rejected):
        return form
    return form._replace(earlier=_earlier(kind, value, region))


def stored(kind: str, value: str) -> Normalised:
    """Return the form of a value that was a normal form when it was stored, by whichever version."""
    form = normalise(kind, value) if kind in FORMER else None
    return form if isinstance(form, Normalised) else Normalised(kind, value, VERSIONS[kind])


def clear_caches() -> None:
    """Forget every value that was normalised; part of an erasure, on each process."""
    emails.clear_caches()
    phones.clear_caches()


def _earlier(kind: str, value: str, region: str | None) -> tuple[tuple[int, str], ...]:
    answers = ((version, rule(value, region)) for version, rule in sorted(FORMER[kind].items(), reverse=True))
    return tuple((version, found.value) for version, found in answers if isinstance(found, Normalised))


def _by_rule(kind: str, value: str, region: str | None, today: date | None) -> Normalised | Rejected:
    if kind == "email":
        return email(value)
    if kind == "phone":
        return phone(value, region)
    if kind in _PLAIN:
        return _PLAIN[kind](value)
    if kind in _DATED:
        return _DATED[kind](value, today)
    return Rejected("unknown_kind", "There is no such kind of value")
