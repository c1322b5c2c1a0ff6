"""Moving the blind index to another key, or to newer normalisers, while everything goes on (VAULT 3.5).

1. `start`: a new generation in the keyring, and in the store as the one that is moving. From here on, whoever writes an
   identifier writes it under both; until the end, the former generation alone says whom an identifier belongs to.
2. `fill`: page by page, the contact groups of people are opened and their identifiers get rows under the new one.
3. `switch`: in one transaction that waits for every writer, none is missing, and the new generation begins to count.
4. `drop`: after a grace for readers that began before, the former rows go. Its key is destroyed by `destroy`, which
   needs four eyes, once no row of anybody needs it.

Each page is one transaction and the position is written with it, so whatever kills the process, `run` goes on from
there; every step is idempotent. A process whose keyring lacks the new key works on until the switch, and refuses after
it (`KeyringError`) rather than to miss somebody: it looks at the keyring's file first.

What strangers left before tokens were lasting is given lasting tokens on the way: for people who are known now, and for
rows in quarantine, which can be opened. The rest stays findable for as long as the first generation's key exists, and
keeps that key from being destroyed.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from consent_gateway.audit.entries import EntryKind
from consent_gateway.db import generations as rows
from consent_gateway.db import intake, merges, subjects
from consent_gateway.db.subjects import Token
from consent_gateway.domain.approvals import Action, Approval
from consent_gateway.domain.generations import Generation
from consent_gateway.domain.ids import SubjectId
from consent_gateway.domain.registers import Principal
from consent_gateway.errors import ConflictError, KeyringError, StoreError
from consent_gateway.services import approvals, lasting_names
from consent_gateway.services.gateway import SYSTEM, Gateway, Work
from consent_gateway.services.intake import own_key
from consent_gateway.services.people import identifiers_in
from consent_gateway.services.vault import CONTACT, GATEWAY_ITSELF, open_bytes, open_group
from consent_gateway.vault.normal_forms import Normalised
from consent_gateway.vault.normalisers import VERSIONS, stored

GRACE_SECONDS = 60  # a reader's transaction lasts no longer
PAGE = 500


@dataclass(frozen=True, slots=True)
class Page:
    """What one page did: people looked at, rows written, identifiers that somebody else has under the new rules."""

    people: int = 0
    written: int = 0
    collisions: int = 0
    ended: bool = False


@dataclass(frozen=True, slots=True)
class Progress:
    """Where a move stands: the generations, contact points without a row, rows and noes of strangers under the old key.

    `outdated`: kinds whose normaliser has a newer version than the generation that counts; a move brings it.
    """

    counts: int
    moving: int | None
    leaving: int | None
    missing: int
    left: int
    strangers: Mapping[str, int]
    outdated: tuple[str, ...]

    def as_json(self) -> dict[str, Any]:
        """Return it for programs."""
        return asdict(self)


def progress(work: Work) -> Progress:
    """Return where the index stands."""
    index, session = work.registers.index, work.session
    missing = rows.count_missing(session, index.counts.number, index.moving.number) if index.moving else 0
    return Progress(
        index.counts.number,
        index.moving.number if index.moving else None,
        index.leaving.number if index.leaving else None,
        missing,
        rows.count(session, index.leaving.number) if index.leaving else 0,
        rows.strangers(session, lasting_names.FORMERLY.number),
        tuple(sorted(kind for kind, newest in VERSIONS.items() if index.counts.version(kind) != newest)),
    )


def run(
    gateway: Gateway,
    told: Callable[[str, int], None] = lambda _step, _count: None,
    per_second: float | None = None,
    wait: Callable[[float], None] = time.sleep,
    actor: Principal = SYSTEM,
) -> Progress:
    """Move to a new generation, or go on with the move that is under way, until the former rows are gone.

    `told` hears of each step and how many people or rows it was about; `per_second` bounds how many people are looked
    at. ConflictError if identifiers of different people are one by newer rules: they are merged, then this goes on.
    """
    with gateway.look() as work:
        index = work.registers.index
    if index.moving is None and index.leaving is None:
        told("started", start(gateway, actor))
    if index.leaving is None:
        while not _filled(gateway, told, per_second, wait):
            pass
    rest = _rest(gateway)
    if rest > 0:
        told("waiting", int(rest))
        wait(rest)
    while gone := drop(gateway):
        told("dropped", gone)
    with gateway.look() as work:
        return progress(work)


def start(gateway: Gateway, actor: Principal = SYSTEM) -> int:
    """Begin a move and return the number of the new generation; ConflictError while another one is under way.

    The key is in the keyring before the store names it; one that a crash left there unused is taken.
    """
    with gateway.work(actor) as work:
        work.changed_registers()  # alone from here on
        index = work.registers.index
        if index.moving is not None or index.leaving is not None:
            raise ConflictError("the index is moving already: let that end first")
        custody = gateway.vault.custody
        custody.require_sound()
        custody.follow()
        if custody.keyring.current_generation == index.counts.number:
            custody.use(custody.keyring.new_index_generation())
        number = custody.keyring.current_generation
        rows.begin(work.session, index.counts, number, VERSIONS, work.now)
        work.changed_registers()
        work.record(EntryKind.INDEX_MOVED, {"step": "started", "from": index.counts.number, "to": number})
    return number


def fill(gateway: Gateway, limit: int = PAGE) -> Page:
    """Give the next `limit` people rows under the generation that is moving; nothing is moving: an ended page."""
    with gateway.work(SYSTEM) as work:
        moving = work.registers.index.moving
        if moving is None:
            return Page(ended=True)
        if not gateway.vault.holds(moving):
            raise KeyringError("The keyring lacks the generation that the index moves to: bring the newest one")
        counts = work.registers.index.counts.number
        after = rows.position(work.session, moving.number)
        if not after:
            _rename_quarantined(work)
        ids = rows.lacking(work.session, counts, moving.number, after, limit)
        written, collisions = _fill(work, moving, ids) if ids else (0, 0)
        ended = len(ids) < limit
        rows.put_position(work.session, moving.number, 0 if ended else ids[-1])
        return Page(len(ids), written, collisions, ended)


def switch(gateway: Gateway) -> bool:
    """Let the generation that is moving count if no contact point lacks a row under it; tell whether it does now."""
    with gateway.work(SYSTEM) as work:
        work.changed_registers()  # waits for every writer, and lets none begin
        index = work.registers.index
        if index.moving is None:
            return True
        if rows.count_missing(work.session, index.counts.number, index.moving.number):
            return False
        rows.switch(work.session, work.now)
        work.changed_registers()
        fields = {"step": "switched", "from": index.counts.number, "to": index.moving.number}
        work.record(EntryKind.INDEX_MOVED, fields)
    return True


def drop(gateway: Gateway, limit: int = 10 * PAGE) -> int:
    """Delete at most `limit` rows of the generation that is leaving, and return how many; 0: it is gone.

    ConflictError within the grace for readers that began before the switch.
    """
    with gateway.work(SYSTEM) as work:
        leaving = work.registers.index.leaving
        if leaving is None:
            return 0
        if work.now < leaving.at + GRACE_SECONDS:
            raise ConflictError(f"readers from before the switch have {GRACE_SECONDS} seconds to end")
        gone = rows.drop(work.session, leaving.number, limit)
        if not gone:
            rows.end(work.session, leaving.number)
            work.changed_registers()
            work.record(EntryKind.INDEX_MOVED, {"step": "dropped", "from": leaving.number})
    return gone


def propose_destruction(work: Work, number: int) -> Approval:
    """Propose to destroy the key of a generation; ConflictError says what still needs it, errors of `propose`."""
    _require_needless(work, number)
    return approvals.propose(work, Action.DESTROY_INDEX_GENERATION, {"generation": number})


def destroy(gateway: Gateway, number: int, actor: Principal = SYSTEM) -> None:
    """Destroy the key of a generation that nothing needs any more; it needs an approval of exactly this.

    ConflictError says what still needs it; ForbiddenError if nobody approved; KeyringError if there is no such key.
    The entry is written first: should this end between the two, the key still shows in `keys status`.
    """
    with gateway.work(actor) as work:
        work.changed_registers()
        _require_needless(work, number)
        approval = approvals.use(work, Action.DESTROY_INDEX_GENERATION, {"generation": number})
        fields = {"step": "destroyed", "from": number, "approval": approval.id}
        work.record(EntryKind.INDEX_MOVED, fields)
    gateway.vault.custody.use(gateway.vault.custody.keyring.destroy_index_generation(number))


def _require_needless(work: Work, number: int) -> None:
    index = work.registers.index
    if number not in work.gateway.vault.custody.keyring.generations:
        raise KeyringError("The keyring holds no such index generation")
    if number in (index.counts.number, *(other.number for other in index.others())):
        raise ConflictError("this generation is in use: move the index first")
    left = rows.count(work.session, number) + sum(rows.strangers(work.session, number).values())
    if left:
        raise ConflictError(f"{left} rows of people who are not known can be found by this key alone")


# -- the steps of a run ------------------------------------------------------------------------------------------------


def _filled(
    gateway: Gateway, told: Callable[[str, int], None], per_second: float | None, wait: Callable[[float], None]
) -> bool:
    """Do one page, and at the end of a pass try to switch; tell whether the new generation counts."""
    page = fill(gateway)
    told("filled", page.people)
    if per_second is not None and page.people:
        wait(page.people / per_second)
    if not page.ended:
        return False
    if switch(gateway):
        return True
    if page.collisions and not page.written:
        raise ConflictError(
            f"{page.collisions} identifiers of different people are one by the newer rules: merge them, and go on"
        )
    return False


def _rest(gateway: Gateway) -> float:
    with gateway.look() as work:
        leaving = work.registers.index.leaving
        return 0.0 if leaving is None else float(leaving.at + GRACE_SECONDS - work.now)


# -- filling -----------------------------------------------------------------------------------------------------------


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


def _rename_quarantined(work: Work) -> None:
    """Tie what is in quarantine by lasting tokens; what was emptied needs no ties."""
    number = lasting_names.FORMERLY.number
    after = 0
    while kept := rows.quarantined(work.session, number, after, PAGE):
        own = own_key(work)
        for row_id, sealed in kept:
            forms = identifiers_in(open_bytes(own, GATEWAY_ITSELF, sealed)) if sealed else []
            intake.tie_quarantine(work.session, [(lasting_names.names(work, form)[0], row_id) for form in forms])
        rows.untie(work.session, number, [row_id for row_id, _ in kept])
        after = kept[-1][0]
