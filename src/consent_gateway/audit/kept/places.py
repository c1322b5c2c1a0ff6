"""From what the operator's settings say to copies; nothing is read or called yet."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

from consent_gateway.audit.kept.file_copies import FileCopy
from consent_gateway.audit.kept.http_copies import HttpCopy
from consent_gateway.audit.kept.outbound import Outbound
from consent_gateway.audit.kept.port import MAX_KEPT_BYTES, Copy
from consent_gateway.errors import InputError


@dataclass(frozen=True, slots=True)
class Places:
    """Where checkpoints are kept; `seconds` bounds one call."""

    files: Sequence[Path] = ()
    urls: Sequence[str] = ()
    bearer_file: Path | None = None
    nats_url: str | None = None
    nats_bucket: str = "consent-gateway"
    nats_credentials_file: Path | None = None
    seconds: float = 5.0


def copies_of(places: Places) -> tuple[Copy, ...]:
    """Return the copies; InputError if one needs an extra that is not installed."""
    outbound = Outbound(places.seconds, MAX_KEPT_BYTES)
    files = [FileCopy(f"file_{n}", path.absolute()) for n, path in enumerate(places.files, 1)]
    urls = [HttpCopy(f"http_{n}", url, outbound, places.bearer_file) for n, url in enumerate(places.urls, 1)]
    return (*files, *urls, *_nats(places))


def _nats(places: Places) -> tuple[Copy, ...]:
    if places.nats_url is None:
        return ()
    try:
        module = import_module("consent_gateway.audit.kept.nats_copies")
    except ModuleNotFoundError:
        raise InputError("A copy in NATS needs the extra `consent-gateway[nats]`") from None
    made: Copy = module.NatsCopy(
        "nats_1", places.nats_url, places.nats_bucket, places.seconds, places.nats_credentials_file
    )
    return (made,)
