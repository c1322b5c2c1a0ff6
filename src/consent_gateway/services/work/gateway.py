"""What every use case works with: the gateway's parts, and one unit of work.

`Gateway.work` is the only way to change anything: it opens the one transaction, reads one version of the registers,
and commits at the end together with the audit entries that `Work.record` queued (promise P4). After the commit the
sequencer is told that there is something to integrate.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import NoReturn, cast

from consent_gateway.audit.canonical import canonical_json
from consent_gateway.audit.chains import CHAIN, OTHER, OTHER_CHAIN, SUBJECT, UNFILLED, chain_ref, unfilled
from consent_gateway.audit.checkpoints import Checkpoint, Signer
from consent_gateway.audit.commitments import commit
from consent_gateway.audit.entries import EntryKind, entry_writer, new_uid
from consent_gateway.audit.epochs import FIRST_EPOCH
from consent_gateway.audit.log import NO_CHAIN, chain_keys_of
from consent_gateway.audit.log_keys import LogKeys
from consent_gateway.clock import Clock
from consent_gateway.db import log_people, log_store
from consent_gateway.db import registers as register_rows
from consent_gateway.db.engine import Session, Store
from consent_gateway.db.subjects import Token
from consent_gateway.domain.audiences import ClassKey
from consent_gateway.domain.ids import RecipientId, SubjectId
from consent_gateway.domain.registers import Principal, Registers
from consent_gateway.errors import AuthenticationError, StoreError, TombstoneError
from consent_gateway.services.deciding.decider import Decider
from consent_gateway.services.deciding.law import Standing
from consent_gateway.services.deciding.questions import Asked
from consent_gateway.services.deciding.rules import Rules
from consent_gateway.services.deciding.shadows import Seen, Tally
from consent_gateway.services.work.closed_keys import ClosedKeys
from consent_gateway.services.work.denial_counts import Denials
from consent_gateway.services.work.filing import RETRY_SECONDS, file_open
from consent_gateway.services.work.keeping import keep_points, keep_set
from consent_gateway.services.work.log_gate import LogGate
from consent_gateway.services.work.vault import Vault
from consent_gateway.vault.normal_forms import Normalised
from consent_gateway.vault.spool_file import SpoolFile
from consent_gateway.vault.tombstone_file import TombstoneFile

SYSTEM = Principal("system", RecipientId("self"), frozenset())
UID_BYTES = 16
_MILLIS = 1000
_KEPT = 100_000


@dataclass(slots=True)
class RegisterCache:
    """The last snapshot of the registers; used only after its version was compared inside the transaction."""

    snapshot: Registers | None = None

    def fresh(self, session: Session) -> Registers:
        """Return the snapshot of the version that `session` sees."""
        current = register_rows.version(session)
        held = self.snapshot
        if held is None or held.version != current:
            held = self.snapshot = register_rows.load(session)
        return held


@dataclass(slots=True)
class Work:
    """One unit of work: a session, one instant, who acts, and one version of the registers."""

    gateway: Gateway
    session: Session
    instant: datetime
    actor: Principal
    registers: Registers
    entries: list[log_store.Recorded] = field(default_factory=list)
    openings: list[log_people.Opening] = field(default_factory=list)
    cited: dict[str, Standing] = field(default_factory=dict)  # sets of packs that entries name, not known to be kept
    seen: Counter[Seen] = field(default_factory=Counter)  # what candidates in shadow would have answered
    points: dict[str, int] = field(default_factory=dict)  # facts that openings name, by digest, not known to be kept
    buried: bool = False  # whether somebody was erased: the tombstone file has to know before anybody is told

    now: int = field(init=False)  # the instant in seconds
    now_ms: int = field(init=False)  # the instant in milliseconds

    def __post_init__(self) -> None:
        """Compute the instant's two integer forms once: every row and entry asks for them."""
        self.now_ms = int(self.instant.timestamp() * _MILLIS)
        self.now = self.now_ms // _MILLIS

    @property
    def law(self) -> Standing:
        """Return the packs that this work decides by."""
        return self.gateway.decider.standing(self.registers, self.now)

    def cite_law(self) -> dict[str, object]:
        """Return how an entry names the packs that this work decides by, and keep them for a replay."""
        standing = self.law
        if standing.digest not in self.gateway.kept:
            self.cited[standing.digest] = standing
        return {"packs": standing.names, "policy": standing.digest}

    def watch(self, asked: Asked, key: ClassKey, people: int = 1) -> None:
        """Count what the candidates in shadow would have answered; the caller looks at `asked.law.watched` first."""
        for seen in self.gateway.decider.watched(asked, key, self.now):
            self.seen[seen] += people

    def is_live(self, principal: Principal) -> bool:
        """Tell whether a key still works: one that was revoked since, on whichever replica, does nothing any more."""
        return not principal.key or principal.key in self.registers.principals

    def token(self, form: Normalised) -> Token:
        """Return the blind index value of an identifier under the generation that counts; see `Vault.token`."""
        return self.gateway.vault.token(form, self.registers.index.counts)

    def record(self, kind: EntryKind, fields: Mapping[str, object], *, uid: bytes | None = None) -> bytes:
        """Queue an audit entry about no particular person; returns its uid. `uid`: as for `record_about`."""
        uid = uid or new_uid(self.now_ms)
        self.entries.append((uid, entry_writer(kind, self.actor.id).write(self.now_ms, uid, fields), None))
        return uid

    def record_about(
        self,
        kind: EntryKind,
        fields: Mapping[str, object],
        subject_id: SubjectId,
        audit_key: bytes,
        payload: bytes,
        *,
        uid: bytes | None = None,
        former: bytes | None = None,
    ) -> bytes:
        """Queue an entry about one person: the log gets commitments, the opening goes with the person.

        One commitment is to the payload, one to the entry's place among all those about this person, which the
        sequencer fills in (`audit.chains`). `uid` is for whoever had to name the entry before it is written: 16 bytes,
        fresh and random. `former` is the audit key that `audit_key` replaces: this entry is then the first of the new
        chain and belongs to the former one too, so that neither can be shown without the other.
        """
        uid = uid or new_uid(self.now_ms)
        writer = entry_writer(kind, self.actor.id)
        sealed, refs = commit(audit_key, uid, SUBJECT, payload), chain_ref(audit_key, uid)
        self.openings.append(log_people.Opening(uid, SUBJECT, subject_id, payload))
        if former is None:
            entry = writer.write_encoded(self.now_ms, uid, canonical_json(dict(fields)), unfilled(sealed))
        else:
            both = {SUBJECT: sealed, CHAIN: UNFILLED, OTHER: commit(former, uid, OTHER, payload), OTHER_CHAIN: UNFILLED}
            entry, refs = writer.write(self.now_ms, uid, fields, both), refs + chain_ref(former, uid, OTHER_CHAIN)
            self.openings.append(log_people.Opening(uid, OTHER, subject_id, payload))
        self.entries.append((uid, entry, refs))
        return uid

    def queued_chains(self) -> list[bytes]:
        """Return the key of the chain of each entry that is queued here."""
        return chain_keys_of([refs or NO_CHAIN for _, _, refs in self.entries])

    def flush(self) -> None:
        """Write the queued entries into the transaction; the last thing before it commits."""
        log_store.append(self.session, self.entries, self.openings)
        for digest, standing in self.cited.items():
            keep_set(self.session, digest, standing.members.decode(), standing.packs, self.now)
        if self.points:
            keep_points(self.session, self.points, self.now)

    def catch_up(self) -> None:
        """See what others registered since this transaction began; call it once the rows to write are locked.

        Who enables a slot recomputes it for everyone under the same locks, so that either they see what this
        transaction wrote, or it sees their slot.
        """
        if register_rows.version(self.session) != self.registers.version:
            self.registers = register_rows.load(self.session)

    def hold_registers(self) -> None:
        """Keep the registers as they are until this transaction ends, and see them as they are now.

        Called by everyone who writes about people before they read anything: who enables a slot or a trait waits,
        and then recomputes for those who came in too.
        """
        register_rows.hold(self.session)
        self.catch_up()

    def changed_registers(self) -> None:
        """Say that a register changed, and see the change from here on."""
        register_rows.bump(self.session)
        self.registers = register_rows.load(self.session)


