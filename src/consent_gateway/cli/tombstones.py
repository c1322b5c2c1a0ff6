"""Commands for the tombstone file: does it hold, and make it anew out of what there is."""

from __future__ import annotations

from pathlib import Path

import click

from consent_gateway.cli.opening import open_gateway
from consent_gateway.cli.options import emit, json_option, store_option
from consent_gateway.errors import TombstoneError
from consent_gateway.services.erasing import tombstones as files
from consent_gateway.services.erasing.tombstones import Comparison
from consent_gateway.services.log.audit_log import Sequencer
from consent_gateway.services.work.gateway import Gateway
from consent_gateway.vault.tombstone_file import TombstoneFile

_DIFFERS = 1


@click.group()
def tombstones() -> None:
    """The tombstone file, which keeps erased people erased after a restore (verify, rebuild)."""


@tombstones.command("verify")
@store_option
@json_option
def verify(store: Path | None, *, as_json: bool) -> None:
    """Verify every line and compare with the store; changes nothing. Status 1 if the gateway would not start."""
    gateway = open_gateway(store, settled=False)
    try:
        value = _state(files.compare(gateway, _file_of(gateway)))
    except TombstoneError as error:
        value = {"ok": False, "problem": error.detail}
    emit(value, as_json=as_json, show=lambda console: console.print(_sentence(value), soft_wrap=True, markup=False))
    if not value["ok"]:
        raise click.exceptions.Exit(_DIFFERS)


@tombstones.command("rebuild")
@click.option("--yes", is_flag=True, help="Accept that lines of which nothing else knows are lost for good.")
@store_option
@json_option
def rebuild(store: Path | None, *, yes: bool, as_json: bool) -> None:
    """Write the file anew out of the store and of every line that holds in the file and its copies.

    Look for a copy of the file first: after a restore, an erasure of which neither the store nor a copy knows comes
    back. What was there is kept beside it.
    """
    if not yes:
        raise click.UsageError("say --yes: erasures of which only the lost lines knew are forgotten by this")
    gateway = open_gateway(store, settled=False)
    aside = gateway.clock().strftime(".before-%Y%m%dT%H%M%SZ")
    value = _state(files.rebuild(gateway, _file_of(gateway), aside))
    Sequencer(gateway).drain()
    emit(value, as_json=as_json, show=lambda console: console.print(_sentence(value), soft_wrap=True, markup=False))


def _file_of(gateway: Gateway) -> TombstoneFile:
    if gateway.tombstones is None:
        raise TombstoneError("this gateway keeps no tombstone file")
    return gateway.tombstones


def _state(found: Comparison) -> dict[str, bool | int | str]:
    return {
        "ok": not found.lost,
        "lines": found.lines,
        "erasures": found.rows,
        "unwritten": found.open,
        "lost": found.lost,
        "restored": len(found.lacking),
    }


def _sentence(value: dict[str, bool | int | str]) -> str:
    if "problem" in value:
        return f"FAIL {value['problem']}"
    counts = f"{value['lines']} lines, {value['erasures']} erasures in the store, {value['unwritten']} to be written"
    again = f"; {value['restored']} to be carried out again at the next start" if value["restored"] else ""
    return f"ok   {counts}{again}" if value["ok"] else f"FAIL {counts}; {value['lost']} lines are lost"
