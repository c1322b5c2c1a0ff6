"""The raw limit of HTTP here: the same server (uvicorn, httptools, uvloop) with an application that gives bodies back.

`python -m consent_gateway.cli.bench.echo PORT`
"""

from __future__ import annotations

import sys
from typing import Any

import uvicorn

from consent_gateway.cli.bench.http import HOST


async def echo(scope: Any, receive: Any, send: Any) -> None:
    """Answer every request with its own body (ASGI)."""
    if scope["type"] != "http":
        return
    body, more = b"", True
    while more:
        message = await receive()
        body += message.get("body", b"")
        more = message.get("more_body", False)
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def main(port: int) -> None:
    """Serve until the process is told to end."""
    uvicorn.run(
        echo,
        host=HOST,
        port=port,
        http="httptools",
        lifespan="off",
        access_log=False,
        log_config=None,
        server_header=False,
        date_header=False,
        proxy_headers=False,
    )


if __name__ == "__main__":
    main(int(sys.argv[1]))
