"""Quotas: how many people one key may read, or find out about by asking, before it is stopped."""

from __future__ import annotations

from pydantic import BaseModel, Field

from consent_gateway.settings.values import Switch


class QuotaSettings(BaseModel, title="Quotas of a key"):
    """Bounds on what somebody with a stolen key could read."""

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
    canary_suspends: Switch = Field(
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
