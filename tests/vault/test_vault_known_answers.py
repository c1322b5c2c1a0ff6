"""Known answers for every derived key and every layout: computed from the documented formulas by the standard library.

A change of any of them would orphan what stores hold, and a round trip would not notice it.
"""

from __future__ import annotations

import hmac
import json
import re
import secrets
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.ciphers.aead import AESSIV
from cryptography.hazmat.primitives.kdf.argon2 import Argon2id
from vault_builders import a_keyring, a_passphrase

from consent_gateway.vault import envelope, shares
from consent_gateway.vault.blind_index import BlindIndexer
from consent_gateway.vault.derivation import expand, frame
from consent_gateway.vault.envelope import DataKey, SealContext, derive_audit_key, open_sealed
from consent_gateway.vault.keyring import Keyring
from consent_gateway.vault.keyring_document import Document, Entry, check, parse, render, version_of
from consent_gateway.vault.keys import LocalKeyProvider, dek_context, wrapped_epoch
from consent_gateway.vault.kms.port import Bound, Destruction
from consent_gateway.vault.protectors import SecretFileProtector
from consent_gateway.vault.recovery import RecoveryKey, public_of, unseal
from consent_gateway.vault.tombstones import START, SubjectHasher, header, line_key, seal

KNOWN = json.loads((Path(__file__).resolve().parents[1] / "vectors" / "vault_keys.json").read_text())
DEK = bytes(range(32))
ADDRESS = "jane@example.com"
HERE = SealContext(subject_id=7, group="contact", schema_version=1, row_version=3)
WRAPPED = bytes.fromhex(
    "010100000001001d642a2745ec4837b2dc1af8961d7215bde7e534833eb1462b12a074cd6c77e6d5ecf448cc825d7d583e7fe31a066e5d"
)
SEALED = bytes.fromhex(
    "01012121e131fe478e77000102030405060708090a0b55a635c07e87dc98f22bbfb77cb53c854f0bcf21c81fef4600ce2c613ff01b00"
)


@pytest.fixture
def ring() -> Keyring:
    """A keyring that has derived nothing yet."""
    return a_keyring(epochs=2, generations=2)


