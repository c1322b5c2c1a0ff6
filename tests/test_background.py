"""The background jobs: the same ones in a server and in a worker of its own."""

from __future__ import annotations

import io
import json
import threading
from pathlib import Path

from consent_gateway.assembly import build_gateway
from consent_gateway.background import build_jobs
from consent_gateway.setup import create_store
from consent_gateway.telemetry import Telemetry
from edge import store_settings

JOBS = {"worker", "custodian", "key-keeper", "log-check", "log-backlog", "log-file_1"}


def ours() -> set[str]:
    return {thread.name for thread in threading.enumerate()} & JOBS


def test_every_job_runs_wherever_there_is_a_process(tmp_path: Path) -> None:
    """One of them renews keys with a time to live: without it a worker's keys would end after that time."""
    settings = store_settings(tmp_path / "store", key_ttl_seconds=60, checkpoint_files=(tmp_path / "kept",))
    create_store(settings)[0].store.dispose()
    log, gateway = io.BytesIO(), build_gateway(settings)
    jobs = build_jobs(settings, Telemetry(stream=log), gateway)
    assert ours() == set()
    jobs.start()
    try:
        assert ours() == JOBS
    finally:
        jobs.stop()
        gateway.store.dispose()
    assert ours() <= {"custodian"}  # which does not wait for a key service that is being asked
    assert (tmp_path / "kept").read_bytes().startswith(settings.log_origin.encode())
    events = [json.loads(line)["event"] for line in log.getvalue().splitlines()]
    assert events[:2] == ["log.halted", "log.resumed"]  # nothing was written before the copy had been asked
