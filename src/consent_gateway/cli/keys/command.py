"""The group `keys`, put together of the commands of its parts."""

from __future__ import annotations

import click

from consent_gateway.cli.keys import api_keys, approvals, keyring, rolling, shares


@click.group()
def keys() -> None:
    """API keys (issue, list, revoke), the keyring, and approvals of what is done to keys."""


for command in (*api_keys.COMMANDS, *keyring.COMMANDS, *rolling.COMMANDS, *shares.COMMANDS, approvals.approvals):
    keys.add_command(command)
