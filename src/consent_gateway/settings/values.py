"""How values of settings are read: strictly, so that nothing is guessed, and never quoted in what is said of them."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

from pydantic import BeforeValidator, SecretStr

from consent_gateway.audit.kept.outbound import is_safe_url

_DRIVER = "postgresql+psycopg://"


def _switch(value: object) -> object:
    """Read exactly `true` or `false`: "yes", "1" and "on" are refused, so that a switch is never guessed."""
    if value in ("true", "false"):
        return value == "true"
    if isinstance(value, bool):
        return value
    raise ValueError("not a switch")


def _postgresql(value: object) -> object:
    """Name the one driver: a bare `postgresql://` gets psycopg, every other scheme is refused."""
    if not isinstance(value, str):
        return value
    if value.startswith("postgresql://"):
        value = _DRIVER + value.removeprefix("postgresql://")
    if not value.startswith(_DRIVER):
        raise ValueError("not a PostgreSQL address")
    return value


def _paths(value: object) -> object:
    """Read a list of paths the way PATH is written."""
    return tuple(part for part in value.split(os.pathsep) if part) if isinstance(value, str) else value


def _addresses(value: object) -> object:
    """Read a list of addresses between blanks; one that is neither https nor on this machine is refused."""
    found = tuple(value.split()) if isinstance(value, str) else value
    if isinstance(found, (list, tuple)) and all(isinstance(url, str) and is_safe_url(url) for url in found):
        return tuple(found)
    raise ValueError("not addresses that are safe to call")


def _nats(value: object) -> object:
    """Refuse a NATS server without TLS that is not on this machine, and passwords in its address."""
    if isinstance(value, str):
        scheme, mark, rest = value.partition("://")
        like = {"tls": "https", "nats": "http"}.get(scheme, "")
        if mark and is_safe_url(f"{like}://{rest}"):
            return value
    raise ValueError("not the address of a NATS server that is safe to call")


Switch = Annotated[bool, BeforeValidator(_switch)]
Paths = Annotated[tuple[Path, ...], BeforeValidator(_paths)]
Addresses = Annotated[tuple[str, ...], BeforeValidator(_addresses)]
NatsAddress = Annotated[str, BeforeValidator(_nats)]
PostgresAddress = Annotated[SecretStr, BeforeValidator(_postgresql)]
