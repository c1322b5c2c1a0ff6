"""Commands for the log: export it, verify it, print the one-file verifier."""

from __future__ import annotations

from pathlib import Path

import click

from consent_gateway.audit import command as verifier
from consent_gateway.audit.singlefile import build_single_file
from consent_gateway.audit.vectors import run_vectors
from consent_gateway.cli.log_reading import export
from consent_gateway.cli.options import open_gateway, store_option

_DIFFERS = 1


@click.group()
def audit() -> None:
    """The audit log: export, verify, and the verifier as a single file."""


audit.add_command(export)


@audit.command("vkey")
@store_option
def vkey(store: Path | None) -> None:
    """Print the log's verifier key; auditors pin it."""
    click.echo(open_gateway(store).signer.vkey)


@audit.command("verify", context_settings={"ignore_unknown_options": True, "help_option_names": []})
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def verify(arguments: tuple[str, ...]) -> None:
    """Verify receipts, exported logs and checkpoints without any store; `--help` lists the checks."""
    raise click.exceptions.Exit(verifier.main(arguments, "consent-gateway audit verify"))


@audit.command("verifier")
def single_file() -> None:
    """Print the verifier as one Python file that needs `cryptography` alone."""
    click.echo(build_single_file(), nl=False)


@audit.command("test")
@click.argument("vectors", type=click.Path(exists=True, dir_okay=False, path_type=Path))
def test(vectors: Path) -> None:
    """Run proof vectors and print each difference; status 1 if there is any."""
    differences = run_vectors(vectors)
    for difference in differences:
        click.echo(str(difference))
    click.echo(f"{len(differences)} differences")
    if differences:
        raise click.exceptions.Exit(_DIFFERS)
