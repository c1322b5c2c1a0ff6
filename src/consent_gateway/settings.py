"""Settings: one frozen, typed object, read once from the environment by the composition root.

Every field has a unit in its name or type, a safe default, and a sentence on what an attacker who controls it
gains; `docs/settings.md` is generated from this class. No module reads the environment at import. Invariants:

- an unknown `CONSENT_GATEWAY_*` variable refuses the start (a misspelt safety switch must not be ignored);
- secrets come from files, never from variables, and no message or `repr` shows a value;
- dangerous switches refuse to be on where `environment` is `production` (OWASP ASVS 5.0 V13.4.2).
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, SecretStr, ValidationError, model_validator

from consent_gateway.audit.kept.outbound import is_safe_url
from consent_gateway.audit.kept.places import Places
from consent_gateway.errors import FieldProblem, InputError

PREFIX = "CONSENT_GATEWAY_"
TEST_PREFIX = "CONSENT_GATEWAY_TEST_"  # read by the test-suite alone
CLIENT_PREFIX = "CONSENT_GATEWAY_CLIENT_"  # read by `consent-gateway import`, which is a client of a gateway
SQLITE_FILE = "gateway.sqlite3"
KEYRING_FILE = "keyring.json"
TOMBSTONE_FILE = "tombstones.log"
SPOOL_FILE = "opt_outs.spool"
DRIVER = "postgresql+psycopg://"
_KMS_TTL_SECONDS = 900.0


def _switch(value: object) -> object:
    """Read exactly `true` or `false`: "yes", "1" and "on" are refused, so that a switch is never guessed."""
    if value in ("true", "false"):
        return value == "true"
    if isinstance(value, bool):
        return value
    raise ValueError("not a switch")


def _postgresql(value: object) -> object:
    """Name the one driver: a bare `postgresql://` gets psycopg, every other scheme is refused."""
    if not isinstance(value, str):
        return value
    if value.startswith("postgresql://"):
        value = DRIVER + value.removeprefix("postgresql://")
    if not value.startswith(DRIVER):
        raise ValueError("not a PostgreSQL address")
    return value


def _paths(value: object) -> object:
    """Read a list of paths the way PATH is written."""
    return tuple(part for part in value.split(os.pathsep) if part) if isinstance(value, str) else value


def _addresses(value: object) -> object:
    """Read a list of addresses between blanks; one that is neither https nor on this machine is refused."""
    found = tuple(value.split()) if isinstance(value, str) else value
    if isinstance(found, (list, tuple)) and all(isinstance(url, str) and is_safe_url(url) for url in found):
        return tuple(found)
    raise ValueError("not addresses that are safe to call")


def _nats(value: object) -> object:
    """Refuse a NATS server without TLS that is not on this machine, and passwords in its address."""
    if isinstance(value, str):
        scheme, mark, rest = value.partition("://")
        like = {"tls": "https", "nats": "http"}.get(scheme, "")
        if mark and is_safe_url(f"{like}://{rest}"):
            return value
    raise ValueError("not the address of a NATS server that is safe to call")


class Settings(BaseModel):
    """Everything that an operator may choose; build it with `from_environment`."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    environment: Literal["development", "production"] = Field(
        "development",
        description="`production` refuses every unsafe switch at start.",
        json_schema_extra={"attacker": "Can start the gateway with unsafe switches; nothing else changes."},
    )
    store_directory: Path | None = Field(
        None,
        description=f"Directory (mode 0700) of `{SQLITE_FILE}` and `{KEYRING_FILE}`; `--store` sets it.",
        json_schema_extra={"attacker": "Serves another store; checkpoints signed earlier expose the swap."},
    )
    database_url: Annotated[SecretStr, BeforeValidator(_postgresql)] | None = Field(
        None,
        description=(
            "PostgreSQL instead of the SQLite file: `postgresql://user@host/db?passfile=...`; "
            "`postgresql+psycopg://` is the same."
        ),
        json_schema_extra={
            "attacker": "Sees and changes pseudonymous facts; personal data stays sealed, the log shows changes."
        },
    )
    keyring_path: Path | None = Field(
        None,
        description=f"Keyring file (mode 0600); without it `{KEYRING_FILE}` in the store directory.",
        json_schema_extra={
            "attacker": "Makes the gateway seal new data under keys the attacker knows; existing data stays closed."
        },
    )
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
    allow_unsealed_keyring: Annotated[bool, BeforeValidator(_switch)] = Field(
        default=False,
        description="UNSAFE: keep the keyring in the clear; for demos alone, refused in production.",
        json_schema_extra={"attacker": "Whoever reads the store directory then reads all personal data."},
    )
    tombstone_path: Path | None = Field(
        None,
        description=(
            f"Tombstone file (mode 0600), outside of every backup of the database, the same for all processes; without "
            f"it `{TOMBSTONE_FILE}` beside the keyring."
        ),
        json_schema_extra={
            "attacker": "Makes erasures wait: a file that lacks what was written to it, or of another keyring, stops "
            "the start."
        },
    )
    tombstone_copies: Annotated[tuple[Path, ...], BeforeValidator(_paths)] = Field(
        (),
        description=(
            "Further files that get every line too before an erasure is acknowledged, on other disks or mounts, "
            "separated by `:`."
        ),
        json_schema_extra={"attacker": "Makes erasures wait, if a path cannot be written; learns nothing from a copy."},
    )
    spool_path: Path | None = Field(
        None,
        description=(
            "File that keeps sealed opt-outs and rights requests while the log does not stand, the same for all "
            f"processes; without it `{SPOOL_FILE}` beside the tombstone file."
        ),
        json_schema_extra={"attacker": "Loses noes that were answered with 202; what a line says is sealed."},
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
    host: str = Field(
        "127.0.0.1",
        min_length=1,
        max_length=255,
        description="Address to listen on.",
        json_schema_extra={"attacker": "Exposes the interface to a wider network; every call still needs a key."},
    )
    port: int = Field(
        8080,
        ge=1,
        le=65535,
        description="TCP port to listen on.",
        json_schema_extra={"attacker": "Moves the service; clients fail to connect."},
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        "info",
        description="Least level that is written to standard output; `debug` is refused in production.",
        json_schema_extra={"attacker": "Hides or floods operating logs; the audit log is not affected."},
    )
    log_origin: str = Field(
        "localhost/consent-gateway",
        pattern=r"^[a-z0-9][a-z0-9.\-]*(/[a-z0-9._\-]+)+$",
        max_length=128,
        description="Origin line of the audit log's checkpoints and name of its verifier key (C2SP tlog-checkpoint).",
        json_schema_extra={"attacker": "Verifiers refuse the log: they pin origin and key."},
    )
    log_public: Annotated[bool, BeforeValidator(_switch)] = Field(
        default=False,
        description=(
            "Serve the log's tiles and entry bundles to everybody, without a key, so that any C2SP client can read and "
            "verify them; `false` asks for the scope `audit`. Checkpoints are public either way."
        ),
        json_schema_extra={
            "attacker": "Everybody can read what the log says in clear: counts, versions and times of what the company "
            "did, and nothing of a person."
        },
    )
    checkpoint_files: Annotated[tuple[Path, ...], BeforeValidator(_paths)] = Field(
        (),
        description=(
            "Files that keep the newest checkpoint of the log, on other disks or mounts than the store, separated by "
            "`:`. The log is compared with each at the start and on a schedule; see docs/operations.md."
        ),
        json_schema_extra={
            "attacker": "Without a copy only auditors find a store that was set back; a planted one stops writes."
        },
    )
    checkpoint_urls: Annotated[tuple[str, ...], BeforeValidator(_addresses)] = Field(
        (),
        description=(
            "Addresses that keep it too (GET and conditional PUT), https or on this machine, separated by blanks. "
            "Redirects are not followed."
        ),
        json_schema_extra={"attacker": "Sees size and root of the log; a planted answer stops writes."},
    )
    checkpoint_bearer_file: Path | None = Field(
        None,
        description="File with the bearer token for `checkpoint_urls`, read for each call.",
        json_schema_extra={"attacker": "Can overwrite the copies there, which the next comparison shows."},
    )
    checkpoint_nats_url: Annotated[str, BeforeValidator(_nats)] | None = Field(
        None,
        max_length=500,
        description="NATS server with JetStream that keeps it too, tls or on this machine; needs the extra `nats`.",
        json_schema_extra={"attacker": "Sees size and root of the log; a planted answer stops writes."},
    )
    checkpoint_nats_bucket: str = Field(
        "consent-gateway",
        pattern=r"^[A-Za-z0-9_\-]{1,60}$",
        description="JetStream key-value bucket of the copy; one for each log. It is made if it is missing.",
        json_schema_extra={"attacker": "Stops writes: the checkpoint of another log is foreign."},
    )
    checkpoint_nats_credentials_file: Path | None = Field(
        None,
        description="Credentials file of NATS (JWT and seed).",
        json_schema_extra={"attacker": "Can overwrite the copy there, which the next comparison shows."},
    )
    checkpoint_timeout_seconds: float = Field(
        5.0,
        gt=0,
        le=60,
        description="Longest wait for one answer of a copy or a witness, all of it; no request waits for them.",
        json_schema_extra={"attacker": "Long waits hold up the start, and delay what a comparison finds."},
    )
    witness_policy_file: Path | None = Field(
        None,
        description=(
            "Policy file (C2SP tlog-policy) with the witnesses that cosign checkpoints, each with the address behind "
            "its key; `quorum` says how many are enough. Absent: none."
        ),
        json_schema_extra={"attacker": "A witness of theirs sees size and root, and can stop writes by claiming more."},
    )
    witness_seconds: float = Field(
        10.0,
        ge=1,
        le=3_600,
        description="Least time between two rounds of cosigning.",
        json_schema_extra={"attacker": "Long waits leave more entries without cosignatures."},
    )
    log_check_seconds: float = Field(
        60.0,
        ge=1,
        le=3_600,
        description="Time between two self-checks of the log; entries that were checked longest ago come next.",
        json_schema_extra={"attacker": "Long waits delay what a comparison finds."},
    )
    log_check_bundles: int = Field(
        64,
        ge=1,
        le=10_000,
        description="How many older bundles of 256 entries each self-check hashes again.",
        json_schema_extra={"attacker": "Small values delay finding a changed entry; auditors find it all the same."},
    )
    store_deadline_seconds: float = Field(
        10.0,
        ge=0.1,
        le=60,
        description="Longest wait of a writer for other writers or for a connection; then 503, and nothing was done.",
        json_schema_extra={"attacker": "Long waits tie up threads while the store is blocked; short ones refuse more."},
    )
    audit_pending_limit: int = Field(
        200_000,
        ge=1_000,
        le=100_000_000,
        description="Most entries that may wait for the log; beyond it, writes are refused until half are integrated.",
        json_schema_extra={"attacker": "Large values let the store fill up while the log stands still."},
    )
    controller_country: str | None = Field(
        None,
        pattern=r"^[A-Z]{2}$",
        description=(
            "Country of establishment of the controller (ISO 3166-1 alpha-2); with it the controller's own law "
            "binds everywhere (GDPR Art 3(1)). Absent: the law of the person's country alone decides."
        ),
        json_schema_extra={
            "attacker": "Drops or adds a law; decisions cite the packs that were applied, so the change shows."
        },
    )
    law_choices_path: Path | None = Field(
        None,
        description=(
            "YAML or JSON file with the operator's choices where the law is unsettled or silent: pack to setting to "
            "choice; `consent-gateway policy show` lists what is offered. Absent: the shipped, stricter choices."
        ),
        json_schema_extra={
            "attacker": "Loosens what the law leaves open, never what it settles; decisions name every such choice."
        },
    )
    sender_type: Literal["commercial", "charity"] = Field(
        "commercial",
        description=(
            "Whether the controller is a charity (Charities Act 2011 s.1 and the like): the charity soft opt-in of "
            "the UK is open to nobody else."
        ),
        json_schema_extra={
            "attacker": "Opens the charity soft opt-in, for purposes registered as charitable and people who gave "
            "their address to a charity."
        },
    )
    k_floor: int = Field(
        10,
        ge=2,
        le=10_000,
        description="Least number of people that a count may show; smaller counts are suppressed.",
        json_schema_extra={"attacker": "A low floor shows small groups, from which single persons can be inferred."},
    )
    contact_cap: int = Field(
        3,
        ge=1,
        le=4,
        description="Most contacts of one person on one channel within `contact_cap_days`, rolling.",
        json_schema_extra={"attacker": "Larger values let campaigns write to people more often."},
    )
    contact_cap_days: int = Field(
        7,
        ge=1,
        le=366,
        description="Length of the window that `contact_cap` counts in.",
        json_schema_extra={"attacker": "Shorter windows let campaigns write to people more often."},
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
    log_map_seconds: int = Field(
        3_600,
        ge=60,
        le=604_800,
        description="How old the published map of the log's chains may get while chains grow: a person's bundle proves "
        "that it is complete up to the newest map.",
        json_schema_extra={"attacker": "A longer time leaves more of the newest entries without that proof."},
    )
    audience_ttl_seconds: int = Field(
        3_600,
        ge=60,
        le=604_800,
        description="Life of an audience, after which its members are gone; a request may ask for less.",
        json_schema_extra={
            "attacker": "Keeps lists alive for longer; members are still re-checked while they are streamed."
        },
    )
    reveal_quota_per_hour: int = Field(
        60,
        ge=0,
        le=1_000_000,
        description="Most different people that one key may ask to reveal within any hour; a key can have its own.",
        json_schema_extra={"attacker": "Large values let a key that may reveal read more people before it is stopped."},
    )
    reveal_quota_per_day: int = Field(
        300,
        ge=0,
        le=1_000_000,
        description="The same within any 24 hours.",
        json_schema_extra={"attacker": "Large values let a key that may reveal read more people before it is stopped."},
    )
    reveal_batch_limit_items: int = Field(
        20,
        ge=1,
        le=1_000,
        description="Most people of one `POST /v1/reveals`; more need a window that two officers opened.",
        json_schema_extra={"attacker": "Large values take the second pair of eyes away; quotas still count."},
    )
    canary_suspends: Annotated[bool, BeforeValidator(_switch)] = Field(
        default=True,
        description="Suspend a key for revealing when it asks for a canary; `false` only raises the alarm.",
        json_schema_extra={"attacker": "A key that asked for a canary goes on until somebody reads the alarm."},
    )
    lookup_quota_per_hour: int = Field(
        2_000,
        ge=0,
        le=1_000_000,
        description="Most different identifiers of nobody that one key may ask about within any hour.",
        json_schema_extra={"attacker": "Large values let a key find out who is a customer by trying identifiers."},
    )
    lookup_quota_per_day: int = Field(
        10_000,
        ge=0,
        le=1_000_000,
        description="The same within any 24 hours.",
        json_schema_extra={"attacker": "Large values let a key find out who is a customer by trying identifiers."},
    )
    body_limit_bytes: int = Field(
        65_536,
        ge=1_024,
        le=1_048_576,
        description="Largest body of an ordinary request.",
        json_schema_extra={"attacker": "Large values let callers use memory and CPU."},
    )
    batch_body_limit_bytes: int = Field(
        5_242_880,
        ge=65_536,
        le=33_554_432,
        description="Largest body of an import or batch request.",
        json_schema_extra={"attacker": "Large values let callers stall the event loop."},
    )
    batch_limit_items: int = Field(
        1_000,
        ge=1,
        le=10_000,
        description="Most rows of one import or batch of records.",
        json_schema_extra={"attacker": "Large values lengthen transactions."},
    )
    decision_batch_limit_items: int = Field(
        1_000,
        ge=1,
        le=1_000,
        description="Most subjects of one `POST /v1/decisions/batch`.",
        json_schema_extra={"attacker": "Large values lengthen other callers' waits."},
    )
    body_read_timeout_seconds: float = Field(
        30.0,
        gt=0,
        le=300,
        description="Longest time that one body may take to arrive.",
        json_schema_extra={"attacker": "Slow senders then hold connections open."},
    )
    otel_exporter: Literal["none", "console"] = Field(
        "none",
        description="Where OpenTelemetry spans and metrics go; `console` writes them to standard error.",
        json_schema_extra={
            "attacker": "Nothing personal: names and attributes pass an allow-list before any exporter."
        },
    )
    otel_sample_ratio: float = Field(
        0.01,
        ge=0,
        le=1,
        description="Share of requests that get a span (0 to 1).",
        json_schema_extra={"attacker": "Costs CPU: about 30 µs a sampled request."},
    )
    otel_trust_traceparent: Annotated[bool, BeforeValidator(_switch)] = Field(
        default=False,
        description="Continue the caller's trace when its `traceparent` is sampled.",
        json_schema_extra={"attacker": "Callers can then force spans, and link their traces to ours."},
    )

    @classmethod
    def from_environment(cls, env: Mapping[str, str], **overrides: object) -> Self:
        """Read the `CONSENT_GATEWAY_*` variables of `env`; `overrides` (fields by name) win, None is ignored.

        Raises InputError that lists every unknown variable and every value that does not fit, by name only.
        """
        names = {PREFIX + field.upper(): field for field in cls.model_fields}
        others = (TEST_PREFIX, CLIENT_PREFIX)
        ours = {key: value for key, value in env.items() if key.startswith(PREFIX) and not key.startswith(others)}
        unknown = tuple(
            FieldProblem(key[:80], "unknown_setting", "is not a setting; see docs/settings.md")
            for key in sorted(ours.keys() - names.keys())
        )
        if unknown:
            raise InputError("There are settings in the environment that the gateway does not know.", fields=unknown)
        chosen: dict[str, object] = {names[key]: value for key, value in ours.items() if key in names}
        chosen |= {field: value for field, value in overrides.items() if value is not None}
        try:
            return cls.model_validate(chosen)
        except ValidationError as error:
            raise InputError("The settings are not valid.", fields=_problems(error)) from None

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

    @model_validator(mode="after")
    def _safe_in_production(self) -> Self:
        """Refuse in production what is for development alone (principle: dangerous things refuse to start)."""
        if self.environment != "production":
            return self
        if self.allow_unsealed_keyring:
            raise ValueError("allow_unsealed_keyring: is refused in production")
        if self.log_level == "debug":
            raise ValueError("log_level: debug is refused in production")
        if not (self.keyring_passphrase_file or self.keyring_secret_file or self.kms_provider):
            raise ValueError(
                "keyring_secret_file: production needs keyring_secret_file, keyring_passphrase_file or kms_provider"
            )
        return self

    def database(self) -> str:
        """Return the SQLAlchemy address of the store; InputError without a store directory and database."""
        if self.database_url is not None:
            return self.database_url.get_secret_value()
        return f"sqlite:///{self._in_store(SQLITE_FILE)}"

    def keyring(self) -> Path:
        """Return the path of the keyring file; InputError if neither it nor a store directory is set."""
        return self.keyring_path or self._in_store(KEYRING_FILE)

    def tombstone_file(self) -> Path:
        """Return the path of the tombstone file; InputError as for `keyring`."""
        return (self.tombstone_path or self.keyring().with_name(TOMBSTONE_FILE)).absolute()

    def checkpoint_places(self) -> Places:
        """Return where checkpoints are kept outside of the store."""
        return Places(
            self.checkpoint_files,
            self.checkpoint_urls,
            self.checkpoint_bearer_file,
            self.checkpoint_nats_url,
            self.checkpoint_nats_bucket,
            self.checkpoint_nats_credentials_file,
            self.checkpoint_timeout_seconds,
        )

    def spool_file(self) -> Path:
        """Return the path of the spool; InputError as for `keyring`."""
        return (self.spool_path or self.tombstone_file().with_name(SPOOL_FILE)).absolute()

    def key_ttl(self) -> float | None:
        """Return the life of an opened keyring in seconds, None for no end."""
        if self.key_ttl_seconds is None:
            return None if self.kms_provider is None else _KMS_TTL_SECONDS
        return self.key_ttl_seconds

    def _in_store(self, name: str) -> Path:
        if self.store_directory is None:
            problem = FieldProblem(PREFIX + "STORE_DIRECTORY", "required", "set it, or give --store DIR")
            raise InputError("There is no store directory.", fields=(problem,))
        return self.store_directory.absolute() / name


def _problems(error: ValidationError) -> tuple[FieldProblem, ...]:
    """Name every setting that is wrong, in the operator's spelling, without its value."""
    found: list[FieldProblem] = []
    for item in error.errors(include_input=False, include_url=False):
        if item["loc"]:
            found.append(
                FieldProblem(_variable(str(item["loc"][0])), item["type"], "does not fit; see docs/settings.md")
            )
        else:  # a rule over several settings: our own constant text, which begins with the setting's name
            name, _, text = item["msg"].removeprefix("Value error, ").partition(": ")
            found.append(FieldProblem(_variable(name), "refused", text))
    return tuple(found)


def _variable(field: str) -> str:
    return PREFIX + field.upper()
