"""Values for tests, with defaults: rows as they come in, people, and gateways over a store."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sqlalchemy import delete, select

from consent_gateway.audit.checkpoints import Signer
from consent_gateway.clock import Clock, FixedClock
from consent_gateway.db import key_jobs, resealing, tables
from consent_gateway.db.engine import Store
from consent_gateway.domain.consents import ConsentKind, ConsentProperty
from consent_gateway.domain.decisions import Answer
from consent_gateway.domain.ids import PurposeId, RecipientId, SourceId, SubjectId
from consent_gateway.domain.purposes import OWN, Channel, Party, Recipient, RecipientKind, Source
from consent_gateway.domain.registers import Principal
from consent_gateway.domain.subjects import Choice
from consent_gateway.policies.packs import load_builtin
from consent_gateway.services.deciding.decider import Decider
from consent_gateway.services.deciding.questions import Use
from consent_gateway.services.deciding.rules import Rules
from consent_gateway.services.disclosing.decisions import Ask, Decision, decide
from consent_gateway.services.identity.people import Resolver
from consent_gateway.services.ledger.choices import record_choices
from consent_gateway.services.ledger.consents import record_consents
from consent_gateway.services.ledger.signals import record_signals
from consent_gateway.services.persons.events import import_contacts, import_events
from consent_gateway.services.persons.subjects import import_subjects
from consent_gateway.services.policy import policies
from consent_gateway.services.registry import registers
from consent_gateway.services.rows.intake import Incoming, Intake
from consent_gateway.services.work import principals
from consent_gateway.services.work.gateway import SYSTEM, Gateway, Work
from consent_gateway.services.work.items import (
    ChoiceItem,
    ConsentItem,
    ContactItem,
    EventItem,
    SignalItem,
    SubjectItem,
    SubjectRef,
)
from consent_gateway.services.work.vault import Vault, open_bytes, open_group
from consent_gateway.vault.keyring import Keyring
from consent_gateway.vault.protectors import SecretFileProtector

NOW = datetime(2026, 11, 18, 12, 0, tzinfo=UTC)
NOW_S = int(NOW.timestamp())
DAY = 86_400
ORIGIN = "test.example/log"
SOURCE = "crm"
EMAIL_MARKETING = Use(PurposeId("direct_marketing"), Channel.EMAIL, RecipientId("self"))
RIGHTS = Principal("rights", OWN, frozenset({"access"}))  # who hands people what is theirs
# Good everywhere: what each law asks of consent is there.
ALL_PROPERTIES = ConsentProperty(sum(ConsentProperty))
EVIDENCE = b'{"form":"signup","guardian":"identity card seen"}'  # what those claims need

# Everything that people leave behind; the registers stay.
PEOPLE_TABLES = (
    tables.subjects,
    tables.subject_keys,
    tables.sealed_groups,
    tables.identifiers,
    tables.tombstones,
    tables.suppressions,
    tables.subject_traits,
    tables.signals,
    tables.consent_events,
    tables.consent_confirmations,
    tables.notice_views,
    tables.choice_events,
    tables.circumstances,
    tables.events,
    tables.contacts,
    tables.audience_rows,
    tables.subject_links,
    tables.merges,
    tables.erasures,
    tables.legal_holds,
    tables.pending_erasures,
    tables.subject_sources,
    tables.retention_runs,
    tables.imports,
    tables.quarantine,
    tables.deferrals,
    tables.audiences,
    tables.audience_members,
    tables.audit_pending,
    tables.audit_openings,
    tables.quota_units,
    tables.canaries,
)


def a_keyring_place(directory: Path) -> Path:
    """Return where a keyring may be made, with the secret that `sealed` seals it by beside it."""
    secret = directory / "secret"
    secret.write_bytes(bytes(range(32)))
    secret.chmod(0o600)
    return directory / "keyring.json"


def sealed(path: Path) -> SecretFileProtector:
    """Return what seals the keyring at a place that `a_keyring_place` made."""
    return SecretFileProtector(path.with_name("secret"))


def a_gateway(
    store: Store, *, keyring: Keyring | None = None, clock: Clock | None = None, rules: Rules | None = None
) -> Gateway:
    """A gateway over a migrated store; nothing is registered yet."""
    ring = keyring or Keyring.in_memory()
    signer = Signer(ORIGIN, ring.log_signing_seed())
    return Gateway(
        store, Vault.over(ring), Decider(load_builtin()), clock or FixedClock(NOW), signer, rules or Rules(k_floor=1)
    )


def twin(gateway: Gateway) -> Gateway:
    """Another replica over the same store and keys: own caches, own parts."""
    ring = gateway.vault.provider.keyring
    return a_gateway(gateway.store, keyring=ring, clock=gateway.clock, rules=gateway.rules)


def another(gateway: Gateway, path: Path) -> Gateway:
    """Another process: the same store, its own copy of the keyring as the file is now."""
    ring = Keyring.open(path, sealed(path))
    return a_gateway(gateway.store, keyring=ring, clock=gateway.clock, rules=gateway.rules)


def a_recipient(name: str, /, **changes: Any) -> Recipient:
    """A processor in Germany under contract, in a sector of its own."""
    values: dict[str, Any] = {
        "id": RecipientId(name),
        "name": name.title(),
        "kind": RecipientKind.PROCESSOR,
        "country": "DE",
        "contract": True,
        "transfer_mechanism": "none",
        "sector": name,
    }
    return Recipient(**(values | changes))


def a_source(name: str = SOURCE) -> Source:
    """A source of our own."""
    return Source(SourceId(name), name, "web", Party.FIRST, None, ())


def with_source(gateway: Gateway, name: str = SOURCE) -> Gateway:
    """The gateway, with a source to import from."""
    with gateway.work() as work:
        registers.put_source(work, a_source(name))
    return gateway


def incoming(items: Sequence[Any]) -> list[Incoming[Any]]:
    """Rows as the edge would hand them over."""
    return [Incoming(n, repr(item).encode(), item) for n, item in enumerate(items, 1)]


def by(kind: str, value: str) -> SubjectRef:
    """A reference to a person by an identifier or a pseudonym."""
    return SubjectRef(kind, value)


def a_person(number: int, **changes: Any) -> SubjectItem:
    """Person number `number`: a member number and an e-mail address, in Germany, of age."""
    values: dict[str, Any] = {
        "identifiers": {"member_no": f"M{number:05}", "email": f"person{number}@example.org"},
        "country": "DE",
        "birth_date": "1980-05-17",
    }
    return SubjectItem(**(values | changes))


def ref(number: int) -> SubjectRef:
    """How `a_person(number)` is named in other rows."""
    return SubjectRef("member_no", f"M{number:05}")


def a_consent(subject: SubjectRef, **changes: Any) -> ConsentItem:
    """A grant of direct marketing by e-mail, an hour ago, with every property."""
    values: dict[str, Any] = {
        "subject": subject,
        "purpose": "direct_marketing",
        "channel": "email",
        "kind": ConsentKind.GIVEN,
        "at": NOW_S - 3600,
        "properties": ALL_PROPERTIES,
        "evidence": EVIDENCE,
    }
    return ConsentItem(**(values | changes))


def take(gateway: Gateway, items: Sequence[Any], source: str = SOURCE) -> Intake:
    """Take in rows of one kind in one piece of work; the kind is that of the items."""
    use_case: Any = {
        SubjectItem: import_subjects,
        ConsentItem: record_consents,
        ChoiceItem: record_choices,
        EventItem: import_events,
        ContactItem: import_contacts,
        SignalItem: record_signals,
    }[type(items[0])]
    with gateway.work() as work:
        taken: Intake = use_case(work, source, incoming(items), "0" * 64)
    return taken


def withdraw(gateway: Gateway, subject: SubjectRef, **changes: Any) -> Intake:
    """Withdraw direct marketing by e-mail, now."""
    return take(gateway, [a_consent(subject, kind=ConsentKind.WITHDRAWN, at=NOW_S, **changes)])


def choose(gateway: Gateway, subject: SubjectRef, choice: Choice, *, active: bool = True, at: int = NOW_S) -> Intake:
    """Switch one choice."""
    return take(gateway, [ChoiceItem(subject, choice, active, at)])


def answer_for(gateway: Gateway, subject: SubjectRef, use: Use = EMAIL_MARKETING) -> Answer:
    """What the gateway says about one person, asked alone by itself."""
    with gateway.work() as work:
        (found,) = decide(work, [Ask(use, subject, SYSTEM)])
    assert isinstance(found, Decision), found
    return found.answer


def may_write(gateway: Gateway, subject: SubjectRef) -> bool:
    """Whether the person may be sent marketing by e-mail now."""
    return answer_for(gateway, subject).permitted


def subject_id(work: Work, subject: SubjectRef) -> SubjectId:
    """The internal id of a known person."""
    found = Resolver(work, [subject]).resolve(subject)
    assert isinstance(found, int), found
    return SubjectId(found)


def id_of(gateway: Gateway, subject: SubjectRef) -> SubjectId:
    """The internal id of a known person."""
    with gateway.look() as work:
        return subject_id(work, subject)


def forget_people(store: Store) -> None:
    """Empty every table but the registers and the integrated log: a fresh store for the next example."""
    with store.transaction() as session:
        for table in PEOPLE_TABLES:
            session.execute(delete(table))


def dump(store: Store) -> dict[str, list[tuple[Any, ...]]]:
    """Every row of every table, sorted: what must be equal when nothing changed."""
    with store.reading() as session:
        return {
            table.name: sorted((tuple(row) for row in session.execute(select(table))), key=repr)
            for table in tables.metadata.sorted_tables
        }


def a_pack_text(pack_id: str = "trial", version: int = 1, **changes: str) -> str:
    """A small pack of product policy: it denies direct marketing by post, and nothing else."""
    values = {"channel": "post", "until": "", "review_by": "2030-01-01", "effective_from": "2020-01-01"} | changes
    return f"""\
