"""Audiences of everyone inside a segment, against the bare scan; and reading their members out."""

from __future__ import annotations

import json
from statistics import median
from time import perf_counter
from typing import Any

from consent_gateway.cli.bench.asking import timed
from consent_gateway.cli.bench.crowd import DAY
from consent_gateway.cli.bench.decisions import read_by_key
from consent_gateway.cli.bench.raw import Raw
from consent_gateway.cli.bench.serving import Server
from consent_gateway.cli.bench.site import OWN, USE, Site
from consent_gateway.cli.bench.stats import Figure, Limit, spread
from consent_gateway.domain.epochs import FIRST_EPOCH

AIM_MS = 100.0
_OLD_DAYS, _CHUNK = 60, 1000
_MANY = 20
NARROW: dict[str, Any] = {
    "all": [
        {"trait": "purchase_count", "op": ">=", "value": _MANY},
        {"trait": "last_purchase", "older_than": f"{_OLD_DAYS}d"},
        {"trait": "tier", "in": ["gold", "platinum"]},
    ]
}
WIDE: dict[str, Any] = {"trait": "purchase_count", "op": ">=", "value": 1}


def measure(site: Site) -> list[Figure]:
    """Measure a narrow and a wide audience, and the stream of the wide one."""
    with site.serving() as server:
        narrow = _resolve(site, server, "narrow", NARROW)
        wide = _resolve(site, server, "wide", WIDE)
        return [*narrow, *wide, _stream(site, server)]


def _resolve(site: Site, server: Server, name: str, expression: dict[str, Any]) -> list[Figure]:
    request = site.post("/v1/audiences", {**USE, "expression": expression})
    body, first = timed(server, request)
    times, scans = [], []
    raw = Raw(site.gateway.store)
    for _ in range(max(site.plan.audience_calls, site.plan.rounds)):
        times.append(timed(server, request)[1])
        scans.append(_scan(site, raw, expression))
    inside = raw.all(*_count(site, raw, expression))[0][0]
    raw.close()
    title = f"{name} audience over {site.plan.people:,}"
    size = json.loads(body)["size"]
    note = f"{inside:,} in the segment, {size:,} in the audience; the first call after the start {first:.0f} ms"
    limit = Limit("bare count", spread(scans))
    return [Figure(title, spread(times), "ms", (limit,), AIM_MS, note)]


def _scan(site: Site, raw: Raw, expression: dict[str, Any]) -> float:
    statement, parameters = _count(site, raw, expression)
    begun = perf_counter()
    raw.all(statement, parameters)
    return (perf_counter() - begun) * 1000


def _count(site: Site, raw: Raw, expression: dict[str, Any]) -> tuple[str, list[Any]]:
    """Return the least statement that finds everyone inside a segment, as one would write it by hand."""
    with site.gateway.look() as work:
        columns = {str(name): trait.slot for name, trait in work.registers.traits.items()}
        now = work.now
    purchases, last, tier, mark = columns["purchase_count"], columns["last_purchase"], columns["tier"], raw.mark
    condition, parameters = f"{purchases} >= {mark}", [WIDE["value"]]
    if expression is NARROW:
        condition += f" AND {last} < {mark} AND {tier} IN ({mark}, {mark})"
        parameters = [_MANY, now - _OLD_DAYS * DAY, "gold", "platinum"]
    return f"SELECT count(*) FROM audience_rows WHERE {condition}", parameters  # noqa: S608 - our columns


def _stream(site: Site, server: Server) -> Figure:
    body, _ = timed(server, site.post("/v1/audiences", {**USE, "expression": WIDE}))
    path = f"/v1/audiences/{json.loads(body)['id']}/members"
    rates, limits = [], []
    for _ in range(site.plan.rounds):
        lines, took = timed(server, site.get(path))
        members = lines.count(b'"pseudonym"')
        rates.append(members / took * 1000)
        limits.append(_bare_stream(site, members))
    limit = Limit("bare reads by key, pseudonyms", spread(limits))
    return Figure("members streamed", spread(rates), "members/s", (limit,), note=f"{members:,}")


def _bare_stream(site: Site, members: int) -> float:
    raw = Raw(site.gateway.store)
    epoch, pseudonymiser = FIRST_EPOCH, site.gateway.vault.pseudonymiser
    times = []
    for first in range(1, max(members, 2), _CHUNK):
        ids = range(first, min(first + _CHUNK, members + 1))
        begun = perf_counter()
        found = [row[0] for row in read_by_key(raw, ids)]
        b"".join(b'{"pseudonym":"%b"}\n' % p.encode() for p in pseudonymiser.bulk(found, OWN, epoch))
        times.append((perf_counter() - begun) / len(ids))
    raw.close()
    return 1 / median(times)
