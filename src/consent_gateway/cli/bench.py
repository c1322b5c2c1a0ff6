"""`consent-gateway bench`: figures next to their raw limits."""

from __future__ import annotations

import click


@click.command()
def bench() -> None:
    """Measure this machine."""
    raise click.UsageError("the benchmark is being put together")
