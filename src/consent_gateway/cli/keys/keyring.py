"""The state of the keyring on the command line."""

from __future__ import annotations

from pathlib import Path

import click

from consent_gateway.cli.keys.own_key import described
from consent_gateway.cli.keys.rolling import job_out
from consent_gateway.cli.opening import open_gateway
from consent_gateway.cli.options import emit, json_option, store_option
from consent_gateway.services.keys import key_status
from consent_gateway.vault.shares import set_of


@click.command("status")
@store_option
@json_option
def status(store: Path | None, *, as_json: bool) -> None:
    """Show the keyring (epochs, generations, fingerprints; never a key), what lies under it, and the jobs over it."""
    with open_gateway(store).look() as work:
        found = key_status.status(work)
    keyring, jobs = work.gateway.vault.provider.keyring, [job_out(job) for job in found.jobs]
    shared = keyring.recovery
    value = {
        "fingerprint": keyring.fingerprint(),
        "sealed": keyring.is_sealed,
        "sealed_by": keyring.sealed_by,
        "shares": None
        if shared is None
        else {"needed": shared.threshold, "of": shared.count, "set": set_of(shared.public).hex()},
        "service_keys_doomed": {
            key: None if by is None else by.isoformat() for key, by in keyring.destructions.items()
        },
        "kek_epochs": list(keyring.epochs),
        "current_kek_epoch": keyring.current_epoch,
        "index_generations": list(keyring.generations),
        "current_index_generation": keyring.current_generation,
        "index": found.index.as_json(),
        "own_key": described(found.own_key),
        "keys": keyring.key_fingerprints(),
        "wraps": {str(epoch): count for epoch, count in found.wraps.items()},
        "processes": [list(held) for held in found.holders.values()],
        "jobs": jobs,
        "deferred": dict(zip(("waiting", "refused"), found.deferred, strict=True)),
    }
    emit(value, as_json=as_json, show=lambda c: c.print_json(data=value))
