"""The vault's own functions on Wycheproof: each file that is about what the vault does, whole; the others are named.

A vector says key, nonce and associated data as raw bytes; the vault frames and derives its own. So each test puts the
vector's bytes where the frame or the key would stand, and then calls the vault's function as everybody does.
"""

from __future__ import annotations

from typing import Any

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM, AESSIV
from vault_builders import VECTORS, a_keyring, wycheproof

from consent_gateway.errors import GatewayError, KeyringError
from consent_gateway.vault import blind_index, derivation, envelope, keys, tombstones
from consent_gateway.vault.blind_index import BlindIndexer
from consent_gateway.vault.derivation import derive
from consent_gateway.vault.envelope import DataKey, SealContext
from consent_gateway.vault.failures import VaultError
from consent_gateway.vault.keyring import Keyring
from consent_gateway.vault.keys import LocalKeyProvider
from consent_gateway.vault.kms.port import Bound
from consent_gateway.vault.protectors import _decrypt, _unwrap, _wrap

HERE = SealContext(1, "contact", 1, 1)

RUN = {"aes_gcm_test", "aes_siv_cmac_test", "aead_aes_siv_cmac_test", "hmac_sha256_test", "hkdf_sha256_test"}
NOT_RUN = {
    "aes_gcm_siv_test": "no AES-GCM-SIV: groups have a key of their own and random nonces, wraps take AES-SIV",
    "aes_wrap_test": "no RFC 3394: a wrap is bound to its row by associated data, which key wrap has not",
    "aes_kwp_test": "no RFC 5649: as for aes_wrap_test",
    "aes_ff1_base10_test": "no format-preserving encryption: pseudonyms are whole AES blocks",
    "aes_ff1_radix10_test": "as for aes_ff1_base10_test",
    "aes_ff1_radix36_test": "as for aes_ff1_base10_test",
    "ed25519_test": "the vault derives seeds and signs nothing; signatures are the log's",
}


def raw(case: dict[str, Any], *names: str) -> tuple[bytes, ...]:
    return tuple(bytes.fromhex(case[name]) for name in names)


def opened_by(call: Any, error: type[GatewayError]) -> bytes | None:
    """What a function of the vault opens; None if it refuses with its one error."""
    try:
        return bytes(call())
    except error:
        return None


def test_every_file_of_vectors_is_run_or_has_a_reason() -> None:
    if not VECTORS.is_dir():
        pytest.skip("SHARED VECTORS MISSING: vectors/vault/wycheproof is not beside the project root")
    assert {path.stem for path in VECTORS.glob("*.json")} == RUN | NOT_RUN.keys()
    assert not RUN & NOT_RUN.keys()


