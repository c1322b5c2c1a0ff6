"""Making a bundle out of the store: entries with proofs, chains, the map, audiences, all under one checkpoint.

Everything is read in one snapshot, and nothing is locked: what comes meanwhile is not in it. What the newest
disclosures in the chains name is what is shown of audiences, whoever asked for them (`audit.bundles`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from consent_gateway.audit.bundle_files import AudiencePart, Bundle, ChainPart, Logged, Told, bundle_bytes
from consent_gateway.audit.bundles import named_audiences
from consent_gateway.audit.chains import CHAIN_OF, chain_key, chain_secret
from consent_gateway.audit.commitments import opening_salt, verify_opening
from consent_gateway.audit.entries import parse_entry
from consent_gateway.audit.maps import MapProof, verify_map
from consent_gateway.audit.proofs import inclusion_proof
from consent_gateway.db import log_people, log_store, map_store
from consent_gateway.db.engine import Session
from consent_gateway.db.log_people import AboutPerson
from consent_gateway.domain.ids import SubjectId
from consent_gateway.errors import NotFoundError, RaceError, UnavailableError
from consent_gateway.services.disclosing import audiences
from consent_gateway.services.log import audit_log, manifests, maps
from consent_gateway.services.work.gateway import Work

Tile = tuple[int, int, int]


def build(work: Work, members: Sequence[SubjectId], uid: bytes) -> tuple[bytes, list[ChainPart]]:
    """Return the file of a person who is these subjects, and the chains in it.

    `uid` is that of the disclosure: UnavailableError while the log has not taken it. RaceError where a map, or an
    audience that is to be shown, is not there any more, or the newest map not yet in the log.
    """
    head = log_store.checkpoint(work.session)
    reader = _Reader(work.session, 0 if head is None else head[0])
    if reader.find(uid) is None:
        raise UnavailableError("the log has not taken the entry of the disclosure yet", retry_after=1)
    published = map_store.newest(work.session)
    mapped = None if published is None else reader.find(published.uid)
    if published is not None and mapped is None:
        raise RaceError  # the log takes the newest map in a moment, and nothing can be proven against the one before
    proven = None if mapped is None else published
    chains = [part for member in members for part in _chains(work, member, reader, proven)]
    shown = tuple(_audience(work, reader, *named) for named in sorted(named_audiences(chains)))
    return bundle_bytes(Bundle(audit_log.checkpoint(work.session), mapped, tuple(chains), shown)), chains


class _Reader:
    """Proofs under one checkpoint; tiles are read once, and what several proofs share is computed once."""

    def __init__(self, session: Session, size: int) -> None:
        self._session = session
        self.size = size
        self._tiles: dict[Tile, bytes] = {}
        self._known: dict[tuple[int, int], bytes] = {}

    def logged(self, index: int, entry: bytes) -> Logged:
        """Return an entry with its proof."""
        return Logged(index, entry, inclusion_proof(index, self.size, self._tile, self._known))

    def find(self, uid: bytes) -> Logged | None:
        """Return an entry with its proof, None if the checkpoint does not cover it."""
        found = log_store.find_entry(self._session, uid)
        return None if found is None or found[0] >= self.size else self.logged(*found)

    def _tile(self, level: int, index: int, width: int, /) -> bytes:
        place = (level, index, width)
        if place not in self._tiles:
            self._tiles[place] = log_store.read_tile(self._session, level, index, width)
        return self._tiles[place]


def _chains(
    work: Work, subject_id: SubjectId, reader: _Reader, published: map_store.PublishedMap | None
) -> Iterator[ChainPart]:
    """Yield the chains of one subject that have entries, the former ones first, as they followed each other."""
    today, *former = work.gateway.vault.audit_keys(work.session, subject_id)
    about = log_people.about_person(work.session, subject_id, reader.size)
    for key in (*reversed(former), today):
        told = tuple(_told(key, found, reader) for found in about if _is_under(key, found))
        if told:
            secret = chain_secret(key)
            proof = None if published is None else _proof(work.session, secret, published)
            yield ChainPart(secret, told, proof)


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


def _audience(work: Work, reader: _Reader, audience_id: str, pseudonym: str) -> AudiencePart:
    """Return the proof of an audience; RaceError once it has gone, or while its entry is not in the log."""
    try:
        row = audiences.find(work, audience_id)
    except NotFoundError:
        raise RaceError from None
    logged = reader.find(bytes(row.entry_uid))
    if logged is None:
        raise RaceError
    member, leaves = manifests.leaves(work, row, pseudonym)
    return AudiencePart(logged, pseudonym, member, leaves)
