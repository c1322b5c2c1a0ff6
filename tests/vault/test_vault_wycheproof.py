"""The primitives, as the vault calls them, against Wycheproof."""

from __future__ import annotations

import hmac
from typing import Any

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM, AESSIV
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.hmac import HMAC
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from vault_builders import wycheproof


def raw(case: dict[str, Any], *names: str) -> tuple[bytes, ...]:
    return tuple(bytes.fromhex(case[name]) for name in names)


def test_aes_gcm_with_96_bit_nonces():
    cases = [case for case in wycheproof("aes_gcm_test") if case["ivSize"] == 96 and case["keySize"] == 256]
    for case in cases:
        key, iv, aad, msg, ct, tag = raw(case, "key", "iv", "aad", "msg", "ct", "tag")
        try:
            opened = AESGCM(key).decrypt(iv, ct + tag, aad)
        except InvalidTag:
            opened = None
        assert opened == (msg if case["result"] == "valid" else None), case["tcId"]
        if case["result"] == "valid":
            assert AESGCM(key).encrypt(iv, msg, aad) == ct + tag, case["tcId"]
    assert len(cases) > 50


def test_aes_siv_with_associated_data():
    cases = [case for case in wycheproof("aes_siv_cmac_test") if case["keySize"] == 512]
    for case in cases:
        key, aad, msg, ct = raw(case, "key", "aad", "msg", "ct")
        try:
            opened = AESSIV(key).decrypt(ct, [aad])
        except InvalidTag:
            opened = None
        assert opened == (msg if case["result"] == "valid" else None), case["tcId"]
        if case["result"] == "valid":
            assert AESSIV(key).encrypt(msg, [aad]) == ct, case["tcId"]
    assert len(cases) > 100


def test_hmac_sha256_prepared_and_copied():
    cases = wycheproof("hmac_sha256_test")
    for case in cases:
        key, msg, tag = raw(case, "key", "msg", "tag")
        mac = HMAC(key, SHA256()).copy()
        mac.update(msg)
        genuine = hmac.compare_digest(mac.finalize()[: len(tag)], tag)
        assert genuine == (case["result"] == "valid"), case["tcId"]
    assert len(cases) == 174


def test_hkdf_sha256():
    cases = wycheproof("hkdf_sha256_test")
    for case in cases:
        ikm, salt, info, okm = raw(case, "ikm", "salt", "info", "okm")
        try:
            derived = HKDF(algorithm=SHA256(), length=case["size"], salt=salt, info=info).derive(ikm)
        except ValueError:
            derived = None
        assert derived == (okm if case["result"] == "valid" else None), case["tcId"]
    assert len(cases) == 86
