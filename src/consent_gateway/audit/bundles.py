"""Bundles: everything that the log says about one person, for them to keep, and proof that nothing of it was left out.

One JSON file, `consent-gateway/bundle@v1`, that needs nobody to be checked, and holds after the person was erased here:

::

    {"format": "consent-gateway/bundle@v1",
     "checkpoint": "<signed note>",
     "map": null | {"index": 7, "entry": "{…}", "proof": ["<base64>", …]},     the entry `map.published`
     "chains": [
       {"secret": "<hex>",                                                     whose chain it is (`chains`)
        "map": null | {"others": [["<hex>", <sum>], …],                        what the map has for it (`maps`)
                       "leaf": null | {"key": "<hex>", "entries": 3, "link": "<hex>"}},
        "entries": [
          {"index": 2, "entry": "{…}", "proof": ["<base64>", …],               in the log, and where
           "role": "subject" | "other", "chain_salt": "<hex>",                 its place in the chain opens with it
           "salt": "<hex>", "payload": "{…}"}]}]}                              what it was about

`verify_bundle` finds: an entry, payload, place or proof that was changed; entries left out, swapped, doubled or added;
a chain whose map says that there is more; a former or a later chain of the same person that is not there. What it
cannot say: what came after the newest map (it tells how many entries of the bundle do), and whether the person has a
further chain that nothing in these leads to.

Stand-alone: standard library, `cryptography` and the stand-alone modules beside it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from consent_gateway.audit.canonical import canonical_json
from consent_gateway.audit.chains import (
    CHAIN_OF,
    NO_LINK,
    OTHER,
    OTHER_CHAIN,
    SUBJECT,
    chain_key,
    chain_link,
    chain_payload,
)
from consent_gateway.audit.checkpoints import Checkpoint
from consent_gateway.audit.commitments import verify_opening
from consent_gateway.audit.entries import Entry, EntryKind, parse_entry
from consent_gateway.audit.maps import MapLeaf, MapProof, verify_map
from consent_gateway.audit.merkle import HASH_BYTES, leaf_hash
from consent_gateway.audit.notes import to_base64
from consent_gateway.audit.proofs import verify_inclusion
from consent_gateway.audit.receipts import parse_path
from consent_gateway.audit.verifier.findings import Finding, FoundError, parsed
from consent_gateway.audit.verifier.trust import head_details, trust_in

BUNDLE_FORMAT = "consent-gateway/bundle@v1"
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
class Bundle:
    """What a bundle holds; nothing of it is checked yet."""

    checkpoint: bytes
    published: Logged | None
    chains: tuple[ChainPart, ...]


# -- writing -------------------------------------------------------------------------------------------------------


def bundle_bytes(bundle: Bundle) -> bytes:
    """Return the file of a bundle, canonical JSON; ValueError for entries or payloads that are no UTF-8."""
    return canonical_json({
        "format": BUNDLE_FORMAT,
        "checkpoint": bundle.checkpoint.decode(),
        "map": None if bundle.published is None else _logged_json(bundle.published),
        "chains": [_chain_json(chain) for chain in bundle.chains],
    })  # fmt: skip


def _logged_json(logged: Logged) -> dict[str, object]:
    proof = [to_base64(node) for node in logged.path]
    return {"index": logged.index, "entry": logged.entry.decode(), "proof": proof}


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
    match _members(read, "format", "checkpoint", "map", "chains"):
        case [str(form), str(checkpoint), published, list(chains)] if form == BUNDLE_FORMAT:
            logged = None if published is None else _logged(_members(published, "index", "entry", "proof"))
            return Bundle(checkpoint.encode(), logged, tuple(_chain(chain) for chain in chains))
    raise ValueError("not a bundle of version 1")


def _members(read: object, *names: str) -> list[object]:
    """Return the values of exactly these members of an object."""
    if not isinstance(read, dict) or read.keys() != set(names):
        raise ValueError("a part of the bundle has missing or unknown members")
    return [read[name] for name in names]


def _chain(read: object) -> ChainPart:
    match _members(read, "secret", "map", "entries"):
        case [str(secret), proof, list(entries)]:
            shown = None if proof is None else _map_proof(proof)
            return ChainPart(_hex(secret), tuple(_read_told(entry) for entry in entries), shown)
    raise ValueError("a chain of the bundle is not of the format")


def _read_told(read: object) -> Told:
    names = ("index", "entry", "proof", "role", "chain_salt", "salt", "payload")
    match _members(read, *names):
        case [index, entry, proof, str(role), str(chain_salt), str(salt), str(payload)] if role in CHAIN_OF:
            logged = _logged([index, entry, proof])
            return Told(logged, role, _hex(chain_salt), _hex(salt), payload.encode())
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
            return _hex(node), entries
    raise ValueError("a map proof of the bundle is not of the format")


def _leaf(read: object) -> MapLeaf:
    match _members(read, "key", "entries", "link"):
        case [str(key), int(entries), str(link)] if _is_count(entries):
            return MapLeaf(_hex(key), entries, _hex(link))
    raise ValueError("a map proof of the bundle is not of the format")


def _is_count(number: int) -> bool:
    return type(number) is int and number >= 0  # canonical JSON bounds it above


def _hex(text: str) -> bytes:
    """Return the 32 bytes that a text spells in lower case."""
    if _HASH_IN_HEX.fullmatch(text) is None:
        raise ValueError("a hash, salt or secret of the bundle is not 32 bytes in hex")
    return bytes.fromhex(text)


# -- checking ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Map:
    """The map that the bundle is held against: its root and sum, and the size of the log at which it holds."""

    root: bytes
    entries: int
    size: int


def verify_bundle(vkey: str, data: bytes, *, witnesses: Sequence[str] = (), policy: bytes | None = None) -> Finding:
    """Check a bundle: 1. the checkpoint, 2. the map, 3. every chain of it, 4. that no chain leads out of it.

    Codes: `vkey`, `policy`, `checkpoint`, `witness` as of any checkpoint; `bundle` for another form; `inclusion`,
    `chain`, `opening` with the index of the entry; `map` for a proof or a count that does not fit; `former` for a chain
    that is not there.
    """
    try:
        trust = trust_in(vkey, witnesses, policy)
        bundle = parsed("bundle", parse_bundle, data)
        opened = trust.open_witnessed(bundle.checkpoint)
        published = None if bundle.published is None else _open_map(bundle.published, opened.checkpoint)
        after = sum(_check_chain(chain, opened.checkpoint, published) for chain in bundle.chains)
        _check_complete(bundle.chains)
    except FoundError as found:
        return found.finding
    entries = sum(len(chain.entries) for chain in bundle.chains)
    upto = "no map" if published is None else f"the map at {published.size} entries of the log"
    message = f"{entries} entries in {len(bundle.chains)} chains, complete up to {upto}; {after} are newer than that"
    size = 0 if published is None else published.size
    counts = {"entries": entries, "chains": len(bundle.chains), "complete_to": size, "not_covered": after}
    details = {**counts, **head_details(opened.checkpoint, opened.signatures)}
    return Finding(ok=True, code="ok", message=message, details=details)


def _open_entry(logged: Logged, head: Checkpoint) -> Entry:
    """Return an entry once the log is shown to have it."""
    if not verify_inclusion(logged.index, head.size, leaf_hash(logged.entry), logged.path, head.root):
        raise FoundError("inclusion", f"the entry is not at index {logged.index} of this log", logged.index)
    return parsed("entry", parse_entry, logged.entry)


def _open_map(logged: Logged, head: Checkpoint) -> _Map:
    entry = _open_entry(logged, head)
    match entry.kind, entry.fields:
        case EntryKind.MAP_PUBLISHED, {"root": str(root), "entries": int(entries), "size": int(size)}:
            if size <= logged.index:
                return _Map(parsed("map", _hex, root), entries, size)
    raise FoundError("map", f"entry {logged.index} publishes no map", logged.index)


def _check_chain(chain: ChainPart, head: Checkpoint, published: _Map | None) -> int:
    """Check one chain from its first entry; return how many of its entries are newer than the map."""
    key = chain_key(chain.secret)
    links, before = [NO_LINK], -1
    for told in chain.entries:
        index = told.logged.index
        if index <= before:
            raise FoundError("chain", f"entry {index} is out of order", index)
        links.append(_check_told(told, len(links), links[-1], _open_entry(told.logged, head)))
        before = index
    size = 0 if published is None else published.size
    covered = sum(told.logged.index < size for told in chain.entries)
    if published is not None:
        _check_mapped(key, chain.proof, published, covered, links[covered])
    return len(chain.entries) - covered


def _check_told(told: Told, number: int, prev: bytes, entry: Entry) -> bytes:
    """Check that an entry has this place in the chain and is about what is told; return its link."""
    index, made = told.logged.index, entry.commitments
    if not _opens(made, CHAIN_OF[told.role], told.chain_salt, chain_payload(number, prev)):
        raise FoundError("chain", f"entry {index} is not number {number} of the chain, after the one before", index)
    if not _opens(made, told.role, told.salt, told.payload):
        raise FoundError("opening", f"the payload is not what entry {index} committed to", index)
    return chain_link(told.chain_salt, leaf_hash(told.logged.entry))


def _opens(made: Mapping[str, bytes], name: str, salt: bytes, payload: bytes) -> bool:
    return name in made and verify_opening(made[name], salt, payload)


def _check_mapped(key: bytes, proof: MapProof | None, published: _Map, covered: int, link: bytes) -> None:
    if proof is None or not verify_map(key, proof, published.root, published.entries):
        raise FoundError("map", f"nothing shows what the published map has for the chain {key.hex()}")
    leaf = proof.leaf
    held, newest = (leaf.entries, leaf.link) if leaf is not None and leaf.key == key else (0, NO_LINK)
    if held != covered:
        message = f"the map has {held} entries of the chain {key.hex()}, the bundle has {covered} up to there"
        raise FoundError("map", message)
    if newest != link:
        raise FoundError("map", f"the map names another newest entry of the chain {key.hex()}")


def _check_complete(chains: Sequence[ChainPart]) -> None:
    """Raise unless every entry that ends one chain and begins another is in both, and no chain is there twice."""
    if len({chain.secret for chain in chains}) != len(chains):
        raise FoundError("chain", "a chain is in the bundle twice")
    roles: dict[int, set[str]] = {}
    for told in (told for chain in chains for told in chain.entries):
        if OTHER_CHAIN in parse_entry(told.logged.entry).commitments:
            roles.setdefault(told.logged.index, set()).add(told.role)
    for index, found in roles.items():
        if found != {SUBJECT, OTHER}:
            which = "former" if SUBJECT in found else "later"
            raise FoundError("former", f"entry {index} leads to a {which} chain, which is not in the bundle", index)
