"""Quotas of API keys on the command line: how many different people a key may reveal or ask about.

Whoever sets one names their own key (scope admin). Exit status 2 with one line for what is refused, such as the name of
no key.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.table import Table

from consent_gateway.cli.opening import as_principal, open_gateway
from consent_gateway.cli.options import emit, json_option, key_option, store_option
from consent_gateway.domain.quotas import QuotaKind
from consent_gateway.services.log.audit_log import Sequencer
from consent_gateway.services.work import quotas as limiting
from consent_gateway.services.work.gateway import Gateway, Work
from consent_gateway.services.work.quotas import Usage

SCOPE = "admin"
_most = click.IntRange(min=0)
_kind = click.option(
    "--quota",
    type=click.Choice([kind.value for kind in QuotaKind]),
    default=QuotaKind.REVEAL.value,
    show_default=True,
    help="People who are revealed, or identifiers of nobody that are asked about.",
)


@click.group()
def quotas() -> None:
    """How many different people a key may reveal or ask about: list, set, suspend, resume."""


@quotas.command("list")
@store_option
@json_option
def list_quotas(store: Path | None, *, as_json: bool) -> None:
    """List how much of its quota each key has used."""
    with open_gateway(store).look() as work:
        found = [described(used) for used in limiting.usage(work)]

    def show(console: Console) -> None:
        table = Table("key", "quota", "last hour", "last day", "state")
        for row in found:
            hour, day = (f"{row[f'used_{w}']} of {row[f'per_{w}']}" for w in ("hour", "day"))
            table.add_row(row["principal"], row["quota"], hour, day, "suspended" if row["suspended_at"] else "open")
        console.print(table)

    emit(found, as_json=as_json, show=show if found else lambda console: console.print("no key has used a quota yet"))


@quotas.command("set")
@click.argument("principal")
@_kind
@click.option("--per-hour", type=_most, help="Most within any hour; default: the setting.")
@click.option("--per-day", type=_most, help="Most within any day; default: the setting.")
@key_option(SCOPE)
@store_option
@json_option
def set_quota(
    principal: str,
    quota: str,
    per_hour: int | None,
    per_day: int | None,
    key_file: Path,
    store: Path | None,
    *,
    as_json: bool,
) -> None:
    """Give the key PRINCIPAL limits of its own; what is not named goes by the setting."""
    kind = QuotaKind(quota)
    _act(store, key_file, lambda work: limiting.set_limits(work, principal, kind, per_hour, per_day), principal, kind,
         as_json=as_json)  # fmt: skip


@quotas.command("suspend")
@click.argument("principal")
@key_option(SCOPE)
@store_option
@json_option
def suspend(principal: str, key_file: Path, store: Path | None, *, as_json: bool) -> None:
    """Let the key PRINCIPAL reveal nobody until it is resumed; its limits stay."""
    _suspended(store, key_file, principal, suspended=True, as_json=as_json)


@quotas.command("resume")
@click.argument("principal")
@key_option(SCOPE)
@store_option
@json_option
def resume(principal: str, key_file: Path, store: Path | None, *, as_json: bool) -> None:
    """Let the suspended key PRINCIPAL go on, such as after a canary was looked into."""
    _suspended(store, key_file, principal, suspended=False, as_json=as_json)


def described(used: Usage) -> dict[str, Any]:
    """Return one quota as it is printed; instants as RFC 3339 in UTC."""
    at = used.suspended_at
    return {
        "principal": used.principal,
        "quota": used.kind.value,
        "per_hour": used.limits.per_hour,
        "per_day": used.limits.per_day,
        "used_hour": used.hour,
        "used_day": used.day,
        "suspended_at": None if at is None else datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
    }


# -- the parts ---------------------------------------------------------------------------------------------------


def _suspended(store: Path | None, key_file: Path, principal: str, *, suspended: bool, as_json: bool) -> None:
    kind = QuotaKind.REVEAL
    _act(store, key_file, lambda work: limiting.set_suspended(work, principal, kind, suspended=suspended), principal,
         kind, as_json=as_json)  # fmt: skip


def _act(
    store: Path | None,
    key_file: Path,
    act: Callable[[Work], None],
    principal: str,
    kind: QuotaKind,
    *,
    as_json: bool,
) -> None:
    gateway = open_gateway(store)
    with gateway.work(as_principal(gateway, key_file, SCOPE)) as work:
        act(work)
    Sequencer(gateway).drain()
    found = _now(gateway, principal, kind)
    state = "suspended" if found["suspended_at"] else f"{found['per_hour']} an hour, {found['per_day']} a day"
    emit(found, as_json=as_json, show=lambda console: console.print(f"{principal}: {state}", markup=False))


def _now(gateway: Gateway, principal: str, kind: QuotaKind) -> dict[str, Any]:
    with gateway.look() as work:
        return next(described(u) for u in limiting.usage(work) if (u.principal, u.kind) == (principal, kind))
