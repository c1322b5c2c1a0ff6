"""Bundles: is a person's file (`bundle_files`) all that the log says about them? Checked with the log's key alone.

`verify_bundle` finds: an entry, payload, place or proof that was changed; entries left out, swapped, doubled or added;
a chain whose map says that there is more; a former or a later chain of the same person that is not there; an audience
that does not have the person, or has them, otherwise than the bundle says.

An audience is an entry about nobody, so the log does not say which ones somebody was in. What binds them to the
person: when a bundle is handed out, the entry `bundle.disclosed` is put into each chain of theirs, and commits to which
audiences are shown, and by which pseudonym each knew them. An audience of a bundle must be named by such an entry of
its chains, and each that the newest one names, of a chain that goes on, must be shown. So no audience is put in,
exchanged or left out while that entry is there; without it the bundle says nothing of audiences, and so does the
finding.

What it cannot say: what came after the map that was chosen, and whether that was the newest (it tells at which size of
the log it was published and when, and how many entries of the bundle are newer), whether the person has a further chain
that nothing in these leads to, and whether there were other audiences.

Stand-alone: standard library, `cryptography` and the stand-alone modules beside it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from consent_gateway.audit.bundle_files import (
    AudiencePart,
    ChainPart,
    Logged,
    Told,
    hash_in_hex,
    parse_bundle,
    parse_disclosed,
)
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
from consent_gateway.audit.erasure_ends import ErasureFiles, check_endings
from consent_gateway.audit.manifests import check_manifest
from consent_gateway.audit.maps import MapProof, verify_map
from consent_gateway.audit.merkle import leaf_hash
from consent_gateway.audit.proofs import verify_inclusion
from consent_gateway.audit.verifier.findings import Finding, FoundError, parsed
from consent_gateway.audit.verifier.trust import head_details, trust_in

# How these stand in canonical bytes; what has them is read before it is believed.
_DISCLOSED = b'"kind":"%b"' % EntryKind.BUNDLE_DISCLOSED.encode()
_IN_BOTH = b'"%b":"' % OTHER_CHAIN.encode()
_SHOWN_FIELDS = ("audience", "recipient", "purpose", "channel")


@dataclass(frozen=True, slots=True)
class _Map:
    """The map that the bundle is held against: root and sum, the size of the log at which it holds, its time (ms)."""

    root: bytes
    entries: int
    size: int
    at: int


def verify_bundle(
    vkey: str,
    data: bytes,
    *,
    witnesses: Sequence[str] = (),
    policy: bytes | None = None,
    erasures: Sequence[ErasureFiles] = (),
) -> Finding:
    """Check a bundle: 1. the checkpoint, 2. the map, 3. every chain, 4. that none leads out of it, 5. the audiences.

    With `erasures`, those of the person from after it, also 6. how far it reaches to them (`erasure_ends`).
    Codes: `vkey`, `policy`, `checkpoint`, `witness` as of any checkpoint; `bundle` for another form; `inclusion`,
    `chain`, `opening` with the index of the entry; `map` for a proof or a count that does not fit; `former` for a chain
    that is not there; `audience` for one that is not the person's, does not hold, or is not there; `erasure` for one
    that is somebody else's, or contradicts.
    """
    try:
        trust = trust_in(vkey, witnesses, policy)
        bundle = parsed("bundle", parse_bundle, data)
        opened = trust.open_witnessed(bundle.checkpoint)
        published = None if bundle.published is None else _open_map(bundle.published, opened.checkpoint)
        after = sum(_check_chain(chain, opened.checkpoint, published) for chain in bundle.chains)
        _check_complete(bundle.chains)
        audiences = _check_audiences(bundle.chains, bundle.audiences or (), opened.checkpoint)
        ending = check_endings(trust, bundle.chains, erasures) if erasures else None
    except FoundError as found:
        return found.finding
    size = 0 if published is None else published.size
    counts = {
        "entries": sum(len(chain.entries) for chain in bundle.chains),
        "chains": len(bundle.chains),
        "complete_to": size,
        "map_at": None if published is None else published.at,
        "not_covered": after,
        "audiences": None if bundle.audiences is None else audiences,
    }
    message = f"{_counted(bundle.chains)}, {_upto(published, opened.checkpoint)}; {after} are newer than that"
    details = {**counts, **head_details(opened.checkpoint, opened.signatures)}
    message += f"; {_audiences_told(audiences)}"
    if ending is not None:
        message, details = f"{message}; {ending}", details | {"erased": ending.told()}
    return Finding(ok=True, code="ok", message=message, details=details)


def _counted(chains: Sequence[ChainPart]) -> str:
    """Return how much there is; a file without a chain is a person's who is not in the log, or it is nobody's."""
    entries = sum(len(chain.entries) for chain in chains)
    return f"{entries} entries in {len(chains)} chains" if chains else "no chain, which shows nothing about anybody"


def _upto(published: _Map | None, head: Checkpoint) -> str:
    """Return how far that is complete: nothing tells whether the log had a newer map, only how much came after it."""
    if published is None:
        return "not shown to be complete: there is no map"
    return f"complete up to the map at {published.size} of {head.size} entries of the log"


def _audiences_told(audiences: Sequence[Mapping[str, object]]) -> str:
    """Return what is shown of audiences, and that nothing is said of any other."""
    if not audiences:
        return "of audiences it says nothing"
    members = sum(audience["member"] is True for audience in audiences)
    return f"shown in {members} audiences and out of {len(audiences) - members}, of others it says nothing"


def _open_entry(logged: Logged, head: Checkpoint) -> Entry:
    """Return an entry once the log is shown to have it."""
    if not verify_inclusion(logged.index, head.size, leaf_hash(logged.entry), logged.path, head.root):
        raise FoundError("inclusion", f"the entry is not at index {logged.index} of this log", logged.index)
    return parsed("entry", parse_entry, logged.entry)


def _open_map(logged: Logged, head: Checkpoint) -> _Map:
    entry = _open_entry(logged, head)
    match entry.kind, entry.fields:
        case EntryKind.MAP_PUBLISHED, {"root": str(root), "entries": int(entries), "size": int(size)}:
            if 0 <= size <= logged.index:
                return _Map(parsed("map", hash_in_hex, root), entries, size, entry.at)
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
        if _IN_BOTH in told.logged.entry and OTHER_CHAIN in parse_entry(told.logged.entry).commitments:
            roles.setdefault(told.logged.index, set()).add(told.role)
    for index, found in roles.items():
        if found != {SUBJECT, OTHER}:
            which = "former" if SUBJECT in found else "later"
            raise FoundError("former", f"entry {index} leads to a {which} chain, which is not in the bundle", index)


# -- audiences -----------------------------------------------------------------------------------------------------


def named_audiences(chains: Sequence[ChainPart]) -> set[tuple[str, str]]:
    """Return which audiences a bundle has to show, by id in hex and pseudonym: those that it was last handed out with.

    That is what the newest `bundle.disclosed` of each chain that goes on names. ValueError for a payload that is none.
    """
    newest = (disclosures[-1] for chain in chains if _goes_on(chain) and (disclosures := [*_disclosures(chain)]))
    return {named for told in newest for named in parse_disclosed(told.payload).items()}


def _disclosures(chain: ChainPart) -> Iterator[Told]:
    for told in chain.entries:
        maybe = told.role == SUBJECT and _DISCLOSED in told.logged.entry  # spares most entries the reading
        if maybe and parse_entry(told.logged.entry).kind is EntryKind.BUNDLE_DISCLOSED:
            yield told


def _goes_on(chain: ChainPart) -> bool:
    """Tell whether no other chain of the person has taken this one's place."""
    return not any(told.role == OTHER for told in chain.entries)


