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

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

from consent_gateway.audit.bundle_files import disclosed
from consent_gateway.audit.bundles import verify_bundle
from consent_gateway.audit.chains import chain_key
from consent_gateway.audit.entries import EntryKind
from consent_gateway.audit.verifier.findings import Finding
from consent_gateway.db import audiences as audience_db
from consent_gateway.db import log_people
from consent_gateway.db.audiences import AudienceRow
from consent_gateway.db.merges import clusters
from consent_gateway.domain.ids import RecipientId, SubjectId
from consent_gateway.domain.purposes import OWN
from consent_gateway.domain.registers import Principal
from consent_gateway.errors import (
    ConflictError,
    ForbiddenError,
    GatewayError,
    InternalError,
    NotFoundError,
    RaceError,
)
from consent_gateway.services.identity import people
from consent_gateway.services.log import manifests, maps
from consent_gateway.services.log.audit_log import Sequencer
from consent_gateway.services.log.bundle_making import build
from consent_gateway.services.persons.canaries import alarm
from consent_gateway.services.work import quotas
from consent_gateway.services.work.gateway import Gateway, Work
from consent_gateway.services.work.vault import GATEWAY_ITSELF
from consent_gateway.vault.envelope import derive_audit_key

ACCESS_SCOPE = "access"
MOST_ENTRIES = 50_000  # of a bundle that a server makes: 84 MB, and some 700 MB of memory for as long as it takes
_ATTEMPTS = 3
_SPARE_SECONDS = 60  # how long an audience has still to be there, so that what is recorded can be shown
Tile = tuple[int, int, int]
Named = dict[str, str]  # by the id of an audience, the pseudonym by which it knew a subject


@dataclass(frozen=True, slots=True)
class Wish:
    """What a bundle is to have: the audiences that had the person, others of these ids too, and a map made for it.

    `most`: how many entries it may have; None for any number, where one caller alone waits for it.
    """

    memberships: bool = True
    audiences: tuple[str, ...] = ()
    mapped: bool = False
    reason: str = "request"
    most: int | None = MOST_ENTRIES


@dataclass(frozen=True, slots=True)
class Made:
    """A bundle, what its own check says, the entry that records it, and how many entries it has of each chain.

    `canaries`: how many of those it is about are made up, which the caller must not learn.
    """

    content: bytes
    finding: Finding
    uid: bytes
    counts: Mapping[bytes, int]
    canaries: int = 0


@dataclass(frozen=True, slots=True)
class Attempt:
    """A bundle that was to be handed out with an erasure, or the code of what kept it from being made.

    `bug`: what nobody had foreseen, for the operating log.
    """

    made: Made | None
    why: str = ""
    bug: Exception | None = None


def before_erasure(gateway: Gateway, actor: Principal, pseudonym: str, most: int | None = MOST_ENTRIES) -> Attempt:
    """Hand out a person's bundle, who is erased next, under a map that was made for it; see `hand_out`.

    Whatever goes wrong is told and goes no further: nobody stays because a file could not be made (GDPR Art 17(1)).
    Only a key that may not have bundles is refused, by ForbiddenError, for its caller has asked for one.
    """
    try:
        return Attempt(hand_out(gateway, actor, pseudonym, Wish(mapped=True, reason="erasure", most=most)))
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

    NotFoundError for nobody, and for an audience that is asked for and is not there; ConflictError for a history that
    is too long; ForbiddenError for a key that is not our own, lacks the scope by name, or is suspended; RaceError where
    the person, or the map, kept changing; UnavailableError while the log does not take the entry.
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
        members = _members(work, subject_id)
        _require_fitting(work, members, wish)
        named = _audiences_of(work, members, wish)
    with gateway.work(actor) as work:
        quotas.require_open(work, actor.id)
        uid = record(work, subject_id, named, wish.reason)
        touched = alarm(work, named, ACCESS_SCOPE, OWN)
    _integrate(gateway, publishing=wish.mapped)
    with gateway.look(actor) as work:
        return replace(_made(work, subject_id, uid), canaries=touched)


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


def _require_fitting(work: Work, members: Sequence[SubjectId], wish: Wish) -> None:
    if wish.most is not None and sum(log_people.opening_count(work.session, m) for m in members) > wish.most:
        raise ConflictError(f"more than {wish.most} entries: use consent-gateway audit bundle, or erase --bundle")


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


def _made(work: Work, subject_id: SubjectId, uid: bytes) -> Made:
    """Return the bundle of a person whose disclosure is recorded."""
    content, chains = build(work, _members(work, subject_id), uid)
    finding = verify_bundle(work.gateway.signer.vkey, content)
    return Made(content, finding, uid, {chain_key(chain.secret): len(chain.entries) for chain in chains})
