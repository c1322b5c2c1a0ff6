"""The manifest of an audience: proof that somebody was in it, or was not, without listing the others.

    leaf     = SHA-256(0x00 ‖ "gateway/manifest/v2" ‖ 0x00 ‖ audience ‖ member)      53 bytes and one block
    manifest = the RFC 6962 tree over all leaves in ascending order of their bytes

`audience` is the 16-byte id of the audience, `member` the 16-byte block of a pseudonym. The entry `audience.resolved`
holds the root and the size. A member is *in* by an inclusion proof of its leaf. Somebody is *out* by two leaves that
are neighbours in the tree and have theirs between them (one at either end). What is shown of them are hashes: who does
not hold their pseudonyms learns nothing of them, and the audience's id keeps anybody from following a hash from
one audience to the next. The order says nothing of the people, so that two recipients of one segment cannot join their
lists by position (promise P9).

What one proof cannot show is that the tree is in order: whoever made it out of order could show one person in and out.
The two proofs together are then the evidence, and whoever holds all members checks the order by hashing.

Version 1 (`manifest` absent in the entry) had bare members in another order, and could show nobody out.

Stand-alone: the standard library, and `merkle`, `proofs`, `tiles` and `verifier` of this package.
"""

from __future__ import annotations

import base64
import json
import re
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256

from consent_gateway.audit.merkle import EMPTY_ROOT, LEAF_PREFIX
from consent_gateway.audit.proofs import ReadTile, inclusion_proof, verify_inclusion
from consent_gateway.audit.verifier.findings import Finding
from consent_gateway.audit.verifier.proofs import verify_receipt

MANIFEST_VERSION = 2
MANIFEST_PROOF_FORMAT = "consent-gateway/manifest-proof@v1"
MEMBER_BYTES = 16
MAX_MANIFEST_PROOF_BYTES = 1_000_000
_MANIFEST_TAG = LEAF_PREFIX + b"gateway/manifest/v2\x00"
_MEMBER = re.compile(r"p(?:0|[1-9][0-9]{0,9})-([0-9a-f]{32})", re.ASCII)
_HEX = re.compile(r"(?:[0-9a-f]{2})*", re.ASCII)
_WITNESS_MEMBERS = {"index", "leaf", "path"}
_PROOF_MEMBERS = {"format", "audience", "pseudonym", "member", "size", "manifest_root", "leaves", "entry", "receipt"}


@dataclass(frozen=True, slots=True)
class ManifestLeaf:
    """A leaf hash, its index, and the path from it to the manifest's root."""

    index: int
    hash: bytes
    path: tuple[bytes, ...]


def member_leaves(audience: bytes, blocks: bytes) -> list[bytes]:
    """Return the leaf hash of each 16-byte block, in the order of the blocks; `audience` has 16 bytes."""
    head = _MANIFEST_TAG + audience
    starts = range(0, len(blocks), MEMBER_BYTES)
    return [sha256(head + blocks[at : at + MEMBER_BYTES]).digest() for at in starts]


def witnesses_of(leaf: bytes, first: int, leaves: Sequence[bytes]) -> list[tuple[int, bytes]]:
    """Return what proves `leaf` in (itself) or out (its neighbours), as (index, leaf hash).

    `leaves` is the part of the manifest, from index `first` on, that has the leaf or its neighbours.
    """
    at = bisect_left(leaves, leaf)
    if at < len(leaves) and leaves[at] == leaf:
        return [(first + at, leaf)]
    return [(first + near, leaves[near]) for near in (at - 1, at) if 0 <= near < len(leaves)]


def manifest_proof(
    audience: str, pseudonym: str, size: int, root: bytes, witnesses: Sequence[tuple[int, bytes]], read_tile: ReadTile
) -> dict[str, object]:
    """Return the proof of one person as JSON values, without the entry and its receipt; see `witnesses_of`."""
    member, leaves = manifest_leaves(audience, pseudonym, size, witnesses, read_tile)
    return {
        "format": MANIFEST_PROOF_FORMAT,
        "audience": audience,
        "pseudonym": pseudonym,
        "member": member,
        "size": size,
        "manifest_root": root.hex(),
        "leaves": [
            {"index": shown.index, "leaf": shown.hash.hex(), "path": [node.hex() for node in shown.path]}
            for shown in leaves
        ],
    }


def manifest_leaves(
    audience: str, pseudonym: str, size: int, witnesses: Sequence[tuple[int, bytes]], read_tile: ReadTile
) -> tuple[bool, tuple[ManifestLeaf, ...]]:
    """Return whether an audience has somebody, and what proves it to `check_manifest`; see `witnesses_of`."""
    (leaf,) = member_leaves(bytes.fromhex(audience), _block(pseudonym))
    proven = tuple(ManifestLeaf(at, shown, inclusion_proof(at, size, read_tile)) for at, shown in witnesses)
    return [leaf] == [shown for _, shown in witnesses], proven


