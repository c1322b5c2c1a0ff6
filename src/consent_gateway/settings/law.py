"""The law and what the company may do under it: whose law binds, what is chosen where it is open, caps and counts."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, Field


class LawSettings(BaseModel, title="The law"):
    """What decisions, audiences and counts go by beside the packs."""

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
    k_floor: int = Field(
        10,
        ge=2,
        le=10_000,
        description="Least number of people that a count may show; smaller counts are suppressed.",
        json_schema_extra={"attacker": "A low floor shows small groups, from which single persons can be inferred."},
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
