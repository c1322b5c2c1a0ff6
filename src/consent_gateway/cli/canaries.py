"""Canaries on the command line: made-up people whom nobody has a reason to read; a reveal of one is an alarm."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import BinaryIO

import click

from consent_gateway.api.bodies import check_json_document, parse_model
from consent_gateway.api.wire.reveals import CanaryIn
from consent_gateway.cli.opening import as_principal, open_gateway
from consent_gateway.cli.options import emit, json_option, key_option, store_option
from consent_gateway.errors import InputError
from consent_gateway.services.log.audit_log import Sequencer
from consent_gateway.services.persons import canaries as planting

SCOPE = "admin"
_MOST_BYTES = 65_536


@click.group()
def canaries() -> None:
    """Made-up people whom nobody has a reason to read: plant one; a reveal of it is an alarm."""


@canaries.command("plant")
@click.option(
    "--person",
    "file",
    required=True,
    type=click.File("rb"),
    help="JSON as for POST /v1/canaries: source and person; - for standard input. Never an argument.",
)
@key_option(SCOPE)
@store_option
@json_option
def plant(file: BinaryIO, key_file: Path, store: Path | None, *, as_json: bool) -> None:
    """Take in a made-up person and print their pseudonym for our own keys; status 2 if it is no new person."""
    body = file.read(_MOST_BYTES + 1)
    problem = check_json_document(body) if len(body) <= _MOST_BYTES else None
    if problem is not None or len(body) > _MOST_BYTES:
        raise InputError("the file is not one JSON document of at most 64 KiB", fields=(problem,) if problem else ())
    data = parse_model(CanaryIn, body)
    gateway = open_gateway(store)
    with gateway.work(as_principal(gateway, key_file, SCOPE)) as work:
        planted = planting.plant(work, data.source, data.person.item(), hashlib.sha256(body).hexdigest())
    Sequencer(gateway).drain()
    value = {"pseudonym": planted.pseudonym, "entry": planted.uid.hex()}
    emit(value, as_json=as_json, show=lambda console: console.print(f"planted: {planted.pseudonym}", markup=False))
