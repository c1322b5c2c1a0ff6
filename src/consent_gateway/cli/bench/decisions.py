"""Decisions over HTTP: one at a time under a closed and an open loop, and a thousand a call.

The limits of the single decision are the same server when it answers a constant, and the bare HTTP server; runs of
the three alternate, so that they share whatever else the machine does.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from statistics import median
from time import perf_counter
from typing import Any

from consent_gateway.cli.bench.asking import ask
from consent_gateway.cli.bench.http import encode
from consent_gateway.cli.bench.job import Outcome
from consent_gateway.cli.bench.raw import Raw
from consent_gateway.cli.bench.serving import Server, echo_server
from consent_gateway.cli.bench.site import USE, Site
from consent_gateway.cli.bench.stats import Figure, Limit, Spread, milliseconds, spread
from consent_gateway.cli.demo.dice import Dice

AIM_RATE, AIM_P99_MS = 3000.0, 10.0
CONSTANT, ECHO = "gateway answers a constant", "bare HTTP echo"
_DECISION = "decision"
_BATCHES = 8
Put = Callable[[Server, tuple[bytes, ...]], tuple[Outcome, float | None]]


@dataclass(slots=True)
class Runs:
    """The runs of one kind of load."""

    outcomes: list[Outcome] = field(default_factory=list)
    cpu_us: list[float] = field(default_factory=list)

    def add(self, run: tuple[Outcome, float | None]) -> None:
        """Keep one run."""
        self.outcomes.append(run[0])
        if run[1] is not None:
            self.cpu_us.append(run[1])

    def rate(self) -> Spread:
        """Return answers a second."""
        return spread([outcome.rate for outcome in self.outcomes])

    def latency(self, below: float) -> Spread:
        """Return a percentile of the latencies in milliseconds."""
        return spread([milliseconds(outcome.latencies_us, below) for outcome in self.outcomes])


def measure(site: Site) -> list[Figure]:
    """Measure single decisions."""
    with site.serving() as server, echo_server(site.place.directory) as bare:
        closed = _alternate(site, server, bare, _closed(site))
        offered = _alternate(site, server, None, site.offered)
    return [*_closed_figures(site, closed), *_open_figures(site, offered)]


def _closed(site: Site) -> Put:
    return lambda server, requests: site.closed(server, requests, site.plan.connections)


def _alternate(site: Site, server: Server, bare: Server | None, put: Put) -> dict[str, Runs]:
    questions = site.questions()
    runs = {_DECISION: Runs(), CONSTANT: Runs()} | ({ECHO: Runs()} if bare else {})
    for _ in range(site.plan.rounds):
        runs[_DECISION].add(put(server, questions))
        runs[CONSTANT].add(put(server, (site.get("/health/live"),)))
        if bare is not None:
            runs[ECHO].add(put(bare, (encode("POST", "/", body=questions[0].partition(b"\r\n\r\n")[2]),)))
    return runs


def _closed_figures(site: Site, runs: dict[str, Runs]) -> list[Figure]:
    many = f"{site.plan.connections} connections"
    decision, limits = runs[_DECISION], {name: r for name, r in runs.items() if name != _DECISION}
    rates = tuple(Limit(name, r.rate()) for name, r in limits.items())
    figures = [Figure(f"decisions, {many}", decision.rate(), "requests/s", rates, AIM_RATE)]
    for label, below in (("p50", 0.5), ("p99", 0.99)):
        latencies = tuple(Limit(name, r.latency(below)) for name, r in limits.items())
        figures.append(Figure(f"decisions, {many}, {label}", decision.latency(below), "ms", latencies))
    if decision.cpu_us:
        used = tuple(Limit(name, spread(r.cpu_us)) for name, r in limits.items())
        figures.append(Figure("CPU of the gateway a decision", spread(decision.cpu_us), "µs", used))
    return figures


def _open_figures(site: Site, runs: dict[str, Runs]) -> list[Figure]:
    decision, constant = runs[_DECISION], runs[CONSTANT]
    late = max(milliseconds(outcome.late_us, 0.99) for outcome in decision.outcomes)
    figures = []
    for label, below, aim in (("p50", 0.5, None), ("p99", 0.99, AIM_P99_MS), ("p99.9", 0.999, None)):
        limit = (Limit(CONSTANT, constant.latency(below)),)
        name = f"decisions, {site.plan.offered:,.0f}/s offered, {label}"
        note = f"the generator itself was late by {late:.2f} ms at p99" if aim else ""
        figures.append(Figure(name, decision.latency(below), "ms", limit, aim, note))
    return figures


# -- a thousand a call -------------------------------------------------------------------------------------------


def measure_batches(site: Site) -> list[Figure]:
    """Measure batches of decisions; the limit is reading the same people by key and nothing else."""
    size = site.plan.batch
    bodies = [_batch_body(site, n) for n in range(_BATCHES)]
    requests = tuple(site.post("/v1/decisions/batch", body) for body in bodies)
    runs, reads = Runs(), []
    with site.serving() as server:
        permitted = ask(server, requests[0])["permitted"]
        for _ in range(site.plan.rounds):
            runs.add(site.closed(server, requests, 1))
            reads.append(_bare_reads(site))
    rate = spread([outcome.rate * size for outcome in runs.outcomes])
    limit = Limit("bare reads by key", spread(reads))
    note = f"{permitted / size:.0%} permitted"
    return [
        Figure(f"decisions, batches of {size:,}", rate, "decisions/s", (limit,), note=note),
        Figure(f"one batch of {size:,}, p50", runs.latency(0.5), "ms"),
    ]


def _batch_body(site: Site, number: int) -> dict[str, Any]:
    people = site.pseudonyms(site.plan.batch, f"batch {number}")
    return {**USE, "subjects": [{"pseudonym": p} for p in people]}


def _bare_reads(site: Site, repeats: int = 20) -> float:
    """Return people a second."""
    dice = Dice("bare reads")
    raw = Raw(site.gateway.store)
    times = []
    for _ in range(repeats):
        ids = [dice.between(1, site.plan.people) for _ in range(site.plan.batch)]
        begun = perf_counter()
        read_by_key(raw, ids)
        times.append(perf_counter() - begun)
    raw.close()
    return site.plan.batch / median(times)


def read_by_key(raw: Raw, ids: Sequence[int]) -> list[Any]:
    """Read what a decision reads of each of these people, in one statement."""
    marks = ", ".join([raw.mark] * len(ids))
    statement = (
        "SELECT r.subject_id, k.wrapped_dek, r.regions, r.birth_month, r.flags, r.c0, r.p0, r.email_3 "  # noqa: S608
        f"FROM audience_rows r JOIN subject_keys k ON k.subject_id = r.subject_id WHERE r.subject_id IN ({marks})"
    )
    return raw.all(statement, ids)
