"""A copy of the checkpoint as a key in a JetStream bucket of NATS; needs the extra `nats`.

The bucket keeps a history, so that an operator sees what was kept before. Each operation opens one connection and
closes it: it is at most one a second, off the commit path. Reconnects and the addresses of other servers of the cluster
are not used. A key is created once, and updated only over the revision that was read.

Credentials are a file of NATS: a user's JWT, and the seed of the key that signs the server's nonce. It is read here,
for each operation, since agents renew it there: the client's own reader loops for ever over a file that is cut short.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
from base64 import b32decode, b64encode
from binascii import crc_hqx
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from math import ceil
from pathlib import Path
from typing import Any, TypeVar

import nats
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from nats.aio.client import Client
from nats.js.errors import BucketNotFoundError, KeyDeletedError, KeyNotFoundError, KeyWrongLastSequenceError

from consent_gateway.audit.kept.port import MAX_KEPT_BYTES, Kept, KeptError, Trouble, digest_of

KEY = "checkpoint"
_HISTORY = 64  # JetStream's most
_MAX_CREDENTIALS = 65_536
_CREDENTIALS = re.compile(
    rb"-+BEGIN NATS USER JWT-+\s+([\w.-]+)\s+-+END NATS USER JWT-+.*-+BEGIN USER NKEY SEED-+\s+([A-Z2-7]{58})\s+-+END",
    re.DOTALL,
)
_USER_SEED = bytes([0b10010_101, 0b00_000_000])
"""The first two bytes of an encoded seed: 18 for a seed in five bits, 20 for a user's in the next five."""
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
        extra = {} if self.credentials is None else _signing(self.credentials)
        connection = Client()
        try:
            await connection.connect(
                self.url, allow_reconnect=False, connect_timeout=ceil(self.seconds), error_cb=_quiet, **extra
            )
            return await act(connection.jetstream(timeout=self.seconds), self.bucket)
        finally:
            with contextlib.suppress(AssertionError):  # nothing was opened where the address could not be read
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


def _signing(credentials: Path) -> dict[str, Any]:
    """Return how the client shows who it is: the JWT as it is, and the server's nonce signed."""
    try:
        with credentials.open("rb") as file:
            found = _CREDENTIALS.search(file.read(_MAX_CREDENTIALS))
    except OSError:
        found = None
    if found is None:
        raise KeptError(Trouble.CREDENTIALS)
    key = _user_key(found[2])
    return {"user_jwt_cb": lambda: found[1], "signature_cb": lambda nonce: b64encode(key.sign(nonce.encode()))}


def _user_key(encoded: bytes) -> Ed25519PrivateKey:
    """Return the key of a user's seed: base32 of two bytes, the seed, and its CRC-16 (XMODEM), little-endian."""
    raw = b32decode(encoded + b"=" * (-len(encoded) % 8))
    seed, check = raw[:-2], raw[-2:]
    if seed[: len(_USER_SEED)] != _USER_SEED or crc_hqx(seed, 0).to_bytes(2, "little") != check:
        raise KeptError(Trouble.CREDENTIALS)
    return Ed25519PrivateKey.from_private_bytes(seed[len(_USER_SEED) :])


async def _quiet(_: Exception) -> None:
    """Take what the client reports beside the call: the call itself fails with it."""
