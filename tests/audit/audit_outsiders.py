"""The checkers of others, run as programs: one in Go, one in shell. Where a tool is missing, a test says so and skips."""

from __future__ import annotations

import atexit
import os
import shutil
import subprocess
import tempfile
from functools import cache
from pathlib import Path

import pytest
from audit_fakes import need


@cache
def _built() -> Path | str:
    """Build the Go checker offline; why not, where it cannot be."""
    if shutil.which("go") is None:
        return "go is not installed"
    folder = Path(tempfile.mkdtemp(prefix="tlogcheck-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    where = {"GO111MODULE": "off", "GOPATH": "/usr/share/gocode", "GOFLAGS": "", "GOCACHE": str(folder / "cache")}
    source = need("verifiers/tlogcheck/main.go")
    build = ["go", "build", "-o", folder / "tlogcheck", source]
    done = subprocess.run(build, env={**os.environ, **where}, capture_output=True, text=True, check=False)
    return folder / "tlogcheck" if done.returncode == 0 else f"it does not build: {done.stderr[-300:]}"


def go_says(*arguments: object) -> tuple[bool, str]:
    """Return whether the Go checker is content, and what it says."""
    need("verifiers/tlogcheck/main.go")
    program = _built()
    if isinstance(program, str):
        pytest.skip(f"THE GO CHECKER WAS NOT RUN: {program}")
    return _says([program, *arguments])


def shell_says(vkey: str, proof: Path, entry: Path) -> tuple[bool, str]:
    """Return whether the shell checker is content, and what it says."""
    for tool in ("bash", "openssl", "xxd", "base64"):
        if shutil.which(tool) is None:
            pytest.skip(f"THE SHELL CHECKER WAS NOT RUN: {tool} is not installed")
    return _says(["bash", need("verifiers/check_receipt.sh"), vkey, proof, entry])


def _says(command: list[object]) -> tuple[bool, str]:
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, check=False)
    assert done.returncode in {0, 1}, done.stderr
    assert done.stdout.startswith("ok " if done.returncode == 0 else "FAIL "), done
    return done.returncode == 0, done.stdout.strip()
