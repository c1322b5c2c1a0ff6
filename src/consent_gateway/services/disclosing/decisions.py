"""May this person's data be used for this purpose, over this channel, by this recipient, now?

One person, a batch and an audience go the same way (promise P10): the audience row is quantised into a `ClassKey`, and
`Decider` answers for the class. Rows are read in the transaction that records the decision; nothing about a person is
remembered between two questions. A person nobody knows is denied, and that too is recorded.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from consent_gateway.audit.canonical import canonical_json
from consent_gateway.audit.chains import SUBJECT, chain_ref, unfilled
from consent_gateway.audit.commitments import commit
from consent_gateway.audit.entries import EntryKind, EntryWriter, new_uid
from consent_gateway.db import audience_rows
from consent_gateway.db.audience_rows import Person
from consent_gateway.db.log_people import Opening
from consent_gateway.domain.decisions import Answer, deny_by_default
from consent_gateway.domain.ids import SubjectId
from consent_gateway.domain.registers import Principal
from consent_gateway.errors import AuthenticationError, FieldProblem, GatewayError, InputError, QuotaError
from consent_gateway.services.deciding.questions import Asked, Use
from consent_gateway.services.identity.people import NOBODY, PSEUDONYM, Resolver
from consent_gateway.services.rows import strangers
from consent_gateway.services.work.gateway import Work
from consent_gateway.services.work.items import SubjectRef

MAX_BATCH = 1000


@dataclass(frozen=True, slots=True)
class Ask:
    """One question as it arrives: who, for which use, whether to explain, and who asks."""

    use: Use
    subject: SubjectRef
    actor: Principal
    explain: bool = False


_Placed = tuple[int, Ask, SubjectId]
"""A question with its place in the batch and the person it is about, or `NOBODY`."""


@dataclass(frozen=True, slots=True)
class Decision:
    """An answer, the uid of its entry in the log, and its instant in milliseconds."""

    answer: Answer
    uid: bytes
    at_ms: int


UNKNOWN_SUBJECT = deny_by_default(
    "unknown_subject",
    "Nobody with this pseudonym or identifier is known here, so nothing is permitted.",
    "此处没有与该假名或标识符对应的个人,因此一律不予许可。",
)


def decide(work: Work, asks: Sequence[Ask]) -> list[Decision | GatewayError]:
    """Decide independent questions in one transaction; one that is not valid is answered with its error."""
    subjects = _resolve(work, asks)
    results: dict[int, Decision | GatewayError] = {}
    groups: dict[Use, list[_Placed]] = {}
    for n, (ask, subject) in enumerate(zip(asks, subjects, strict=True)):
        if isinstance(subject, GatewayError):
            results[n] = subject
        else:
            groups.setdefault(ask.use, []).append((n, ask, subject))
    for use, members in groups.items():
        _decide_use(work, use, members, results)
    return [results[n] for n in range(len(asks))]


def decide_about(work: Work, use: Use, subjects: Sequence[SubjectId | None]) -> list[Decision]:
    """Decide one question about people whom the caller has found, None for nobody, each with an entry of its own.

    InputError for a use that is not registered.
    """
    results: dict[int, Decision | GatewayError] = {}
    ask = Ask(use, SubjectRef(PSEUDONYM, ""), work.actor)
    placed = [(n, ask, NOBODY if subject is None else subject) for n, subject in enumerate(subjects)]
    _decide_use(work, use, placed, results)
    found: list[Decision] = []
    for n in range(len(subjects)):
        result = results[n]
        if isinstance(result, GatewayError):
            raise result
        found.append(result)
    return found


def decide_batch(work: Work, use: Use, refs: Sequence[SubjectRef]) -> tuple[list[Answer], bytes]:
    """Decide many people for one use with one entry in the log; returns the answers in order and the entry's uid."""
    if len(refs) > MAX_BATCH:
        raise InputError(fields=(FieldProblem("$.subjects", "too_many", f"at most {MAX_BATCH} subjects a call"),))
    asked = work.gateway.decider.ask(use, work.registers, work.gateway.rules, work.now)
    strangers.require_room(work, refs)
    resolver = Resolver(work, refs)
    ids = [NOBODY if isinstance(found := resolver.resolve(ref), FieldProblem) else found for ref in refs]
    unknown = [ref for ref, i in zip(refs, ids, strict=True) if i == NOBODY and ref.kind != PSEUDONYM]
    if unknown:
        strangers.count(work, work.actor, resolver, unknown)
    people = audience_rows.read_people(work.session, asked.reading, sorted(set(ids)), work.now)
    answers = [_answer(work, asked, people.get(i)) for i in ids]
    permitted = sum(answer.permitted for answer in answers)
    uid = work.record(
        EntryKind.DECISIONS_BATCH,
        {**_use_fields(use), **work.cite_law(), "subjects": len(refs), "permitted": permitted},
    )
    return answers, uid


