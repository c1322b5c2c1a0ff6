"""The group `keys`, put together of the commands of its parts."""

from __future__ import annotations

import click

from consent_gateway.cli.index_lint import lint_index
from consent_gateway.cli.keys import (
    api_keys,
    approvals,
    data_keys,
    indexes,
    keyring,
    own_key,
    quotas,
    rolling,
    sealing,
    shares,
)
from consent_gateway.cli.tombstones import tombstones


@click.group()
def keys() -> None:
    """API keys (issue, list, revoke), the keyring, and approvals of what is done to keys."""


_PARTS = (api_keys, keyring, rolling, sealing, shares, indexes, quotas, own_key)

for command in (*(c for part in _PARTS for c in part.COMMANDS), approvals.approvals):
    keys.add_command(command)
indexes.rotate.add_command(data_keys.dek)
keys.add_command(lint_index)
keys.add_command(tombstones)
