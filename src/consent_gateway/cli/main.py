"""`consent-gateway`: the commands. Every command that a program may read has `--json`.

Expected failures end with status 2 and one line that says what is wrong and what to do; `audit verify`, `receipts
verify`, `policy test`, `signals test`, `pseudonyms test`, `keys lint-index`, `keys tombstones verify` and `reconcile`
end with 1 when what they checked does not hold, `reveal` when the decision denies, and `erase` when it erased without
the bundle that was asked for.
"""

from __future__ import annotations

import sys

import click
from rich.console import Console

from consent_gateway import __version__
from consent_gateway.cli.lazy import LazyGroup, Place
from consent_gateway.errors import GatewayError

_USAGE = 2
_PLACES = {
    "init": Place(
        "making", "init", "Make a new store: keyring, schema, standard purposes, and the first API key (shown once)."
    ),
    "serve": Place("serving", "serve", "Serve the HTTP API, with the background worker in the same process."),
    "worker": Place("working", "worker", "Run the background jobs alone, beside servers on the same database."),
    "migrate": Place("making", "migrate", "Bring the schema to the version of the code (or to another)."),
    "demo": Place(
        "demo_command",
        "demo",
        "From raw customers to a consented, audited audience, through the HTTP API of a running gateway.",
    ),
    "import": Place(
        "importer",
        "import_command",
        "Import a CSV (subjects) or NDJSON file through the API; status 1 if rows were refused.",
    ),
    "reveal": Place(
        "reveal", "reveal", "Reveal fields of a person, masked by default; status 1 if the decision denies."
    ),
    "erase": Place("erasing", "erase", "Erase a person for good, and write what the log says for them to keep."),
    "policy": Place("policy", "policy", "The law as decision tables: list, show, test, explain, lint, prove, export."),
    "signals": Place("signals", "signals", "TCF, GPP, US Privacy and GPC: decode strings, check vectors."),
    "audit": Place("audit", "audit", "The audit log: export, verify, and the verifier as a single file."),
    "receipts": Place("receipts", "receipts", "Consent receipts: verify them offline, print the keys."),
    "pseudonyms": Place(
        "pseudonyms",
        "pseudonyms",
        "Pseudonyms: move a file to the current epoch, begin the next one, check vectors, print the partners' tool.",
    ),
    "canaries": Place(
        "canaries",
        "canaries",
        "Made-up people whom nobody has a reason to read: plant one; a reveal of it is an alarm.",
    ),
    "keys": Place(
        "keys", "keys", "API keys (issue, list, revoke), the keyring, and approvals of what is done to keys."
    ),
    "retention": Place("retention", "retention", "Deleting what no purpose needs any more (status, run)."),
    "reconcile": Place(
        "upkeep",
        "reconcile",
        "Recompute every audience row from the truth and report differences; status 1 if there are any.",
    ),
    "doctor": Place(
        "upkeep",
        "doctor",
        "Check settings, keyring, store, schema, packs and log; status 1 and what to do if anything is wrong.",
    ),
    "bench": Place(
        "bench",
        "bench",
        "Measure this machine: the law, decisions, imports, audiences and the log, each next to its raw limit.",
    ),
}

cli = click.version_option(__version__, prog_name="consent-gateway")(
    LazyGroup(
        "consent-gateway",
        _PLACES,
        help="Privacy-first consent and compliance gateway.",
        context_settings={"help_option_names": ["-h", "--help"]},
    )
)


def main() -> None:
    """Run the command line; expected failures become one readable line."""
    try:
        # Outside of standalone mode click returns the status that a command asked for.
        sys.exit(cli(standalone_mode=False) or 0)
    except GatewayError as error:
        _complain(error)
        sys.exit(_USAGE)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except click.exceptions.Abort:
        sys.exit(130)


def _complain(error: GatewayError) -> None:
    console = Console(stderr=True, highlight=False)
    console.print(f"[bold red]{error.code}[/bold red] {error.detail}", soft_wrap=True)
    for field in error.fields:
        console.print(f"  {field.path}: {field.message} ({field.code})", soft_wrap=True, markup=False)
    console.print(f"  {error.hint}", soft_wrap=True, markup=False)
