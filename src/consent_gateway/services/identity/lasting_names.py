"""Names for people nobody knows: what is kept of an identifier that no person holds, and how it is found again.

A no that waits, a suppressed address, the ties of a quarantined row and a signal outlive every generation of the index,
because nobody could compute their tokens anew. They carry lasting tokens. What was kept before there were any carries
tokens of the first generation, and is asked for by them too for as long as the key of that generation exists.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import TypeVar

from consent_gateway.db import strangers, tombstones
from consent_gateway.db.subjects import Token
from consent_gateway.domain.generations import Generations
from consent_gateway.domain.ids import SubjectId
from consent_gateway.services.work.gateway import Work
from consent_gateway.vault.blind_index import INDEX_BYTES
from consent_gateway.vault.normal_forms import Normalised
from consent_gateway.vault.tombstones import SubjectHasher

Held = TypeVar("Held")
_SUBJECT = "subject"  # beside the kinds of identifiers
FORMERLY = Generations().counts  # the generation of tokens that strangers left before


def names(work: Work, form: Normalised) -> list[Token]:
    """Return every token by which something may be kept of an identifier; the first is the one to keep it by."""
    vault = work.gateway.vault
    found = [vault.lasting(form.kind, value) for value in form.values()]
    if vault.holds(FORMERLY):
        found.append(vault.token(form, FORMERLY))
    return found


def of_subject(work: Work, subject_id: SubjectId) -> Token:
    """Return the token by which a refused row is kept that names somebody by a pseudonym."""
    return tied_to(SubjectHasher(work.gateway.vault.provider.keyring).hash(subject_id))


def tied_to(subject: bytes) -> Token:
    """Return the same for a subject of whom the keyed hash is left (`vault.tombstones.SubjectHasher`)."""
    return Token(_SUBJECT, subject[:INDEX_BYTES])


def by_name(work: Work, held: Mapping[Normalised, Held]) -> dict[Token, Held]:
    """Return `held` by every token by which something may be kept of its identifiers."""
    return {name: what for form, what in held.items() for name in names(work, form)}


def suppressed(work: Work, forms: Collection[Normalised]) -> set[Normalised]:
    """Return which identifiers are on the suppression list."""
    if not forms or not strangers.any_suppressed(work.session):
        return set()
    asked = by_name(work, {form: form for form in forms})
    return {asked[token] for token in strangers.suppressed(work.session, asked)}


def erased(work: Work, forms: Iterable[Normalised]) -> set[Normalised]:
    """Return which identifiers belong to somebody who was erased and did not come back (promise P8)."""
    if not tombstones.any_row(work.session):
        return set()
    asked = _tombstones(work, forms)
    return {asked[tomb] for tomb in tombstones.standing(work.session, asked)}


def returned(work: Work, forms: Iterable[Normalised]) -> dict[Normalised, int]:
    """Return which identifiers belong to somebody who came back, and when (seconds) they had been erased.

    Nothing from before that counts for them: neither a file that is as old, nor a yes of that time.
    """
    if not tombstones.any_lifted(work.session):
        return {}
    asked = _tombstones(work, forms)
    return {asked[token]: stone.erased_at for token, stone in tombstones.lifted(work.session, asked).items()}


def is_before_erasure(back: Mapping[Normalised, int], forms: Iterable[Normalised], at: int) -> bool:
    """Tell whether something that happened at `at` is from before one of its identifiers was erased (`returned`)."""
    return bool(back) and any(at <= back.get(form, -1) for form in forms)


def _tombstones(work: Work, forms: Iterable[Normalised]) -> dict[bytes, Normalised]:
    vault = work.gateway.vault
    return {vault.tombstone(form.kind, value): form for form in forms for value in form.values()}
