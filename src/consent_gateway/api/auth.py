"""Who calls, and what they may do.

A key is looked up by its hash in the snapshot of the registers; a snapshot that does not know it is read anew once. The
use case checks again inside its transaction (`Gateway.work`), so that a revoked key does nothing from the commit of the
revocation on, on every replica. Unknown, malformed and revoked keys are answered alike.
"""

from __future__ import annotations

from collections.abc import Iterable

from consent_gateway.domain.registers import Principal
from consent_gateway.errors import AuthenticationError, ForbiddenError
from consent_gateway.services.work.gateway import Gateway
from consent_gateway.services.work.principals import digest

_BEARER = b"Bearer "
_MAX_KEY = 200


def authenticate(gateway: Gateway, headers: Iterable[tuple[bytes, bytes]], scope: str) -> Principal:
    """Return the principal of a request that may do `scope`; AuthenticationError, ForbiddenError otherwise.

    Who is turned away is counted, and the counts are in the log (`services.log.denials`).
    """
    try:
        principal = _find(gateway, _key_of(headers))
    except AuthenticationError:
        _deny(gateway, "", scope, "unauthenticated")
        raise
    if scope not in principal.scopes and "admin" not in principal.scopes:
        _deny(gateway, principal.id, scope, "forbidden")
        raise ForbiddenError(f"this needs a key with the scope {scope}")
    return principal


def _deny(gateway: Gateway, principal: str, scope: str, why: str) -> None:
    gateway.denials.note(principal, scope, why, int(gateway.clock().timestamp()))


def recognise(gateway: Gateway, headers: Iterable[tuple[bytes, bytes]], scope: str) -> Principal | None:
    """Return the principal that the snapshot knows and that may do `scope`; None asks for `authenticate`.

    This never touches the store, so it may run on the event loop.
    """
    snapshot = gateway.registers.snapshot
    try:
        found = None if snapshot is None else snapshot.principals.get(_key_of(headers))
    except AuthenticationError:
        return None
    if found is None or (scope not in found.scopes and "admin" not in found.scopes):
        return None
    return found


def _key_of(headers: Iterable[tuple[bytes, bytes]]) -> bytes:
    for name, value in headers:
        if name == b"authorization":
            if value.startswith(_BEARER) and len(value) <= _MAX_KEY:
                return digest(value[len(_BEARER) :].decode("latin-1"))
            break
    raise AuthenticationError


def _find(gateway: Gateway, key: bytes) -> Principal:
    snapshot = gateway.registers.snapshot
    found = None if snapshot is None else snapshot.principals.get(key)
    if found is not None:
        return found
    with gateway.store.reading() as session:
        found = gateway.registers.fresh(session).principals.get(key)
    if found is None:
        raise AuthenticationError
    return found
