"""Finding people: from what a row says about someone to the one person it means, or the reason why not."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterable, Iterator, Mapping

from consent_gateway.db import merges
from consent_gateway.db import subjects as subject_rows
from consent_gateway.db.subjects import ContactPoint, Token
from consent_gateway.domain.ids import RecipientId, SubjectId
from consent_gateway.domain.subjects import IdentifierKind
from consent_gateway.errors import FieldProblem, RaceError
from consent_gateway.services.work.gateway import Work
from consent_gateway.services.work.items import SubjectRef
from consent_gateway.vault.normal_forms import Normalised, Rejected
from consent_gateway.vault.normalisers import normalise
from consent_gateway.vault.pseudonyms import MAX_CHARS

PSEUDONYM = "pseudonym"
NOBODY = SubjectId(-1)  # is looked up where a name means nobody: the same queries as for somebody who is gone
_KINDS = frozenset(IdentifierKind)
_MAX_DEPTH = 64  # more than a row that comes in may have
_BETWEEN = re.compile(r"[\s\"'<>,;:{}\[\]]+")
_WRITTEN_LIKE = {IdentifierKind.EMAIL: "@", IdentifierKind.PHONE: "+"}
UNKNOWN = FieldProblem("$.subject", "unknown_subject", "nobody with this identifier is known")
NOT_A_POINT = FieldProblem("$.contact_point", "not_a_contact_point", "name an address, not a pseudonym")
BEFORE_ERASURE = FieldProblem("$.at", "before_erasure", "this is from before the person was erased and came back")
UNKNOWN_POINT = FieldProblem("$.contact_point", "unknown_contact_point", "nobody has this contact point")


def normal_form(kind: str, value: str, region: str | None, path: str) -> Normalised | FieldProblem:
    """Return the normal form of an identifier, or what is wrong with it (never the value)."""
    form = normalise(kind, value, region=phone_region(region))
    return FieldProblem(path, form.code, form.message) if isinstance(form, Rejected) else form


def phone_region(region: str | None) -> str | None:
    """Return the country part of a region: phone numbers are dialled per country, not per state."""
    return region.split("-")[0] if region else None


def identifiers_in(raw: bytes) -> list[Normalised]:
    """Return every identifier in a row that could not be taken in, as far as it can be read: at any depth of JSON.

    What stands under another name, or in the column of another field, counts if it is written like an address or like
    a number with its country: such rows are refused for that very reason.
    """
    return [form for key, text, region in _texts_in(raw) for form in _forms_of(key, text, region)]


def people_in(work: Work, raw: bytes) -> set[SubjectId]:
    """Return whom the caller's pseudonyms in such a row name, also who is gone by now."""
    resolve, recipient = work.gateway.vault.resolve, work.actor.recipient
    names = (text for _, text, _ in _texts_in(raw) if text.startswith("p") and len(text) <= MAX_CHARS)
    found = (resolve(name, recipient, work.registers, work.now) for name in names)
    return {i for i in found if i is not None}


def _texts_in(raw: bytes) -> Iterator[tuple[str, str, str | None]]:
    """Yield every text of a row with the name that it stands under, and the country that is said beside it.

    Numbers are texts too: a member number that is sent as one is refused. What is no JSON is cut into words.
    """
    try:
        document = json.loads(raw, parse_int=str)
    except (ValueError, RecursionError):
        yield from (("", word, None) for word in _BETWEEN.split(raw.decode(errors="replace")))
        return
    yield from _walk("", document, None, _MAX_DEPTH)


def _walk(key: str, value: object, region: str | None, depth: int) -> Iterator[tuple[str, str, str | None]]:
    if isinstance(value, str):
        yield key, value, region
    elif isinstance(value, list) and depth:
        for item in value:
            yield from _walk(key, item, region, depth - 1)
    elif isinstance(value, dict) and depth:
        here = _region_said(value) or region
        for name, item in value.items():
            yield from _walk(name, item, here, depth - 1)


def _region_said(value: Mapping[str, object]) -> str | None:
    named = value.get("region") or value.get("country")
    form = normalise("region", named) if isinstance(named, str) else None
    return form.value if isinstance(form, Normalised) else None


def _forms_of(key: str, text: str, region: str | None) -> list[Normalised]:
    kinds = [kind for kind, mark in _WRITTEN_LIKE.items() if mark in text and kind != key]
    forms = (normal_form(kind, text, region, "$") for kind in ([key, *kinds] if key in _KINDS else kinds))
    return [form for form in forms if isinstance(form, Normalised)]


def named_by(work: Work, pseudonym: str) -> SubjectId:
    """Return whom a pseudonym of the caller's recipient names: perhaps somebody who is gone, perhaps `NOBODY`.

    Forged, foreign, ended and malformed names go the way that the name of an erased person goes.
    """
    found = work.gateway.vault.resolve(pseudonym, work.actor.recipient, work.registers, work.now)
    return NOBODY if found is None else found


