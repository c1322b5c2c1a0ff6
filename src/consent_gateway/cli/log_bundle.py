"""Commands about chains: write one person's bundle, and check whose the chains of the log are."""

from __future__ import annotations

import os
from pathlib import Path

import click
from rich.console import Console

from consent_gateway.cli.opening import as_principal, open_gateway
from consent_gateway.cli.options import emit, json_option, key_option, store_option
from consent_gateway.services.log import chain_checks
from consent_gateway.services.log.audit_log import Sequencer
from consent_gateway.services.log.bundles import ACCESS_SCOPE, Made, Wish, hand_out

_FOUND = 1


@click.command("bundle")
@click.argument("pseudonym")
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
@click.option("--audience", "asked", multiple=True, metavar="ID", help="Show whether this audience had them, or not.")
@click.option("--no-memberships", is_flag=True, help="Leave out which audiences had them.")
@key_option(ACCESS_SCOPE)
@store_option
@json_option
def bundle(
    pseudonym: str,
    file: Path,
    asked: tuple[str, ...],
    key_file: Path,
    store: Path | None,
    *,
    no_memberships: bool,
    as_json: bool,
) -> None:
    """Write everything that the log says about a person to FILE, with proofs, for them to keep; status 1 if it fails.

    Do it before an erasure: afterwards nobody can. PSEUDONYM is one of the recipient whose key acts. The map of chains
    is published first, so that the bundle is complete up to this moment; the file can be read by its owner alone.
    """
    gateway = open_gateway(store)
    principal = as_principal(gateway, key_file, ACCESS_SCOPE)
    wish = Wish(not no_memberships, asked, mapped=True, most=None)
    made = hand_out(gateway, principal, pseudonym, wish)
    write_private(file, made.content)
    value = {
        "file": str(file),
        "bytes": len(made.content),
        "entry": made.uid.hex(),
        "ok": made.finding.ok,
        "code": made.finding.code,
        **made.finding.details,
    }
    emit(value, as_json=as_json, show=lambda console: show_bundle(console, file, made))
    if not made.finding.ok:
        raise click.exceptions.Exit(_FOUND)


def show_bundle(console: Console, file: Path, made: Made) -> None:
    """Tell people what a bundle holds, and how they check it."""

    def line(text: str) -> None:
        console.print(text, soft_wrap=True, markup=False, highlight=False)

    line(f"{file}: {len(made.content)} bytes")
    line(str(made.finding))
    audiences = made.finding.details.get("audiences")
    for audience in audiences if isinstance(audiences, list) else ():
        where = f"{audience['audience']} ({audience['purpose']}, {audience['channel']}, {audience['recipient']})"
        line(f"  {'in' if audience['member'] else 'not in'} audience {where}")
    line(f"verify with: consent-gateway audit verify bundle VKEY {file}")


@click.command("chains")
@store_option
@json_option
def chains(store: Path | None, *, as_json: bool) -> None:
    """Check that every chain of the log is somebody's and that what was erased is gone; status 1 if not.

    For whoever may look into the store and its keys. What the public log shows alone, `audit verify` checks.
    """
    gateway = open_gateway(store)
    Sequencer(gateway).drain()
    found = chain_checks.check(gateway)
    value = {
        "living": found.living,
        "erased": found.erased,
        "phantoms": [key.hex() for key in found.phantoms],
        "revived": [key.hex() for key in found.revived],
        "unequal": [key.hex() for key in found.unequal],
        "orphans": found.orphans,
    }
    text = (
        f"{found.living} chains of living people, {found.erased} of erased ones; "
        f"{len(found.phantoms)} of nobody, {len(found.revived)} revived, {len(found.unequal)} of another length than "
        f"the erasure says, {found.orphans} openings of nobody"
    )
    emit(value, as_json=as_json, show=lambda _: click.echo(text))
    if not found.clean:
        raise click.exceptions.Exit(_FOUND)


def write_private(path: Path, content: bytes) -> None:
    """Write a file that its owner alone can read, and see that it is on the disk."""
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
