"""What belongs to nobody yet: XAES-256-GCM is that of its vectors, and a piece opens in its own place only."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from vault_builders import VECTORS

from consent_gateway.vault import shared_key, xaes
from consent_gateway.vault.derivation import expand, frame
from consent_gateway.vault.envelope import DataKey, SealContext
from consent_gateway.vault.failures import VaultError
from consent_gateway.vault.shared_key import OVERHEAD, SharedKey
from consent_gateway.vault.xaes import XaesGcm

DEK = bytes(range(32))
HERE = SealContext(subject_id=0, group="evidence", schema_version=1, row_version=1)


def vectors() -> dict:
    path = VECTORS.parent / "c2sp" / "xaes-256-gcm.json"
    if not path.exists():
        pytest.skip("the published vectors are not beside this tree")
    return json.loads(path.read_text())


def accumulated(rounds: int) -> str:
    """C2SP's accumulated test: random keys, nonces, plaintexts and AADs of one SHAKE128 stream, hashed together."""
    stream = hashlib.shake_128(b"").digest(rounds * 600)
    taken, out = 0, hashlib.shake_128()

    def read(count: int) -> bytes:
        nonlocal taken
        taken += count
        return stream[taken - count : taken]

    for _ in range(rounds):
        key, nonce = read(32), read(24)
        plaintext = read(read(1)[0])
        aad = read(read(1)[0])
        sealed = XaesGcm(key).encrypt(nonce, plaintext, aad)
        assert XaesGcm(key).decrypt(nonce, sealed, aad) == plaintext
        out.update(sealed)
    return out.hexdigest(32)


def test_the_published_vectors_hold() -> None:
    for vector in vectors()["vectors"]:
        cipher, nonce = XaesGcm(bytes.fromhex(vector["key"])), vector["nonce_ascii"].encode()
        aad, plaintext = vector["aad_ascii"].encode(), vector["plaintext_ascii"].encode()
        assert cipher.derive(nonce).hex() == vector["derived_key"]
        assert cipher.encrypt(nonce, plaintext, aad).hex() == vector["ciphertext"]
        assert cipher.decrypt(nonce, bytes.fromhex(vector["ciphertext"]), aad) == plaintext


def test_ten_thousand_made_up_messages_hash_as_published() -> None:
    assert accumulated(10_000) == vectors()["accumulated_shake128"]["10000"]


def test_a_subkey_that_forgets_its_polynomial_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(xaes, "_POLYNOMIAL", 0)
    with pytest.raises(AssertionError):
        test_the_published_vectors_hold()


@pytest.mark.parametrize("size", [0, 12, 23, 25])
def test_a_nonce_of_another_size_is_refused(size: int) -> None:
    with pytest.raises(ValueError, match="24 bytes"):
        XaesGcm(DEK).derive(bytes(size))


@settings(derandomize=True, deadline=None, max_examples=50)
@given(st.binary(max_size=300))
def test_seal_then_open_is_identity(content: bytes) -> None:
    sealed = SharedKey(DEK).seal(HERE, content)
    assert SharedKey(DEK).open(HERE, sealed) == content
    assert len(sealed) == len(content) + OVERHEAD
    assert sealed != SharedKey(DEK).seal(HERE, content)


def test_the_layout_is_the_one_that_is_written_down() -> None:
    sealed = SharedKey(DEK).seal(HERE, b"row")
    key_id = DataKey(DEK).key_id
    assert sealed[:10] == b"\x01\x02" + key_id
    group = (b"\0\0\0\1", (1).to_bytes(8, "big"), b"evidence")
    aad = frame(b"consent-gateway/sealed-group", b"\x01\x02", bytes(8), key_id, *group)
    cipher = XaesGcm(expand(DEK, b"consent-gateway/shared")[:32])
    assert cipher.decrypt(sealed[10:34], sealed[34:], aad) == b"row"


def test_every_changed_byte_and_every_other_place_is_refused() -> None:
    sealed = SharedKey(DEK).seal(HERE, b"row")
    for at in range(len(sealed)):
        with pytest.raises(VaultError):
            SharedKey(DEK).open(HERE, sealed[:at] + bytes((sealed[at] ^ 1,)) + sealed[at + 1 :])
        with pytest.raises(VaultError):
            SharedKey(DEK).open(HERE, sealed[:at])
    for part in ({"subject_id": 1}, {"group": "contact"}, {"schema_version": 2}, {"row_version": 2}):
        with pytest.raises(VaultError):
            SharedKey(DEK).open(replace(HERE, **part), sealed)
    with pytest.raises(VaultError):
        SharedKey(bytes(32)).open(HERE, sealed)
    with pytest.raises(VaultError):
        SharedKey(b"short")


def test_what_was_sealed_by_the_former_algorithm_still_opens() -> None:
    assert SharedKey(DEK).open(HERE, DataKey(DEK).seal(HERE, b"row")) == b"row"


def test_a_person_key_refuses_what_the_shared_one_sealed() -> None:
    with pytest.raises(VaultError):
        DataKey(DEK).open(HERE, SharedKey(DEK).seal(HERE, b"row"))


def test_no_nonce_comes_twice() -> None:
    key = SharedKey(DEK)
    assert len({key.seal(HERE, b"")[10:34] for _ in range(2_000)}) == 2_000
    assert shared_key.NONCE_BYTES == 24
