"""The log: its name, who keeps its checkpoints, who cosigns them, and how often it is checked."""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, Field

from consent_gateway.audit.kept.places import Places
from consent_gateway.settings.values import Addresses, NatsAddress, Paths, Switch


class LogSettings(BaseModel, title="The log"):
    """Settings of the audit log; none turns it off."""

    log_origin: str = Field(
        "localhost/consent-gateway",
        pattern=r"^[a-z0-9][a-z0-9.\-]*(/[a-z0-9._\-]+)+$",
        max_length=128,
        description="Origin line of the audit log's checkpoints and name of its verifier key (C2SP tlog-checkpoint).",
        json_schema_extra={"attacker": "Verifiers refuse the log: they pin origin and key."},
    )
    log_public: Switch = Field(
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
    checkpoint_files: Paths = Field(
        (),
        description=(
            "Files that keep the newest checkpoint of the log, on other disks or mounts than the store, separated by "
            "`:`. The log is compared with each at the start and on a schedule; see docs/operations.md."
        ),
        json_schema_extra={
            "attacker": "Without a copy only auditors find a store that was set back; a planted one stops writes."
        },
    )
    checkpoint_urls: Addresses = Field(
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
    checkpoint_nats_url: NatsAddress | None = Field(
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
    log_map_seconds: int = Field(
        3_600,
        ge=60,
        le=604_800,
        description="How old the published map of the log's chains may get while chains grow: a person's bundle proves "
        "that it is complete up to the newest map.",
        json_schema_extra={"attacker": "A longer time leaves more of the newest entries without that proof."},
    )
    audit_pending_limit: int = Field(
        200_000,
        ge=1_000,
        le=100_000_000,
        description="Most entries that may wait for the log; beyond it, writes are refused until half are integrated.",
        json_schema_extra={"attacker": "Large values let the store fill up while the log stands still."},
    )

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
