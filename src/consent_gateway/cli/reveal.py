"""`consent-gateway reveal`: fields of one person from a running gateway, with the decision that lets them out."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from urllib.parse import quote

import click
import httpx
from rich.console import Console
from rich.table import Table

from consent_gateway.cli.importer import complaint
from consent_gateway.cli.options import emit, json_option
from consent_gateway.domain.purposes import Channel
from consent_gateway.domain.reveals import RevealReason, View
from consent_gateway.errors import InputError, UnavailableError

_DENIED = 1


@click.command()
@click.argument("pseudonym")
@click.option("--purpose", required=True, help="A registered purpose; its `reveals` say which fields there are.")
@click.option("--channel", type=click.Choice([c.value for c in Channel]), default="none", show_default=True)
@click.option("--field", "fields", multiple=True, required=True, help="One that the purpose lists; can be repeated.")
@click.option("--reason", required=True, type=click.Choice([r.value for r in RevealReason]))
@click.option("--ticket", required=True, help="Where the reason can be looked up, such as CASE-1234.")
@click.option("--plain", is_flag=True, help="The whole value instead of a masked one; needs the scope reveal_plain.")
@click.option("--recipient", help="For whom; the key's own recipient by default.")
@click.option("--url", default="http://127.0.0.1:8080", show_default=True, envvar="CONSENT_GATEWAY_CLIENT_URL")
@click.option("--key-file", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="File with the API key.")
@click.option("--key", envvar="CONSENT_GATEWAY_CLIENT_KEY", help="API key; better from a file or the environment.")
@json_option
def reveal(
    pseudonym: str,
    purpose: str,
    channel: str,
    fields: tuple[str, ...],
    reason: str,
    ticket: str,
    recipient: str | None,
    url: str,
    key_file: Path | None,
    key: str | None,
    *,
    plain: bool,
    as_json: bool,
) -> None:
    """Reveal fields of a person, masked by default; status 1 if the decision denies. Whoever asks is recorded."""
    secret = key_file.read_text(encoding="utf-8").strip() if key_file is not None else key
    if not secret:
        raise click.UsageError("give --key-file, or --key, or CONSENT_GATEWAY_CLIENT_KEY")
    body = {
        "purpose": purpose,
        "channel": channel,
        "fields": list(fields),
        "reason": reason,
        "ticket": ticket,
        "view": View.PLAIN if plain else View.MASKED,
        "recipient": recipient,
    }
    with httpx.Client(base_url=url, headers={"authorization": f"Bearer {secret}"}, timeout=60, trust_env=False) as http:
        answer = _ask(http, pseudonym, body)
    emit(answer, as_json=as_json, show=lambda console: _show(console, answer))
    if answer["outcome"] != "permit":
        raise click.exceptions.Exit(_DENIED)


def _ask(http: httpx.Client, pseudonym: str, body: dict[str, Any]) -> dict[str, Any]:
    """Return the answer; InputError or UnavailableError with what the gateway said."""
    try:
        reply = http.post(f"/v1/subjects/{quote(pseudonym, safe='')}/reveal", json=body)
    except (httpx.TransportError, httpx.InvalidURL) as error:
        raise UnavailableError(f"the gateway does not answer ({type(error).__name__}); is it running?") from None
    if reply.is_success:
        answer: dict[str, Any] = reply.json()
        return answer
    refused = InputError if reply.is_client_error else UnavailableError
    raise refused(complaint(reply))


def _show(console: Console, answer: dict[str, Any]) -> None:
    reason = answer["reasons"][0]
    console.print(f"{answer['outcome'].upper()} {answer['reason_code']} ({reason['law']}, {reason['citation']})")
    if answer["values"]:
        table = Table("field", answer["view"])
        for name, values in answer["values"].items():
            table.add_row(name, ", ".join(values) or "–")
        console.print(table)
    console.print(f"entry {answer['entry']['uid']}")
