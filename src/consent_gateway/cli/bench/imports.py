"""Taking in customers over HTTP, against the bare work: their cryptography, and the inserts of the same rows."""

from __future__ import annotations

from collections.abc import Sequence
from time import perf_counter
from typing import Any

from consent_gateway.cli.bench.asking import ask
from consent_gateway.cli.bench.crowd import Customer, csv_body, customer
from consent_gateway.cli.bench.http import encode
from consent_gateway.cli.bench.job import Job
from consent_gateway.cli.bench.loading import put
from consent_gateway.cli.bench.raw import Raw
from consent_gateway.cli.bench.serving import Server
from consent_gateway.cli.bench.site import SOURCE, Site, twin
from consent_gateway.cli.bench.stats import Figure, Limit, in_a_row, spread
from consent_gateway.db import audience_rows
from consent_gateway.domain.generations import Generations
from consent_gateway.domain.ids import SubjectId
from consent_gateway.errors import UnavailableError
from consent_gateway.services.vault import CONTACT, PROFILE, seal_group
from consent_gateway.vault.normal_forms import Normalised
from consent_gateway.vault.normalisers import normalise

AIM_RATE = 3000.0
Tables = dict[str, tuple[tuple[str, ...], list[Any]]]
_SAMPLE = 2000


def measure(site: Site) -> list[Figure]:
    """Measure imports of new people, with one caller and with two."""
    plan = site.plan
    one, two, inserts, crypto = [], [], [], []
    with site.serving() as server, twin(site) as raw:
        _check(site, server)
        for n in range(plan.rounds):
            one.append(_import(site, server, 2 * n, 1))
            two.append(_import(site, server, 2 * n + 1, 2))
            crypto.append(_bare_crypto(site))
            inserts.append(_bare_inserts(site, raw, n))
    both = [in_a_row(*rates) for rates in zip(crypto, inserts, strict=True)]
    limits = (
        Limit("bare cryptography", spread(crypto)),
        Limit("bare inserts", spread(inserts)),
        Limit("both in a row", spread(both)),
    )
    name = f"import, {plan.import_rows:,} a call"
    return [
        Figure(name, spread(one), "subjects/s", limits, AIM_RATE),
        Figure(f"{name}, two callers", spread(two), "subjects/s", limits[2:]),
    ]


def _customers(site: Site, call: int) -> list[Customer]:
    size = site.plan.import_rows
    return [customer(number) for number in range(call * size, (call + 1) * size)]


def _request(site: Site, call: int) -> bytes:
    body = csv_body(_customers(site, call))
    return encode("POST", f"/v1/imports/subjects?source={SOURCE}", site.key, body, "text/csv")


def _check(site: Site, server: Server) -> None:
    """Import once outside the window, and hold every row to have made a person."""
    made = ask(server, _request(site, 0))["created"]
    if made != site.plan.import_rows:
        raise UnavailableError(f"only {made} of {site.plan.import_rows} generated customers were taken in")


def _import(site: Site, server: Server, run: int, connections: int) -> float:
    calls = site.plan.import_calls
    requests = tuple(_request(site, 1 + run * calls + n) for n in range(calls))
    outcome, _ = put(Job("closed", server.port, requests, connections, count=calls), server.pid)
    return outcome.rate * site.plan.import_rows


def _forms(person: Customer) -> list[Normalised]:
    forms = [normalise(kind, value) for kind, value in person.identifiers.items()]
    return [form for form in forms if isinstance(form, Normalised)]


def _bare_crypto(site: Site) -> float:
    """Return how many people a second get a data key, two sealed groups and a keyed hash of each identifier."""
    people = [(SubjectId(n + 1), customer(n)) for n in range(_SAMPLE)]
    inputs = [(i, person.family_name, _forms(person)) for i, person in people]
    begun = perf_counter()
    for subject_id, family_name, forms in inputs:
        _crypto(site, subject_id, family_name, forms)
    return _SAMPLE / (perf_counter() - begun)


def _crypto(site: Site, subject_id: SubjectId, family_name: str, forms: Sequence[Normalised]) -> tuple[Any, ...]:
    vault = site.gateway.vault
    tokens = [vault.token(form, Generations().counts) for form in forms]
    dek, wrapped = vault.new_key(subject_id)
    contact = seal_group(dek, subject_id, CONTACT, 1, {"points": [[f.kind, f.value] for f in forms]})
    profile = seal_group(dek, subject_id, PROFILE, 1, {"family_name": family_name})
    return tokens, wrapped, contact, profile


def _bare_inserts(site: Site, raw: Raw, run: int) -> float:
    """Return how many people a second the driver inserts, with the rows and transactions of the gateway."""
    calls, size = site.plan.import_calls, site.plan.import_rows
    batches = [_rows(site, run * calls + n) for n in range(calls)]
    begun = perf_counter()
    for batch in batches:
        with raw.transaction() as cursor:
            for table, (names, rows) in batch.items():
                raw.insert(cursor, table, names, rows)
    return calls * size / (perf_counter() - begun)


def _rows(site: Site, call: int) -> Tables:
    blank = audience_rows.blank(SubjectId(0))
    tables: Tables = {
        "subjects": (("id", "created_at", "regions", "birth_month"), []),
        "subject_keys": (("subject_id", "wrapped_dek"), []),
        "identifiers": (("subject_id", "kind", "generation", "token"), []),
        "sealed_groups": (("subject_id", "name", "schema_version", "row_version", "sealed"), []),
        "audience_rows": (tuple(blank), []),
    }
    for person in _customers(site, call):
        subject_id = SubjectId(person.number + 1)
        tokens, wrapped, *groups = _crypto(site, subject_id, person.family_name, _forms(person))
        tables["subjects"][1].append((subject_id, 0, person.country, None))
        tables["subject_keys"][1].append((subject_id, wrapped))
        tables["identifiers"][1].extend((subject_id, t.kind, 1, t.value) for t in tokens)
        tables["sealed_groups"][1].extend((subject_id, g.name, 1, 1, g.sealed) for g in groups)
        row = blank | {"subject_id": subject_id, "regions": person.country}
        tables["audience_rows"][1].append(tuple(row.values()))
    return tables
