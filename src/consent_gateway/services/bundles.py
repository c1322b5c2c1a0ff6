"""A person's bundle: all that the log says about them, with every proof, as a file that they keep.

It is a disclosure, so it is recorded before it leaves; that entry, and whatever else the sequencer has not integrated
yet, is not in it. Once the person is erased nobody can make it any more: what an erasure destroys is what opens it. So
whoever is asked to erase somebody hands out the bundle first.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from consent_gateway.audit.bundles import Bundle, ChainPart, Logged, Told, bundle_bytes
from consent_gateway.audit.canonical import canonical_json
from consent_gateway.audit.chains import CHAIN_OF, chain_key, chain_secret
from consent_gateway.audit.commitments import opening_salt, verify_opening
from consent_gateway.audit.entries import EntryKind, parse_entry
from consent_gateway.audit.maps import MapProof, verify_map
from consent_gateway.audit.proofs import inclusion_proof
from consent_gateway.db import log_store, map_store
from consent_gateway.db.engine import Session
from consent_gateway.db.log_store import AboutPerson
from consent_gateway.domain.ids import SubjectId
from consent_gateway.domain.purposes import OWN
from consent_gateway.errors import ForbiddenError, NotFoundError, RaceError
from consent_gateway.services import maps, people
from consent_gateway.services.gateway import Work
from consent_gateway.vault.envelope import derive_audit_key

ACCESS_SCOPE = "access"
_READING = "bundle"
Tile = tuple[int, int, int]


def bundle(work: Work, subject_id: SubjectId) -> tuple[bytes, bytes]:
    """Return the bundle of a person, every subject of theirs, and the uid of the entry that records it.

    NotFoundError for nobody, and before the log has an entry; ForbiddenError for a key that is not our own or lacks the
    scope by name; RaceError where a map was published meanwhile.
    """
    members = people.lock_people(work, [subject_id]).get(subject_id)
    if members is None:
        raise NotFoundError
    # By name, as `reveal_plain` and `disclose`: who runs the gateway need not read all that ever happened to somebody.
    if work.actor.recipient != OWN or ACCESS_SCOPE not in work.actor.scopes:
        raise ForbiddenError(f"a bundle needs a key of our own with the scope {ACCESS_SCOPE}, by name")
    uid = _record(work, members)
    head = log_store.checkpoint(work.session)
    if head is None:
        raise NotFoundError("the log has no entries yet")
    reader = _Reader(work.session, head[0])
    published = map_store.newest(work.session)
    mapped = None if published is None else log_store.find_entry(work.session, published.uid)
    if mapped is not None and mapped[0] >= head[0]:
        mapped = None
    chains = [chain for member in members for chain in _chains(work, member, reader)]
    if published is None or mapped is None:
        return bundle_bytes(Bundle(head[1], None, tuple(ChainPart(c.secret, c.entries, None) for c in chains))), uid
    proven = tuple(ChainPart(c.secret, c.entries, _proof(work.session, c.secret, published)) for c in chains)
    return bundle_bytes(Bundle(head[1], reader.logged(*mapped), proven)), uid


def _record(work: Work, members: Sequence[SubjectId]) -> bytes:
    """Record the disclosure about every subject of the person; return the uid of the first entry."""
    deks = work.gateway.vault.keys(work.session, members)
    uids = [
        work.record_about(
            EntryKind.LEDGER_READ,
            {"what": _READING},
            member,
            derive_audit_key(deks[member]),
            canonical_json({"subject_id": member}),
        )
        for member in members
    ]
    return uids[0]


class _Reader:
    """Proofs under one checkpoint; tiles are read once."""

    def __init__(self, session: Session, size: int) -> None:
        self._session = session
        self.size = size
        self._tiles: dict[Tile, bytes] = {}

    def logged(self, index: int, entry: bytes) -> Logged:
        """Return an entry with its proof."""
        return Logged(index, entry, inclusion_proof(index, self.size, self._tile))

    def _tile(self, level: int, index: int, width: int, /) -> bytes:
        place = (level, index, width)
        if place not in self._tiles:
            self._tiles[place] = log_store.read_tile(self._session, level, index, width)
        return self._tiles[place]


@dataclass(frozen=True, slots=True)
class _Chain:
    secret: bytes
    entries: tuple[Told, ...]


def _chains(work: Work, subject_id: SubjectId, reader: _Reader) -> Iterator[_Chain]:
    """Yield the chains of one subject that have entries, the former ones first, as they followed each other."""
    today, *former = work.gateway.vault.audit_keys(work.session, subject_id)
    about = log_store.about_person(work.session, subject_id, reader.size)
    for key in (*reversed(former), today):
        told = tuple(_told(key, found, reader) for found in about if _is_under(key, found))
        if told:
            yield _Chain(chain_secret(key), told)


def _is_under(audit_key: bytes, found: AboutPerson) -> bool:
    """Tell whether the entry is in the chain of this key: it has a place, and its opening opens under the key."""
    made = parse_entry(found.entry).commitments
    salt = opening_salt(audit_key, found.uid, found.name)
    return CHAIN_OF[found.name] in made and verify_opening(made[found.name], salt, found.payload)


def _told(audit_key: bytes, found: AboutPerson, reader: _Reader) -> Told:
    chain_salt, salt = (opening_salt(audit_key, found.uid, name) for name in (CHAIN_OF[found.name], found.name))
    return Told(reader.logged(found.index, found.entry), found.name, chain_salt, salt, found.payload)


def _proof(session: Session, secret: bytes, published: map_store.PublishedMap) -> MapProof:
    key = chain_key(secret)
    proof = maps.proof(session, key)
    if not verify_map(key, proof, published.root, published.entries):
        raise RaceError  # the next map was published between two reads
    return proof
