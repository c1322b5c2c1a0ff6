"""The vault in process: people put in, found by an identifier and opened, beside the bare cryptography and inserts.

A put is everything but HTTP: five fields of which three are indexed, checked, joined, sealed and written with its log
entry, a batch in one transaction. Who is opened is found by the e-mail address; nobody is asked for permission here,
which is what `reveal` adds.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from time import perf_counter

from consent_gateway.cli.bench import bare
from consent_gateway.cli.bench.crowd import Customer, customer
from consent_gateway.cli.bench.site import SOURCE, Site, twin
from consent_gateway.cli.bench.stats import Figure, Limit, in_a_row, spread
from consent_gateway.db import subjects
from consent_gateway.errors import UnavailableError
from consent_gateway.services.identity.people import Resolver
from consent_gateway.services.persons.subjects import import_subjects
from consent_gateway.services.rows.intake import Incoming
from consent_gateway.services.work.items import SubjectItem, SubjectRef
from consent_gateway.services.work.vault import PROFILE, open_group

AIM_SHARE = 0.5  # of the bare work
AIM_OPENED = 20_000.0
_FIRST = 50_000_000  # numbers that no other measurement has


def measure(site: Site) -> list[Figure]:
    """Measure putting people in, and opening one field of each."""
    plan = site.plan
    put, opened, crypto, inserts = [], [], [], []
    with twin(site) as raw:
        _put(site, _people(site, 0))  # outside the window: whatever is made once
        for n in range(1, plan.rounds + 1):
            people = _people(site, n)
            batches = [bare.inputs(batch) for batch in people]
            put.append(_put(site, people))
            opened.append(_open(site, people))
            crypto.append(bare.crypto_rate(site.gateway, [one for b in batches for one in b], plan.import_rows))
            inserts.append(bare.insert_rate(raw, [bare.rows(site.gateway, batch, SOURCE) for batch in batches]))
    both = spread([in_a_row(*rates) for rates in zip(crypto, inserts, strict=True)])
    limits = (Limit("bare cryptography", spread(crypto)), Limit("bare inserts", spread(inserts)))
    return [
        Figure("put, five fields, three indexes", spread(put), "subjects/s", (*limits, Limit("both in a row", both)),
               AIM_SHARE * both.median, "aim: half of both in a row"),
        Figure("found and one field opened", spread(opened), "subjects/s", (), AIM_OPENED),
    ]  # fmt: skip


def _people(site: Site, run: int) -> list[list[Customer]]:
    plan = site.plan
    first = _FIRST + run * plan.import_calls * plan.import_rows
    starts = range(first, first + plan.import_calls * plan.import_rows, plan.import_rows)
    return [[_with_phone(n) for n in range(start, start + plan.import_rows)] for start in starts]


def _with_phone(number: int) -> Customer:
    """Return a customer with all three identifiers; phones of the crowd have a zero where this one has none."""
    return replace(customer(number), phone=f"+49151{number:08d}")


def _put(site: Site, people: Sequence[Sequence[Customer]]) -> float:
    batches = [[Incoming(n, b"", _item(person)) for n, person in enumerate(batch)] for batch in people]
    begun = perf_counter()
    for batch in batches:
        with site.gateway.work() as work:
            made = import_subjects(work, SOURCE, batch, "").created
        if made != len(batch):
            raise UnavailableError(f"only {made} of {len(batch)} generated customers were taken in")
    return sum(map(len, batches)) / (perf_counter() - begun)


def _item(person: Customer) -> SubjectItem:
    return SubjectItem(person.identifiers, person.country, None, person.family_name)


def _open(site: Site, people: Sequence[Sequence[Customer]]) -> float:
    asked = [[(SubjectRef("email", p.email), p.family_name) for p in batch] for batch in people]
    begun = perf_counter()
    for batch in asked:
        if _names(site, [ref for ref, _ in batch]) != [name for _, name in batch]:
            raise UnavailableError("what was put in is not what came out")
    return sum(map(len, asked)) / (perf_counter() - begun)


def _names(site: Site, refs: Sequence[SubjectRef]) -> list[str]:
    with site.gateway.look() as work:
        resolver = Resolver(work, refs)
        found = [resolver.resolve(ref) for ref in refs]
        ids = [i for i in found if isinstance(i, int)]
        keys = work.gateway.vault.keys(work.session, ids)
        groups = subjects.sealed(work.session, ids, PROFILE)
        return [open_group(keys[i], groups[i])["family_name"] for i in ids]