# -- the parts ---------------------------------------------------------------------------------------------------


def _resolve(work: Work, asks: Sequence[Ask]) -> list[SubjectId | GatewayError]:
    """Return the person of each question, or `NOBODY`; pseudonyms need no query, identifiers share one."""
    resolver = Resolver(work, [ask.subject for ask in asks])
    found: list[SubjectId | GatewayError] = []
    for ask in asks:
        if not work.is_live(ask.actor):
            found.append(AuthenticationError())
            continue
        if ask.subject.kind != PSEUDONYM and (refused := strangers.refusal(work, ask.actor)) is not None:
            found.append(refused)
            continue
        who = resolver.resolve_for(ask.subject, ask.actor.recipient)
        if isinstance(who, FieldProblem) and who.code != "unknown_subject":
            found.append(InputError(fields=(who,)))
        else:
            found.append(NOBODY if isinstance(who, FieldProblem) else who)
    if any(who == NOBODY and ask.subject.kind != PSEUDONYM for ask, who in zip(asks, found, strict=True)):
        _count_strangers(work, resolver, asks, found)
    return found


def _count_strangers(
    work: Work, resolver: Resolver, asks: Sequence[Ask], found: list[SubjectId | GatewayError]
) -> None:
    """Count the questions about strangers, and refuse each key's questions by identifier from where they do not fit."""
    for actor in sorted({ask.actor for ask in asks}, key=lambda a: a.id):  # locks are taken in one order
        mine = [n for n, ask in enumerate(asks) if ask.actor == actor and ask.subject.kind != PSEUDONYM]
        unknown = [n for n in mine if found[n] == NOBODY]
        fitted = strangers.count(work, actor, resolver, [asks[n].subject for n in unknown]) if unknown else 0
        if fitted < len(unknown):
            refused = strangers.refusal(work, actor) or QuotaError()
            for n in mine[mine.index(unknown[fitted]) :]:
                found[n] = refused


def _decide_use(
    work: Work,
    use: Use,
    asks: Sequence[_Placed],
    results: dict[int, Decision | GatewayError],
) -> None:
    try:
        asked = work.gateway.decider.ask(use, work.registers, work.gateway.rules, work.now)
    except InputError as error:
        results.update({n: error for n, _, _ in asks})
        return
    ids = sorted({i for _, _, i in asks})
    people = audience_rows.read_people(work.session, asked.reading, ids, work.now)
    writers: dict[str, EntryWriter] = {}
    fields = _use_fields(use) | work.cite_law()
    kept = work.gateway.kept
    encoded: dict[tuple[str, str], bytes] = {}
    for n, ask, subject_id in asks:
        person = people.get(subject_id)
        answer = _answer(work, asked, person, explain=ask.explain)
        if person is not None and answer.facts_digest not in kept and answer.facts_digest:
            work.points[answer.facts_digest] = work.gateway.decider.facts(asked, person.key, work.now).bits
        writer = writers.get(ask.actor.id) or writers.setdefault(
            ask.actor.id, EntryWriter(EntryKind.DECISION_MADE, ask.actor.id)
        )
        key = (answer.outcome.value, answer.reason_code)
        if key not in encoded:
            encoded[key] = canonical_json({**fields, "outcome": key[0], "reason": key[1]})
        results[n] = Decision(answer, _record(work, writer, encoded[key], person, answer), work.now_ms)


def _answer(work: Work, asked: Asked, person: Person | None, *, explain: bool = False) -> Answer:
    if person is None:
        return UNKNOWN_SUBJECT
    if asked.law.watched:
        work.watch(asked, person.key)
    decider = work.gateway.decider
    return (decider.explain if explain else decider.answer)(asked, person.key, work.now)


def _record(work: Work, writer: EntryWriter, fields: bytes, person: Person | None, answer: Answer) -> bytes:
    """Queue the entry: outcome and reason in the clear, who it was about and on which facts as a commitment."""
    uid = new_uid(work.now_ms)
    if person is None:
        work.entries.append((uid, writer.write_encoded(work.now_ms, uid, fields, b"{}"), None))
        return uid
    # Written out, because canonical JSON of one plain member needs no encoder.
    payload = b'{"facts":"%b"}' % answer.facts_digest.encode()
    audit_key = work.gateway.vault.audit_key(person.subject_id, person.wrapped_dek)
    sealed = unfilled(commit(audit_key, uid, SUBJECT, payload))
    work.entries.append((uid, writer.write_encoded(work.now_ms, uid, fields, sealed), chain_ref(audit_key, uid)))
    work.openings.append(Opening(uid, SUBJECT, person.subject_id, payload))
    return uid


def _use_fields(use: Use) -> dict[str, object]:
    return {"purpose": use.purpose, "channel": use.channel.value, "recipient": use.recipient}