class _NoStore:
    """Stands where the session would."""

    def __getattr__(self, name: str) -> NoReturn:
        raise StoreError("the store does not answer", retry_after=RETRY_SECONDS)


@dataclass(slots=True)
class Gateway:
    """The parts, put together by the composition root. Thread-safe: parts are immutable or lock themselves."""

    store: Store
    vault: Vault
    decider: Decider
    clock: Clock
    signer: Signer
    rules: Rules
    registers: RegisterCache = field(default_factory=RegisterCache)
    on_recorded: Callable[[], None] = lambda: None
    tally: Tally = field(default_factory=Tally)
    closed: ClosedKeys = field(default_factory=ClosedKeys)
    denials: Denials = field(default_factory=Denials)
    kept: set[str] = field(default_factory=set)  # digests of what is in the store for replays; only ever a repetition
    tombstones: TombstoneFile | None = None  # None: keys that no file holds have no lasting tombstones either

    behind: bool = False  # whether the store lacks erasures that the tombstone file has: nothing is served until it has
    on_replayed: Callable[[], None] = lambda: None
    log_size: int = 0  # of the log, when it was last looked at

    forgot: int = 0  # the last erasure after which this process forgot what it remembers of values
    residue_since: int | None = None  # since when (seconds) erased bytes may be in the write-ahead log
    gate: LogGate = field(default_factory=LogGate)
    spool: SpoolFile | None = None  # what is kept while the log does not stand
    on_published: Callable[[], None] = lambda: None
    published: Checkpoint | None = None  # the newest checkpoint that this process published
    log_keys: LogKeys = field(init=False)

    def __post_init__(self) -> None:
        """Name the keys of the log's epochs; `signer` is that of the current one."""
        self.log_keys = LogKeys(self.signer.key.name, self._seed)
        self.gate.has_spool = self.spool is not None

    def adopt_epoch(self, epoch: int) -> None:
        """Sign with the key of this epoch of the log from here on."""
        self.signer = self.log_keys.signer(epoch)

    def _seed(self, epoch: int) -> bytes:
        ring = self.vault.provider.keyring
        return ring.log_signing_seed() if epoch == FIRST_EPOCH else ring.log_epoch_seed(epoch)

    @contextmanager
    def work(self, actor: Principal = SYSTEM, *, curing: bool = False) -> Iterator[Work]:
        """Run one use case in one transaction; commits on leaving, rolls back on any exception.

        TombstoneError after the commit of an erasure: it stands, and is not to be acknowledged yet. And before anything
        is done while the store is behind the tombstone file, except for work that is `curing` that.
        LogHaltedError or AuditBacklogError while the log does not stand (`LogGate`), except for work that is `curing`
        that: its entries wait for the epoch that it opens.
        """
        if self.gate.refusal is not None and not curing:
            raise self.gate.refusal()
        with self.store.transaction() as session:
            work = self._begin(session, actor, curing=curing)
            yield work
            work.flush()
        self._settle(work)
        if work.entries:
            self.on_recorded()
        if work.buried:
            self.residue_since = self.residue_since or work.now
            self.file_tombstones()

    def file_tombstones(self) -> int:
        """Write what erasures left into the tombstone file; returns how many. TombstoneError: ask again later."""
        if self.tombstones is None:
            return 0
        return file_open(self.store, self.tombstones, int(self.clock().timestamp()))

    def _settle(self, work: Work) -> None:
        if len(self.kept) > _KEPT:
            self.kept = set()
        self.kept |= work.cited.keys() | work.points.keys()
        if work.seen:
            self.tally.add(work.seen)

    @contextmanager
    def look(self, actor: Principal = SYSTEM) -> Iterator[Work]:
        """Read a consistent snapshot; nothing can be recorded or changed."""
        with self.store.reading() as session:
            yield self._begin(session, actor)

    @contextmanager
    def recall(self, actor: Principal) -> Iterator[Work]:
        """Work with the registers as they were last seen and without a store: StoreError for whatever needs one.

        AuthenticationError for a key that they do not know, StoreError if they were never seen.
        """
        snapshot = self.registers.snapshot
        if snapshot is None:
            raise StoreError("the store does not answer", retry_after=RETRY_SECONDS)
        work = Work(self, cast("Session", _NoStore()), self.clock().astimezone(UTC), actor, snapshot)
        if not work.is_live(actor):
            raise AuthenticationError
        yield work

    def forget(self) -> None:
        """Forget what is remembered of the store: it is another one than it was."""
        self.registers.snapshot = None
        self.kept = set()

    def _begin(self, session: Session, actor: Principal, *, curing: bool = False) -> Work:
        if self.behind and not curing:
            raise TombstoneError("the store was set back: erasures are carried out again", retry_after=RETRY_SECONDS)
        work = Work(self, session, self.clock().astimezone(UTC), actor, self.registers.fresh(session))
        if not work.is_live(actor):
            raise AuthenticationError
        return work
