"""A hardware security module, through PKCS #11: AES-256 keys on a token, sensitive and not extractable.

A key is found by its label, `<prefix>-<label>`. A wrap is `nonce (12 bytes) | AES-256-GCM ciphertext and tag`, computed
by the module (CKM_AES_GCM) with the context as additional data; the nonce is random, and a key wraps a handful of
secrets in its life (SP 800-38D section 8.3 allows 2^32).

A session is opened for each call and closed after it: calls are rare, and a module that was restarted is found again.
One at a time, because a login counts for the whole process. Modules tell a wrong tag in their own ways, some as a
general error; so after a failed decryption the module is asked for something else, and only if it answers is the
wrap to blame.
"""

from __future__ import annotations

import secrets as random
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pkcs11
from pkcs11 import Attribute, GCMParams, KeyType, Mechanism, ObjectClass
from pkcs11.exceptions import PKCS11Error

from consent_gateway.errors import KeyringError, KeyServiceError
from consent_gateway.vault.kms.port import NOT_OPENED, Bound, Destruction
from consent_gateway.vault.protectors import read_secret

_NONCE_BYTES, _TAG_BYTES, _PROBE_BITS = 12, 16, 64
_BITS = 256
_ONE_LOGIN = threading.Lock()


@dataclass(frozen=True, slots=True)
class Pkcs11Kms:
    """A `Kms` over the token named `token` of the module at `library`; `pin_file` holds the user's PIN."""

    library: Path
    token: str
    pin_file: Path
    prefix: str = "consent-gateway"
    kind: str = field(default="pkcs11", init=False)
    has_own_keys: bool = field(default=True, init=False)
    destruction_seconds: int = field(default=0, init=False)

    def create_key(self, label: str) -> str:
        """Return the label of the key, and make it unless it is there."""
        name = f"{self.prefix}-{label}"
        with self._session() as session:
            if self._find(session, name) is None:
                template = {Attribute.SENSITIVE: True, Attribute.EXTRACTABLE: False}
                session.generate_key(KeyType.AES, _BITS, label=name, store=True, template=template)
        return name

    def wrap(self, secrets: Sequence[Bound]) -> list[bytes]:
        """Encrypt each on the token, with its context as additional data."""
        with self._session() as session:
            return [_encrypt(self._key(session, secret.key), secret) for secret in secrets]

    def unwrap(self, wraps: Sequence[Bound]) -> list[bytes]:
        """Decrypt each on the token; `KeyringError(NOT_OPENED)` for whatever does not open."""
        with self._session() as session:
            return [_decrypt(session, self._key(session, wrap.key), wrap) for wrap in wraps]

    def schedule_destroy(self, key: str) -> Destruction:
        """Destroy the key on the token: done at once."""
        with self._session() as session:
            found = self._find(session, key)
            if found is not None:
                found.destroy()
        return Destruction()

    def check(self) -> None:
        """Raise `KeyServiceError` unless module, token and PIN work."""
        with self._session() as session:
            session.generate_random(_PROBE_BITS)

    @contextmanager
    def _session(self) -> Iterator[Any]:
        """Open a session of the user; whatever the module cannot do in it is `KeyServiceError`."""
        pin = read_secret(self.pin_file).decode("utf-8", "replace")
        with _ONE_LOGIN:
            try:
                token = pkcs11.lib(str(self.library)).get_token(token_label=self.token)
                with token.open(rw=True, user_pin=pin) as session:
                    yield session
            except PKCS11Error:
                raise KeyServiceError("The PKCS #11 module or its token does not serve") from None

    def _key(self, session: Any, name: str) -> Any:
        found = self._find(session, name)
        if found is None:
            raise KeyringError(NOT_OPENED)
        return found

    @staticmethod
    def _find(session: Any, name: str) -> Any:
        """Return the key of this label or None; a search is always read to its end, or the session cannot be closed."""
        wanted = {Attribute.CLASS: ObjectClass.SECRET_KEY, Attribute.LABEL: name}
        found = list(session.get_objects(wanted))
        if len(found) > 1:  # two replicas made it at the same time; nobody can tell which one wrapped
            raise KeyServiceError("The PKCS #11 token has two keys of one label")
        return found[0] if found else None


def _encrypt(key: Any, secret: Bound) -> bytes:
    nonce = random.token_bytes(_NONCE_BYTES)
    return nonce + bytes(key.encrypt(secret.content, mechanism=Mechanism.AES_GCM, mechanism_param=_with(nonce, secret)))


def _decrypt(session: Any, key: Any, wrap: Bound) -> bytes:
    nonce, body = wrap.content[:_NONCE_BYTES], wrap.content[_NONCE_BYTES:]
    if len(body) < _TAG_BYTES:
        raise KeyringError(NOT_OPENED)
    try:
        return bytes(key.decrypt(body, mechanism=Mechanism.AES_GCM, mechanism_param=_with(nonce, wrap)))
    except PKCS11Error:
        session.generate_random(_PROBE_BITS)
        raise KeyringError(NOT_OPENED) from None


def _with(nonce: bytes, item: Bound) -> GCMParams:
    return GCMParams(nonce, item.context, _TAG_BYTES * 8)
