"""Commands about chains: write one person's bundle, and check whose the chains of the log are."""

from __future__ import annotations

import os
from pathlib import Path

import click

from consent_gateway.cli.options import as_principal, emit, json_option, key_option, open_gateway, store_option
from consent_gateway.services import bundles, chain_checks, maps, people
from consent_gateway.services.audit_log import Sequencer

_FOUND = 1


@click.command("bundle")
@click.argument("pseudonym")
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
@key_option(bundles.ACCESS_SCOPE)
@store_option
@json_option
def bundle(pseudonym: str, file: Path, key_file: Path, store: Path | None, *, as_json: bool) -> None:
    """Write everything that the log says about a person to FILE, with proofs, for them to keep.

    Do it before an erasure: afterwards nobody can. PSEUDONYM is one of the recipient whose key acts. The map of chains
    is published first, so that the bundle is complete up to this moment; the file can be read by its owner alone.
    """
    gateway = open_gateway(store)
    sequencer = Sequencer(gateway)
    sequencer.drain()
    maps.publish(gateway)
    sequencer.drain()
    with gateway.work(as_principal(gateway, key_file, bundles.ACCESS_SCOPE)) as work:
        content, uid = bundles.bundle(work, people.named_by(work, pseudonym))
    sequencer.drain()
    _write_private(file, content)
    value = {"file": str(file), "bytes": len(content), "entry": uid.hex()}
    told = f"verify with: consent-gateway audit verify bundle VKEY {file}"
    emit(value, as_json=as_json, show=lambda _: click.echo(told))


@click.command("chains")
@store_option
@json_option
def chains(store: Path | None, *, as_json: bool) -> None:
    """Check that every chain of the log is somebody's and that what was erased is gone; status 1 if not.

    For whoever may look into the store and its keys. What the public log shows alone, `audit verify` checks.
    """
    gateway = open_gateway(store)
    Sequencer(gateway).drain()
    found = chain_checks.check(gateway)
    value = {
        "living": found.living,
        "erased": found.erased,
        "phantoms": [key.hex() for key in found.phantoms],
        "revived": [key.hex() for key in found.revived],
        "orphans": found.orphans,
    }
    text = (
        f"{found.living} chains of living people, {found.erased} of erased ones; "
        f"{len(found.phantoms)} of nobody, {len(found.revived)} revived, {found.orphans} openings of nobody"
    )
    emit(value, as_json=as_json, show=lambda _: click.echo(text))
    if not found.clean:
        raise click.exceptions.Exit(_FOUND)


def _write_private(path: Path, content: bytes) -> None:
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
        file.write(content)