def check_manifest(
    fields: Mapping[str, object], pseudonym: str, leaves: Sequence[ManifestLeaf], *, member: bool
) -> None:
    """Raise ValueError unless the leaves show that somebody is in an audience, or is not (`member`).

    `fields` are those of its entry `audience.resolved`, which name the audience, and the manifest's size and root.
    """
    if fields.get("manifest") != MANIFEST_VERSION:
        raise ValueError("the entry has no manifest of version 2")
    size, root = _integer(fields.get("size")), _bytes_of(fields.get("manifest_root"))
    for shown in leaves:
        if not verify_inclusion(shown.index, size, shown.hash, shown.path, root):
            raise ValueError(f"leaf {shown.index} is not in the manifest")
    (leaf,) = member_leaves(_bytes_of(fields.get("audience")), _block(pseudonym))
    places = [(shown.index, shown.hash) for shown in leaves]
    if not ([found for _, found in places] == [leaf] if member else _is_out(leaf, places, size, root)):
        raise ValueError("the leaves do not show what the proof says")


def verify_membership(
    vkey: str, document: bytes, *, witnesses: Sequence[str] = (), policy: bytes | None = None
) -> Finding:
    """Check offline that an audience had a person in it or out of it: whether it holds, and which of the two.

    `document` is the JSON of a proof with its `entry` (base64) and `receipt`: the log of this key has the entry, the
    entry says the manifest's root and size, and the leaves are in the manifest as the proof says.
    """
    try:
        proof = _read_proof(document)
        entry = base64.b64decode(str(proof["entry"]), validate=True)
        found = verify_receipt(vkey, str(proof["receipt"]).encode(), entry, witnesses=witnesses, policy=policy)
        if not found.ok:
            return found
        member = _check_proof(proof, json.loads(entry))
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        message = str(error) if type(error) is ValueError else "the proof is not well-formed"
        return Finding(ok=False, code="membership", message=message)
    where = f"audience {proof['audience']} of {proof['size']} members, entry {found.index}"
    text = f"{proof['pseudonym']} is {'in' if member else 'not in'} {where}"
    return Finding(ok=True, code="member" if member else "no_member", message=text, index=found.index)


def _read_proof(document: bytes) -> Mapping[str, object]:
    if len(document) > MAX_MANIFEST_PROOF_BYTES:
        raise ValueError("the proof is too large")
    proof = json.loads(document.decode())
    if not isinstance(proof, dict) or proof.keys() != _PROOF_MEMBERS or proof["format"] != MANIFEST_PROOF_FORMAT:
        raise ValueError("not a proof of membership, version 1")
    return proof


def _check_proof(proof: Mapping[str, object], entry: Mapping[str, object]) -> bool:
    """Return whether the person is in; ValueError when the proof does not hold under the entry."""
    fields = entry["fields"]
    said = (entry["kind"], fields["manifest"], fields["audience"], fields["size"], fields["manifest_root"])  # type: ignore[index]
    if said != ("audience.resolved", MANIFEST_VERSION, proof["audience"], proof["size"], proof["manifest_root"]):
        raise ValueError("the entry is not that of this audience and manifest")
    shown = [_shown(item) for item in proof["leaves"]]  # type: ignore[attr-defined]
    member = proof["member"]
    if not isinstance(member, bool):
        raise ValueError("the leaves do not show what the proof says")  # noqa: TRY004 - one error type for refusals
    check_manifest(fields, str(proof["pseudonym"]), shown, member=member)  # type: ignore[arg-type]
    return member


def _is_out(leaf: bytes, shown: Sequence[tuple[int, bytes]], size: int, root: bytes) -> bool:
    """Tell whether these leaves of the manifest leave no place for `leaf`."""
    match shown:
        case []:
            return size == 0 and root == EMPTY_ROOT
        case [(at, only)]:
            return (at == 0 and leaf < only) or (at == size - 1 and only < leaf)
        case [(at, before), (next_at, after)]:
            return next_at == at + 1 and before < leaf < after
        case _:
            return False


def _shown(item: Mapping[str, object]) -> ManifestLeaf:
    if item.keys() != _WITNESS_MEMBERS:
        raise ValueError("the proof is not well-formed")
    path = tuple(_bytes_of(node) for node in item["path"])  # type: ignore[attr-defined]
    return ManifestLeaf(_integer(item["index"]), _bytes_of(item["leaf"]), path)


def _block(pseudonym: str) -> bytes:
    found = _MEMBER.fullmatch(pseudonym)
    if found is None:
        raise ValueError("not a pseudonym")
    return bytes.fromhex(found[1])


def _integer(value: object) -> int:
    if type(value) is not int:
        raise ValueError("the proof is not well-formed")
    return value


def _bytes_of(value: object) -> bytes:
    if not isinstance(value, str) or _HEX.fullmatch(value) is None:
        raise ValueError("the proof is not well-formed")
    return bytes.fromhex(value)