def _check_audiences(
    chains: Sequence[ChainPart], parts: Sequence[AudiencePart], head: Checkpoint
) -> list[dict[str, object]]:
    """Check that every audience holds, is the person's, and stands in its place once, and that none is missing."""
    to_show = parsed("audience", named_audiences, chains)
    named = {item for chain in chains for told in _disclosures(chain) for item in _named_by(told)}
    shown: set[tuple[str, str]] = set()
    found, before = [], ("", "")
    for part in parts:
        told = _check_audience(part, head)
        item = (str(told["audience"]), part.pseudonym)
        if item not in named:
            message = f"nothing in the chains says that the audience of entry {part.logged.index} knew the person so"
            raise FoundError("audience", message, part.logged.index)
        if item <= before:
            message = f"the audience of entry {part.logged.index} is there twice, or out of order"
            raise FoundError("audience", message, part.logged.index)
        before = item
        shown.add(item)
        found.append(told)
    if missing := to_show - shown:
        raise FoundError("audience", f"{len(missing)} audiences are not there that the bundle was handed out with")
    return found


def _named_by(told: Told) -> Iterator[tuple[str, str]]:
    yield from parsed("audience", parse_disclosed, told.payload).items()


def _check_audience(part: AudiencePart, head: Checkpoint) -> dict[str, object]:
    """Return what an audience is, and whether it has the pseudonym, once its entry and manifest show it."""
    index, entry = part.logged.index, _open_entry(part.logged, head)
    if entry.kind is not EntryKind.AUDIENCE_RESOLVED:
        raise FoundError("audience", f"entry {index} resolves no audience", index)
    try:
        check_manifest(entry.fields, part.pseudonym, part.leaves, member=part.member)
    except ValueError as error:
        raise FoundError("audience", f"the audience of entry {index}: {error}", index) from None
    said = {name: entry.fields.get(name) for name in _SHOWN_FIELDS}
    return {**said, "at": entry.at, "index": index, "pseudonym": part.pseudonym, "member": part.member}
