"""Noes and rights requests that come while nothing can be written: kept elsewhere, carried out first (P1, P2).

While the gate is closed nothing is written, for the store itself may be put away and another one put in its place; and
a store may be full, locked, silent or gone. But a no must not be refused. So what `deferrals` would put off is sealed
for the vault's letterbox, appended to the spool file and answered with 202: kept, not carried out. When the last fault
is gone the gate stays closed until every line is in the store as a deferral, with its entry; deferrals are carried out
before anything is decided. A line that is in the store already (a crash came before the file was emptied) is passed
over.

A line never lies there with an open gate. Who adds one closes the gate while nobody can take it, or sees that the gate
has opened since it refused the call, and carries it out; who has emptied the file opens the gate while nobody can add
one; and a process that starts and finds lines of one that ended begins with a closed gate (`notice`).
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from consent_gateway.db import log_store
from consent_gateway.domain.ids import RecipientId
from consent_gateway.domain.registers import Principal
from consent_gateway.services.log import deferrals
from consent_gateway.services.log.deferrals import Kept, Letter
from consent_gateway.services.work.gateway import Gateway, Work
from consent_gateway.services.work.log_gate import SPOOL, Fault, FaultKind


class OpenedError(Exception):
    """The gate that had refused a call is open again: the call can be carried out, and nothing was kept."""


def keep_while_closed(work: Work, uid: bytes, letter: Letter, kept: Kept | None = None) -> None:
    """Keep what the gate has refused, as `keep` does; OpenedError if the gate is open again by then.

    Else there would be no end: while noes come without a pause, one waits for the file whenever the gate opens.
    """
    _keep(work, uid, letter, kept, lambda: _require_closed(work.gateway))


def keep(work: Work, uid: bytes, letter: Letter, kept: Kept | None = None) -> None:
    """Put a letter into the spool, and close the gate; `work` may only read, and need not have a store.

    Errors as `deferrals.keep`, StoreError if it cannot be kept.
    """
    _keep(work, uid, letter, kept, lambda: None)


def _require_closed(gateway: Gateway) -> None:
    if gateway.gate.refusal is None:
        raise OpenedError


def _keep(work: Work, uid: bytes, letter: Letter, kept: Kept | None, first: Callable[[], None]) -> None:
    spool = work.gateway.spool
    if spool is None:
        raise ValueError("there is no spool")
    row = deferrals.sealed_row(work, uid, letter, kept)
    written = row | {"uid": uid.hex(), "sealed": base64.b64encode(row["sealed"]).decode()}
    line = written | {"kind": letter.kind, "rows": deferrals.rows_of(letter)}
    spool.append(line, lambda: _close(work.gateway), first)


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
    return gateway.spool.take(lambda lines: _put(gateway, lines), lambda: gateway.gate.report(SPOOL, None))


def _close(gateway: Gateway) -> None:
    gateway.gate.report(SPOOL, Fault(FaultKind.SETTLING))


def _put(gateway: Gateway, lines: Sequence[Mapping[str, Any]]) -> None:
    with gateway.work(curing=True) as work:
        work.changed_registers()
        for line in {line["uid"]: line for line in lines}.values():
            _put_one(work, line)


def _put_one(work: Work, line: Mapping[str, Any]) -> None:
    uid = bytes.fromhex(line["uid"])
    if log_store.find_entry(work.session, uid) is not None or log_store.is_pending(work.session, uid):
        return
    work.actor = Principal(line["principal"], RecipientId(line["recipient"]), frozenset())
    row = {name: line[name] for name in ("principal", "recipient", "at", "epoch")}
    sealed = base64.b64decode(line["sealed"])
    deferrals.put(work, row | {"uid": uid, "sealed": sealed}, line["kind"], line["rows"])
