"""`consent-gateway keys`: API keys, the keyring, and what is done to keys with four eyes.

- `api_keys` issues, lists and revokes API keys;
- `keyring` shows the state of the keyring;
- `rolling` rolls the key epoch;
- `destroying` destroys past keys;
- `indexes` moves the blind index to another key;
- `own_key` gives the gateway a new key of its own where the old one is lost;
- `quotas` says how many people a key may reveal or ask about;
- `approvals` is where the second pair of eyes approves or refuses;
- `command` is the group, to which each of them adds its commands.
"""

from __future__ import annotations

from consent_gateway.cli.keys.command import keys

__all__ = ["keys"]
