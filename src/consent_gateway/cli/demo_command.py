"""`consent-gateway demo`: the main job on real input, in a process of its own (see `cli.demo.__main__`)."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import click


@click.command()
@click.option("--out", type=click.Path(file_okay=False, path_type=Path), default=Path("var/demo"), show_default=True)
@click.option("--households", type=click.IntRange(min=1), help="Only the first households; default all 2,469.")
def demo(out: Path, households: int | None) -> None:
    """From raw customers to a consented, audited audience, through the HTTP API of a running gateway."""
    arguments = [sys.executable, "-m", "consent_gateway.cli.demo", str(out), *([str(households)] if households else [])]
    raise click.exceptions.Exit(subprocess.call(arguments))  # noqa: S603 - this interpreter, this package
