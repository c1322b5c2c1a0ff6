"""A NATS server that knows its users by JWT, as operators run it: operator, account and user, made of fresh keys.

Written from the documents of NATS (nkeys, JWT version 2), and with nothing of what the gateway reads them by.
"""

from __future__ import annotations

import binascii
import json
from base64 import b32encode, urlsafe_b64encode
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

OPERATOR, ACCOUNT, USER = 14 << 3, 0, 20 << 3
_SEED = 18 << 3
_UNLIMITED = -1


def _encoded(*parts: bytes) -> str:
    data = b"".join(parts)
    return b32encode(data + binascii.crc_hqx(data, 0).to_bytes(2, "little")).decode().rstrip("=")


@dataclass(frozen=True)
class Nkey:
    """A key of a role: `OPERATOR`, `ACCOUNT` or `USER`."""

    role: int
    private: Ed25519PrivateKey

    @property
    def public(self) -> str:
        return _encoded(bytes([self.role]), self.private.public_key().public_bytes_raw())

    @property
    def seed(self) -> str:
        head = bytes([_SEED | self.role >> 5, (self.role & 31) << 3])
        return _encoded(head, self.private.private_bytes_raw())

    def vouches(self, subject: Nkey, kind: str, **claims: Any) -> str:
        """Return the JWT by which this key names another one."""
        body = {"iat": 1, "iss": self.public, "name": kind, "sub": subject.public}
        body |= {"nats": {"type": kind, "version": 2, **claims}}
        body["jti"] = b32encode(sha256(json.dumps(body).encode()).digest()).decode().rstrip("=")
        head = {"alg": "ed25519-nkey", "typ": "JWT"}
        signed = ".".join(urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=") for part in (head, body))
        return f"{signed}.{urlsafe_b64encode(self.private.sign(signed.encode())).decode().rstrip('=')}"


def new(role: int) -> Nkey:
    return Nkey(role, Ed25519PrivateKey.generate())


def credentials(jwt: str, seed: str) -> str:
    """Return the file that a client has, as the tools of NATS write it."""
    return (
        f"-----BEGIN NATS USER JWT-----\n{jwt}\n------END NATS USER JWT------\n\n"
        "************************* IMPORTANT *************************\n"
        "NKEY Seed printed below can be used to sign and prove identity.\n"
        "NKEYs are sensitive and should be treated as secrets.\n\n"
        f"-----BEGIN USER NKEY SEED-----\n{seed}\n------END USER NKEY SEED------\n\n"
        "*************************************************************\n"
    )


def operated(folder: Path, port: int) -> tuple[Path, str]:
    """Write the configuration of a server with one account that may use JetStream; return it and a user's credentials."""
    operator, system, account, user = new(OPERATOR), new(ACCOUNT), new(ACCOUNT), new(USER)
    limits = dict.fromkeys(("subs", "data", "payload", "imports", "exports", "conn", "leaf"), _UNLIMITED)
    kept = dict.fromkeys(("mem_storage", "disk_storage", "streams", "consumer"), _UNLIMITED)  # JetStream's
    named = {
        system.public: operator.vouches(system, "account", limits=limits),
        account.public: operator.vouches(account, "account", limits=limits | kept),
    }
    user_limits = dict.fromkeys(("subs", "data", "payload"), _UNLIMITED)
    trusted = operator.vouches(operator, "operator", system_account=system.public)
    path = folder / "server.conf"
    path.write_text(
        f"listen: 127.0.0.1:{port}\njetstream: {{ store_dir: {json.dumps(str(folder / 'store'))} }}\n"
        f"operator: {trusted}\nsystem_account: {system.public}\nresolver: MEMORY\n"
        f"resolver_preload: {json.dumps(named)}\n",
        encoding="utf-8",
    )
    return path, credentials(account.vouches(user, "user", **user_limits), user.seed)
