"""Commands that make and run a gateway: init, serve, worker, migrate."""

from __future__ import annotations

import os
import signal
import threading
from pathlib import Path

import click
import uvicorn

from consent_gateway.app import (
    build_app,
    build_gateway,
    build_telemetry,
    care,
    report,
    report_log,
    self_checked,
    witnessing_of,
)
from consent_gateway.cli.options import emit, json_option, read_settings, store_option
from consent_gateway.db import migrate as migrations
from consent_gateway.db.engine import Store
from consent_gateway.services import policies
from consent_gateway.services.audit_log import require_own_log
from consent_gateway.services.key_keeper import KeyKeeper
from consent_gateway.services.log_keeper import LogKeeper
from consent_gateway.services.tombstones import settle
from consent_gateway.services.worker import Worker
from consent_gateway.settings import Settings
from consent_gateway.setup import create_store
from consent_gateway.telemetry import Event


@click.command()
@store_option
@json_option
def init(store: Path | None, *, as_json: bool) -> None:
    """Make a new store: keyring, schema, standard purposes, and the first API key (shown once)."""
    settings = read_settings(store)
    gateway, key = create_store(settings)
    value = {"store": str(settings.store_directory), "api_key": key, "log_vkey": gateway.signer.vkey}
    emit(
        value,
        as_json=as_json,
        show=lambda console: console.print(
            f"store ready at {settings.store_directory or 'the configured database'}\n"
            f"API key (shown once, scope admin): {key}\n"
            f"log verifier key, to be pinned by auditors: {gateway.signer.vkey}\n"
            "next: consent-gateway serve",
            soft_wrap=True,
            markup=False,
        ),
    )
    gateway.store.dispose()


@click.command()
@store_option
@click.option("--host", help="Address to listen on; default 127.0.0.1.")
@click.option("--port", type=int, help="Port; default 8080.")
def serve(store: Path | None, host: str | None, port: int | None) -> None:
    """Serve the HTTP API, with the background worker in the same process. API documentation at /docs."""
    settings = read_settings(store, host=host, port=port)
    telemetry = build_telemetry(settings)
    application = build_app(settings, telemetry, build_gateway(settings))
    telemetry.capture_library_logs()
    uvicorn.run(
        application.asgi,
        host=settings.host,
        port=settings.port,
        loop="uvloop" if os.name == "posix" else "asyncio",
        http="httptools",
        access_log=False,
        log_config=None,
        server_header=False,
        date_header=False,
        proxy_headers=False,
        timeout_graceful_shutdown=10,
    )


@click.command()
@store_option
def worker(store: Path | None) -> None:
    """Run the background jobs alone, beside servers on the same database."""
    settings = read_settings(store)
    telemetry = build_telemetry(settings)
    gateway = build_gateway(settings)
    migrations.require_head(gateway.store)
    require_own_log(gateway)
    check = self_checked(settings, gateway)
    settle(gateway)
    witnessing = witnessing_of(settings, gateway)
    log_keeper = LogKeeper(gateway, check, care(settings), lambda error: report_log(telemetry, error), witnessing)
    jobs = Worker(gateway, lambda error: report(telemetry, error))
    keeper = KeyKeeper(gateway, lambda error: telemetry.log.error(Event.KEYS_FAILED, exc_info=error))
    stopped = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopped.set())
    telemetry.log.info(Event.STARTED)
    jobs.start()
    keeper.start()
    log_keeper.start()
    stopped.wait()
    keeper.stop()
    jobs.stop()
    log_keeper.stop()
    telemetry.log.info(Event.STOPPED)


@click.command()
@store_option
@click.option("--to", "revision", default="head", show_default=True, help="Revision; `base` removes every table.")
def migrate(store: Path | None, revision: str) -> None:
    """Bring the schema to the version of the code (or to another)."""
    settings = read_settings(store)
    database = Store(settings.database())
    before = migrations.current(database)
    if revision == "base":
        migrations.downgrade(database)
    else:
        migrations.upgrade(database, revision)
    if migrations.current(database) == migrations.head():
        _record_packs(settings)
    click.echo(f"schema: {before or 'nothing'} -> {migrations.current(database) or 'nothing'}")
    database.dispose()


def _record_packs(settings: Settings) -> None:
    """Put the packs that came with this software in force, where people did not put their own there."""
    if not settings.keyring().exists():
        return
    gateway = build_gateway(settings)
    settle(gateway)
    with gateway.work() as work:
        changed = policies.record_shipped(work)
    if changed:
        click.echo(f"packs now in force: {', '.join(changed)}")
    gateway.store.dispose()
