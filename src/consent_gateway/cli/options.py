"""What commands share: the store they work on, and how they print."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click
from rich.console import Console

from consent_gateway.assembly import build_gateway, self_checked
from consent_gateway.db.migrate import require_head
from consent_gateway.domain.registers import Principal
from consent_gateway.errors import AuthenticationError, ForbiddenError
from consent_gateway.services.audit_log import require_own_log
from consent_gateway.services.gateway import Gateway
from consent_gateway.services.principals import digest
from consent_gateway.services.self_check import SelfCheck
from consent_gateway.services.tombstones import settle
from consent_gateway.settings import Settings

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


def as_principal(gateway: Gateway, key_file: Path, scope: str) -> Principal:
    """Return whose key is in the file; AuthenticationError if it is none, ForbiddenError if it lacks the scope."""
    with gateway.look() as work:
        found = work.registers.principals.get(digest(key_file.read_text(encoding="utf-8").strip()))
    if found is None:
        raise AuthenticationError
    if not {scope, "admin"} & found.scopes:
        raise ForbiddenError(f"this needs a key with the scope {scope}")
    return found


def read_settings(store: Path | None, **overrides: object) -> Settings:
    """Return the settings of the environment, with the given ones on top."""
    return Settings.from_environment(os.environ, store_directory=store, **overrides)


def open_gateway(store: Path | None, *, settled: bool = True) -> Gateway:
    """Return a gateway over an existing store of the right schema.

    `settled`: nobody who was erased is there again (`services.tombstones`); False for what looks after the file itself.
    """
    return open_checked(read_settings(store), settled=settled)[0]


def open_checked(settings: Settings, *, settled: bool = True) -> tuple[Gateway, SelfCheck]:
    """Return a gateway as `open_gateway` does, and the check of its log: writes are refused if that found something."""
    gateway = build_gateway(settings.model_copy(update={"store_statement_seconds": 0.0}))  # an export may take hours
    require_head(gateway.store)
    require_own_log(gateway)
    check = self_checked(settings, gateway)
    if settled:
        settle(gateway)
    return gateway, check


def emit(value: Any, *, as_json: bool, show: Callable[[Console], None]) -> None:
    """Print `value` as JSON, or let `show` print it for people."""
    if as_json:
        click.echo(json.dumps(value, ensure_ascii=False, indent=2))
        return
    show(Console(highlight=False))
