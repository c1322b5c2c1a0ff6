"""Rolling a key epoch: data keys re-wrapped a second, in pages and durably, with nobody else at the store.

The limits are the bare cipher (open and seal one key under keys that are held) and the bare driver, which reads the
same pages and writes as many bytes back, each page one durable transaction.
"""

from __future__ import annotations

import secrets
from time import perf_counter

from cryptography.hazmat.primitives.ciphers.aead import AESSIV

from consent_gateway.cli.bench.plan import Plan
from consent_gateway.cli.bench.raw import Raw
from consent_gateway.cli.bench.site import Site
from consent_gateway.cli.bench.stats import Figure, Limit, Spread, spread
from consent_gateway.services.keys import epoch_roll
from consent_gateway.services.keys.key_jobs import BULK_PAGE, Pace, Runner
from consent_gateway.services.keys.key_pages import PAGES
from consent_gateway.vault.keys import DEK_BYTES

AIM_PER_SECOND = 60_000
_AAD_BYTES = 38
_UNIT = "keys/s"


def measure(site: Site) -> list[Figure]:
    """Roll the epoch of everyone, several times."""
    limits = (Limit("bare cipher", _bare(site.plan)), Limit("bare driver", _driver(site)))
    rates = spread([_roll(site) for _ in range(site.plan.rounds)])
    note = f"{site.plan.people:,} data keys in pages of {BULK_PAGE:,}"
    aim = AIM_PER_SECOND if site.gateway.store.is_sqlite else None
    return [Figure("data keys re-wrapped", rates, _UNIT, limits, aim, note)]


def _roll(site: Site) -> float:
    with site.gateway.work() as work:
        job = epoch_roll.start(work)
    begun = perf_counter()
    done = Runner(site.gateway, PAGES).run(job.id, Pace(BULK_PAGE))
    return done.done / (perf_counter() - begun)


def _bare(plan: Plan) -> Spread:
    old, new = (AESSIV(secrets.token_bytes(64)) for _ in range(2))
    aad = [secrets.token_bytes(_AAD_BYTES)]
    wraps = [old.encrypt(secrets.token_bytes(DEK_BYTES), aad) for _ in range(plan.people // 10)]
    runs = []
    for _ in range(plan.rounds):
        begun = perf_counter()
        for wrap in wraps:
            new.encrypt(old.decrypt(wrap, aad), aad)
        runs.append(len(wraps) / (perf_counter() - begun))
    return spread(runs)


def _driver(site: Site) -> Spread:
    raw = Raw(site.gateway.store)
    try:
        return spread([_rewrite(raw, site.plan.people) for _ in range(site.plan.rounds)])
    finally:
        raw.close()


def _rewrite(raw: Raw, people: int) -> float:
    mark, begun, last = raw.mark, perf_counter(), -1
    read = (
        f"SELECT subject_id, wrapped_dek FROM subject_keys WHERE subject_id > {mark} ORDER BY subject_id LIMIT {mark}"  # noqa: S608 - our names
    )
    write = f"UPDATE subject_keys SET wrapped_dek = {mark} WHERE subject_id = {mark}"  # noqa: S608 - our names
    while True:
        with raw.transaction() as cursor:
            rows = cursor.execute(read, (last, BULK_PAGE)).fetchall()
            if not rows:
                return people / (perf_counter() - begun)
            cursor.executemany(write, [(wrapped, i) for i, wrapped in rows])
            last = rows[-1][0]
