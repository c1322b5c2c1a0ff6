"""The file that a bundle is: everything that the log says about one person, for them to keep, and the proofs.

One JSON file, canonical to the byte (`canonical`), that needs nobody to be checked (`bundles`):

::

    {"format": "consent-gateway/bundle@v2",
     "checkpoint": "<signed note>",
     "map": null | {"index": 7, "entry": "{…}", "proof": ["<base64>", …]},     the entry `map.published`
     "chains": [
       {"secret": "<hex>",                                                     whose chain it is (`chains`)
        "map": null | {"others": [["<hex>", <sum>], …],                        what the map has for it (`maps`)
                       "leaf": null | {"key": "<hex>", "entries": 3, "link": "<hex>"}},
        "entries": [
          {"index": 2, "entry": "{…}", "proof": ["<base64>", …],               in the log, and where
           "role": "subject" | "other", "chain_salt": "<hex>",                 its place in the chain opens with it
           "salt": "<hex>", "payload": "{…}"}]}],                              what it was about
     "audiences": [
       {"index": 5, "entry": "{…}", "proof": ["<base64>", …],                  the entry `audience.resolved`
        "pseudonym": "p1-<hex>", "member": true | false,                       whether it has this one (`manifests`)
        "leaves": [{"index": 3, "leaf": "<hex>", "path": ["<hex>", …]}]}]}

Which pseudonym is the person's, the entries `bundle.disclosed` say, of their chains: `disclosed` of their payloads.
Version 1 has no member `audiences`, and says nothing of any.

Stand-alone: standard library and the stand-alone modules beside it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from consent_gateway.audit.canonical import canonical_json
from consent_gateway.audit.chains import CHAIN_OF
from consent_gateway.audit.manifests import ManifestLeaf
from consent_gateway.audit.maps import MapLeaf, MapProof
from consent_gateway.audit.merkle import HASH_BYTES
from consent_gateway.audit.notes import to_base64
from consent_gateway.audit.receipts import parse_path

BUNDLE_FORMAT = "consent-gateway/bundle@v2"
BUNDLE_FORMAT_1 = "consent-gateway/bundle@v1"
_HASH_IN_HEX = re.compile(f"[0-9a-f]{{{2 * HASH_BYTES}}}")


@dataclass(frozen=True, slots=True)
class Logged:
    """An entry of the log, its bytes, and the path to the root of the bundle's checkpoint."""

    index: int
    entry: bytes
    path: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class Told:
    """An entry of a chain: in which role the person is in it, and the salts and the payload that open it."""

    logged: Logged
    role: str
    chain_salt: bytes
    salt: bytes
    payload: bytes


@dataclass(frozen=True, slots=True)
class ChainPart:
    """A chain of the person: the secret of its key, its entries in order, what the map has for it if there is a map."""

    secret: bytes
    entries: tuple[Told, ...]
    proof: MapProof | None


@dataclass(frozen=True, slots=True)
class AudiencePart:
    """The entry of an audience, a pseudonym, and the leaves of its manifest that have it, or leave no place for it."""

    logged: Logged
    pseudonym: str
    member: bool
    leaves: tuple[ManifestLeaf, ...]


@dataclass(frozen=True, slots=True)
class Bundle:
    """What a bundle holds; nothing of it is checked yet. `audiences` is None in a bundle of version 1."""

    checkpoint: bytes
    published: Logged | None
    chains: tuple[ChainPart, ...]
    audiences: tuple[AudiencePart, ...] | None = ()


# -- writing -------------------------------------------------------------------------------------------------------


def bundle_bytes(bundle: Bundle) -> bytes:
    """Return the file of a bundle, canonical JSON; ValueError for entries or payloads that are no UTF-8."""
    members: dict[str, object] = {
        "checkpoint": bundle.checkpoint.decode(),
        "map": None if bundle.published is None else _logged_json(bundle.published),
        "chains": [_chain_json(chain) for chain in bundle.chains],
    }
    if bundle.audiences is None:
        return canonical_json(members | {"format": BUNDLE_FORMAT_1})
    return canonical_json(
        members | {"format": BUNDLE_FORMAT, "audiences": [_audience_json(part) for part in bundle.audiences]}
    )


def disclosed(audiences: Mapping[str, str]) -> bytes:
    """Return what `bundle.disclosed` commits to: by which pseudonym each audience that a bundle shows knew the person.

    Audiences go by their id in hex. Who leads an audience's recipient to another name lies in their own log.
    """
    return canonical_json({"audiences": dict(audiences)})


def parse_disclosed(payload: bytes) -> dict[str, str]:
    """Return what `disclosed` was given; ValueError for any other payload."""
    try:
        match json.loads(payload.decode()):
            case {"audiences": dict(audiences)} if all(isinstance(name, str) for name in audiences.values()):
                if disclosed(audiences) == payload:
                    return audiences
    except (ValueError, RecursionError):
        pass
    raise ValueError("the payload does not say which audiences are shown")


def _logged_json(logged: Logged) -> dict[str, object]:
    proof = [to_base64(node) for node in logged.path]
    return {"index": logged.index, "entry": logged.entry.decode(), "proof": proof}


def _audience_json(part: AudiencePart) -> dict[str, object]:
    leaves = [
        {"index": leaf.index, "leaf": leaf.hash.hex(), "path": [node.hex() for node in leaf.path]}
        for leaf in part.leaves
    ]
    return _logged_json(part.logged) | {"pseudonym": part.pseudonym, "member": part.member, "leaves": leaves}


