"""A new store: keyring, schema, standard registers, the log's first entry, the first API key.

Part of the outermost ring, beside the composition root: `init` is the one moment at which keys are made.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Sequence
from pathlib import Path

from consent_gateway.assembly import build_gateway, key_service
from consent_gateway.audit.entries import EntryKind
from consent_gateway.db.engine import Store
from consent_gateway.db.migrate import upgrade
from consent_gateway.db.revisions import current
from consent_gateway.errors import ConflictError, KeyringError
from consent_gateway.services.erasing import tombstones
from consent_gateway.services.log.audit_log import Sequencer
from consent_gateway.services.policy import policies
from consent_gateway.services.registry import registers
from consent_gateway.services.work import principals
from consent_gateway.services.work.gateway import Gateway
from consent_gateway.settings import Settings
from consent_gateway.vault.keyring import Keyring
from consent_gateway.vault.shares import Share, combine

FIRST_PRINCIPAL = "operator"
_SECRET_BYTES = 32


def create_store(settings: Settings) -> tuple[Gateway, str]:
    """Make keyring, schema and first key; return the gateway and the key. ConflictError if there is a store already."""
    settings.keyring().parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    if settings.store_directory is not None:
        settings.store_directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    store = Store(settings.database())
    if current(store) is not None:
        raise ConflictError("there is a store already; use `consent-gateway migrate` to bring it up to date")
    make_keyring(settings)
    store.verify()
    upgrade(store)
    store.dispose()
    gateway = build_gateway(settings)
    with gateway.work() as work:
        work.record(
            EntryKind.LOG_CREATED,
            {"origin": settings.log_origin, "keyring": gateway.vault.provider.keyring.fingerprint()},
        )
        policies.record_shipped(work)
        registers.seed(work)
        key = principals.issue(work, FIRST_PRINCIPAL, "self", frozenset({"admin"}))
    tombstones.settle(gateway)
    Sequencer(gateway).drain()
    return gateway, key


def make_keyring(settings: Settings) -> None:
    """Make the keyring file; without a configured secret, a new one beside it (0600) seals it.

    The generated secret is meant for a laptop: in production it comes from a secret mount, and the settings insist.
    """
    path = settings.keyring()
    if not path.exists():
        _prepare_seal(settings)
        Keyring.create(path, key_service(settings))


def recover_keyring(settings: Settings, copy: Path, shares: Sequence[Share]) -> Keyring:
    """Bring the keyring back from a copy of its file and recovery shares, sealed anew by what the settings say.

    `InputError` for shares that do not fit together; `KeyringError` for a copy they do not open, and if there is a
    keyring already.
    """
    path = settings.keyring()
    if path.exists():
        raise KeyringError("There is a keyring at this path already; it is never overwritten")
    found = Keyring.recover(copy, combine(shares))
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    _prepare_seal(settings)
    return found.copy_to(path, key_service(settings))


def _prepare_seal(settings: Settings) -> None:
    seal = settings.kms_provider or settings.keyring_secret_file or settings.keyring_passphrase_file
    secret = settings.keyring().with_suffix(".secret")
    if not (seal or settings.allow_unsealed_keyring or secret.exists()):
        _write_secret(secret)


def _write_secret(path: Path) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(secrets.token_bytes(_SECRET_BYTES))
        file.flush()
        os.fsync(file.fileno())
