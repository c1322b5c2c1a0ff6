"""Commands for the epochs of pseudonyms: begin one, show which count."""

from __future__ import annotations

from pathlib import Path

import click

from consent_gateway.cli.opening import as_principal, open_gateway
from consent_gateway.cli.options import emit, json_option, key_option, store_option
from consent_gateway.domain.epochs import MAX_OVERLAP_SECONDS
from consent_gateway.domain.ids import RecipientId
from consent_gateway.errors import NotFoundError
from consent_gateway.services.disclosing import pseudonyms as rolling
from consent_gateway.services.log.audit_log import Sequencer
from consent_gateway.services.work.gateway import Gateway

_DIFFERS = _REFUSED = 1
_SCOPE = "admin"
_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)


@click.command("roll")
@click.argument("recipient")
@click.option(
    "--overlap-seconds",
    required=True,
    type=click.IntRange(0, MAX_OVERLAP_SECONDS),
    help="How long former names go on to count; 0 ends them all now.",
)
@key_option(_SCOPE)
@store_option
@json_option
def roll_epoch(recipient: str, overlap_seconds: int, key_file: Path, store: Path | None, *, as_json: bool) -> None:
    """Begin the next epoch of the pseudonyms of RECIPIENT, and of everybody's in its sector."""
    gateway = open_gateway(store)
    with gateway.work(as_principal(gateway, key_file, _SCOPE)) as work:
        rolling.roll(work, RecipientId(recipient), overlap_seconds)
    Sequencer(gateway).drain()
    _tell(gateway, recipient, as_json=as_json)


@click.command("epochs")
@click.argument("recipient")
@store_option
@json_option
def show_epochs(recipient: str, store: Path | None, *, as_json: bool) -> None:
    """Show which epochs of the pseudonyms of RECIPIENT count, and until when."""
    _tell(open_gateway(store), recipient, as_json=as_json)


def _tell(gateway: Gateway, recipient: str, *, as_json: bool) -> None:
    with gateway.look() as work:
        if recipient not in work.registers.recipients:
            raise NotFoundError("there is no such recipient")
        sector = work.registers.sector(RecipientId(recipient))
        epochs = work.registers.epochs_of(sector)
        counting = epochs.counting(work.now)
    former = [{"epoch": e, "counts_until": epochs.former[e]} for e in sorted(epochs.former) if e in counting]
    value = {"recipient": recipient, "sector": sector, "epoch": epochs.current, "former": former}
    line = f"{recipient}: epoch {epochs.current}; {len(former)} former count"
    emit(value, as_json=as_json, show=lambda console: console.print(line, markup=False))
