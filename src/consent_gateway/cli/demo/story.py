"""The run: from raw customers to a consented, audited audience and on, step by step over the public HTTP API.

0.  start an empty gateway and fill its registers
1.  import customers, consents, choices, contacts and a year of baskets
2.  resolve an audience for two recipients
3.  explain single decisions under three laws
4.  withdraw one consent
5.  reveal an address for a reason, and set off the alarm of a canary
6.  take in the signals of a cookie banner and of a browser
7.  confirm a yes in a second step
8.  change the law with four eyes, replay a past decision, roll back
9.  merge two profiles and take it back
10. change a notice, so that old consents are outdated
11. erase one person
12. verify the consent receipt of somebody who was erased
13. verify the receipt and the log, and find a planted edit

What must hold is checked at every step. A check that fails is shown and the story goes on; an answer that the story
can not do without ends it. Exit status: 0 everything holds, 1 something does not, 2 the demo could not run.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import httpx
from rich.console import Console
from rich.markup import escape

from consent_gateway.cli.demo import (
    audience,
    decisions,
    intake,
    law,
    merge,
    notices,
    people,
    proof,
    receipt,
    report,
    reveal,
    rights,
    second_step,
    setup,
    signals,
)
from consent_gateway.cli.demo.client import Api, ProblemError
from consent_gateway.cli.demo.data import Journey, load
from consent_gateway.cli.demo.server import CommandError, Commands
from consent_gateway.cli.demo.tour import Places, Tour
from consent_gateway.clock import system_clock
from consent_gateway.errors import GatewayError

HOLDS, FAILS, CANNOT_RUN = 0, 1, 2
LEAST = 200  # households: with fewer the segment has too few members to tell a story about
# What a step may meet when the gateway does not answer as it must: refused, gone, or another shape of answer.
BROKEN = (ProblemError, CommandError, httpx.HTTPError, GatewayError, LookupError, TypeError, ValueError, OSError)


@dataclass(frozen=True, slots=True)
class Step:
    """One step: the short name used in the report, its title, what it does, and how its findings are shown."""

    name: str
    title: str
    act: Callable[[Tour], None]
    show: Callable[[Tour], None] = lambda _tour: None


STEPS = (
    Step("set up", "An empty gateway learns sources, notices, recipients, traits and a segment", setup.register),
    Step("import", "Customers, consents, choices, a year of baskets", intake.bring_in, report.show_imports),
    Step("audience", "Bought often, silent for a month", audience.serve_audiences, report.show_audiences),
    Step("explain", "May we? Three laws, and none that is known", decisions.explain, report.show_decisions),
    Step("withdraw", "One of the audience takes the yes back", rights.withdraw),
    Step("reveal", "An address comes out for a reason, and a canary tells on who looks", reveal.look),
    Step("signals", "A cookie banner says yes, then no; a browser says no", signals.hear),
    Step("second step", "A yes counts when it is confirmed", second_step.confirm),
    Step("law", "The law changes, with four eyes", law.change),
    Step("merge", "Two profiles are one person", merge.unite),
    Step("notice", "The notice changes in what people agreed to", notices.change),
    Step("erase", "One person asks to be erased", rights.erase),
    Step("receipt", "What an erased person still holds", receipt.keep),
    Step("prove", "The log proves itself, and a planted edit is found", proof.prove),
)


def run(out_dir: Path, *, households: int | None, console: Console) -> int:
    """Tell the story into `out_dir` with all households, or the first `households`; return the exit status.

    Fewer than `LEAST` households become `LEAST`. Leaves the store, the input, `report.json`, the receipt with its
    entry, the exported log and its key. Needs the `demo` extra (data and pyarrow).
    """
    places, now, started = Places(out_dir), system_clock(), time.monotonic()
    commands = Commands(places.cache)
    try:
        with ThreadPoolExecutor(1) as beside:  # the store is made while the data are read
            made = beside.submit(_prepare, places, commands)
            journey = load(now, None if households is None else max(households, LEAST))
            crowd = people.make(journey.households, now, contacted=journey.contacted, sizes=journey.sizes)
            key = made.result()
        _introduce(console, journey)
        with commands.serving(places.store, places.server_log) as url:
            tour = Tour(places, console, now, Api(url, key), journey, crowd, commands)
            tour.seconds["start"] = time.monotonic() - started
            tour.on_check = lambda check: report.show_check(console, check)
            with closing(tour.api):
                _tell(tour)
    except (CommandError, FileNotFoundError, ValueError) as reason:
        console.print(f"[bold red]the demo can not run:[/bold red] {escape(str(reason))}")
        return CANNOT_RUN
    report.write_report(tour)
    report.show_end(tour)
    return FAILS if tour.failures else HOLDS


def _prepare(places: Places, commands: Commands) -> str:
    """Remove what an earlier run left, make the store, and keep its first API key; return the key."""
    for folder in (places.input, places.log, places.edited, places.edited_store):
        shutil.rmtree(folder, ignore_errors=True)
    for file in places.made:
        file.unlink(missing_ok=True)
    key = commands.create(places.store)
    descriptor = os.open(places.key, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as sink:
        sink.write(key + "\n")
    return key


def _introduce(console: Console, journey: Journey) -> None:
    console.print(
        f"[bold]The consent gateway[/bold] · {len(journey.households):,} households, {journey.lines:,} till lines in "
        f"{len(journey.baskets):,} baskets, {len(journey.contacts):,} campaign letters (The Complete Journey, CC0); "
        "names, addresses and consents are invented"
    )


def _tell(tour: Tour) -> None:
    """Take every step in turn; stop at the first that can not be finished."""
    for number, step in enumerate(STEPS):
        tour.step = step.name
        report.heading(tour.console, number, step.title)
        started = time.monotonic()
        try:
            step.act(tour)
        except BROKEN as reason:
            tour.check("the step can be finished", holds=False, detail=f"{type(reason).__name__}: {reason}")
            return
        finally:
            tour.seconds[step.name] = time.monotonic() - started
        step.show(tour)
