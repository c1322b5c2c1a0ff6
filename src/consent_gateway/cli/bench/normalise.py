"""Normal forms in process: a mixed list as marketing has it, seen for the first time and again, beside the bare HMAC.

The list is made up by formulas: three quarters plain addresses, some in international domains, the rest phone numbers,
with `+` or as dialled at home. The first figure begins with empty caches, the second with what the first remembered.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from time import perf_counter

import phonenumbers

from consent_gateway.cli.bench.plan import Plan
from consent_gateway.cli.bench.stats import Figure, Limit, spread
from consent_gateway.vault.blind_index import BlindIndexer
from consent_gateway.vault.keyring import Keyring
from consent_gateway.vault.normalisers import clear_caches, normalise

AIM = 200_000.0
_DISTINCT = 100_000
_REGIONS = ("DE", "FR", "CN", "US", "GB", "JP", "IN", "BR", "IT", "ES", "PL", "AU")
_TRUNK = frozenset({"DE", "FR", "GB", "JP", "IN", "AU"})  # where people write the zero
_STEP = 7919  # a prime: spreads consecutive numbers over the last six digits

Value = tuple[str, str, str | None]
"""Kind, spelling, and the region in which it is dialled."""


def measure(plan: Plan) -> list[Figure]:
    """Measure values a second, cold and warm."""
    values = sample(min(_DISTINCT, plan.people))
    cold, warm = [], []
    for _ in range(plan.rounds):
        clear_caches()
        cold.append(_rate(values))
        warm.append(_rate(values))
    bare = Limit("bare HMAC", spread([_bare(values) for _ in range(plan.rounds)]))
    note = f"{len(values):,} values, 5 % of the addresses international, a fifth of the numbers national"
    return [
        Figure("normal forms, empty caches", spread(cold), "values/s", (bare,), AIM, note),
        Figure("normal forms, the same list again", spread(warm), "values/s", (bare,), AIM),
    ]


def sample(count: int) -> list[Value]:
    """Return `count` distinct spellings, the same each time."""
    return [_phone(n) if n % 4 == 3 else _address(n) for n in range(count)]  # noqa: PLR2004 - every fourth


def _address(number: int) -> Value:
    if number % 20 == 0:
        return "email", f"user{number}@bücher{number % 53}.example", None
    return "email", f"First.Last{number}@Shop{number % 997}.Example.com", None


def _phone(number: int) -> Value:
    region = _REGIONS[number // 4 % len(_REGIONS)]
    code, mobile = _mobile(region)
    national = f"{mobile[:-6]}{number * _STEP % 10**6:06}"
    if number // 4 % 5:
        return "phone", f"+{code}{national}", None
    return "phone", f"0{national}" if region in _TRUNK else national, region


@lru_cache
def _mobile(region: str) -> tuple[str, str]:
    example = phonenumbers.example_number_for_type(region, phonenumbers.PhoneNumberType.MOBILE)
    if example is None:
        raise LookupError(region)
    return str(example.country_code), str(example.national_number)


def _rate(values: Sequence[Value]) -> float:
    begun = perf_counter()
    for kind, value, region in values:
        normalise(kind, value, region=region)
    return len(values) / (perf_counter() - begun)


def _bare(values: Sequence[Value]) -> float:
    indexer = BlindIndexer(Keyring.in_memory())
    begun = perf_counter()
    for kind, value, _ in values:
        indexer.index(kind, value)
    return len(values) / (perf_counter() - begun)
