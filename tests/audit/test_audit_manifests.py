"""In or out of an audience, shown by hashes: a model of all members says what every proof must, and no other passes."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from hashlib import sha256
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from consent_gateway.audit.checkpoints import Signer
from consent_gateway.audit.entries import Entry, EntryKind, entry_bytes
from consent_gateway.audit.log import EMPTY_HEAD, NO_CHAIN, integrate, make_receipt
from consent_gateway.audit.manifests import manifest_proof, member_leaves, verify_membership, witnesses_of
from consent_gateway.audit.merkle import root_from_leaves
from consent_gateway.audit.tiles import EMPTY_EDGE, grow

AUDIENCE = bytes(range(16))
SIGNER = Signer("gateway.example/audit", bytes(32))
BLOCKS = st.lists(st.binary(min_size=16, max_size=16), unique=True, max_size=300)


def block(number: int) -> bytes:
    return sha256(b"%d" % number).digest()[:16]


def tiles_of(leaves: list[bytes]) -> Callable[[int, int, int], bytes]:
    held = {(tile.level, tile.index): tile.data for tile in grow(EMPTY_EDGE, leaves).tiles}
    return lambda level, index, width: held[level, index][: 32 * width]


def proof_of(blocks: list[bytes], asked: bytes, order: Callable[[list[bytes]], list[bytes]] = sorted) -> dict[str, Any]:
    """The whole document, made from all the members; `order` is how an honest gateway sorts them."""
    leaves = order(member_leaves(AUDIENCE, b"".join(blocks)))
    (leaf,) = member_leaves(AUDIENCE, asked)
    root = root_from_leaves(leaves)
    shown = witnesses_of(leaf, 0, leaves)
    proof = manifest_proof(AUDIENCE.hex(), f"p3-{asked.hex()}", len(leaves), root, shown, tiles_of(leaves))
    fields = {"audience": AUDIENCE.hex(), "manifest": 2, "manifest_root": root.hex(), "size": len(leaves)}
    return proof | in_the_log(fields)


def in_the_log(fields: dict[str, object]) -> dict[str, str]:
    entry = entry_bytes(Entry(EntryKind.AUDIENCE_RESOLVED, 1, "crm", bytes(16), fields))
    done = integrate(EMPTY_HEAD, [(b"before", NO_CHAIN), (entry, NO_CHAIN)], {})
    tiles = {(tile.level, tile.index): tile.data for tile in done.tiles}
    note = SIGNER.sign_checkpoint(done.head.size, done.head.root)
    receipt = make_receipt(1, 2, note, lambda level, index, width: tiles[level, index][: 32 * width])
    return {"entry": base64.b64encode(entry).decode(), "receipt": receipt.decode()}


def code(proof: dict[str, Any]) -> str:
    return verify_membership(SIGNER.vkey, json.dumps(proof).encode()).code


@settings(max_examples=60, deadline=None)
@given(BLOCKS, st.binary(min_size=16, max_size=16))
def test_everybody_is_in_or_out(blocks: list[bytes], other: bytes) -> None:
    for asked in {*blocks[:5], other}:
        proof = proof_of(blocks, asked)
        assert proof["member"] is (asked in blocks)
        assert code(proof) == ("member" if asked in blocks else "no_member")


@pytest.mark.parametrize("size", [0, 1, 2, 3, 255, 256, 257, 700])
def test_the_ends_and_the_gaps(size: int) -> None:
    blocks = [block(n) for n in range(size)]
    seen = set()
    for n in range(size, size + 40):
        proof = proof_of(blocks, block(n))
        assert code(proof) == "no_member"
        seen.add(len(proof["leaves"]))
    assert seen <= ({0} if size == 0 else {1} if size == 1 else {1, 2})


IN, OUT = (proof_of([block(n) for n in range(300)], block(n)) for n in (7, 1000))
NO_ONE, ALONE = (proof_of([block(n) for n in range(size)], block(1000)) for size in (0, 1))


def changed(proof: dict[str, Any], **more: object) -> dict[str, Any]:
    return json.loads(json.dumps(proof)) | more  # type: ignore[no-any-return]


@pytest.mark.parametrize(
    "proof",
    [
        changed(IN, member=False), changed(OUT, member=True), changed(IN, member=1), changed(IN, leaves=[]),
        changed(IN, pseudonym=OUT["pseudonym"]), changed(OUT, pseudonym=IN["pseudonym"]),
        changed(OUT, leaves=OUT["leaves"][::-1]), changed(OUT, leaves=OUT["leaves"][:1]),
        changed(OUT, leaves=OUT["leaves"][1:]), changed(OUT, leaves=[OUT["leaves"][0]] * 2), changed(OUT, leaves=[]),
        changed(OUT, leaves=[*OUT["leaves"], OUT["leaves"][1]]), changed(IN, leaves=IN["leaves"] * 2),
        changed(NO_ONE, size=1), changed(NO_ONE, member=True), changed(ALONE, leaves=[]), changed(ALONE, member=True),
        changed(IN, size=299), changed(IN, size=True), changed(IN, manifest_root="00" * 32), changed(IN, audience="00" * 16),
        changed(IN, pseudonym="p3-" + "0" * 31), changed(IN, format="consent-gateway/manifest-proof@v2"),
        changed(IN, entry=OUT["receipt"]), changed(IN, receipt=IN["receipt"][:-5]), changed(IN, entry="AA=="),
        changed(IN, more=1), {}, [], {k: v for k, v in IN.items() if k != "size"},
        changed(IN, leaves=[IN["leaves"][0] | {"path": IN["leaves"][0]["path"][:-1]}]),
        changed(IN, leaves=[IN["leaves"][0] | {"index": IN["leaves"][0]["index"] ^ 1}]),
        changed(IN, leaves=[IN["leaves"][0] | {"index": -1}]),
        changed(IN, leaves=[IN["leaves"][0] | {"index": str(IN["leaves"][0]["index"])}]), changed(IN, leaves=[{}]), changed(IN, leaves=7),
        changed(IN, leaves=[IN["leaves"][0] | {"leaf": "xx"}]), changed(IN, leaves=[None]),
        changed(IN, **in_the_log({"audience": AUDIENCE.hex(), "size": 300, "manifest_root": IN["manifest_root"]})),
        changed(IN, **in_the_log({"manifest": 1, "audience": AUDIENCE.hex(), "size": 300, "manifest_root": IN["manifest_root"]})),
    ],
)  # fmt: skip
def test_no_other_proof_passes(proof: Any) -> None:
    assert code(proof) not in {"member", "no_member"}


@pytest.mark.parametrize("data", [b"", b"{", b"\xff", b"[" * 100_000, b"{}" + b" " * 1_000_001, b"null"])
def test_what_is_no_proof_is_refused_and_raises_nothing(data: bytes) -> None:
    assert not verify_membership(SIGNER.vkey, data).ok


def test_another_key_a_missing_witness_and_no_key_are_refused() -> None:
    document = json.dumps(IN).encode()
    assert not verify_membership(Signer(SIGNER.key.name, b"1" * 32).vkey, document).ok
    assert not verify_membership("nonsense", document).ok
    assert verify_membership(SIGNER.vkey, document, witnesses=[SIGNER.vkey]).code != "member"


def test_a_manifest_out_of_order_is_what_two_proofs_together_show() -> None:
    """What one proof cannot show; whoever holds all members sees it by hashing them."""
    blocks = [block(n) for n in range(50)]
    hidden, *rest = sorted(member_leaves(AUDIENCE, b"".join(blocks)))
    cheating = [*rest, hidden]
    root, tiles = root_from_leaves(cheating), tiles_of(cheating)
    asked = next(b for b in blocks if member_leaves(AUDIENCE, b) == [hidden])
    fields = {"audience": AUDIENCE.hex(), "manifest": 2, "manifest_root": root.hex(), "size": 50}
    name = f"p3-{asked.hex()}"
    both = [manifest_proof(AUDIENCE.hex(), name, 50, root, shown, tiles) for shown in ([(49, hidden)], [(0, rest[0])])]
    assert [code(proof | in_the_log(fields)) for proof in both] == ["member", "no_member"]
    assert cheating != sorted(cheating)


def test_a_leaf_is_bound_to_its_audience_and_shows_no_name() -> None:
    (one,), (two,) = member_leaves(AUDIENCE, block(1)), member_leaves(bytes(16), block(1))
    assert one != two
    assert one == sha256(b"\x00gateway/manifest/v2\x00" + AUDIENCE + block(1)).digest()
    others = {block(n).hex() for n in range(300)}
    assert not any(other in json.dumps(OUT) for other in others)