def _chain_json(chain: ChainPart) -> dict[str, object]:
    entries = [
        _logged_json(told.logged)
        | {"role": told.role, "chain_salt": told.chain_salt.hex(), "salt": told.salt.hex()}
        | {"payload": told.payload.decode()}
        for told in chain.entries
    ]
    proof = None if chain.proof is None else _proof_json(chain.proof)
    return {"secret": chain.secret.hex(), "map": proof, "entries": entries}


def _proof_json(proof: MapProof) -> dict[str, object]:
    leaf = proof.leaf
    found = None if leaf is None else {"key": leaf.key.hex(), "entries": leaf.entries, "link": leaf.link.hex()}
    return {"others": [[node.hex(), entries] for node, entries in proof.others], "leaf": found}


# -- reading -------------------------------------------------------------------------------------------------------


def parse_bundle(data: bytes) -> Bundle:
    """Return what a bundle's file holds; ValueError unless it has exactly the members of the format, of their types.

    And unless it is canonical to the byte, as it was written: a doubled member, a blank, a float, another spelling of a
    number or a text, and what stands behind the end are refused. One bundle has one file.
    """
    try:
        read = json.loads(data.decode())
    except (ValueError, RecursionError):
        raise ValueError("the bundle is not JSON") from None
    if canonical_json(read) != data:
        raise ValueError("the bundle is not in canonical form")
    return _bundle_of(read)


def _bundle_of(read: Any) -> Bundle:
    names = ["format", "checkpoint", "map", "chains"]
    form, checkpoint, published, chains, *more = _members(read, *names, *_newer(read))
    match form, more:
        case "consent-gateway/bundle@v1", []:
            shown: tuple[AudiencePart, ...] | None = None
        case "consent-gateway/bundle@v2", [list(parts)]:
            shown = tuple(map(_audience, parts))
        case _:
            raise ValueError("not a bundle of version 1 or 2")
    if not isinstance(checkpoint, str) or not isinstance(chains, list):
        raise ValueError("a member of the bundle is not of the format")  # noqa: TRY004 - one error type for refusals
    logged = None if published is None else _logged(_members(published, "index", "entry", "proof"))
    return Bundle(checkpoint.encode(), logged, tuple(map(_chain, chains)), shown)


def _newer(read: object) -> list[str]:
    """Return the members that the object has and that version 1 knew nothing of."""
    return ["audiences"] if isinstance(read, dict) and "audiences" in read else []


def _audience(read: object) -> AudiencePart:
    match _members(read, "index", "entry", "proof", "pseudonym", "member", "leaves"):
        case [index, entry, proof, str(pseudonym), bool(member), list(leaves)]:
            return AudiencePart(_logged([index, entry, proof]), pseudonym, member, tuple(map(_manifest_leaf, leaves)))
    raise ValueError("an audience of the bundle is not of the format")


def _manifest_leaf(read: object) -> ManifestLeaf:
    match _members(read, "index", "leaf", "path"):
        case [int(index), str(leaf), list(path)] if _is_count(index) and all(isinstance(node, str) for node in path):
            return ManifestLeaf(index, hash_in_hex(leaf), tuple(hash_in_hex(node) for node in path))
    raise ValueError("an audience of the bundle is not of the format")


def _members(read: object, *names: str) -> list[object]:
    """Return the values of exactly these members of an object."""
    if not isinstance(read, dict) or read.keys() != set(names):
        raise ValueError("a part of the bundle has missing or unknown members")
    return [read[name] for name in names]


def _chain(read: object) -> ChainPart:
    match _members(read, "secret", "map", "entries"):
        case [str(secret), proof, list(entries)]:
            shown = None if proof is None else _map_proof(proof)
            return ChainPart(hash_in_hex(secret), tuple(_read_told(entry) for entry in entries), shown)
    raise ValueError("a chain of the bundle is not of the format")


def _read_told(read: object) -> Told:
    names = ("index", "entry", "proof", "role", "chain_salt", "salt", "payload")
    match _members(read, *names):
        case [index, entry, proof, str(role), str(chain_salt), str(salt), str(payload)] if role in CHAIN_OF:
            logged = _logged([index, entry, proof])
            return Told(logged, role, hash_in_hex(chain_salt), hash_in_hex(salt), payload.encode())
    raise ValueError("an entry of the bundle is not of the format")


def _logged(read: Sequence[object]) -> Logged:
    match read:
        case [int(index), str(entry), list(proof)] if _is_count(index) and all(isinstance(n, str) for n in proof):
            return Logged(index, entry.encode(), parse_path([str(node) for node in proof]))
    raise ValueError("an entry of the bundle is not of the format")


def _map_proof(read: object) -> MapProof:
    others, leaf = _members(read, "others", "leaf")
    if not isinstance(others, list):
        raise ValueError("a map proof of the bundle is not of the format")  # noqa: TRY004 - one error type for refusals
    return MapProof(tuple(_other(other) for other in others), None if leaf is None else _leaf(leaf))


def _other(read: object) -> tuple[bytes, int]:
    match read:
        case [str(node), int(entries)] if _is_count(entries):
            return hash_in_hex(node), entries
    raise ValueError("a map proof of the bundle is not of the format")


def _leaf(read: object) -> MapLeaf:
    match _members(read, "key", "entries", "link"):
        case [str(key), int(entries), str(link)] if _is_count(entries):
            return MapLeaf(hash_in_hex(key), entries, hash_in_hex(link))
    raise ValueError("a map proof of the bundle is not of the format")


def _is_count(number: int) -> bool:
    return type(number) is int and number >= 0  # canonical JSON bounds it above


def hash_in_hex(text: str) -> bytes:
    """Return the 32 bytes that a text spells in lower case; ValueError for any other text."""
    if _HASH_IN_HEX.fullmatch(text) is None:
        raise ValueError("a hash, salt or secret of the bundle is not 32 bytes in hex")
    return bytes.fromhex(text)
