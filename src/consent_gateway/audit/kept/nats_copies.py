"""A copy of the checkpoint as a key in a JetStream bucket of NATS; needs the extra `nats`.

The bucket keeps a history, so that an operator sees what was kept before. Each operation opens one connection and
closes it: it is at most one a second, off the commit path. Reconnects and the addresses of other servers of the cluster
are not used. A key is created once, and updated only over the revision that was read.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from math import ceil
from pathlib import Path
from typing import Any, TypeVar

import nats
from nats.aio.client import Client
from nats.js.errors import BucketNotFoundError, KeyDeletedError, KeyNotFoundError, KeyWrongLastSequenceError

from consent_gateway.audit.kept.port import MAX_KEPT_BYTES, Kept, KeptError, Trouble, digest_of

KEY = "checkpoint"
_HISTORY = 64  # JetStream's most
Value = TypeVar("Value")


@dataclass(frozen=True, slots=True)
class NatsCopy:
    """A `Copy` in `bucket`; `credentials` is a file of NATS (JWT and seed). `seconds` bounds a whole operation."""

    name: str
    url: str = field(repr=False)
    bucket: str
    seconds: float
    credentials: Path | None = None

    @property
    def place(self) -> str:
        """A digest of server and bucket."""
        return digest_of("nats", f"{self.url}\0{self.bucket}")

    def read(self) -> Kept | None:
        """Return the newest value of the key, None if there is no bucket or no key."""
        return self._run(_read)

    def write(self, note: bytes, seen: Kept | None) -> None:
        """Create the key, or update it over the revision that was seen."""
        self._run(lambda stream, bucket: _write(stream, bucket, note, seen))

    def _run(self, act: Callable[[Any, str], Awaitable[Value]]) -> Value:
        try:
            return asyncio.run(asyncio.wait_for(self._connected(act), self.seconds))
        except TimeoutError:
            raise KeptError(Trouble.TIMEOUT) from None
        except KeyWrongLastSequenceError:
            raise KeptError(Trouble.CONFLICT) from None
        except (nats.errors.Error, OSError, ValueError):
            raise KeptError(Trouble.UNREACHABLE) from None

    async def _connected(self, act: Callable[[Any, str], Awaitable[Value]]) -> Value:
        extra: dict[str, Any] = {} if self.credentials is None else {"user_credentials": str(self.credentials)}
        connection = Client()
        try:
            await connection.connect(
                self.url, allow_reconnect=False, connect_timeout=ceil(self.seconds), error_cb=_quiet, **extra
            )
            return await act(connection.jetstream(timeout=self.seconds), self.bucket)
        finally:
            await connection.close()


async def _read(stream: Any, bucket: str) -> Kept | None:
    try:
        entry = await (await stream.key_value(bucket)).get(KEY)
    except (BucketNotFoundError, KeyNotFoundError, KeyDeletedError):
        return None
    if len(entry.value or b"") > MAX_KEPT_BYTES:
        raise KeptError(Trouble.TOO_LARGE)
    return Kept(entry.value or b"", str(entry.revision))


async def _write(stream: Any, bucket: str, note: bytes, seen: Kept | None) -> None:
    try:
        keys = await stream.key_value(bucket)
    except BucketNotFoundError:
        keys = await stream.create_key_value(bucket=bucket, history=_HISTORY)
    if seen is None:
        await keys.create(KEY, note)
    else:
        await keys.update(KEY, note, last=int(seen.version))


async def _quiet(_: Exception) -> None:
    """Take what the client reports beside the call: the call itself fails with it."""
