"""The command that checks a consent receipt without any store."""

from __future__ import annotations

from pathlib import Path

import click

from consent_gateway.audit.consent_receipts import verify_document
from consent_gateway.cli.options import emit, json_option

_DIFFERS = 1


@click.command("verify")
@click.argument("document", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--key", required=True, help="The issuer's keys: a file with a JWK or JWK set, or the JWK itself.")
@click.option(
    "--entry", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="The bytes of its entry in the log."
)
@json_option
def verify(document: Path, key: str, entry: Path | None, *, as_json: bool) -> None:
    """Check a receipt offline: DOCUMENT is the file as it was issued; status 1 and the first thing that is wrong.

    Take the key from a source that you trust for it, not from whoever handed you the receipt.
    """
    finding = verify_document(document.read_bytes(), _key(key), None if entry is None else entry.read_bytes())
    found = {"ok": finding.ok, "code": finding.code, "message": finding.message}
    emit(found, as_json=as_json, show=lambda console: console.print(str(finding), soft_wrap=True, markup=False))
    if not finding.ok:
        raise click.exceptions.Exit(_DIFFERS)


def _key(text: str) -> bytes:
    if text.lstrip().startswith("{"):
        return text.encode()
    path = Path(text)
    if not path.is_file():
        raise click.BadParameter("neither a file nor a JWK", param_hint="--key")
    return path.read_bytes()
