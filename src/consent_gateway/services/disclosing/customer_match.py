"""Customer lists for ad platforms: digests of addresses, disclosed for a decision that stands, and recorded first.

A platform matches people by unkeyed digests of their addresses. Such a digest is the address to whoever holds the same
one (EDPB Guidelines 01/2025, footnote 23), so this is the disclosure of an identifier, and is refused as anything else.
It goes to a recipient that is registered as an ad platform and is under contract, of an audience whose use rests on
consent, in fields that the purpose lists, to a key of our own that may `disclose` by name. Others get pseudonyms.

People are counted like those of a reveal: many need a window that two keys opened
(`services.disclosing.reveal_windows`).

Each person must have said yes to this purpose on this channel with this recipient named, also where the law would do
with less; and an address is left out if the same yes would not stand for it alone, or if it is suppressed. The entry is
committed before the first byte: how many people at most, to whom, which platform and fields, for which reason. Then
people are decided again chunk by chunk while they are read out (promise P2); addresses are opened inside a chunk, and
what leaves it are digests. No digest, no address and no pseudonym is logged, and no pseudonym stands beside a digest:
people come in an order that is drawn anew for each disclosure, so that no place in it is a place in the members' list.
"""

from __future__ import annotations

import json
import secrets
from array import array
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass

from consent_gateway.audit.entries import EntryKind
from consent_gateway.db import audience_rows, merges
from consent_gateway.db.audiences import AudienceRow
from consent_gateway.domain.approvals import Approval
from consent_gateway.domain.audiences import COVERED, OUTDATED_NOTICE, ClassKey, consent_code
from consent_gateway.domain.consents import ConsentState
from consent_gateway.domain.fields import RevealField
from consent_gateway.domain.ids import RecipientId, SubjectId
from consent_gateway.domain.purposes import OWN, Basis, RecipientKind
from consent_gateway.domain.registers import Principal
from consent_gateway.domain.reveals import TICKET, not_allowed
from consent_gateway.errors import FieldProblem, ForbiddenError, InputError, NotFoundError, WeakPseudonymError
from consent_gateway.services.deciding.questions import Asked, Use
from consent_gateway.services.disclosing import audiences, reveal_windows
from consent_gateway.services.disclosing.disclosure import Values, open_fields
from consent_gateway.services.identity.people import find_points
from consent_gateway.services.work.gateway import Gateway, Work
from consent_gateway.vault.customer_match import MatchField, Platform, match_digest, match_form
from consent_gateway.vault.normalisers import stored

DISCLOSE_SCOPE = "disclose"
NATURE = "disclosure_of_identifier"  # what it is called wherever it is told of
_GIVEN = consent_code(ConsentState.GIVEN)
Digests = dict[str, list[str]]


@dataclass(frozen=True, slots=True)
class Grounds:
    """What is asked for: whose rules, which fields, why, and the ticket that it can be looked up under."""

    platform: Platform
    fields: tuple[MatchField, ...]
    reason: str
    ticket: str


@dataclass(frozen=True, slots=True)
class Disclosure:
    """A disclosure that was recorded: of which audience, on which grounds, its entry, and who it may be about."""

    audience: str
    grounds: Grounds
    uid: bytes
    chunks: tuple[array[int], ...]


def begin(gateway: Gateway, audience_id: str, grounds: Grounds, actor: Principal) -> Disclosure:
    """Check and record a disclosure of an audience; nothing has left when this returns.

    WeakPseudonymError for a recipient that is no ad platform under contract, or a use that does not rest on consent.
    ForbiddenError for a key that is not our own or lacks `disclose`; InputError for a field that the purpose does not
    list; NotFoundError for an audience that has ended. QuotaError, and ForbiddenError without a window for many people
    or for a key that is suspended, as for a reveal.
    """
    with gateway.look(actor) as work:
        _check_caller(work, grounds)
        row = audiences.find(work, audience_id)
        _check(work, row, grounds)
        chunks = _shuffled(i for chunk in _permitted_chunks(work, row) for i in chunk)
    with gateway.work(actor) as work:
        _check(work, audiences.find(work, audience_id), grounds)  # as it is registered now
        window = _spend(work, audiences.use_of(row), chunks)
        fields = _fields(work, row, grounds, sum(map(len, chunks)))
        uid = work.record(EntryKind.IDENTIFIERS_DISCLOSED, fields if window is None else fields | {"window": window.id})
    return Disclosure(audience_id, grounds, uid, chunks)


def stream(gateway: Gateway, disclosure: Disclosure, actor: Principal) -> Iterator[list[Digests]]:
    """Yield the digests of those who are still permitted, a chunk at a time, each person's by field.

    Each chunk is a snapshot of its own, closed before the chunk is yielded. Whoever has no address left is not there.
    Errors as `begin`, also in the middle: what ends then is not to be taken for all.
    """
    for ids in disclosure.chunks:
        with gateway.look(actor) as work:
            row = audiences.find(work, disclosure.audience)
            _check(work, row, disclosure.grounds)
            chunk = _digests(work, row, disclosure.grounds, [SubjectId(i) for i in ids])
        yield chunk


# -- may it be disclosed at all ------------------------------------------------------------------------------------


