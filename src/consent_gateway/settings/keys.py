"""The keys: what the keyring is sealed with, the key service, and how long an opened keyring and an epoch live."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, Self

from pydantic import BaseModel, Field, model_validator

from consent_gateway.settings.values import Switch

_KMS_TTL_SECONDS = 900.0


class KeySettings(BaseModel, title="The keys"):
    """What opens the keyring, and for how long."""

    keyring_passphrase_file: Path | None = Field(
        None,
        description="File (mode 0600) with the passphrase that seals the keyring, in its first line.",
        json_schema_extra={"attacker": "Denies service: the keyring does not open under another passphrase."},
    )
    keyring_secret_file: Path | None = Field(
        None,
        description="File (mode 0600) with a mounted secret of exactly 32 random bytes that seals the keyring.",
        json_schema_extra={"attacker": "Denies service: the keyring does not open under another secret."},
    )
    allow_unsealed_keyring: Switch = Field(
        default=False,
        description="UNSAFE: keep the keyring in the clear; for demos alone, refused in production.",
        json_schema_extra={"attacker": "Whoever reads the store directory then reads all personal data."},
    )
    kms_provider: Literal["transit", "aws", "pkcs11"] | None = Field(
        None,
        description=(
            "Key service that seals the keyring instead of a passphrase or secret: Transit of OpenBao or Vault, AWS "
            "KMS, a PKCS #11 module; see docs/keys.md."
        ),
        json_schema_extra={"attacker": "Denies service: the keyring does not open through another provider."},
    )
    kms_url: str | None = Field(
        None,
        max_length=500,
        description="Address of Transit's server, or an AWS endpoint other than the region's; https, or this machine.",
        json_schema_extra={"attacker": "With a CA of their own, sees what is sealed from now on: new epochs' roots."},
    )
    kms_ca_file: Path | None = Field(
        None,
        description="Certificate authorities that Transit's server is checked against; absent: the system's.",
        json_schema_extra={"attacker": "Together with the address, poses as the key service."},
    )
    kms_mount: str = Field(
        "transit",
        pattern=r"^[A-Za-z0-9_\-]+(/[A-Za-z0-9_\-]+)*$",
        max_length=100,
        description="Path at which the Transit engine is mounted.",
        json_schema_extra={"attacker": "Denies service: there are no keys at another mount."},
    )
    kms_secret_file: Path | None = Field(
        None,
        description="File with Transit's token (read for each call) or the PKCS #11 user's PIN, one line.",
        json_schema_extra={"attacker": "Denies service; whoever reads the file can open copies of the keyring."},
    )
    kms_region: str | None = Field(
        None,
        pattern=r"^[a-z0-9\-]{2,40}$",
        description="AWS region of the keys; absent: that of the AWS environment. Credentials come from there as well.",
        json_schema_extra={"attacker": "Denies service: there are no keys in another region."},
    )
    kms_hsm_module: Path | None = Field(
        None,
        description="Path of the PKCS #11 module, a shared library that is loaded into the process.",
        json_schema_extra={"attacker": "Runs code in the gateway: guard it like the program itself."},
    )
    kms_hsm_token: str | None = Field(
        None,
        max_length=32,
        description="Label of the PKCS #11 token that holds the keys.",
        json_schema_extra={"attacker": "Denies service: there are no keys on another token."},
    )
    kms_key_prefix: str = Field(
        "consent-gateway",
        pattern=r"^[A-Za-z0-9][A-Za-z0-9_\-]{0,63}$",
        description="First part of the names of the keys at the service.",
        json_schema_extra={"attacker": "Makes new keys under other names; existing ones are still found."},
    )
    kms_timeout_seconds: float = Field(
        2.0,
        gt=0,
        le=30,
        description="Longest wait for one answer of the key service; four attempts are made.",
        json_schema_extra={"attacker": "Long waits hold up the start; no request waits for the service."},
    )
    kms_deletion_days: int = Field(
        7,
        ge=7,
        le=30,
        description="Days that AWS KMS waits before a destroyed key is gone for good; other services do not wait.",
        json_schema_extra={"attacker": "Longer waits let whoever may cancel a deletion read older copies for longer."},
    )
    key_ttl_seconds: int | None = Field(
        None,
        ge=60,
        le=86_400,
        description=(
            "Life of the opened keyring in a process without an answer of the key service; it is renewed at half of "
            "it. Absent: 900 with a key service, no end without."
        ),
        json_schema_extra={"attacker": "Long lives delay the effect of withdrawing the gateway's right to its keys."},
    )
    key_epoch_seconds: int | None = Field(
        None,
        ge=3_600,
        le=34_560_000,
        description=(
            "How long a key epoch is the current one before the worker rolls it; absent: epochs are rolled by command. "
            "With the standing order `scheduled_epoch_roll` it bounds how long an erased person is readable in backups."
        ),
        json_schema_extra={"attacker": "Longer epochs let erased people be read in old backups for longer."},
    )
    key_epoch_grace_seconds: int = Field(
        86_400,
        ge=60,
        le=8_640_000,
        description="How long after its roll a past key epoch is destroyed at the earliest, under the standing order.",
        json_schema_extra={"attacker": "As above; a short grace leaves no time to restore a backup of yesterday."},
    )

    @model_validator(mode="after")
    def _sealed(self) -> Self:
        """Refuse two seals at once, and a keyring without a seal unless it is asked for by its unsafe name."""
        seals = (self.keyring_passphrase_file, self.keyring_secret_file)
        if all(seals):
            raise ValueError("keyring_secret_file: choose one of keyring_passphrase_file and keyring_secret_file")
        if self.kms_provider and any(seals):
            raise ValueError(
                "kms_provider: choose one of kms_provider, keyring_passphrase_file and keyring_secret_file"
            )
        if (any(seals) or self.kms_provider) and self.allow_unsealed_keyring:
            raise ValueError("allow_unsealed_keyring: a sealed keyring and allow_unsealed_keyring exclude each other")
        return self

    def is_sealed(self) -> bool:
        """Return whether the settings name what seals the keyring."""
        return bool(self.keyring_passphrase_file or self.keyring_secret_file or self.kms_provider)

    def key_ttl(self) -> float | None:
        """Return the life of an opened keyring in seconds, None for no end."""
        if self.key_ttl_seconds is None:
            return None if self.kms_provider is None else _KMS_TTL_SECONDS
        return self.key_ttl_seconds
