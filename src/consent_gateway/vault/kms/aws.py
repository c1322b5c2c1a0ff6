"""AWS KMS, through boto3: symmetric keys whose material never leaves the service.

A key is found by its alias, `alias/<prefix>/<label>`, and named by its id from then on. The context goes in as the
encryption context, which the service binds and writes into its trail: it holds the keyring's id, use and number, and no
secret. There are no batches: one call for each root.

A key cannot be destroyed at once. `ScheduleKeyDeletion` takes 7 to 30 days; from then on the key opens nothing, but
until the date somebody with the right to do so can take it back. `Destruction.by` is that date.

boto3 finds region and credentials the way it does everywhere (role of the machine, web identity, environment); the
gateway's settings hold none.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC
from typing import Any

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError, ParamValidationError

from consent_gateway.errors import KeyringError, KeyServiceError
from consent_gateway.vault.kms.port import NOT_OPENED, Bound, Destruction

LEAST_DAYS, MOST_DAYS = 7, 30
_DAY_SECONDS = 86_400
_REFUSED = frozenset(
    {
        "IncorrectKeyException",
        "InvalidArnException",
        "InvalidCiphertextException",
        "InvalidKeyUsageException",
        "KMSInvalidStateException",
        "NotFoundException",
        "ValidationException",
    }
)  # all others may pass: throttling, limits, timeouts, internal errors, rights that are missing, a key that is disabled


def client(region: str | None, endpoint: str | None, timeout: float) -> Any:
    """Return a boto3 client that waits `timeout` seconds at most and leaves patience to `retry`."""
    config = Config(connect_timeout=timeout, read_timeout=timeout, retries={"total_max_attempts": 1})
    return boto3.client("kms", region_name=region, endpoint_url=endpoint, config=config)


@dataclass(frozen=True, slots=True)
class AwsKms:
    """A `Kms` over a boto3 KMS `client`; keys are destroyed `days` (7 to 30) after they are to be."""

    client: Any = field(repr=False)
    prefix: str = "consent-gateway"
    days: int = LEAST_DAYS
    kind: str = field(default="aws", init=False)
    has_own_keys: bool = field(default=True, init=False)

    @property
    def destruction_seconds(self) -> int:
        """The days that the service waits."""
        return self.days * _DAY_SECONDS

    def create_key(self, label: str) -> str:
        """Return the living key of the alias, or make one; `KeyServiceError` if the alias names a dying one."""
        alias = f"alias/{self.prefix}/{label}"
        found = self._key_of(alias)
        if found is None:
            return self._create(alias)
        if found["KeyState"] != "Enabled":
            raise KeyServiceError("AWS KMS: the key of this alias is disabled or about to be deleted")
        return str(found["KeyId"])

    def wrap(self, secrets: Sequence[Bound]) -> list[bytes]:
        """Encrypt each with its context."""
        return [self._encrypt(secret) for secret in secrets]

    def unwrap(self, wraps: Sequence[Bound]) -> list[bytes]:
        """Decrypt each under its own key and context; `KeyringError(NOT_OPENED)` for whatever does not open."""
        return [self._decrypt(wrap) for wrap in wraps]

    def schedule_destroy(self, key: str) -> Destruction:
        """Schedule the deletion after `days`, and return its date; that of an earlier schedule if there is one."""
        try:
            found = _asked(lambda: self.client.describe_key(KeyId=key))["KeyMetadata"]
            if found["KeyState"] == "PendingDeletion":
                return Destruction(found["DeletionDate"].astimezone(UTC))
            asked = _asked(lambda: self.client.schedule_key_deletion(KeyId=key, PendingWindowInDays=self.days))
        except KeyringError:
            return self._already_gone(key)
        return Destruction(asked["DeletionDate"].astimezone(UTC))

    def check(self) -> None:
        """Raise `KeyServiceError` unless the service answers; it needs `kms:DescribeKey` on the alias or nothing."""
        self._key_of(f"alias/{self.prefix}/none")

    def _encrypt(self, item: Bound) -> bytes:
        asked = {"KeyId": item.key, "Plaintext": item.content, "EncryptionContext": _context(item)}
        return bytes(_asked(lambda: self.client.encrypt(**asked))["CiphertextBlob"])

    def _decrypt(self, item: Bound) -> bytes:
        asked = {"KeyId": item.key, "CiphertextBlob": item.content, "EncryptionContext": _context(item)}
        return bytes(_asked(lambda: self.client.decrypt(**asked))["Plaintext"])

    def _key_of(self, alias: str) -> Any:
        try:
            return self.client.describe_key(KeyId=alias)["KeyMetadata"]
        except ClientError as error:
            if _code(error) == "NotFoundException":
                return None
            raise KeyServiceError(
                "AWS KMS refuses to describe a key; see docs/keys.md for the rights it needs"
            ) from None
        except BotoCoreError:
            raise KeyServiceError("AWS KMS does not answer") from None

    def _create(self, alias: str) -> str:
        made = _asked(lambda: self.client.create_key(Description=f"consent gateway: {alias}"))["KeyMetadata"]
        _asked(lambda: self.client.create_alias(AliasName=alias, TargetKeyId=made["KeyId"]))
        return str(made["KeyId"])

    def _already_gone(self, key: str) -> Destruction:
        if self._key_of(key) is None:
            return Destruction()
        raise KeyServiceError("AWS KMS does not delete a key; see docs/keys.md for the rights it needs")


def _asked(ask: Callable[[], Any]) -> Any:
    try:
        return ask()
    except ParamValidationError:  # names of keys come out of the keyring's file
        raise KeyringError(NOT_OPENED) from None
    except ClientError as error:
        if _code(error) in _REFUSED:
            raise KeyringError(NOT_OPENED) from None
        raise KeyServiceError("AWS KMS cannot serve now") from None
    except BotoCoreError:
        raise KeyServiceError("AWS KMS does not answer") from None


def _code(error: ClientError) -> str:
    return str(error.response.get("Error", {}).get("Code", ""))


def _context(item: Bound) -> dict[str, str]:
    return {"consent-gateway": base64.urlsafe_b64encode(item.context).decode()}
