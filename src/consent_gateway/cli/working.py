"""The command that runs the background jobs alone: no web framework is loaded for them."""

from __future__ import annotations

import signal
import threading
from pathlib import Path

import click

from consent_gateway.assembly import build_gateway
from consent_gateway.background import build_jobs, build_telemetry
from consent_gateway.cli.opening import read_settings
from consent_gateway.cli.options import store_option
from consent_gateway.telemetry import Event


@click.command()
@store_option
def worker(store: Path | None) -> None:
    """Run the background jobs alone, beside servers on the same database."""
    settings = read_settings(store)
    telemetry = build_telemetry(settings)
    jobs = build_jobs(settings, telemetry, build_gateway(settings))
    stopped = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopped.set())
    telemetry.log.info(Event.STARTED)
    jobs.start()
    stopped.wait()
    jobs.stop()
    telemetry.log.info(Event.STOPPED)