def test_sealed_groups_are_aes_256_gcm(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nonces of other lengths (33 cases even of lengths the library refuses) and shorter keys cannot be in a blob."""
    cases = [case for case in wycheproof("aes_gcm_test") if case["ivSize"] == 96 and case["keySize"] == 256]
    for case in cases:
        cipher_key, iv, aad, msg, ct, tag = raw(case, "key", "iv", "aad", "msg", "ct", "tag")
        key = DataKey(bytes(32))
        key._cipher = AESGCM(cipher_key)
        monkeypatch.setattr(envelope, "_aad", lambda *_, aad=aad: aad)
        monkeypatch.setattr(envelope.secrets, "token_bytes", lambda _, iv=iv: iv)
        sealed = b"\x01\x01" + key.key_id + iv + ct + tag
        valid = case["result"] == "valid"
        assert opened_by(lambda k=key, s=sealed: k.open(HERE, s), VaultError) == (msg if valid else None), case["tcId"]
        assert (key.seal(HERE, msg) == sealed) == valid, case["tcId"]
    assert len(cases) == 66


def test_wraps_are_aes_256_siv() -> None:
    """With one part of associated data, through what opens the roots of a keyring."""
    cases = [case for case in wycheproof("aes_siv_cmac_test") if case["keySize"] == 512]
    for case in cases:
        key, aad, msg, ct = raw(case, "key", "aad", "msg", "ct")
        cipher, valid = AESSIV(key), case["result"] == "valid"
        assert opened_by(lambda c=cipher, t=ct, a=aad: _decrypt(c, t, [a]), KeyringError) == (msg if valid else None)
        assert (cipher.encrypt(msg, [aad]) == ct) == valid, case["tcId"]
    assert len(cases) == 147


def test_wraps_bind_several_parts_as_rfc_5297_says() -> None:
    """With two parts, associated data and nonce: the vault's wraps have two and three, in an order that counts."""
    cases = [case for case in wycheproof("aead_aes_siv_cmac_test") if case["keySize"] == 512]
    for case in cases:
        key, iv, aad, msg, ct, tag = raw(case, "key", "iv", "aad", "msg", "ct", "tag")
        cipher, valid = AESSIV(key), case["result"] == "valid"
        opened = opened_by(lambda c=cipher, t=tag + ct, a=[aad, iv]: _decrypt(c, t, a), KeyringError)
        assert opened == (msg if valid else None), case["tcId"]
        if valid and aad != iv:
            assert opened_by(lambda c=cipher, t=tag + ct, a=[iv, aad]: _decrypt(c, t, a), KeyringError) is None
    assert len(cases) == 300


def test_the_one_secret_of_a_data_keys_size_unwraps(monkeypatch: pytest.MonkeyPatch) -> None:
    """Through the provider itself, which finds the key by the header; and every change of its wrap is refused."""
    sized = [c for c in wycheproof("aes_siv_cmac_test") if c["keySize"] == 512 and len(c["msg"]) == 64]
    (case,) = sized
    key, aad, msg, ct = raw(case, "key", "aad", "msg", "ct")
    monkeypatch.setattr(Keyring, "kek", lambda *_: key)
    monkeypatch.setattr(keys, "AESSIV", lambda key: OverContext(AESSIV(key)))
    provider = LocalKeyProvider(a_keyring())
    wrapped = provider.wrap(msg, aad)
    assert (case["result"], wrapped[7:]) == ("valid", ct)
    assert provider.unwrap(wrapped, aad) == msg
    for at in (0, 1, *range(6, len(wrapped))):
        with pytest.raises(VaultError):
            provider.unwrap(wrapped[:at] + bytes([wrapped[at] ^ 0x80]) + wrapped[at + 1 :], aad)


class OverContext:
    """AES-SIV over the context alone, where the vault binds domain and header too: a vector has neither."""

    def __init__(self, cipher: AESSIV) -> None:
        self.cipher = cipher

    def encrypt(self, data: bytes, aad: list[bytes]) -> bytes:
        return self.cipher.encrypt(data, aad[-1:])

    def decrypt(self, data: bytes, aad: list[bytes]) -> bytes:
        return self.cipher.decrypt(data, aad[-1:])


class Text:
    """A text whose bytes are those of a vector."""

    def __init__(self, content: bytes) -> None:
        self.content = content

    def encode(self) -> bytes:
        return self.content


def test_blind_indexes_and_chains_of_tombstones_are_hmac_sha256(monkeypatch: pytest.MonkeyPatch) -> None:
    cases = wycheproof("hmac_sha256_test")
    monkeypatch.setattr(blind_index, "frame", lambda *_: b"")
    monkeypatch.setattr(tombstones, "frame", lambda _domain, _previous, text: text)
    for case in cases:
        key, msg, tag = raw(case, "key", "msg", "tag")
        monkeypatch.setattr(Keyring, "index_key", lambda *_, key=key: key)
        monkeypatch.setattr(Keyring, "tombstone_key", lambda *_, key=key: key)
        indexer, valid, value = BlindIndexer(a_keyring()), case["result"] == "valid", Text(msg)
        for made in (indexer.tombstone("email", value), tombstones._mac(key, b"", msg)):
            assert (made[: len(tag)] == tag) == valid, case["tcId"]
        assert indexer.index("email", value) == indexer.index_many("email", [value])[0] == made[:16]
    assert len(cases) == 174


def test_keys_are_derived_by_hkdf_sha256(monkeypatch: pytest.MonkeyPatch) -> None:
    """The vault has no salt, so that cases with one are those of others; RFC 5869 takes an absent one for zeros."""
    monkeypatch.setattr(derivation, "frame", lambda info: info)
    cases = wycheproof("hkdf_sha256_test")
    saltless = [case for case in cases if not case["salt"].strip("0") and len(case["salt"]) <= 64]
    for case in saltless:
        root, info, okm = raw(case, "ikm", "info", "okm")
        try:
            derived = derive(root, case["size"], info)
        except ValueError:  # more than 255 blocks, which no caller asks for
            derived = None
        assert derived == (okm if case["result"] == "valid" else None), case["tcId"]
    assert len(saltless) > 20


def test_a_wrong_vector_would_be_seen() -> None:
    """The planted bug: one bit of a wrap is another, and what opens the right one refuses it."""
    cipher = AESSIV(bytes(64))
    (wrap,) = _wrap(cipher, [Bound("key", b"context", b"secret")])
    assert _unwrap(cipher, [Bound("key", b"context", wrap)]) == [b"secret"]
    flipped = Bound("key", b"context", bytes([wrap[0] ^ 1]) + wrap[1:])
    assert opened_by(lambda: _unwrap(cipher, [flipped])[0], KeyringError) is None
