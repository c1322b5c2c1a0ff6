"""The literal list of everything that is served over HTTP."""

from __future__ import annotations

from litestar.handlers import HTTPRouteHandler

from consent_gateway.api import (
    approvals,
    audiences,
    audit,
    consents,
    customer_match,
    decisions,
    erasures,
    health,
    holds,
    ingest,
    keys,
    log_epochs,
    merges,
    notices,
    policies,
    pseudonyms,
    records,
    registers,
    retention,
    reveals,
    signals,
    subjects,
    tiles,
    tombstones,
)

HANDLERS: tuple[HTTPRouteHandler, ...] = (
    *health.HANDLERS,
    *registers.HANDLERS,
    *records.HANDLERS,
    *retention.HANDLERS,
    *notices.HANDLERS,
    *ingest.HANDLERS,
    *signals.HANDLERS,
    *consents.HANDLERS,
    *subjects.HANDLERS,
    *erasures.HANDLERS,
    *pseudonyms.HANDLERS,
    *holds.HANDLERS,
    *tombstones.HANDLERS,
    *merges.HANDLERS,
    *reveals.HANDLERS,
    *decisions.HANDLERS,
    *audiences.HANDLERS,
    *customer_match.HANDLERS,
    *audit.HANDLERS,
    *tiles.HANDLERS,
    *log_epochs.HANDLERS,
    *policies.HANDLERS,
    *approvals.HANDLERS,
    *keys.HANDLERS,
)
