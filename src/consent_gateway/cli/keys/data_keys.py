"""New data keys on the command line: for one person, or for everyone."""

from __future__ import annotations

from pathlib import Path

import click

from consent_gateway.cli.keys.rolling import SCOPE, rate_option, run_job
from consent_gateway.cli.opening import as_principal, open_gateway
from consent_gateway.cli.options import emit, json_option, key_option, store_option
from consent_gateway.errors import NotFoundError
from consent_gateway.services.keys import dek_rotation
from consent_gateway.services.log.audit_log import Sequencer

_REASONS = ("suspected_leak", "schedule", "request")


@click.command("dek")
@click.option("--subject-pseudonym", help="One person, by a pseudonym of the recipient whose key acts.")
@click.option("--all", "everyone", is_flag=True, help="Everyone; can be stopped and taken up again.")
@click.option("--reason", type=click.Choice(_REASONS), default=_REASONS[0], show_default=True)
@rate_option
@key_option(SCOPE)
@store_option
@json_option
def dek(
    subject_pseudonym: str | None,
    reason: str,
    rate: int | None,
    key_file: Path,
    store: Path | None,
    *,
    everyone: bool,
    as_json: bool,
) -> None:
    """Seal all of a person, or of everyone, under a new data key; the old one is kept nowhere."""
    if everyone == (subject_pseudonym is not None):
        raise click.UsageError("name one person with --subject-pseudonym, or say --all")
    if subject_pseudonym is None:
        run_job(store, key_file, dek_rotation.start, rate, as_json=as_json)
    else:
        _one(store, key_file, subject_pseudonym, reason, as_json=as_json)


def _one(store: Path | None, key_file: Path, pseudonym: str, reason: str, *, as_json: bool) -> None:
    gateway = open_gateway(store)
    actor = as_principal(gateway, key_file, SCOPE)
    with gateway.work(actor) as work:
        found = gateway.vault.resolve(pseudonym, actor.recipient, work.registers, work.now)
        if found is None:
            raise NotFoundError
        count = dek_rotation.rotate(work, found, reason)
    Sequencer(gateway).drain()
    emit({"subjects": count}, as_json=as_json, show=lambda console: console.print(f"{count} data keys are new"))