def _check_caller(work: Work, grounds: Grounds) -> None:
    if work.actor.recipient != OWN or DISCLOSE_SCOPE not in work.actor.scopes:
        raise ForbiddenError(f"this needs a key of our own with the scope {DISCLOSE_SCOPE}, by name")
    if TICKET.fullmatch(grounds.ticket) is None:
        raise InputError(fields=(FieldProblem("$.ticket", "invalid_ticket", "two to five letters, -, a number"),))


def _check(work: Work, row: AudienceRow, grounds: Grounds) -> None:
    _check_recipient(work, RecipientId(row.recipient))
    use = audiences.use_of(row)
    purpose = work.registers.purposes.purposes[use.purpose]
    if (use.basis or purpose.basis) is not Basis.CONSENT:
        raise WeakPseudonymError("the audience's use does not rest on consent, and a disclosure does")
    asked = [RevealField(field.value) for field in grounds.fields]
    problems = [
        FieldProblem(f"$.fields[{n}]", "field_not_allowed", f"the purpose does not list {asked[n]}")
        for n in not_allowed(asked, purpose.reveals)
    ]
    if problems:
        raise InputError(fields=tuple(problems))


def _check_recipient(work: Work, recipient: RecipientId) -> None:
    found = work.registers.recipients.get(recipient)
    if found is None:
        raise NotFoundError
    if found.kind is not RecipientKind.AD_PLATFORM:
        raise WeakPseudonymError("the audience's recipient is not registered as an ad platform: it gets pseudonyms")
    if not found.contract:
        raise WeakPseudonymError("the ad platform is not under contract")


def _spend(work: Work, use: Use, chunks: Sequence[array[int]]) -> Approval | None:
    """Count the people as a reveal does: a few against the key's quota, many against a window of two keys."""
    sector = work.registers.sector(OWN)
    epoch, ids = work.registers.epochs_of(sector).current, [i for chunk in chunks for i in chunk]
    return reveal_windows.spend(work, use, work.gateway.vault.pseudonymiser.bulk(ids, sector, epoch))


def _fields(work: Work, row: AudienceRow, grounds: Grounds, people: int) -> dict[str, object]:
    return {
        "nature": NATURE,
        "audience": row.id,
        "purpose": row.purpose,
        "channel": row.channel,
        "recipient": row.recipient,
        "platform": grounds.platform.value,
        "fields": sorted(field.value for field in grounds.fields),
        "reason": grounds.reason,
        "ticket": grounds.ticket,
        "people": people,  # at most: who leaves until then is not read out
        **work.cite_law(),
    }


# -- who, and by which addresses -----------------------------------------------------------------------------------


def _permitted_chunks(work: Work, row: AudienceRow) -> Iterator[array[int]]:
    number = 0
    while (ids := audiences.chunk_ids(work, row.id, number)) is not None:
        yield array("q", _permitted(work, audiences.asked_of(work, row), ids))
        number += 1


def _shuffled(ids: Iterable[int]) -> tuple[array[int], ...]:
    """Return people in chunks that nothing follows from: those of the members' list would join the two lists."""
    drawn = array("q", ids)
    secrets.SystemRandom().shuffle(drawn)
    return tuple(drawn[n : n + audiences.CHUNK] for n in range(0, len(drawn), audiences.CHUNK))


def _permitted(work: Work, asked: Asked, ids: Sequence[SubjectId]) -> list[SubjectId]:
    """Return those whom the law permits and who said yes with the recipient named, as they are now."""
    people = audience_rows.read_rows(work.session, asked.reading, ids, work.now)
    found = ((i, people[i].key) for i in ids if i in people)
    return [i for i, key in found if consented(key) and audiences.may_be_read(work, asked, key)]


def consented(key: ClassKey) -> bool:
    """Tell whether a class said yes, under a notice that still stands, and to this recipient by name."""
    return key.consent == _GIVEN and key.properties & (COVERED | OUTDATED_NOTICE) == COVERED


def _digests(work: Work, row: AudienceRow, grounds: Grounds, ids: Sequence[SubjectId]) -> list[Digests]:
    asked = audiences.asked_of(work, row)
    kept = _permitted(work, asked, ids)
    clusters = merges.clusters(work.session, kept)
    fields = [RevealField(field.value) for field in grounds.fields]
    opened = open_fields(work, asked, {i: clusters[i] for i in kept}, fields, also=consented)
    _drop_suppressed(work, opened.values())
    made = (_hashed(grounds, values) for values in opened.values())
    # Not in the order in which the members are read out: a place in a list is no way to join it with pseudonyms.
    return sorted((digests for digests in made if digests), key=json.dumps)


def _drop_suppressed(work: Work, people: Collection[Values]) -> None:
    """Keep the contact points that are on no suppression list; one that is not found is none that may be given."""
    forms = {(kind, v): stored(kind, v) for values in people for kind, said in values.items() for v in said}
    tokens = {place: work.token(form) for place, form in forms.items()}
    held = find_points(work, {token: forms[place] for place, token in tokens.items()})
    free = {place for place, token in tokens.items() if token in held and not held[token].suppressed}
    for values in people:
        for kind, said in values.items():
            said[:] = [value for value in said if (kind, value) in free]


def _hashed(grounds: Grounds, values: Values) -> Digests:
    made: Digests = {}
    for field in grounds.fields:
        forms = {match_form(grounds.platform, field, value) for value in values[field.value]}
        if forms:
            made[field.value] = sorted(match_digest(grounds.platform, form) for form in forms)
    return made
