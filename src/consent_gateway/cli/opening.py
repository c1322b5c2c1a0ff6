"""The store that a command works on, opened and checked, and whose key acts on it."""

from __future__ import annotations

import os
from pathlib import Path

from consent_gateway.assembly import build_gateway, self_checked
from consent_gateway.db.revisions import require_head
from consent_gateway.domain.registers import Principal
from consent_gateway.errors import AuthenticationError, ForbiddenError
from consent_gateway.services.erasing.tombstones import settle
from consent_gateway.services.log.audit_log import require_own_log
from consent_gateway.services.log.self_check import SelfCheck
from consent_gateway.services.work.gateway import Gateway
from consent_gateway.services.work.principals import digest
from consent_gateway.settings import Settings


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

    `settled`: nobody who was erased is there again (`services.erasing.tombstones`); False for what looks after the file
    itself.
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
