"""Commands that make a store and keep its schema: init, migrate."""

from __future__ import annotations

from pathlib import Path

import click

from consent_gateway.assembly import build_gateway
from consent_gateway.cli.opening import read_settings
from consent_gateway.cli.options import emit, json_option, store_option
from consent_gateway.db import migrate as migrations
from consent_gateway.db.engine import Store
from consent_gateway.db.revisions import current, head
from consent_gateway.services.erasing.tombstones import settle
from consent_gateway.services.policy import policies
from consent_gateway.settings import Settings
from consent_gateway.setup import create_store


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
@click.option("--to", "revision", default="head", show_default=True, help="Revision; `base` removes every table.")
def migrate(store: Path | None, revision: str) -> None:
    """Bring the schema to the version of the code (or to another)."""
    settings = read_settings(store)
    database = Store(settings.database())
    before = current(database)
    if revision == "base":
        migrations.downgrade(database)
    else:
        migrations.upgrade(database, revision)
    if current(database) == head():
        _record_packs(settings)
    click.echo(f"schema: {before or 'nothing'} -> {current(database) or 'nothing'}")
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
