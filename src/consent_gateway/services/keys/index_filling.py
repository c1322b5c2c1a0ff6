"""Filling a generation of the blind index: a page of people get rows under it, and strangers their lasting tokens.

The contact groups of people are opened, because a keyed hash cannot be turned into another one. Somebody whose
identifier another person has under newer rules gets no row: that is a collision, which the move waits for.

What strangers left before tokens were lasting is given lasting tokens on the way: for people who are known now, and for
rows in quarantine, which can be opened. The rest stays findable for as long as the first generation's key exists, and
keeps that key from being destroyed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from consent_gateway.db import generations as rows
from consent_gateway.db import intake, merges, subjects
from consent_gateway.db.subjects import Token
from consent_gateway.domain.generations import Generation
from consent_gateway.domain.ids import SubjectId
from consent_gateway.errors import StoreError
from consent_gateway.services.identity import lasting_names
from consent_gateway.services.identity.people import identifiers_in
from consent_gateway.services.work.gateway import Work
from consent_gateway.services.work.own_key import own_key
from consent_gateway.services.work.vault import CONTACT, GATEWAY_ITSELF, open_bytes, open_group
from consent_gateway.vault.normal_forms import Normalised
from consent_gateway.vault.normalisers import stored

_TIES = 500  # quarantined rows that are looked at together


@dataclass(frozen=True, slots=True)
class Filled:
    """What one page did: the last of the people it looked at (None: nobody was left), rows written, collisions."""

    last: SubjectId | None = None
    written: int = 0
    collisions: int = 0


def fill(work: Work, moving: Generation, after: int, limit: int) -> Filled:
    """Give the next `limit` people above subject `after` the rows that they lack under the moving generation."""
    ids = rows.lacking(work.session, work.registers.index.counts.number, moving.number, after, limit)
    return Filled(ids[-1], *_fill(work, moving, ids)) if ids else Filled()


def _fill(work: Work, moving: Generation, ids: Sequence[SubjectId]) -> tuple[int, int]:
    """Write the rows that people lack; returns how many, and how many belong to somebody else under the new rules."""
    vault, live = work.gateway.vault, sorted(subjects.lock_all(work.session, ids))
    forms = _forms(work, live)
    lacking = rows.rows_lacking(work.session, live, work.registers.index.counts.number, moving.number)
    wanted = [(row, _form_of(work, row, forms[row["subject_id"]])) for row in lacking]
    tokens = [vault.token(form, moving) for _, form in wanted]
    held = subjects.find_by_tokens(work.session, set(tokens), moving.number)
    holders = {token: point.subject_id for token, point in held.items()}
    added: list[dict[str, Any]] = []
    for (row, form), token in zip(wanted, tokens, strict=True):
        first = token not in holders
        holder = holders.setdefault(token, row["subject_id"])
        if first or _one_person(work, holder, row["subject_id"]):
            own = token if first else _beside(work, form, moving, row["point"])
            added.append(row | {"generation": moving.number, "token": own.value})
    subjects.add_identifiers(work.session, added)
    _rename(work, [form for found in forms.values() for form in found])
    return len(added), len(wanted) - len(added)


def _forms(work: Work, ids: Sequence[SubjectId]) -> dict[SubjectId, list[Normalised]]:
    deks = work.gateway.vault.keys(work.session, ids)
    groups = subjects.sealed(work.session, ids, CONTACT)
    return {i: [stored(kind, value) for kind, value in open_group(deks[i], groups[i])["points"]] for i in ids}


def _form_of(work: Work, row: Mapping[str, Any], forms: Sequence[Normalised]) -> Normalised:
    """Return the identifier whose row this is; StoreError if the person's sealed group does not have it."""
    token, counts = Token(row["kind"], bytes(row["token"])), work.registers.index.counts
    for form in forms:
        if form.kind == token.kind and token in (work.token(form), _beside(work, form, counts, row["point"])):
            return form
    raise StoreError("an identifier of somebody is not among their sealed contact points")


def _one_person(work: Work, one: SubjectId, other: SubjectId) -> bool:
    heads = merges.heads(work.session, [one, other])
    return heads.get(one, one) == heads.get(other, other)


def _beside(work: Work, form: Normalised, generation: Generation, point: int) -> Token:
    """Return the token of a contact point whose identifier another one of the same person is found by.

    No identifier has a NUL, so that nothing is ever found by it; the ledger goes on to know the point.
    """
    beside = Normalised(form.kind, f"{form.value}\0{point}", generation.version(form.kind))
    return work.gateway.vault.token(beside, generation)


# -- what strangers left -----------------------------------------------------------------------------------------------


def _rename(work: Work, forms: Sequence[Normalised]) -> None:
    """Give what was kept by former tokens of these identifiers their lasting tokens."""
    vault, formerly = work.gateway.vault, lasting_names.FORMERLY
    if not vault.holds(formerly):
        return
    named = {vault.token(form, formerly): form for form in forms}
    found = rows.tokens_of_strangers(work.session, formerly.number, named)
    names = [(token.kind, token.value, lasting_names.names(work, named[token])[0].value) for token in found]
    rows.rename(work.session, formerly.number, names)


def rename_quarantined(work: Work) -> None:
    """Tie what is in quarantine by lasting tokens; what was emptied needs no ties."""
    number = lasting_names.FORMERLY.number
    after = 0
    while kept := rows.quarantined(work.session, number, after, _TIES):
        own = own_key(work)
        for row_id, sealed in kept:
            forms = identifiers_in(open_bytes(own, GATEWAY_ITSELF, sealed)) if sealed else []
            intake.tie_quarantine(work.session, [(lasting_names.names(work, form)[0], row_id) for form in forms])
        rows.untie(work.session, number, [row_id for row_id, _ in kept])
        after = kept[-1][0]
