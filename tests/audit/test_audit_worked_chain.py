"""The worked example of docs/audit-log.md, computed with the standard library alone."""

from __future__ import annotations

import hmac
import json
import re
from hashlib import sha256
from pathlib import Path

import pytest

DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "audit-log.md"
TAG = b"consent-gateway/commitment/v1\0"


@pytest.fixture(scope="module")
def worked() -> dict[str, str]:
    block = DOCUMENT.read_text(encoding="utf-8").split("### A worked example")[1].split("```")[1]
    lines = block.splitlines()[1:]
    found = {}
    for line in lines:
        name, value = re.split(r" {2,}", line, maxsplit=1)
        found[name] = value
    assert len(found) == 20
    return found


def h(*parts: bytes) -> str:
    return sha256(b"".join(parts)).hexdigest()


def test_whose_the_chain_is(worked: dict[str, str]) -> None:
    secret = h(b"consent-gateway/chain/v1\0", bytes.fromhex(worked["audit key"]))
    assert worked["secret"] == secret
    assert worked["chain key"] == h(b"consent-gateway/chain-key/v1\0", bytes.fromhex(secret))


@pytest.mark.parametrize("n", [1, 2])
def test_each_entry(worked: dict[str, str], n: int) -> None:
    key, uid = bytes.fromhex(worked["audit key"]), bytes.fromhex(worked[f"uid {n}"])
    raw = worked[f"entry {n}"]
    made = json.loads(raw)["commitments"]
    salt = hmac.digest(key, uid + b"chain", "sha256")
    assert worked[f"chain salt {n}"] == salt.hex()
    assert made["chain"] == h(TAG, salt, worked[f"place {n}"].encode())
    assert made["subject"] == h(TAG, hmac.digest(key, uid + b"subject", "sha256"), worked[f"payload {n}"].encode())
    leaf = h(b"\0", raw.encode())
    assert worked[f"leaf {n}"] == leaf
    assert worked[f"link {n}"] == h(b"consent-gateway/chain-link/v1\0", salt, bytes.fromhex(leaf))
    before = worked[f"link {n - 1}"] if n > 1 else "0" * 64
    assert json.loads(worked[f"place {n}"]) == {"n": n, "prev": before}


def test_the_map(worked: dict[str, str]) -> None:
    ours, other = bytes.fromhex(worked["chain key"]), b"\xff" * 32
    assert worked["map leaf"] == h(b"\2", ours, (2).to_bytes(8, "big"), bytes.fromhex(worked["link 2"]))
    assert worked["other leaf"] == h(b"\2", other, (5).to_bytes(8, "big"), bytes(32))
    left, right = bytes.fromhex(worked["map leaf"]), bytes.fromhex(worked["other leaf"])
    assert ours[0] < 128  # so that it is the left one
    assert worked["map root"] == h(b"\3", left, (2).to_bytes(8, "big"), right, (5).to_bytes(8, "big"))
