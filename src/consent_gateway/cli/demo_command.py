"""`consent-gateway demo`: the main job on real input."""

from __future__ import annotations

from pathlib import Path

import click
from rich.console import Console

from consent_gateway.cli.demo import story


@click.command()
@click.option("--out", type=click.Path(file_okay=False, path_type=Path), default=Path("var/demo"), show_default=True)
@click.option("--households", type=click.IntRange(min=1), help="Only the first households; default all 2,469.")
def demo(out: Path, households: int | None) -> None:
    """From raw customers to a consented, audited audience, through the HTTP API of a running gateway."""
    raise click.exceptions.Exit(story.run(out, households=households, console=Console()))
