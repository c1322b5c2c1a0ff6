"""What the figures were measured on."""

from __future__ import annotations

import os
import platform
import sqlite3
import ssl
from collections.abc import Iterable
from importlib.metadata import version
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

_PACKAGES = ("litestar", "uvicorn", "httptools", "sqlalchemy", "psycopg", "cryptography", "msgspec")
_FSYNCS, _BLOCK = 100, bytes(4096)


def facts(directory: Path) -> dict[str, Any]:
    """Return the machine's facts; `fsync_ms` is the median time of a 4 KiB write and its flush in `directory`."""
    return {
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "cpu": _proc("/proc/cpuinfo", "model name") or platform.processor(),
        "memory": _proc("/proc/meminfo", "MemTotal"),
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "load_before": load(),
        "python": platform.python_version(),
        "sqlite": sqlite3.sqlite_version,
        "openssl": ssl.OPENSSL_VERSION,
        "packages": {name: version(name) for name in _PACKAGES},
        "fsync_ms": round(fsync_ms(directory), 3),
    }


def load() -> list[float] | None:
    """Return how many processes wanted a core in the last 1, 5 and 15 minutes; None where the system does not say."""
    return [round(n, 2) for n in os.getloadavg()] if hasattr(os, "getloadavg") else None


def fsync_ms(directory: Path) -> float:
    """Return the median time in milliseconds of appending 4 KiB to a file in `directory` and flushing it."""
    path = directory / "fsync.probe"
    times = []
    with path.open("wb", buffering=0) as file:
        for _ in range(_FSYNCS):
            begun = perf_counter()
            file.write(_BLOCK)
            os.fsync(file.fileno())
            times.append(perf_counter() - begun)
    path.unlink()
    return median(times) * 1000


def cpu_seconds(pid: int) -> float | None:
    """Return the processor time a process has used, all its threads; None where the system does not say."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    except OSError:
        return None
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _proc(path: str, name: str) -> str:
    try:
        return _field(Path(path).read_text(encoding="utf-8").splitlines(), name)
    except OSError:
        return ""


def _field(lines: Iterable[str], name: str) -> str:
    """Return the value of the first line `name : value`, "" if there is none."""
    pairs = (line.partition(":") for line in lines)
    return next((value.strip() for key, _, value in pairs if key.strip() == name), "")
