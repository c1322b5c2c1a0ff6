"""Compare the tombstone file with the store before anything is served, and carry out again what a backup brought back.

The file lies outside of the backups (THREATS 28). At every start, and again when a running process sees that the store
was set back under it (`settle_again`, every few seconds):

- the store says it was written, and the file lacks it: the file was lost, cut or exchanged. Nothing starts
  (`TombstoneError`) until an operator restores it, or has it rebuilt out of what there is;
- the store has it, not known to be written: a crash came between. It is written now;
- the file has it and the store lacks it: the store is a restored backup. Who was erased since is erased again, found
  by hashing the ids of everyone, because their keys may be gone already; tombstones and suppressions come back, and
  those that were lifted since are lifted again. Who came back is another subject, and is not touched.

A store knows its file from the first start on: the first line is nobody's (`BEGUN`), and is in every backup since.
What this cannot see: a backup restored together with a file that is as old. Copies elsewhere are for that.
"""

from __future__ import annotations

import itertools
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from consent_gateway.audit.entries import EntryKind
from consent_gateway.db import audience_rows, erasures, intake, log_store, merges, strangers, subjects
from consent_gateway.db import tombstones as stones
from consent_gateway.db.engine import Session
from consent_gateway.db.erasures import ErasureRow
from consent_gateway.db.subjects import Token
from consent_gateway.db.tombstones import Tombstone
from consent_gateway.domain.ids import SubjectId
from consent_gateway.domain.subjects import SUPPRESSED_BY
from consent_gateway.errors import TombstoneError
from consent_gateway.services.identity.audience_rows import whole_rows
from consent_gateway.services.identity.lasting_names import FORMERLY, tied_to
from consent_gateway.services.work.gateway import UID_BYTES, Gateway, Work
from consent_gateway.vault.tombstone_file import TombstoneFile
from consent_gateway.vault.tombstones import BEGUN, LASTING, LIFTED, Burial, SubjectHasher, decode, encode

_PAGE = 10_000
_BATCH = 200
_REACHABLE = frozenset(kind.value for kind in SUPPRESSED_BY)


@dataclass(frozen=True, slots=True)
class Comparison:
    """File and store next to each other, in erasures.

    `lines` the file has, `rows` the store has; `open` were not known to be written; `lost` were written and are not
    there; `lacking` are in the file and not in the store, which was restored.
    """

    lines: int
    rows: int
    open: int
    lost: int
    lacking: tuple[Burial, ...] = ()


@dataclass(frozen=True, slots=True)
class Replay:
    """What was carried out again: erasures that the store lacked, how many of their people were there, and lifts."""

    erasures: int = 0
    subjects: int = 0
    lifts: int = 0


def settle(gateway: Gateway) -> Replay:
    """Make file and store agree, before the first request; returns what was carried out again.

    TombstoneError if the file is missing, damaged, or lacks what was written to it.
    """
    file = gateway.tombstones
    if file is None:
        return Replay()
    _begin(gateway, file)
    found = compare(gateway, file)
    if found.lost:
        raise TombstoneError(f"the tombstone file lacks {found.lost} erasures that were written to it")
    gateway.file_tombstones()
    done = _replay(gateway, found.lacking)
    if done.erasures:
        gateway.on_replayed()
    return done


def settle_again(gateway: Gateway) -> Replay:
    """Settle if the store was set back under a running process; nothing is served from when that is seen.

    For whoever looks regularly, and for whoever finds that the log's head went back. TombstoneError as `settle`: then
    nothing is served until file and store agree.
    """
    if gateway.tombstones is None or not (gateway.behind or _is_set_back(gateway, gateway.tombstones)):
        return Replay()
    gateway.behind = True
    gateway.forget()
    done = settle(gateway)
    gateway.behind = False
    return done


def _is_set_back(gateway: Gateway, file: TombstoneFile) -> bool:
    """Tell whether the file has erasures that the store lacks, or the log is shorter than it was.

    A line is written after the commit of its erasure, so no other store lacks one.
    """
    newest = file.newest()
    with gateway.store.reading() as session:
        lacking = set(newest) - erasures.known(session, newest)
        head = log_store.checkpoint(session)
    before, gateway.log_size = gateway.log_size, 0 if head is None else head[0]
    return bool(lacking) or gateway.log_size < before


def compare(gateway: Gateway, file: TombstoneFile) -> Comparison:
    """Read both and compare; TombstoneError for a file that is missing or does not hold."""
    burials = file.read()
    held = {b.uid for b in burials}
    with gateway.store.reading() as session:
        known = {row.uid: row.filed_at is not None for row in erasures.every(session)}
    return Comparison(
        lines=len(burials),
        rows=len(known),
        open=sum(not filed for filed in known.values()),
        lost=sum(filed and uid not in held for uid, filed in known.items()),
        lacking=tuple(b for b in burials if b.uid not in known),
    )


def rebuild(gateway: Gateway, file: TombstoneFile, aside: str) -> Comparison:
    """Write the file anew out of the store and of every line that still holds, in the file and its copies.

    What was there is kept beside it under its name and `aside`. An operator accepts with it that lines may be lost of
    which neither the store nor a copy knows; the log says that it was done.
    """
    saved = {b.uid: b for b in file.salvage()}
    with gateway.store.reading() as session:
        stored = {row.uid: decode(row.line) for row in erasures.every(session)}
    lines = sorted({**saved, **stored}.values(), key=lambda b: b.at)
    file.replace(lines, aside)
    with gateway.work(curing=True) as work:
        erasures.mark_filed(work.session, stored, work.now)
        fields = {"action": "tombstones_rebuilt", "lines": len(lines), "salvaged": len(saved), "stored": len(stored)}
        work.record(EntryKind.ADMIN_ACTION, fields)
    return compare(gateway, file)


