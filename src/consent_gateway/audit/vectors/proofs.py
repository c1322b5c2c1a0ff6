"""Vectors of proofs, receipts and plain signatures.

Formats: `vectors` as in transparency-dev/merkle (RFC 6962 inclusion and consistency, most must be refused), `cases`
with a `log_vkey` (`.tlog-proof` files), and Wycheproof's `EDDSA` (every signature through the same function that
checks those of the log).
"""

from __future__ import annotations

from base64 import b64decode
from collections.abc import Iterator, Mapping
from typing import Any

from consent_gateway.audit.checkpoints import ed25519_holds
from consent_gateway.audit.merkle import HASH_BYTES
from consent_gateway.audit.proofs import verify_consistency, verify_inclusion
from consent_gateway.audit.vectors.cases import ACCEPT, Case, answer
from consent_gateway.audit.verifier import verify_receipt


def proof_cases(document: Mapping[str, Any]) -> Iterator[Case]:
    """Answer inclusion and consistency vectors; hashes are base64 and may be absent or of any length."""
    for case in document["vectors"]:
        path = [_hash(node) for node in case["proof"] or ()]
        if "leafHash" in case:
            hashes = [_hash(case["leafHash"]), _hash(case["root"])]
            got = verify_inclusion(case["leafIdx"], case["treeSize"], hashes[0], path, hashes[1])
        else:
            hashes = [_hash(case["root1"]), _hash(case["root2"])]
            got = verify_consistency(case["size1"], case["size2"], hashes[0], hashes[1], path)
        odd = any(len(value) != HASH_BYTES for value in hashes)
        reason = "a hash has not 32 bytes: no tree has it (RFC 9162 2.1)" if odd else ""
        yield answer(case["file"], wanted=not case["wantErr"], got=got, reason=reason)


def receipt_cases(document: Mapping[str, Any]) -> Iterator[Case]:
    """Answer receipt cases: a `.tlog-proof` file and the entry in hex."""
    for case in document["cases"]:
        finding = verify_receipt(document["log_vkey"], case["proof"].encode(), bytes.fromhex(case["leaf_hex"]))
        yield answer(case["name"], wanted=case["want"] == ACCEPT, got=finding.ok)


def eddsa_cases(document: Mapping[str, Any]) -> Iterator[Case]:
    """Answer Wycheproof's Ed25519 tests; those of the result `acceptable` may be answered either way."""
    for group in document["testGroups"]:
        key = bytes.fromhex(group["publicKey"]["pk"])
        for test in group["tests"]:
            got = ed25519_holds(key, bytes.fromhex(test["sig"]), bytes.fromhex(test["msg"]))
            either = "either answer is right" if test["result"] == "acceptable" else ""
            name = f"{test['tcId']} {', '.join(test['flags'])} {test['comment']}".strip()
            yield answer(name, wanted=test["result"] != "invalid", got=got, reason=either)


def _hash(text: str | None) -> bytes:
    """Return the bytes of a vector's hash; null stands for none."""
    return b64decode(text or "")
