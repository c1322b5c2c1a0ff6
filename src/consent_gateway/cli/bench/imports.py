"""Taking in customers over HTTP, against the bare work: their cryptography, and the inserts of the same rows."""

from __future__ import annotations

from consent_gateway.cli.bench import bare
from consent_gateway.cli.bench.asking import ask
from consent_gateway.cli.bench.crowd import Customer, csv_body, customer
from consent_gateway.cli.bench.http import encode
from consent_gateway.cli.bench.job import Job
from consent_gateway.cli.bench.loading import put
from consent_gateway.cli.bench.serving import Server
from consent_gateway.cli.bench.site import SOURCE, Site, twin
from consent_gateway.cli.bench.stats import Figure, Limit, in_a_row, spread
from consent_gateway.errors import UnavailableError

AIM_RATE = 8000.0
_SAMPLE = 2000


def measure(site: Site) -> list[Figure]:
    """Measure imports of new people, with one caller and with two."""
    plan = site.plan
    one, two, cpu, inserts, crypto = [], [], [], [], []
    with site.serving() as server, twin(site) as raw:
        _check(site, server)
        sample = bare.inputs([customer(number) for number in range(_SAMPLE)])
        for n in range(plan.rounds):
            rate, used = _import(site, server, 2 * n, 1)
            one.append(rate)
            cpu += [used] if used else []  # the clock of processes ticks: too short a run shows nothing
            two.append(_import(site, server, 2 * n + 1, 2)[0])
            crypto.append(bare.crypto_rate(site.gateway, sample, plan.import_rows))
            inserts.append(bare.insert_rate(raw, _bare_rows(site, n)))
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
        *([Figure("import, CPU for each", spread(cpu), "µs")] if cpu else []),
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


def _import(site: Site, server: Server, run: int, connections: int) -> tuple[float, float | None]:
    """Return subjects a second, and the server's CPU in µs for each."""
    calls = site.plan.import_calls
    requests = tuple(_request(site, 1 + run * calls + n) for n in range(calls))
    outcome, used = put(Job("closed", server.port, requests, connections, count=calls), server.pid)
    return outcome.rate * site.plan.import_rows, None if used is None else used / site.plan.import_rows


def _bare_rows(site: Site, run: int) -> list[bare.Tables]:
    calls = site.plan.import_calls
    batches = [bare.inputs(_customers(site, run * calls + n)) for n in range(calls)]
    return [bare.rows(site.gateway, batch, SOURCE) for batch in batches]
