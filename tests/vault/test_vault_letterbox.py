"""The letterbox: sealed without a key, opened with the epoch's alone, in its place alone; RFC 9180 by another hand."""

from __future__ import annotations

import hmac

import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from hypothesis import given
from hypothesis import strategies as st
from vault_builders import a_keyring

from consent_gateway.vault.custody import Custody
from consent_gateway.vault.derivation import frame
from consent_gateway.vault.failures import VaultError
from consent_gateway.vault.letterbox import OVERHEAD, Letterbox, letter_epoch, open_letter

RING = a_keyring(epochs=2)
BOX = Letterbox.of(RING)


@given(st.binary(max_size=500), st.binary(max_size=60))
def test_what_was_put_in_is_read_and_nothing_is_the_same_twice(content: bytes, context: bytes) -> None:
    one, other = BOX.seal(context, content), BOX.seal(context, content)
    assert open_letter(RING, context, one) == open_letter(RING, context, other) == content
    assert len(one) == OVERHEAD + len(content)
    assert one[5:37] != other[5:37]
    assert letter_epoch(one) == 2


def test_every_flipped_bit_and_every_cut_is_refused() -> None:
    sealed = BOX.seal(b"row 1", b"no")
    for position in range(len(sealed)):
        wrong = sealed[:position] + bytes([sealed[position] ^ 1]) + sealed[position + 1 :]
        with pytest.raises(VaultError):
            open_letter(RING, b"row 1", wrong)
        with pytest.raises(VaultError):
            open_letter(RING, b"row 1", sealed[:position])


def test_it_opens_in_its_own_place_under_its_own_epoch_and_keyring_alone() -> None:
    sealed = BOX.seal(b"row 1", b"no")
    for keyring, context in (
        (RING, b"row 2"),
        (RING, b""),
        (a_keyring(epochs=1), b"row 1"),
        (RING.new_kek_epoch().destroy_kek_epoch(2), b"row 1"),
    ):
        with pytest.raises(VaultError):
            open_letter(keyring, context, sealed)


@pytest.mark.parametrize("point", [bytes(32), b"\1" + bytes(31), b"\xec" + b"\xff" * 30 + b"\x7f"])
def test_a_planted_point_of_low_order_is_a_refusal_and_no_crash(point: bytes) -> None:
    sealed = BOX.seal(b"", b"no")
    with pytest.raises(VaultError):
        open_letter(RING, b"", sealed[:5] + point + sealed[37:])


def test_a_custody_whose_time_is_over_still_takes_letters() -> None:
    now = [0.0]
    custody = Custody(RING, 10, lambda: now[0])
    now[0] = 11.0
    assert custody.letterbox == BOX
    assert open_letter(RING, b"", custody.letterbox.seal(b"", b"no")) == b"no"
    custody.use(RING.new_kek_epoch())
    assert custody.letterbox.epoch == 3


def test_another_implementation_of_the_standard_reads_it() -> None:
    """RFC 9180 sections 4.1 and 5.1, written down anew: DHKEM(X25519, HKDF-SHA256), HKDF-SHA256, AES-256-GCM, base."""
    sealed = BOX.seal(b"row 1", b"no more letters")
    private = X25519PrivateKey.from_private_bytes(RING.letterbox_key(2))
    sender, body = sealed[5:37], sealed[37:]
    kem, suite = b"KEM" + (0x20).to_bytes(2, "big"), b"HPKE" + b"\x00\x20" + b"\x00\x01" + b"\x00\x02"

    def extract(salt: bytes, of: bytes, label: bytes, key: bytes) -> bytes:
        return hmac.digest(salt or bytes(32), b"HPKE-v1" + of + label + key, "sha256")

    def expand(key: bytes, of: bytes, label: bytes, info: bytes, length: int) -> bytes:
        labelled = length.to_bytes(2, "big") + b"HPKE-v1" + of + label + info
        return hmac.digest(key, labelled + b"\x01", "sha256")[:length]

    shared = private.exchange(X25519PublicKey.from_public_bytes(sender))
    secret = expand(extract(b"", kem, b"eae_prk", shared), kem, b"shared_secret", sender + BOX.public, 32)
    info = frame(b"consent-gateway/letterbox", sealed[:5], b"row 1")
    context = b"\0" + extract(b"", suite, b"psk_id_hash", b"") + extract(b"", suite, b"info_hash", info)
    root = extract(secret, suite, b"secret", b"")
    key, nonce = expand(root, suite, b"key", context, 32), expand(root, suite, b"base_nonce", context, 12)
    assert AESGCM(key).decrypt(nonce, body, b"") == b"no more letters"