def hkdf(root: bytes, length: int, info: bytes) -> bytes:
    """RFC 5869 with SHA-256 and an empty salt, by the standard library alone."""
    prk, made, block = hmac.digest(bytes(32), root, "sha256"), b"", b""
    for number in range(1, -(-length // 32) + 1):
        block = hmac.digest(prk, block + info + bytes([number]), "sha256")
        made += block
    return made[:length]


def framed(parts: list[str]) -> bytes:
    return b"".join(len(part).to_bytes(4, "big") + part for part in map(bytes.fromhex, parts))


def test_the_roots_of_the_vectors_are_those_of_the_tests(ring: Keyring) -> None:
    assert {name: root.hex() for name, root in ring.roots.by_name().items()} == KNOWN["roots"]


@pytest.mark.parametrize("case", KNOWN["keys"], ids=lambda case: f"{case['call']}{case['args']}")
def test_every_derived_key_is_the_published_one(ring: Keyring, case: dict[str, Any]) -> None:
    made = getattr(ring, case["call"])(*case["args"])
    assert made.hex() == case["key"]
    assert made == hkdf(bytes.fromhex(KNOWN["roots"][case["root"]]), len(made), framed(case["info"]))


def test_no_derivation_is_without_a_vector(ring: Keyring) -> None:
    """Whatever the keyring derives under a name of its own is in the file."""
    derived = {name for name in vars(Keyring) if name.endswith(("_key", "_seed"))} | {"kek"}
    assert derived - {"_key", "log_signing_seed"} == {case["call"] for case in KNOWN["keys"]}
    assert ring.log_signing_seed() == ring.roots.log_signing_seed, "a root itself"


def test_fingerprints(ring: Keyring) -> None:
    assert ring.fingerprint() == "fd3ff70621aeb9fd40b0ca6302ab2605"
    assert ring.key_fingerprints() == {
        "kek/1": "e9a9287f5cc8297e64d33cb47afae712",
        "kek/2": "92ad9e59a164fcde3828b22adb4c4a75",
        "index/1": "bac6fdf5ab22c82c4ce66564cbe6900d",
        "index/2": "b7d07b0ed56d09cae6d343da3fba3ae9",
    }


def test_keys_of_a_data_key() -> None:
    assert expand(DEK, b"consent-gateway/envelope").hex() == (
        "be4c45f3824d45ce935e7fe25d4db5f47feb04b7fa7acfa34457814fa98dc28d"
        "2121e131fe478e772e43e0cfe445b4561a84b6d12e5c4badd41e0c0fa79e4941"
    )
    assert DataKey(DEK).key_id.hex() == "2121e131fe478e77"
    assert derive_audit_key(DEK).hex() == "ef6b23969e67bd0167ee29bfb3a69e1bace3c0fcf8b0fd030791de261f33003a"


def test_a_sealed_group(monkeypatch: pytest.MonkeyPatch) -> None:
    assert open_sealed(DEK, HERE, SEALED) == ADDRESS.encode()
    monkeypatch.setattr(envelope.secrets, "token_bytes", lambda size: bytes(range(size)))
    assert envelope.seal(DEK, HERE, ADDRESS.encode()) == SEALED


def test_a_wrapped_data_key(ring: Keyring) -> None:
    provider = LocalKeyProvider(a_keyring())
    assert provider.wrap(DEK, dek_context(7)) == WRAPPED, "AES-SIV is deterministic"
    assert LocalKeyProvider(ring).unwrap(WRAPPED, dek_context(7)) == DEK
    assert wrapped_epoch(WRAPPED) == 1
    assert dek_context(2**63 - 1) == frame(b"subject-dek", b"\x7f" + b"\xff" * 7)


def test_blind_index_tombstone_and_lasting_token(ring: Keyring) -> None:
    indexer = BlindIndexer(ring)
    assert indexer.index("email", ADDRESS, 1).hex() == "d1fcfe360ded75c2c609ac2a09d07d02"
    assert indexer.index_many("email", [ADDRESS], 1) == [indexer.index("email", ADDRESS, 1)]
    assert indexer.tombstone("email", ADDRESS).hex() == (
        "139716327fccfd2a8e7005ee546e166f35fe534c45b7fb5512c97d00fda08f6f"
    )
    assert indexer.lasting("email", ADDRESS).hex() == "eb8090b50b049263bc472ecf56ad2cb0"


def test_a_hashed_subject_and_the_first_line_of_a_tombstone_file(ring: Keyring) -> None:
    assert SubjectHasher(ring).hash(7).hex() == "1af6e481aaec6a0b52e5c06782de2ea9b7d4191870d485510b6bda7604327657"
    mac = "e34a756084a86ff302f9cf4806d9d7d25eb1a4628b3c15b8b3c418ddf79ee05f"
    line = f'{{"format":"consent-gateway-tombstones","version":1}} {mac}\n'.encode()
    assert seal(line_key(ring), START, header()) == (line, bytes.fromhex(mac))


def test_a_root_sealed_to_recovery() -> None:
    """X25519, then HKDF over both public halves, then AES-SIV: written out from the description of `recovery`."""
    own, sender = (X25519PrivateKey.from_private_bytes(bytes(range(at, at + 32))) for at in (1, 33))
    recipient, ephemeral = (key.public_key().public_bytes_raw() for key in (own, sender))
    shared = sender.exchange(own.public_key())
    domain = b"consent-gateway/recovery"
    key = hkdf(shared, 64, framed([part.hex() for part in (domain, ephemeral, recipient)]))
    sealed = ephemeral + AESSIV(key).encrypt(b"s" * 32, [domain, b"here"])
    assert unseal(bytes(range(1, 33)), sealed, b"here") == b"s" * 32
    assert public_of(bytes(range(1, 33))) == recipient


def test_what_binds_a_root_in_its_file() -> None:
    document = Document(bytes(range(16)), "any", {})
    assert document.context("kek/7") == framed(
        [part.hex() for part in (b"consent-gateway-keyring", b"\0\0\0\2", bytes(range(16)), b"kek", b"\0\0\0\7")]
    )
    assert document.context("tombstone").endswith(b"\0\0\0\x09tombstone\0\0\0\4\0\0\0\0")


def test_a_keyring_file_with_its_manifest(ring: Keyring) -> None:
    """The MAC is over the file without it and over the roots, under a key of the four that last."""
    entries = {
        name: Entry("some-key", name.encode(), b"r" if name == "kek/1" else None) for name in ring.roots.by_name()
    }
    doomed = {"gone": datetime(2026, 11, 18, 12, 0, tzinfo=UTC), "owed": None}
    document = Document(bytes(range(16)), "any", entries, RecoveryKey(bytes(32), 2, 3), doomed)
    content = render(document, ring.roots)
    held = json.loads(content)
    stated = bytes.fromhex(held.pop("manifest"))
    listed = json.dumps(held, sort_keys=True, separators=(",", ":")).encode()
    key = hkdf(framed([root.hex() for root in ring.roots.lasting()]), 32, framed([b"keyring-manifest".hex()]))
    roots = [root.hex() for _, root in sorted(ring.roots.by_name().items())]
    assert stated == hmac.digest(key, framed([listed.hex(), *roots]), "sha256")
    assert held == {
        "format": "consent-gateway-keyring", "version": 2, "id": bytes(range(16)).hex(), "kind": "any",
        "roots": {
            name: {"key": "some-key", "sealed": name.encode().hex()} | ({"recovery": "72"} if name == "kek/1" else {})
            for name in ring.roots.by_name()
        },
        "recovery": {"public": "00" * 32, "threshold": 2, "count": 3},
        "doomed": {"gone": 1795003200, "owed": None},
    }  # fmt: skip
    assert content.startswith(b'{\n "format": "consent-gateway-keyring",\n "version": 2,\n')
    assert content.endswith(b"}\n")
    assert parse(version_of(content)[0]) == (document, stated)
    check(document, ring.roots, stated)


def test_a_root_under_a_passphrase_and_under_a_mounted_secret(tmp_path: Path) -> None:
    """The names of the keys as a file holds them, and AES-SIV over domain, name and context."""
    (tmp_path / "secret").write_bytes(b"s" * 32)
    (tmp_path / "secret").chmod(0o400)
    salt = bytes(range(16))
    stretched = Argon2id(salt=salt, length=64, iterations=1, lanes=1, memory_cost=64).derive(b"correct horse battery")
    derived = hkdf(b"s" * 32, 64, framed([b"keyring-secret-file".hex(), salt.hex()]))
    held = (
        (a_passphrase(), f"argon2id:64:1:1:{salt.hex()}", stretched),
        (SecretFileProtector(tmp_path / "secret"), f"secret-file:{salt.hex()}", derived),
    )
    for protector, name, key in held:
        domain = framed([b"consent-gateway/keyring-root".hex(), name.encode().hex()])
        wrap = AESSIV(key).encrypt(b"root", [domain, b"context"])
        assert protector.wrap([Bound(name, b"context", b"root")]) == [wrap]
        assert protector.unwrap([Bound(name, b"context", wrap)] * 2) == [b"root"] * 2
        assert re.fullmatch(name.rpartition(":")[0] + ":[0-9a-f]{32}", protector.create_key("any"))
        assert protector.create_key("any") != protector.create_key("any")
        assert (protector.has_own_keys, protector.schedule_destroy(name)) == (False, Destruction(None))


def test_a_file_of_format_1_under_costs_that_all_differ(ring: Keyring, tmp_path: Path) -> None:
    """As the first release wrote it: one body, its AAD the format and the header line by line."""
    header = {"kind": "argon2id", "salt": bytes(range(16)).hex(), "memory_kib": 64, "iterations": 3, "lanes": 2}
    named = {name: root.hex() for name, root in ring.roots.by_name().items()}
    body = {
        use: {k.partition("/")[2]: v for k, v in named.items() if k.startswith(use + "/")} for use in ("kek", "index")
    }
    body |= {name: root for name, root in named.items() if "/" not in name}
    key = Argon2id(salt=bytes(range(16)), length=64, iterations=3, lanes=2, memory_cost=64).derive(
        b"correct horse battery"
    )
    lines = "\n".join(f"{name}={value}" for name, value in sorted(header.items())).encode()
    aad = [framed([b"consent-gateway-keyring".hex(), "00000001"]), lines]
    sealed = AESSIV(key).encrypt(json.dumps(body).encode(), aad)
    held = {"format": "consent-gateway-keyring", "version": 1, "protection": header, "body": sealed.hex()}
    path = tmp_path / "keyring"
    path.write_text(json.dumps(held))
    path.chmod(0o600)
    assert Keyring.open(path, a_passphrase()).roots == ring.roots


def test_the_name_of_a_set_of_shares() -> None:
    assert shares.set_of(bytes(range(32))).hex() == "4265604a83"


def test_fresh_keys_come_from_the_secrets_module(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing else may draw them: a generator with a seed would give them away."""
    asked: list[int | None] = []
    genuine = secrets.token_bytes
    monkeypatch.setattr(secrets, "token_bytes", lambda size=None: (asked.append(size), genuine(size))[1])
    provider = LocalKeyProvider(Keyring.in_memory())
    dek, _ = provider.new_dek(b"here")
    assert asked == [32] * 7
    DataKey(dek).seal(HERE, b"")
    assert asked[7:] == [12]
