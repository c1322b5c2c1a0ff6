"""The Transit engine of OpenBao or HashiCorp Vault, over its HTTP interface.

A key is `<prefix>-<label>` of type aes256-gcm96. The context is the associated data of each encryption, by the batch
forms of `encrypt` and `decrypt`; one call carries at most `MOST` items of one key, because servers limit the strings of
a request (1,000 by default).

Two traits of the engine shape this client. `encrypt` makes a key that is missing, where the policy lets it: so a wrap
proves nothing, and `keyring_sealing` has it opened again beside an old one. `rewrap` leaves the associated data out, so
it is never used.

The token is read from its file for each call, since agents renew it there. A refusal of the token counts as absence of
the service: it can be cured without touching the keyring.
"""

from __future__ import annotations

import base64
import json
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from consent_gateway.errors import KeyringError, KeyServiceError
from consent_gateway.vault.kms.port import NOT_OPENED, Bound, Destruction
from consent_gateway.vault.protectors import read_secret

MOST = 200  # items of a batch; each is four strings (two names, two values) of a request that may have 1,000
_MOST_BYTES = 1 << 20
_LONGEST_SECONDS = 10.0  # of a body: each of its parts may take as long as the client waits
_OK, _NO_CONTENT, _BAD, _MISSING, _STANDBY = 200, 204, 400, 404, 429
_PATH = re.compile(r"(?:keys|encrypt|decrypt)/[A-Za-z0-9][A-Za-z0-9_.-]{0,199}(?:/config)?", re.ASCII)


@dataclass(frozen=True, slots=True)
class Transit:
    """A `Kms` over `mount` (usually `transit`) of a server; `token_file` holds the token.

    `connect` returns a client for the server, which is used for one call and closed: calls are minutes apart.
    """

    connect: Callable[[], httpx.Client] = field(repr=False)
    token_file: Path
    mount: str = "transit"
    prefix: str = "consent-gateway"
    kind: str = field(default="transit", init=False)
    has_own_keys: bool = field(default=True, init=False)
    destruction_seconds: int = field(default=0, init=False)

    def create_key(self, label: str) -> str:
        """Make the key of `label` unless it exists: the engine takes the second creation for a question."""
        name = f"{self.prefix}-{label}"
        self._call("POST", f"keys/{name}", {"type": "aes256-gcm96"})
        return name

    def wrap(self, secrets: Sequence[Bound]) -> list[bytes]:
        """Encrypt with the context as associated data."""
        asked = [{"plaintext": _text(secret.content), **_associated(secret)} for secret in secrets]
        return [str(text).encode() for text in self._batches("encrypt", "ciphertext", secrets, asked)]

    def unwrap(self, wraps: Sequence[Bound]) -> list[bytes]:
        """Decrypt with the context as associated data; `KeyringError(NOT_OPENED)` for whatever does not open."""
        asked = [{"ciphertext": wrap.content.decode("ascii", "replace"), **_associated(wrap)} for wrap in wraps]
        return [_bytes(text) for text in self._batches("decrypt", "plaintext", wraps, asked)]

    def schedule_destroy(self, key: str) -> Destruction:
        """Allow the deletion of the key and delete it: done at once, and for good."""
        try:
            self._call("POST", f"keys/{key}/config", {"deletion_allowed": True})
            self._call("DELETE", f"keys/{key}")
        except KeyringError:
            if self._exists(key):
                raise KeyServiceError(
                    "Transit does not delete a key; see docs/keys.md for the policy it needs"
                ) from None
        return Destruction()

    def check(self) -> None:
        """Raise `KeyServiceError` unless the server is unsealed and takes the token."""
        self._answer("GET", "/v1/sys/health", None, (_OK, _STANDBY))
        self._answer("GET", "/v1/auth/token/lookup-self", None, (_OK,))

    def _exists(self, key: str) -> bool:
        try:
            self._call("GET", f"keys/{key}")
        except KeyringError:
            return False
        return True

    def _batches(
        self, verb: str, part: str, items: Sequence[Bound], asked: Sequence[Mapping[str, str]]
    ) -> Iterator[str]:
        """Yield `part` of each item's result in the order of the items; one call for each key and `MOST` items."""
        found: dict[int, str] = {}
        for key in dict.fromkeys(item.key for item in items):
            numbers = [number for number, item in enumerate(items) if item.key == key]
            for start in range(0, len(numbers), MOST):
                chunk = numbers[start : start + MOST]
                answer = self._call("POST", f"{verb}/{key}", {"batch_input": [asked[number] for number in chunk]})
                found |= zip(chunk, _results(answer, part, len(chunk)), strict=True)
        return (found[number] for number in range(len(items)))

    def _call(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> Mapping[str, Any]:
        if _PATH.fullmatch(path) is None:  # names of keys come out of the keyring's file
            raise KeyringError(NOT_OPENED)
        return self._answer(method, f"/v1/{self.mount}/{path}", body, (_OK, _NO_CONTENT))

    def _answer(
        self, method: str, path: str, body: Mapping[str, Any] | None, expected: Sequence[int]
    ) -> Mapping[str, Any]:
        token = read_secret(self.token_file).decode("ascii", "replace")
        try:
            headers = {"X-Vault-Token": token}
            with self.connect() as client, client.stream(method, path, json=body, headers=headers) as response:
                content = _read(response)
            answer = json.loads(content) if content else {}
        except (httpx.HTTPError, httpx.InvalidURL, ValueError, RecursionError):
            raise KeyServiceError("Transit does not answer") from None
        if response.status_code in expected and isinstance(answer, dict):
            return answer
        if response.status_code in {_BAD, _MISSING}:
            raise KeyringError(NOT_OPENED)
        raise KeyServiceError("Transit cannot serve now, or refuses the token", retry_after=_seconds(response))


def _read(response: httpx.Response) -> bytes:
    """Return the body; `ValueError` if it is longer, or takes longer, than any answer of the engine."""
    content, ends = bytearray(), time.monotonic() + _LONGEST_SECONDS
    for part in response.iter_bytes():
        content += part
        if len(content) > _MOST_BYTES or time.monotonic() > ends:
            raise ValueError("not an answer")
    return bytes(content)


def _associated(item: Bound) -> dict[str, str]:
    return {"associated_data": _text(item.context)}


def _text(content: bytes) -> str:
    return base64.b64encode(content).decode()


def _bytes(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except ValueError:
        raise KeyServiceError("Transit's answer is not one") from None


def _results(answer: Mapping[str, Any], part: str, count: int) -> list[str]:
    """Return one part of each result; `KeyringError` if an item failed, `KeyServiceError` if it is no answer."""
    try:
        results = answer["data"]["batch_results"]
        if len(results) != count:
            raise KeyServiceError("Transit's answer is not one")
        if any(result.get("error") for result in results):
            raise KeyringError(NOT_OPENED)
        return [str(result[part]) for result in results]
    except (KeyError, TypeError, AttributeError):
        raise KeyServiceError("Transit's answer is not one") from None


def _seconds(response: httpx.Response) -> int | None:
    asked = response.headers.get("retry-after", "")
    return int(asked) if asked.isascii() and asked.isdigit() else None
