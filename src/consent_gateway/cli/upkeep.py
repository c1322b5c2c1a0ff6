"""Commands that look after a store: reconcile, doctor."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import click
from rich.console import Console

from consent_gateway.assembly import build_gateway, key_service, self_checked
from consent_gateway.cli.opening import open_gateway, read_settings
from consent_gateway.cli.options import emit, json_option, store_option
from consent_gateway.db import key_jobs as job_rows
from consent_gateway.db.migrate import drift
from consent_gateway.db.revisions import require_head
from consent_gateway.errors import GatewayError
from consent_gateway.services.erasing import tombstones
from consent_gateway.services.identity import reconcile as reconciling
from consent_gateway.services.log.audit_log import Sequencer, require_own_log
from consent_gateway.services.log.log_status import log_status
from consent_gateway.services.log.self_check import SelfCheck
from consent_gateway.services.work import own_key
from consent_gateway.services.work.gateway import Gateway
from consent_gateway.services.work.own_key import OwnKeyState
from consent_gateway.settings import Settings

_DIFFERS = 1


@click.command()
@store_option
@click.option("--repair", is_flag=True, help="Write what should be there.")
@json_option
def reconcile(store: Path | None, *, repair: bool, as_json: bool) -> None:
    """Recompute every audience row from the truth and report differences; status 1 if there are any."""
    gateway = open_gateway(store)
    report = reconciling.reconcile(gateway, repair=repair)
    Sequencer(gateway).drain()

    def show(console: Console) -> None:
        found = f"{report.differing} differ, {report.missing} missing, {report.stray} stray, {report.links} links"
        found += f", {report.suppressed} contact points"
        console.print(f"{report.compared} rows compared, {found}")
        for name, count in sorted(report.columns.items()):
            console.print(f"  {name}: {count}")
        if not report.clean and repair:
            console.print("repaired")

    emit(asdict(report) | {"clean": report.clean}, as_json=as_json, show=show)
    if not report.clean:
        raise click.exceptions.Exit(_DIFFERS)


@click.command()
@store_option
@json_option
def doctor(store: Path | None, *, as_json: bool) -> None:
    """Check settings, keyring, store, schema, packs and log; status 1 and what to do if anything is wrong."""
    findings = diagnose(lambda: read_settings(store))

    def show(console: Console) -> None:
        for finding in findings:
            mark = "[green]ok[/green]  " if finding["ok"] else "[red]FAIL[/red]"
            console.print(f"{mark} {finding['check']}: {finding['detail']}", soft_wrap=True)

    emit(findings, as_json=as_json, show=show)
    if not all(finding["ok"] for finding in findings):
        raise click.exceptions.Exit(_DIFFERS)


def diagnose(read: Callable[[], Settings]) -> list[dict[str, str | bool]]:
    """Run the checks in order and stop at the first that the others depend on."""
    findings: list[dict[str, str | bool]] = []
    gateway: Gateway | None = None
    try:
        settings = read()
        findings.append(_ok("settings", settings.environment))
        gateway = build_gateway(settings)
        findings.append(_ok("keyring", f"fingerprint {gateway.vault.provider.keyring.fingerprint()}"))
        key_service(settings).check()
        findings.append(_ok("key service", gateway.vault.provider.keyring.sealed_by))
        findings.append(_ok("store", f"{gateway.store.engine.dialect.name}, durable settings verified"))
        require_head(gateway.store)
        require_own_log(gateway)
        changes = drift(gateway.store)
        findings.append(_ok("schema", "as the code needs it") if not changes else _bad("schema", str(len(changes))))
        findings += _policies(gateway)
        findings += _log(gateway, self_checked(settings, gateway))
        findings += _data_keys(gateway)
        findings += _tombstones(gateway)
    except GatewayError as error:
        where = "".join(f" {field.path}: {field.message}." for field in error.fields)
        findings.append(_bad(error.code, f"{error.detail.rstrip('.')}.{where} {error.hint}"))
    return findings


def _policies(gateway: Gateway) -> list[dict[str, str | bool]]:
    with gateway.look() as work:
        packs = work.law.packs
    names = ", ".join(pack.name for pack in packs.packs)
    faults = [_bad("policy", fault) for fault in packs.faults]
    texts = gateway.decider.shipped.texts
    newer = sorted(name for name, text in texts.items() if packs.texts.get(name) != text)
    hint = f"; not the texts of this software: {', '.join(newer)} (see consent-gateway migrate)" if newer else ""
    return faults or [_ok("policies", names + hint)]


def _log(gateway: Gateway, check: SelfCheck) -> list[dict[str, str | bool]]:
    found = log_status(gateway, check.copies)
    faults = [_bad("audit log", f"{fault}; see docs/operations.md") for fault in found.faults.values()]
    log = faults or [_ok("audit log", f"{found.size} entries, {found.pending} pending, vkey {found.vkey}")]
    troubles = [copy for copy in found.copies if copy.trouble]
    if not found.copies:
        return [*log, _ok("checkpoint copies", "none: a store that is set back is found by auditors alone")]
    copies = [_bad("checkpoint copies", f"{copy.name}: {copy.trouble}") for copy in troubles]
    return [*log, *(copies or [_ok("checkpoint copies", ", ".join(copy.name for copy in found.copies))])]


def _tombstones(gateway: Gateway) -> list[dict[str, str | bool]]:
    if gateway.tombstones is None:
        return []
    found = tombstones.compare(gateway, gateway.tombstones)
    if found.lost:
        return [_bad("tombstones", f"{found.lost} lines that were written are lost; see docs/erasure.md")]
    again = f"; {len(found.lacking)} to be carried out again at the next start" if found.lacking else ""
    return [_ok("tombstones", f"{found.lines} lines, {found.open} to be written{again}")]


def _data_keys(gateway: Gateway) -> list[dict[str, str | bool]]:
    """Name what no key of the keyring opens any more, as in a backup from before a destroyed key epoch."""
    with gateway.look() as work:
        held = gateway.vault.provider.keyring.epochs
        lost = {epoch: n for epoch, n in job_rows.wraps_by_epoch(work.session).items() if epoch not in held}
        own = own_key.status(work)
    findings = []
    if lost:
        named = ", ".join(f"{n} under epoch {epoch}" for epoch, n in sorted(lost.items()))
        findings.append(_bad("data keys", f"not readable: {named}; the keyring has no such epoch (docs/erasure.md)"))
    if own.state is OwnKeyState.LOST:
        counts = f"{own.quarantined} refused rows, {own.signals} signals, {own.replies} replies"
        findings.append(_bad("own key", f"lost with epoch {own.epoch}: {counts}; see consent-gateway keys own-key"))
    return findings or [_ok("data keys", "each under an epoch of the keyring")]


def _ok(check: str, detail: str) -> dict[str, str | bool]:
    return {"check": check, "ok": True, "detail": detail}


def _bad(check: str, detail: str) -> dict[str, str | bool]:
    return {"check": check, "ok": False, "detail": detail}
