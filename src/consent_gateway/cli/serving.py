"""The command that serves: HTTP, with the background jobs in the same process."""

from __future__ import annotations

import os
from pathlib import Path

import click
import uvicorn

from consent_gateway.app import build_app
from consent_gateway.assembly import build_gateway
from consent_gateway.background import build_telemetry
from consent_gateway.cli.opening import read_settings
from consent_gateway.cli.options import store_option


@click.command()
@store_option
@click.option("--host", help="Address to listen on; default 127.0.0.1.")
@click.option("--port", type=int, help="Port; default 8080.")
def serve(store: Path | None, host: str | None, port: int | None) -> None:
    """Serve the HTTP API, with the background worker in the same process. API documentation at /docs."""
    settings = read_settings(store, host=host, port=port)
    telemetry = build_telemetry(settings)
    application = build_app(settings, telemetry, build_gateway(settings))
    telemetry.capture_library_logs()
    uvicorn.run(
        application.asgi,
        host=settings.host,
        port=settings.port,
        loop="uvloop" if os.name == "posix" else "asyncio",
        http="httptools",
        access_log=False,
        log_config=None,
        server_header=False,
        date_header=False,
        proxy_headers=False,
        timeout_graceful_shutdown=10,
    )
