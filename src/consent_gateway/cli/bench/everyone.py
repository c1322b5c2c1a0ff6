"""Everyone decided at once, with the reason for each: one scan that counts classes, and one decision for each class.

The figure is scaled to a million people, so that it can be held against a limit whatever the size of the store. Every
round asks about another minute, so that no answer is remembered from the round before.
"""

from __future__ import annotations

from collections import Counter
from time import perf_counter

from consent_gateway.cli.bench.raw import Raw
from consent_gateway.cli.bench.site import OWN, USE, Site
from consent_gateway.cli.bench.stats import Figure, Limit, spread
from consent_gateway.db.classes import EVERYONE, class_sizes
from consent_gateway.domain.ids import PurposeId
from consent_gateway.domain.purposes import Channel
from consent_gateway.services.deciding.questions import Asked, Use
from consent_gateway.services.work.gateway import Work

AIM_MS = 250.0  # a million people on PostgreSQL
_MILLION = 1_000_000
_MINUTE = 60


def measure(site: Site) -> list[Figure]:
    """Measure one use over everybody, against the bare scan of the same rows."""
    raw = Raw(site.gateway.store)
    found, bare, classes = [], [], 0
    with site.gateway.look() as work:
        use = Use(PurposeId(USE["purpose"]), Channel(USE["channel"]), OWN)
        asked = work.gateway.decider.ask(use, work.registers, work.gateway.rules, work.now)
        for minute in range(max(site.plan.audience_calls, site.plan.rounds)):
            begun = perf_counter()
            reasons, classes = _decide(work, asked, work.now + minute * _MINUTE)
            found.append(_scaled(site, begun))
            if reasons.total() != site.plan.people:
                raise AssertionError("somebody was not decided")
            begun = perf_counter()
            raw.all("SELECT count(*) FROM audience_rows WHERE flags >= 0")
            bare.append(_scaled(site, begun))
    raw.close()
    note = f"{site.plan.people:,} people in {classes:,} classes, scaled to a million"
    limit = Limit("bare scan", spread(bare))
    aim = None if raw.is_sqlite else AIM_MS
    return [Figure("a million decided set-wise with reasons", spread(found), "ms", (limit,), aim, note)]


def _decide(work: Work, asked: Asked, now: int) -> tuple[Counter[str], int]:
    reasons: Counter[str] = Counter()
    classes = 0
    for key, people in class_sizes(work.session, asked.reading, EVERYONE, now):
        reasons[work.gateway.decider.answer(asked, key, now).reason_code] += people
        classes += 1
    return reasons, classes


def _scaled(site: Site, begun: float) -> float:
    return (perf_counter() - begun) * 1000 * _MILLION / site.plan.people