def _begin(gateway: Gateway, file: TombstoneFile) -> None:
    """Give a store that has none its file, and its first line."""
    with gateway.work(curing=True) as work:
        begun = erasures.any_row(work.session)
        if not begun:
            first = Burial(secrets.token_bytes(UID_BYTES), work.now, None, BEGUN)
            erasures.add(work.session, [ErasureRow(first.uid, first.at, encode(first))])
        fresh = all(row.filed_at is None for row in erasures.every(work.session))
    if fresh and not file.exists():
        file.create()


# -- carried out again ---------------------------------------------------------------------------------------------


def _replay(gateway: Gateway, lacking: Sequence[Burial]) -> Replay:
    if not lacking:
        return Replay()
    with gateway.store.reading() as session:
        returned = _find(session, gateway, lacking)
    for start in range(0, len(lacking), _BATCH):
        part = lacking[start : start + _BATCH]
        with gateway.work(curing=True) as work:
            _carry_out(work, part, returned)
    with gateway.work(curing=True) as work:
        subjects.skip_ids(work.session, max(b.last_id for b in lacking))
        lifts = sum(b.reason == LIFTED for b in lacking)
        done = Replay(len(lacking) - lifts, len(returned), lifts)
        fields = {"erasures": done.erasures, "subjects": done.subjects}
        work.record(EntryKind.TOMBSTONES_REPLAYED, fields | ({"lifts": lifts} if lifts else {}))
    return done


def _find(session: Session, gateway: Gateway, lacking: Sequence[Burial]) -> dict[bytes, SubjectId]:
    """Return the subjects that are there again, by the uid of their erasure."""
    wanted = {b.subject: b.uid for b in lacking if b.subject is not None}
    hasher = SubjectHasher(gateway.vault.provider.keyring)
    found: dict[bytes, SubjectId] = {}
    after = 0
    while wanted and (ids := subjects.ids_after(session, after, _PAGE)):
        hits = ((wanted.get(hasher.hash(i)), i) for i in ids)
        found.update({uid: i for uid, i in hits if uid is not None})
        after = ids[-1]
    return found


def _carry_out(work: Work, burials: Sequence[Burial], returned: Mapping[bytes, SubjectId]) -> None:
    back = {b.uid: returned[b.uid] for b in burials if b.uid in returned}
    rows = _erase_returned(work, sorted(set(back.values())))
    for lifting, part in itertools.groupby(burials, lambda b: b.reason == LIFTED):  # in order: the last one counts
        (_lift_again if lifting else _bury_again)(work, list(part))
    erasures.add(work.session, [ErasureRow(b.uid, b.at, encode(b), work.now) for b in burials])
    for uid, subject_id in back.items():
        work.record(EntryKind.ERASURE_REPLAYED, {"erasure": uid.hex(), "rows": rows[subject_id]})


def _bury_again(work: Work, burials: Sequence[Burial]) -> None:
    found = [Tombstone(token, kind, b.at, b.reason) for b in burials for kind, token in b.points]
    stones.put(work.session, found)
    again = {(kind, t): b.at for b in burials for kind, number, t in b.suppressed if number == LASTING}
    _suppress(work, {(kind, t): at for (kind, t), at in again.items() if kind in _REACHABLE})
    named = [tied_to(b.subject) for b in burials if b.subject is not None]
    intake.forget_quarantined(work.session, [*(Token(kind, t) for kind, t in again), *named])


def _lift_again(work: Work, lifts: Sequence[Burial]) -> None:
    for lift in lifts:
        stones.lift(work.session, [token for _, token in lift.points], lift.at)
        strangers.unsuppress_erased(work.session, [Token(kind, token) for kind, _, token in lift.suppressed])


def _erase_returned(work: Work, ids: Sequence[SubjectId]) -> dict[SubjectId, int]:
    """Delete people without opening anything of theirs; returns how many rows each had.

    Who was one person with them in the backup and was not erased stays, and gets a row of their own.
    """
    people = merges.clusters(work.session, ids)
    locked = subjects.lock_all(work.session, {i for members in people.values() for i in members})
    gone = [i for i in ids if i in locked]
    points = subjects.contact_points(work.session, gone, FORMERLY.number)  # how rows of an older backup are tied
    intake.forget_quarantined(work.session, [Token(p.kind, p.token) for held in points.values() for p in held])
    counts = dict.fromkeys(ids, 0)
    counts |= {i: sum(subjects.delete_person(work.session, i).values()) for i in gone}
    merges.forget(work.session, gone)
    _serve_alone(work, sorted(locked - set(gone)))
    return counts


def _serve_alone(work: Work, left: Sequence[SubjectId]) -> None:
    if not left:
        return
    people = merges.connected(work.session, left)
    merges.relink(work.session, people)
    subjects.drop_rows(work.session, left)
    rows = whole_rows(work, people)
    audience_rows.insert_rows(work.session, [rows[head] for head in sorted(people)])


def _suppress(work: Work, found: Mapping[tuple[str, bytes], int]) -> None:
    rows = [{"token": token, "kind": kind, "reason": "erased", "at": at} for (kind, token), at in found.items()]
    strangers.suppress(work.session, rows)
