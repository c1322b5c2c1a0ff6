"""What commands share: their options, and how they print. Loads neither a store nor the law."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click
from rich.console import Console

Command = TypeVar("Command", bound=Callable[..., Any])


def store_option(command: Command) -> Command:
    """Add `--store DIR`; the environment's CONSENT_GATEWAY_STORE_DIRECTORY is the default."""
    return click.option(
        "--store",
        type=click.Path(file_okay=False, path_type=Path),
        help="Store directory (SQLite file and keyring); default: the environment.",
    )(command)


def json_option(command: Command) -> Command:
    """Add `--json`."""
    return click.option("--json", "as_json", is_flag=True, help="Print JSON for programs.")(command)


def key_option(scope: str) -> Callable[[Command], Command]:
    """Add `--key-file FILE`: whoever acts names their own API key, for four eyes are those of two keys."""
    return click.option(
        "--key-file",
        required=True,
        type=click.Path(exists=True, dir_okay=False, path_type=Path),
        help=f"File with your own API key (scope {scope}).",
    )


def emit(value: Any, *, as_json: bool, show: Callable[[Console], None]) -> None:
    """Print `value` as JSON, or let `show` print it for people."""
    if as_json:
        click.echo(json.dumps(value, ensure_ascii=False, indent=2))
        return
    show(Console(highlight=False))
