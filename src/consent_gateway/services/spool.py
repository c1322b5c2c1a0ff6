"""Noes and rights requests that come while nothing can be written: kept elsewhere, carried out first (P1, P2).

While the gate is closed nothing is written, for the store itself may be put away and another one put in its place; and
a store may be full, locked, silent or gone. But a no must not be refused. So what `deferrals` would put off is sealed
for the vault's letterbox, appended to the spool file and answered with 202: kept, not carried out. When the last fault
is gone the gate stays closed until every line is in the store as a deferral, with its entry; deferrals are carried out
before anything is decided. A line that is in the store already (a crash came before the file was emptied) is passed
over.

A line never lies there with an open gate. Who adds one closes the gate while nobody can take it, for the gate may have
opened since it refused the call; who has emptied the file opens the gate while nobody can add one; and a process that
starts and finds lines of one that ended begins with a closed gate (`notice`).
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any

from consent_gateway.db import log_store
from consent_gateway.domain.ids import RecipientId
from consent_gateway.domain.registers import Principal
from consent_gateway.services import deferrals
from consent_gateway.services.deferrals import Kept, Letter
from consent_gateway.services.gateway import Gateway, Work
from consent_gateway.services.log_gate import SPOOL, Fault, FaultKind


def keep(work: Work, uid: bytes, letter: Letter, kept: Kept | None = None) -> None:
    """Put a letter into the spool; `work` may only read, and need not have a store.

    Errors as `deferrals.keep`, StoreError if it cannot be kept.
    """
    spool = work.gateway.spool
    if spool is None:
        raise ValueError("there is no spool")
    row = deferrals.sealed_row(work, uid, letter, kept)
    written = row | {"uid": uid.hex(), "sealed": base64.b64encode(row["sealed"]).decode()}
    line = written | {"kind": letter.kind, "rows": deferrals.rows_of(letter)}
    spool.append(line, lambda: _close(work.gateway))


def notice(gateway: Gateway) -> None:
    """Close the gate if there are lines of a process that ended; StoreError if that cannot be told."""
    if gateway.spool is not None and gateway.spool.count():
        _close(gateway)


def waits(gateway: Gateway) -> bool:
    """Tell whether there are lines, of whatever process, without waiting for whoever has the file."""
    return gateway.spool is not None and gateway.spool.has_lines()


def settle(gateway: Gateway) -> int:
    """If nothing but the spool keeps the gate closed: bring every line into the store, and open it.

    Returns how many there were. Whatever the store raises passes through, and the gate stays closed.
    """
    if gateway.spool is None or set(gateway.gate.faults) != {SPOOL}:
        return 0
    return gateway.spool.take(lambda line: _put(gateway, line), lambda: gateway.gate.report(SPOOL, None))


def _close(gateway: Gateway) -> None:
    gateway.gate.report(SPOOL, Fault(FaultKind.SETTLING))


def _put(gateway: Gateway, line: Mapping[str, Any]) -> None:
    uid = bytes.fromhex(line["uid"])
    with gateway.work(curing=True) as work:
        if log_store.find_entry(work.session, uid) is not None or log_store.is_pending(work.session, uid):
            return
        work.actor = Principal(line["principal"], RecipientId(line["recipient"]), frozenset())
        row = {name: line[name] for name in ("principal", "recipient", "at", "epoch")}
        sealed = base64.b64decode(line["sealed"])
        deferrals.put(work, row | {"uid": uid, "sealed": sealed}, line["kind"], line["rows"])
