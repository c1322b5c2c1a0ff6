"""Commands that check the log without any store: verify what was exported, print the one-file verifier, vectors."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import click
from rich.console import Console

from consent_gateway.audit import command as verifier
from consent_gateway.audit.singlefile import build_single_file
from consent_gateway.audit.vectors import VectorRun, run_vector_file, vector_files
from consent_gateway.cli.options import emit, json_option
from consent_gateway.errors import InputError

_DIFFERS = 1


@click.command("verify", context_settings={"ignore_unknown_options": True, "help_option_names": []})
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def verify(arguments: tuple[str, ...]) -> None:
    """Verify receipts, exported logs and checkpoints without any store; `--help` lists the checks."""
    raise click.exceptions.Exit(verifier.main(arguments, "consent-gateway audit verify"))


@click.command("verifier")
def single_file() -> None:
    """Print the verifier as one Python file that needs `cryptography` alone."""
    click.echo(build_single_file(), nl=False)


@click.command("test")
@click.argument("vectors", nargs=-1, required=True, type=click.Path(exists=True, path_type=Path))
@json_option
def test(vectors: tuple[Path, ...], *, as_json: bool) -> None:
    """Hold vector files, or folders of them, against the checks and print what differs; status 1 if anything does.

    Reads proofs (transparency-dev/merkle), receipts, notes and cosignatures, worked trees and their geometry,
    tlog-tiles directories, and Ed25519 tests of Wycheproof. What is refused although it is wanted accepted, for a
    reason, is listed as allowed.
    """
    runs, skipped = _run_all(vectors)
    emit(_told(runs, skipped), as_json=as_json, show=lambda console: _show(console, runs, skipped))
    if any(run.differences for _, run in runs):
        raise click.exceptions.Exit(_DIFFERS)


def _run_all(named: tuple[Path, ...]) -> tuple[list[tuple[Path, VectorRun]], list[Path]]:
    """Run every file; one of no known format is an error if it was named, and skipped in a folder."""
    runs, skipped = [], []
    for path in named:
        for file in vector_files(path):
            try:
                runs.append((file, run_vector_file(file)))
            except ValueError as error:
                if not path.is_dir():
                    raise InputError(str(error)) from None
                skipped.append(file)
    if not runs:
        raise InputError("there is no vector file of a known format")
    return runs, skipped


def _told(runs: list[tuple[Path, VectorRun]], skipped: list[Path]) -> object:
    told = [{"file": path.name, **asdict(run)} for path, run in runs]
    return {"files": told, "skipped": [path.name for path in skipped]}


def _show(console: Console, runs: list[tuple[Path, VectorRun]], skipped: list[Path]) -> None:
    def line(text: str) -> None:
        console.print(text, soft_wrap=True, markup=False, highlight=False)

    for path, run in runs:
        line(f"{path.name}: {run.cases} cases")
        for case in run.differences:
            line(f"  DIFFERS {case}")
        for case in run.allowed:
            line(f"  allowed {case}: {case.reason}")
    for path in skipped:
        line(f"{path.name}: skipped, of no known format")
    allowed = sum(len(run.allowed) for _, run in runs)
    line(f"{sum(run.cases for _, run in runs)} cases, {allowed} allowed differences")
    line(f"{sum(len(run.differences) for _, run in runs)} differences")
