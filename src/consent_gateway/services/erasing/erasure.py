"""Forget a person: tombstones first, then every row and the data key, all in one transaction with the entry in the log.

After the commit nothing of the person can be read here: the ciphertexts have lost their key, the commitments in the log
their openings, and the identifiers their keyed hashes. What stays are tombstones (hashes under a key of their own, so
that a re-import is refused) and suppressions of contact points. The same tombstones go to a file outside of the
database and its backups before the erasure is acknowledged (`services.work.filing`), so that a backup that is restored
brings nobody back (`services.erasing.tombstones`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from consent_gateway.audit.chains import chain_key, chain_secret
from consent_gateway.audit.commitments import NO_DETAILS
from consent_gateway.audit.entries import EntryKind
from consent_gateway.db import (
    erasures,
    holds,
    intake,
    log_people,
    merges,
    resealing,
    strangers,
    subjects,
    tombstones,
)
from consent_gateway.db.erasures import ErasureRow
from consent_gateway.db.holds import Waiting
from consent_gateway.db.tombstones import Tombstone
from consent_gateway.domain.holds import Hold
from consent_gateway.domain.ids import SubjectId
from consent_gateway.domain.subjects import SUPPRESSED_BY
from consent_gateway.domain.tombstones import RETENTION
from consent_gateway.errors import HeldError, NotFoundError
from consent_gateway.services.identity import lasting_names, people
from consent_gateway.services.identity.audience_rows import refresh_choices
from consent_gateway.services.work.gateway import Gateway, Work
from consent_gateway.services.work.vault import CONTACT, open_group
from consent_gateway.vault.envelope import derive_audit_key
from consent_gateway.vault.normal_forms import Normalised
from consent_gateway.vault.normalisers import clear_caches, stored
from consent_gateway.vault.tombstones import LASTING, Burial, SubjectHasher, encode

_REACHABLE = frozenset(kind.value for kind in SUPPRESSED_BY)


@dataclass(frozen=True, slots=True)
class Deferred:
    """An erasure that waits: the holds that are in force, and its entry in the log."""

    holds: tuple[Hold, ...]
    uid: bytes


@dataclass(frozen=True, slots=True)
class Erasure:
    """What an erasure did: how many tombstones it left, how many rows went, its entry in the log, the chains it ended.

    Chains go by key, each with its length, the entry of the erasure included.
    """

    tombstones: int
    rows: int
    uid: bytes
    chains: Mapping[bytes, int]


def erase(work: Work, subject_id: SubjectId, reason: str) -> Erasure:
    """Erase a person (GDPR Art 17, CCPA 1798.105, PIPL Art 47); NotFoundError if there is no such person.

    HeldError while a legal hold is in force (GDPR Art 17(3)): then nothing was done; `erase_or_defer` lets it wait.

    1. lock the person, with every subject that was merged into them: they are erased together, each with an entry of
    their own; 2. tombstones of every identifier; 3. suppress the contact points; 4. the entries; 5. delete.
    RaceError if the person was merged or separated meanwhile.
    """
    members = _lock(work, subject_id)
    if holds.of_subjects(work.session, members):
        raise HeldError
    done = {member: _erase_subject(work, member, reason) for member in members}
    merges.forget(work.session, members)
    clear_caches()  # the normalisers remember spellings
    chains = {key: count for d in done.values() for key, count in d.chains.items()}
    rows = sum(d.rows for d in done.values())
    return Erasure(sum(d.tombstones for d in done.values()), rows, done[subject_id].uid, chains)


def erase_or_defer(work: Work, subject_id: SubjectId, reason: str) -> Erasure | Deferred:
    """Erase a person, or let the erasure wait until no legal hold is in force any more (`services.erasing.holds`).

    Asked for again it waits once; the first reason and instant stay, but that a right outweighs a period that is over.
    """
    members = _lock(work, subject_id)
    held = holds.of_subjects(work.session, members)
    if not held:
        return erase(work, subject_id, reason)
    if not holds.put_waiting(work.session, Waiting(subject_id, reason, work.now, work.actor.id)):
        holds.outweigh_waiting(work.session, subject_id, RETENTION, reason)
    dek = work.gateway.vault.keys(work.session, [subject_id])[subject_id]
    uid = work.record_about(
        EntryKind.ERASURE_DEFERRED,
        {"reason": reason, "holds": [hold.id for hold in held]},
        subject_id,
        derive_audit_key(dek),
        NO_DETAILS,
    )
    refresh_choices(work, members)
    return Deferred(tuple(held), uid)


def forget_spellings(gateway: Gateway) -> None:
    """Forget the spellings that this process remembers, if anybody was erased, by whichever process, since it did."""
    with gateway.store.reading() as session:
        last = erasures.last(session)
    if last != gateway.forgot:
        clear_caches()
        gateway.forgot = last


def _lock(work: Work, subject_id: SubjectId) -> list[SubjectId]:
    members = people.lock_people(work, [subject_id]).get(subject_id)
    if members is None:
        raise NotFoundError
    return members


def _erase_subject(work: Work, subject_id: SubjectId, reason: str) -> Erasure:
    resealing.lock_keys(work.session, [subject_id])  # whoever writes openings of theirs is waited for, then shut out
    dek = work.gateway.vault.keys(work.session, [subject_id])[subject_id]
    group = subjects.sealed(work.session, [subject_id], CONTACT)[subject_id]
    forms = [stored(kind, value) for kind, value in open_group(dek, group)["points"]]
    _bury(work, forms, reason)
    payload = NO_DETAILS
    openings, chains = _unopenable(work, subject_id)
    named = [{"chain": key.hex(), "count": count} for key, count in chains.items()]
    uid = work.record_about(
        EntryKind.SUBJECT_ERASED,
        {"reason": reason, "tombstones": len(forms), "openings": openings, "chains": named},
        subject_id,
        derive_audit_key(dek),
        payload,
    )
    # The opening of this very entry would outlive the person: it is not kept.
    work.openings = [opening for opening in work.openings if opening.subject_id != subject_id]
    _keep_line(work, subject_id, reason, forms, uid)
    names = [name for form in forms for name in lasting_names.names(work, form)]
    intake.forget_quarantined(work.session, [*names, lasting_names.of_subject(work, subject_id)])
    counts = subjects.delete_person(work.session, subject_id)
    return Erasure(len(forms), sum(counts.values()), uid, chains)


def _unopenable(work: Work, subject_id: SubjectId) -> tuple[int, dict[bytes, int]]:
    """Return how much can never be opened again, and each chain of the person with its length with this entry.

    It is the last of them: what is under way about them is done anew and finds nobody (`log_store.append`).
    """
    today, *former = (chain_key(chain_secret(k)) for k in work.gateway.vault.audit_keys(work.session, subject_id))
    counts = log_people.chain_counts(work.session, [today, *former])
    counts.update(work.queued_chains())
    counts[today] += 1
    openings = log_people.opening_count(work.session, subject_id)
    openings += sum(opening.subject_id == subject_id for opening in work.openings)
    return openings, {key: counts[key] for key in (*reversed(former), today) if counts[key]}


def _keep_line(work: Work, subject_id: SubjectId, reason: str, forms: list[Normalised], uid: bytes) -> None:
    """Keep what the tombstone file will say; `Gateway.work` has it written before the erasure is acknowledged."""
    vault = work.gateway.vault
    burial = Burial(
        uid,
        work.now,
        SubjectHasher(vault.provider.keyring).hash(subject_id),
        reason,
        tuple((f.kind, vault.tombstone(f.kind, f.value)) for f in forms),
        tuple((f.kind, LASTING, lasting_names.names(work, f)[0].value) for f in forms),
        subjects.last_id(work.session),
    )
    erasures.add(work.session, [ErasureRow(uid, work.now, encode(burial))])
    work.buried = True


def _bury(work: Work, forms: list[Normalised], reason: str) -> None:
    vault = work.gateway.vault
    stones = [Tombstone(vault.tombstone(f.kind, f.value), f.kind, work.now, reason) for f in forms]
    tombstones.put(work.session, stones)
    reachable = [lasting_names.names(work, f)[0] for f in forms if f.kind in _REACHABLE]
    rows = [{"token": t.value, "kind": t.kind, "reason": "erased", "at": work.now} for t in reachable]
    strangers.suppress(work.session, rows)
