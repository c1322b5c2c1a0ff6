"""`consent-gateway erase`: forget a person, and keep for them what the log says, in the same act."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
from rich.console import Console

from consent_gateway.cli.log_bundle import show_bundle, write_private
from consent_gateway.cli.opening import as_principal, open_gateway
from consent_gateway.cli.options import emit, json_option, key_option, store_option
from consent_gateway.domain.purposes import OWN
from consent_gateway.domain.registers import Principal
from consent_gateway.errors import ForbiddenError, InputError
from consent_gateway.services.erasing import erasure
from consent_gateway.services.erasing.erasure import Deferred, Erasure
from consent_gateway.services.identity import people
from consent_gateway.services.log.audit_log import Sequencer
from consent_gateway.services.log.bundles import Attempt, before_erasure, entries_after
from consent_gateway.services.work.gateway import Gateway

_SCOPE = "erase"
_NO_BUNDLE = 1
REASONS = ("request", "account_closed", "retention", "unlawful", "consent_withdrawn")


@click.command()
@click.argument("pseudonym")
@click.option("--reason", type=click.Choice(REASONS), default=REASONS[0], show_default=True)
@click.option(
    "--bundle",
    "file",
    type=click.Path(dir_okay=False, path_type=Path),
    help="First write all that the log says about them to this file; needs the scope access too, by name.",
)
@key_option(_SCOPE)
@store_option
@json_option
def erase(pseudonym: str, reason: str, file: Path | None, key_file: Path, store: Path | None, *, as_json: bool) -> None:
    """Erase a person for good, and write what the log says for them to keep.

    PSEUDONYM is one of the recipient whose key acts. While a legal hold is in force, the erasure waits. With --bundle
    the file is on the disk before anything is erased; afterwards nobody can make it. A bundle that cannot be made keeps
    nobody from being erased: status 1 says so.
    """
    gateway = open_gateway(store)
    principal = as_principal(gateway, key_file, _SCOPE)
    if principal.recipient != OWN:
        raise ForbiddenError("only a key of our own erases a person: it is for everyone")
    attempt = None if file is None else _kept(gateway, principal, pseudonym, file)
    with gateway.work(principal) as work:
        done = erasure.erase_or_defer(work, people.named_by(work, pseudonym), reason)
    Sequencer(gateway).drain()
    gateway.store.truncate_log()
    emit(
        _value(done, attempt, file), as_json=as_json, show=lambda console: _show(console, done, attempt, file or Path())
    )
    if attempt is not None and attempt.made is None:
        raise click.exceptions.Exit(_NO_BUNDLE)


def _kept(gateway: Gateway, principal: Principal, pseudonym: str, file: Path) -> Attempt:
    """Write the bundle and return it; InputError for a place that cannot be written, before anything is done."""
    try:
        write_private(file, b"")
    except OSError as error:
        raise InputError(f"the bundle cannot be written to that file: {error.strerror}; nothing was done") from None
    try:
        attempt = before_erasure(gateway, principal, pseudonym, most=None)
    except ForbiddenError:
        file.unlink()
        raise
    if attempt.made is None:
        file.unlink()
        return attempt
    try:
        write_private(file, attempt.made.content)
    except OSError:
        return Attempt(None, "not_written")
    return attempt


def _value(done: Erasure | Deferred, attempt: Attempt | None, file: Path | None) -> dict[str, Any]:
    erased = isinstance(done, Erasure)
    value: dict[str, Any] = {"erased": erased, "pending": not erased, "entry": done.uid.hex()}
    if isinstance(done, Erasure):
        value |= {"tombstones": done.tombstones, "rows": done.rows}
    else:
        value |= {"holds": sorted({hold.reason.value for hold in done.holds})}
    return value if attempt is None else value | {"bundle": _told(done, attempt, file)}


def _told(done: Erasure | Deferred, attempt: Attempt, file: Path | None) -> dict[str, Any]:
    made = attempt.made
    if made is None:
        return {"file": None, "reason": attempt.why}
    after = entries_after(made, done.chains) if isinstance(done, Erasure) else None
    return {"file": str(file), "reason": None, "bytes": len(made.content), "ok": made.finding.ok, "after": after}


def _show(console: Console, done: Erasure | Deferred, attempt: Attempt | None, file: Path) -> None:
    def line(text: str) -> None:
        console.print(text, soft_wrap=True, markup=False, highlight=False)

    if isinstance(done, Erasure):
        line(f"erased: {done.tombstones} tombstones, {done.rows} rows, entry {done.uid.hex()}")
    else:
        line(f"waits for {len(done.holds)} legal holds, entry {done.uid.hex()}")
    if attempt is None:
        return
    if attempt.made is None:
        line(f"WITHOUT a bundle: {attempt.why}")
        return
    show_bundle(console, file, attempt.made)
    if isinstance(done, Erasure):
        line(f"{entries_after(attempt.made, done.chains)} entries about them are newer, that of the erasure among them")
