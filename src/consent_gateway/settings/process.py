"""The process: where it listens, what it takes from callers, what it writes for operators."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, Field

from consent_gateway.settings.values import Switch


class ProcessSettings(BaseModel, title="The process"):
    """Settings of one process of the gateway, whatever it stores."""

    environment: Literal["development", "production"] = Field(
        "development",
        description="`production` refuses every unsafe switch at start.",
        json_schema_extra={"attacker": "Can start the gateway with unsafe switches; nothing else changes."},
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
    otel_trust_traceparent: Switch = Field(
        default=False,
        description="Continue the caller's trace when its `traceparent` is sampled.",
        json_schema_extra={"attacker": "Callers can then force spans, and link their traces to ours."},
    )