id: {pack_id}
version: {version}
title: A trial
title_zh: 试行
jurisdiction: policy
effective_from: {values["effective_from"]}
{values["until"]}
review_by: {values["review_by"]}
reviewer: compliance
territory: [{{}}]
default_reason: null
rules:
  - {{id: {pack_id}.channel, law: policy, cites: "our own rule", mark: POLICY, effect: deny, reason: frequency_cap,
     when: {{purpose: direct_marketing, channel: {values["channel"]}}}}}
"""


def an_officer(gateway: Gateway, name: str, *scopes: str) -> Principal:
    """A person with a key of their own, by default with the scope that changes policies."""
    with gateway.work() as work:
        key = principals.issue(work, name, "self", frozenset(scopes or ("policy",)))
    with gateway.look() as work:
        return work.registers.principals[principals.digest(key)]


def put_in_force(gateway: Gateway, text: str, *, proposer: Principal, approver: Principal) -> None:
    """Propose a text and activate it, by two people."""
    with gateway.work(proposer) as work:
        found = policies.propose(work, text)
    with gateway.work(approver) as work:
        policies.activate(work, found.row["name"], found.row["version"])


def opened(gateway: Gateway) -> dict[str, Any]:
    """Everything that is sealed, in the clear; VaultError if any does not open."""
    found: dict[str, Any] = {}
    with gateway.look() as work:
        session = work.session
        wraps = dict(key_jobs.wraps_after(session, -1, 10_000))
        for subject_id, dek in gateway.vault.keys(session, list(wraps)).items():
            for group in resealing.groups_of(session, subject_id):
                found[f"{subject_id} {group.name}"] = open_group(dek, group)
            places = ("evidence", "signal") if subject_id else ("quarantine", "signal")
            for place in places:
                rows = resealing.free_of(session, place, subject_id) if subject_id else resealing.own_of(session, place)
                found |= {f"{place} {i}": open_bytes(dek, subject_id, sealed) for i, sealed in rows}
    return found
