"""A person's bundle: all that the log says about them, with every proof, as a file that they keep.

1. look      who it is, and which audiences had them: those that have not expired, and those that are asked for;
2. record    the disclosure, about every subject of the person, before anything leaves: `bundle.disclosed` commits to
             the audiences that will be shown, and to the pseudonym by which each knew the person, for nothing else in
             the log binds a pseudonym to anybody;
3. integrate that entry, so that the bundle has it, and publish the map where nothing is to be newer than that;
4. build     from one snapshot, with nothing locked: a history can be long.

The file is kept nowhere. Once the person is erased nobody can make it any more: what an erasure destroys is what opens
it. So whoever is asked to erase somebody hands it out with that (`before_erasure`).
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

from consent_gateway.audit.bundle_files import AudiencePart, Bundle, ChainPart, Logged, Told, bundle_bytes, disclosed
from consent_gateway.audit.bundles import named_audiences, verify_bundle
from consent_gateway.audit.chains import CHAIN_OF, chain_key, chain_secret
from consent_gateway.audit.commitments import opening_salt, verify_opening
from consent_gateway.audit.entries import EntryKind, parse_entry
from consent_gateway.audit.maps import MapProof, verify_map
from consent_gateway.audit.proofs import inclusion_proof
from consent_gateway.audit.verifier.findings import Finding
from consent_gateway.db import audiences as audience_db
from consent_gateway.db import log_store, map_store
from consent_gateway.db.audiences import AudienceRow
from consent_gateway.db.engine import Session
from consent_gateway.db.log_store import AboutPerson
from consent_gateway.db.merges import clusters
from consent_gateway.domain.ids import RecipientId, SubjectId
from consent_gateway.domain.purposes import OWN
from consent_gateway.domain.registers import Principal
from consent_gateway.errors import (
    ForbiddenError,
    GatewayError,
    InternalError,
    NotFoundError,
    RaceError,
    UnavailableError,
)
from consent_gateway.services import audiences, audit_log, manifests, maps, people
from consent_gateway.services.audit_log import Sequencer
from consent_gateway.services.gateway import Gateway, Work
from consent_gateway.services.vault import GATEWAY_ITSELF
from consent_gateway.vault.envelope import derive_audit_key

ACCESS_SCOPE = "access"
_ATTEMPTS = 3
_SPARE_SECONDS = 60  # how long an audience has still to be there, so that what is recorded can be shown
Tile = tuple[int, int, int]
Named = dict[str, str]  # by the id of an audience, the pseudonym by which it knew a subject


@dataclass(frozen=True, slots=True)
class Wish:
    """What a bundle is to have: the audiences that had the person, others of these ids too, and a map made for it."""

    memberships: bool = True
    audiences: tuple[str, ...] = ()
    mapped: bool = False
    reason: str = "request"


@dataclass(frozen=True, slots=True)
class Made:
    """A bundle, what its own check says, the entry that records it, and how many entries it has of each chain."""

    content: bytes
    finding: Finding
    uid: bytes
    counts: Mapping[bytes, int]


@dataclass(frozen=True, slots=True)
class Attempt:
    """A bundle that was to be handed out with an erasure, or the code of what kept it from being made.

    `bug`: what nobody had foreseen, for the operating log.
    """

    made: Made | None
    why: str = ""
    bug: Exception | None = None


def before_erasure(gateway: Gateway, actor: Principal, pseudonym: str) -> Attempt:
    """Hand out a person's bundle, who is erased next, under a map that was made for it; see `hand_out`.

    Whatever goes wrong is told and goes no further: nobody stays because a file could not be made (GDPR Art 17(1)).
    Only a key that may not have bundles is refused, by ForbiddenError, for its caller has asked for one.
    """
    try:
        return Attempt(hand_out(gateway, actor, pseudonym, Wish(mapped=True, reason="erasure")))
    except ForbiddenError:
        raise
    except GatewayError as error:
        return Attempt(None, error.code)
    except Exception as bug:  # noqa: BLE001 - as above: a damaged store must not keep anybody from being erased
        return Attempt(None, InternalError.code, bug)


def entries_after(made: Made, chains: Mapping[bytes, int]) -> int:
    """Return how many entries came after a bundle, by the lengths of the chains that an erasure ended.

    Those of the erasure itself, one a subject, are among them; more came in between.
    """
    return sum(count - made.counts.get(key, 0) for key, count in chains.items())


def hand_out(gateway: Gateway, actor: Principal, pseudonym: str, wish: Wish) -> Made:
    """Record that a person's bundle is handed out, and return it.

    NotFoundError for nobody, and for an audience that is asked for and is not there; ForbiddenError for a key that is
    not our own or lacks the scope by name; RaceError where the person, or the map, kept changing; UnavailableError
    while the log does not take the entry.
    """
    for _ in range(_ATTEMPTS - 1):
        try:
            return _hand_out(gateway, actor, pseudonym, wish)
        except RaceError:
            continue
    return _hand_out(gateway, actor, pseudonym, wish)


def _hand_out(gateway: Gateway, actor: Principal, pseudonym: str, wish: Wish) -> Made:
    with gateway.look(actor) as work:
        subject_id = people.named_by(work, pseudonym)
        named = _audiences_of(work, _members(work, subject_id), wish)
    with gateway.work(actor) as work:
        uid = record(work, subject_id, named, wish.reason)
    _integrate(gateway, publishing=wish.mapped)
    with gateway.look(actor) as work:
        return _made(work, subject_id, uid)


def _integrate(gateway: Gateway, *, publishing: bool) -> None:
    """Have the log take what was recorded; whichever process sequences it, one more may."""
    sequencer = Sequencer(gateway)
    sequencer.drain()
    if publishing and maps.publish(gateway) is not None:
        sequencer.drain()


# -- recording -----------------------------------------------------------------------------------------------------


def _members(work: Work, subject_id: SubjectId) -> list[SubjectId]:
    """Return every subject of a person whom the caller may hand a bundle of."""
    members = next(iter(clusters(work.session, [subject_id]).values()))
    if subject_id <= GATEWAY_ITSELF or not work.gateway.vault.keys(work.session, members).keys() >= set(members):
        raise NotFoundError
    _require_access(work.actor)
    return members


def _require_access(actor: Principal) -> None:
    # By name, as `reveal_plain` and `disclose`: who runs the gateway need not read all that ever happened to somebody.
    if actor.recipient != OWN or ACCESS_SCOPE not in actor.scopes:
        raise ForbiddenError(f"a bundle needs a key of our own with the scope {ACCESS_SCOPE}, by name")


def _audiences_of(work: Work, members: Sequence[SubjectId], wish: Wish) -> dict[SubjectId, Named]:
    """Return which audiences are shown of each subject: those that are asked for, and those that have one of them."""
    rows = audience_db.provable(work.session, work.now + _SPARE_SECONDS)
    counting = [row for row in rows if _counts(work, row)]
    if not set(wish.audiences) <= {row.id for row in counting}:
        raise NotFoundError("an audience that is asked for is not there any more, or never was")
    named: dict[SubjectId, Named] = {member: {} for member in members}
    for row in counting:
        names = _names(work, row, members)
        if row.id in wish.audiences or (wish.memberships and _has_any(work, row, names.values())):
            for member, name in names.items():
                named[member][row.id] = name
    return named


def _counts(work: Work, row: AudienceRow) -> bool:
    sector = work.registers.sector(RecipientId(row.recipient))
    return row.epoch in work.registers.epochs_of(sector).counting(work.now)


def _names(work: Work, row: AudienceRow, members: Sequence[SubjectId]) -> dict[SubjectId, str]:
    sector = work.registers.sector(RecipientId(row.recipient))
    return dict(zip(members, work.gateway.vault.pseudonymiser.bulk(members, sector, row.epoch), strict=True))


def _has_any(work: Work, row: AudienceRow, names: Collection[str]) -> bool:
    return any(manifests.has_member(work, row, name) for name in names)


def record(work: Work, subject_id: SubjectId, named: Mapping[SubjectId, Named], reason: str) -> bytes:
    """Record the disclosure about every subject of a person; return the uid of the entry about this one.

    RaceError if the person is not who was looked at: another subject, or none of them any more.
    """
    members = people.lock_people(work, [subject_id]).get(subject_id)
    if members is None:
        raise NotFoundError
    if set(members) != set(named):
        raise RaceError
    deks = work.gateway.vault.keys(work.session, members)
    said = {"for": reason}
    uids = {
        member: work.record_about(
            EntryKind.BUNDLE_DISCLOSED, said, member, derive_audit_key(deks[member]), disclosed(named[member])
        )
        for member in members
    }
    return uids[subject_id]


# -- building ------------------------------------------------------------------------------------------------------


class _Reader:
    """Proofs under one checkpoint; tiles are read once."""

    def __init__(self, session: Session, size: int) -> None:
        self._session = session
        self.size = size
        self._tiles: dict[Tile, bytes] = {}

    def logged(self, index: int, entry: bytes) -> Logged:
        """Return an entry with its proof."""
        return Logged(index, entry, inclusion_proof(index, self.size, self._tile))

    def find(self, uid: bytes) -> Logged | None:
        """Return an entry with its proof, None if the checkpoint does not cover it."""
        found = log_store.find_entry(self._session, uid)
        return None if found is None or found[0] >= self.size else self.logged(*found)

    def _tile(self, level: int, index: int, width: int, /) -> bytes:
        place = (level, index, width)
        if place not in self._tiles:
            self._tiles[place] = log_store.read_tile(self._session, level, index, width)
        return self._tiles[place]


def _made(work: Work, subject_id: SubjectId, uid: bytes) -> Made:
    """Return the bundle of a person whose disclosure is recorded."""
    members = _members(work, subject_id)
    head = log_store.checkpoint(work.session)
    reader = _Reader(work.session, 0 if head is None else head[0])
    if reader.find(uid) is None:
        raise UnavailableError("the log has not taken the entry of the disclosure yet", retry_after=1)
    published = map_store.newest(work.session)
    mapped = None if published is None else reader.find(published.uid)
    proven = None if mapped is None else published
    chains = [part for member in members for part in _chains(work, member, reader, proven)]
    shown = tuple(_audience(work, reader, *named) for named in sorted(named_audiences(chains)))
    content = bundle_bytes(Bundle(audit_log.checkpoint(work.session), mapped, tuple(chains), shown))
    finding = verify_bundle(work.gateway.signer.vkey, content)
    counts = {chain_key(chain.secret): len(chain.entries) for chain in chains}
    return Made(content, finding, uid, counts)


def _chains(
    work: Work, subject_id: SubjectId, reader: _Reader, published: map_store.PublishedMap | None
) -> Iterator[ChainPart]:
    """Yield the chains of one subject that have entries, the former ones first, as they followed each other."""
    today, *former = work.gateway.vault.audit_keys(work.session, subject_id)
    about = log_store.about_person(work.session, subject_id, reader.size)
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
