"""Keyring files of format 1, as the first release wrote them: all roots in one sealed body. Read only.

`{format, version: 1, protection: {kind, salt, costs}, body: hex}`; the body is JSON with `kek` and `index` as tables of
number to root and the four lasting roots, all in hexadecimal. The next change of such a keyring writes format 2.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from consent_gateway.errors import KeyringError
from consent_gateway.vault.derivation import frame
from consent_gateway.vault.kms.port import NOT_OPENED
from consent_gateway.vault.protectors import Protector, Sealing
from consent_gateway.vault.roots import LASTING, Roots

VERSION = 1
_AAD = frame(b"consent-gateway-keyring", VERSION.to_bytes(4, "big"))


def decode(held: Mapping[str, Any], protector: Protector) -> Roots:
    """Return the roots of a file that was read as JSON; `KeyringError(NOT_OPENED)` for a wrong secret or damage."""
    try:
        sealing = Sealing(dict(held["protection"]), bytes.fromhex(held["body"]))
    except (ValueError, KeyError, TypeError):
        raise KeyringError(NOT_OPENED) from None
    payload = protector.open_whole(sealing, _AAD)
    try:
        body = json.loads(payload)
        numbered = {f"{use}/{number}": root for use in ("kek", "index") for number, root in body[use].items()}
        named = numbered | {name: body[name] for name in LASTING}
        return Roots.from_names({name: bytes.fromhex(root) for name, root in named.items()})
    except (ValueError, KeyError, TypeError, AttributeError):
        raise KeyringError(NOT_OPENED) from None
