"""`consent-gateway`: the commands. Every command that a program may read has `--json`.

Expected failures end with status 2 and one line that says what is wrong and what to do; `audit verify`, `receipts
verify`, `policy test`, `signals test`, `pseudonyms test`, `keys lint-index`, `keys tombstones verify` and `reconcile`
end with 1 when what they checked does not hold, and `reveal` when the decision denies.
"""

from __future__ import annotations

import sys

import click
from rich.console import Console

from consent_gateway import __version__
from consent_gateway.cli import (
    audit,
    bench,
    demo_command,
    importer,
    index_lint,
    keys,
    policy,
    policy_change,
    policy_compare,
    pseudonyms,
    receipts,
    record,
    retention,
    reveal,
    running,
    signals,
    tombstones,
    upkeep,
)
from consent_gateway.errors import GatewayError

_USAGE = 2


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="consent-gateway")
def cli() -> None:
    """Privacy-first consent and compliance gateway."""


for command in (
    running.init,
    running.serve,
    running.worker,
    running.migrate,
    demo_command.demo,
    importer.import_command,
    reveal.reveal,
    policy.policy,
    signals.signals,
    audit.audit,
    receipts.receipts,
    pseudonyms.pseudonyms,
    keys.keys,
    retention.retention,
    upkeep.reconcile,
    upkeep.doctor,
    bench.bench,
):
    cli.add_command(command)
policy.policy.add_command(record.record)
keys.keys.add_command(index_lint.lint_index)
keys.keys.add_command(tombstones.tombstones)
for command in (*policy_change.COMMANDS, *policy_compare.COMMANDS):
    policy.policy.add_command(command)


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
