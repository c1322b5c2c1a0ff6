"""Builders for the vault's tests: fixed roots, cheap protectors, the shared vectors."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from consent_gateway.vault.keyring import Keyring, Roots
from consent_gateway.vault.protectors import PassphraseProtector

VECTORS = Path(__file__).resolve().parents[3] / "shared" / "vectors" / "vault" / "wycheproof"


def a_root(number: int) -> bytes:
    """Return a fixed 32-byte root, another one for each number."""
    return bytes((number * 32 + position) % 256 for position in range(32))


def a_keyring(*, epochs: int = 1, generations: int = 1) -> Keyring:
    """Return a keyring with fixed roots that no file holds."""
    kek = {number: a_root(number) for number in range(1, epochs + 1)}
    index = {number: bytes([number]) * 32 for number in range(1, generations + 1)}
    return Keyring(Roots(kek, index, bytes(range(32)), b"a" * 32, b"t" * 32, b"l" * 32))


def a_passphrase(text: str = "correct horse battery") -> PassphraseProtector:
    """Return a protector whose costs suit a test."""
    return PassphraseProtector(text.encode(), memory_kib=64, iterations=1, lanes=1)


def wycheproof(name: str) -> list[dict[str, Any]]:
    """Return all cases of one Wycheproof file, each with its group's parameters; skip loudly if it is missing."""
    path = VECTORS / f"{name}.json"
    if not path.is_file():
        pytest.skip(f"SHARED VECTORS MISSING: {name}.json is not beside the project root")
    groups = json.loads(path.read_text())["testGroups"]
    return [{**{k: v for k, v in group.items() if k != "tests"}, **case} for group in groups for case in group["tests"]]
