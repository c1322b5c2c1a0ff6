"""Servers that a command starts for itself on this machine: a port for them, and an end."""

from __future__ import annotations

import socket
import subprocess


def free_port() -> int:
    """Return a port of the loopback address that nobody listens on at this moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


def stop(process: subprocess.Popen[bytes], seconds: float) -> None:
    """End the process and wait for its end; one that does not end in `seconds` is killed."""
    process.terminate()
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