def find_points(work: Work, forms: Mapping[Token, Normalised]) -> dict[Token, ContactPoint]:
    """Return the contact points of identifiers, by their tokens of the generation that counts.

    That one has them all. The others are asked for those it does not have: a reader that began before the index moved
    on can come after the former rows went.
    """
    found = subject_rows.find_by_tokens(work.session, forms, work.registers.index.counts.number)
    for other in work.registers.index.others():
        missing = {token: form for token, form in forms.items() if token not in found}
        if missing and work.gateway.vault.holds(other):
            asked = {work.gateway.vault.token(form, other): token for token, form in missing.items()}
            points = subject_rows.find_by_tokens(work.session, asked, other.number)
            found |= {asked[token]: point for token, point in points.items()}
    return found


def lock_people(work: Work, ids: Collection[SubjectId]) -> dict[SubjectId, list[SubjectId]]:
    """Lock everyone to whom `ids` belong, every subject of each, in the order of their ids until the transaction ends.

    Returns the members of each of `ids` that exists. RaceError if a merge or its undoing came in between: tried again,
    it is seen. Who holds one subject of a person holds off whoever merges, separates or erases them.
    """
    members = {i for found in merges.clusters(work.session, ids).values() for i in found}
    live = subject_rows.lock_all(work.session, members)
    locked = merges.clusters(work.session, live)
    if {i for found in locked.values() for i in found} != live:
        raise RaceError
    return {i: found for found in locked.values() for i in found if i in set(ids)}


class Resolver:
    """Resolves the people of one batch with one query.

    With `writing`, everyone found stays locked until the transaction ends, and somebody who was erased is nobody: a
    pseudonym outlives the person, and an erasure can be under way.
    """

    def __init__(self, work: Work, refs: Iterable[SubjectRef], *, writing: bool = False) -> None:
        self._work = work
        self._forms: dict[SubjectRef, Normalised | FieldProblem] = {}
        self._tokens: dict[SubjectRef, Token] = {}
        token = work.gateway.vault.tokens(work.registers.index.counts)
        forms: dict[Token, Normalised] = {}
        named = set(refs)
        for ref in named:
            if ref.kind == PSEUDONYM:
                continue
            form = normal_form(ref.kind, ref.value, ref.region, f"$.subject.{ref.kind}")
            self._forms[ref] = form
            if isinstance(form, Normalised):
                self._tokens[ref] = token(form)
                forms[self._tokens[ref]] = form
        self._points = find_points(work, forms)
        self._live = self._lock(named) if writing else None
        self._heads = merges.heads(work.session, self._live) if self._live and merges.any_link(work.session) else {}

    def _lock(self, refs: Iterable[SubjectRef]) -> set[SubjectId]:
        work = self._work
        texts = [r.value for r in refs if r.kind == PSEUDONYM]
        named = (work.gateway.vault.resolve(text, work.actor.recipient, work.registers, work.now) for text in texts)
        meant = {found for found in named if found is not None}
        return subject_rows.lock_all(work.session, meant | {p.subject_id for p in self._points.values()})

    def resolve(self, ref: SubjectRef) -> SubjectId | FieldProblem:
        """Return the person, or why there is none."""
        return self.resolve_for(ref, self._work.actor.recipient)

    def resolve_for(self, ref: SubjectRef, recipient: RecipientId) -> SubjectId | FieldProblem:
        """Return the person as `recipient` may name them: a pseudonym means somebody only to whom it was given."""
        if ref.kind == PSEUDONYM:
            work = self._work
            found = work.gateway.vault.resolve(ref.value, recipient, work.registers, work.now)
            return UNKNOWN if found is None or not self._is_live(found) else found
        point = self.point(ref)
        return point if isinstance(point, FieldProblem) else point.subject_id

    def point(self, ref: SubjectRef) -> ContactPoint | FieldProblem:
        """Return the identifier itself as it is stored."""
        if ref.kind == PSEUDONYM:
            return NOT_A_POINT
        form = self._forms[ref]
        if isinstance(form, FieldProblem):
            return form
        found = self._points.get(self._tokens[ref])
        return UNKNOWN if found is None or not self._is_live(found.subject_id) else found

    def same_person(self, one: SubjectId, other: SubjectId) -> bool:
        """Tell whether two of the subjects that were locked are one person, by a merge or anyway."""
        return self._heads.get(one, one) == self._heads.get(other, other)

    def _is_live(self, subject_id: SubjectId) -> bool:
        return self._live is None or subject_id in self._live

    def forms(self, *refs: SubjectRef | None) -> list[Normalised]:
        """Return the normal forms of the identifiers that a row names, also of people nobody knows."""
        found = [self._forms.get(ref) for ref in refs if ref is not None]
        return [form for form in found if isinstance(form, Normalised)]
