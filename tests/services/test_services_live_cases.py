"""Every open decision case, live: registers, a person and their ledger are built through the use cases, then asked.

The case file says what the law is; `policies.cases` answers it from its facts. Here the same facts have to arrive on
the ways on which they arrive in service (registers, settings, intake), and the answer has to be the same: alone, in a
batch, and as an audience. `EXCEPTIONS` lists what cannot be, each with its reason.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from sqlalchemy import delete

from builders import DAY, a_gateway, a_recipient, a_source, by, choose, forget_people, subject_id, take
from consent_gateway.clock import FixedClock
from consent_gateway.db import tables
from consent_gateway.domain.caps import candidate_zones
from consent_gateway.domain.circumstances import PointFact, Subscriber, Told, day_number
from consent_gateway.domain.consents import ConsentKind, ConsentProperty
from consent_gateway.domain.ids import PurposeId, RecipientId
from consent_gateway.domain.purposes import (
    Basis,
    Channel,
    Destination,
    Mark,
    Party,
    Purpose,
    PurposeKind,
    RecipientKind,
)
from consent_gateway.domain.registers import Exports
from consent_gateway.domain.segments import Everyone
from consent_gateway.domain.subjects import Choice
from consent_gateway.policies.cases.runner import answer_case
from consent_gateway.policies.packs import load_builtin
from consent_gateway.services.deciding.questions import Message, Use
from consent_gateway.services.deciding.rules import CapRule, Rules
from consent_gateway.services.disclosing import audiences
from consent_gateway.services.disclosing.decisions import Ask, Decision, decide, decide_batch
from consent_gateway.services.disclosing.exports import declare_exports
from consent_gateway.services.erasing.erasure import erase
from consent_gateway.services.identity import circumstances
from consent_gateway.services.registry import registers
from consent_gateway.services.work.gateway import SYSTEM, Gateway
from consent_gateway.services.work.items import ConsentItem, ContactItem, SubjectItem

FILE = Path(__file__).resolve().parents[2].parent / "shared" / "cases" / "law_cases.json"
DOCUMENT = json.loads(FILE.read_text(encoding="utf-8")) if FILE.exists() else {"cases": []}
CASES = {case["id"]: case for case in DOCUMENT["cases"]}
pytestmark = pytest.mark.skipif(not CASES, reason=f"the shared decision cases are missing: {FILE}")
WHO = by("member_no", "M00001")
EXCEPTIONS = {
    "EU-13": (
        "no_prior_consent",
        "consent is kept per purpose and channel: a yes for e-mail is no consent at all for texts, and says so",
    ),
    "CA-25": (
        "unknown_subject",
        "who was deleted is nobody here: no row is left to decide about (the suppression itself is checked at intake)",
    ),
    "XX-09": (
        "unknown_subject",
        "who was deleted is nobody here: the record of the request is an entry in the log, not a use of their data",
    ),
}
_MARKS = {
    Mark.AUTOMATED: "automated_decision",
    Mark.SIGNIFICANT: "significant_effect",
    Mark.UNREASONABLE_PRICE: "unreasonable_difference",
    Mark.NON_PERSONALISED_OPTION: "non_personalised_option",
    Mark.REFUSAL_MECHANISM: "refusal_mechanism",
    Mark.CHILD_DIRECTED: "child_directed",
}
_CHOICES = {
    Choice.OBJECTION: "objection",
    Choice.RESTRICTION: "restriction",
    Choice.LIMIT_SENSITIVE: "limit_sensitive_use",
    Choice.GPC: "gpc",
    Choice.PERSONALISATION_REFUSED: "personalisation_refused",
    Choice.DELETION_PENDING: "deletion_pending_technical",
}
_PROPERTIES = {
    "separate": ConsentProperty.SEPARATE,
    "explicit": ConsentProperty.EXPLICIT,
    "parental": ConsentProperty.GUARDIAN,
    "written": ConsentProperty.WRITTEN,
    "two_step_opt_in": ConsentProperty.TWO_STEP,
}
Facts = Mapping[str, Any]


class Live:
    """One case in service: a gateway whose registers, clock and people say what the case says."""

    def __init__(self, gateway: Gateway, clock: FixedClock, facts: Facts) -> None:
        self.facts = facts
        clock.instant = instant_of(facts)
        self.now = int(clock.instant.timestamp())
        self.clock = clock
        self.gateway = a_gateway(
            gateway.store, keyring=gateway.vault.provider.keyring, clock=clock, rules=rules_of(facts)
        )
        self.channel = Channel(facts["channel"])
        self.purpose = PurposeId(facts["purpose"])
        self.recipient = RecipientId(facts.get("recipient_id") or facts["recipient_type"])
        self.register()
        self.import_person()
        self.say()
        self.choose()
        self.contact()

    def register(self) -> None:
        """Declare the purpose, the recipient, the exports and the sources of the case."""
        facts, soft = self.facts, self.facts["soft_opt_in_conditions"]
        marks = {mark for mark, name in _MARKS.items() if facts.get(name)}
        marks |= {Mark.SIMILAR_PRODUCTS} if soft.get("similar_products") else set()
        marks |= {Mark.CHARITABLE} if soft.get("charitable_purpose_only") else set()
        requested = facts.get("requested_purpose")
        purpose = Purpose(
            self.purpose,
            PurposeKind(facts["purpose"]),
            "t",
            "t",
            "https://w3id.org/dpv#X",
            Basis(facts["legal_basis"]),
            self._parent(),
            frozenset(marks),
            tuple(facts["sensitive"]),
            requested=PurposeId(requested) if requested else None,
        )
        with self.gateway.work() as work:
            for name, party in (
                ("shop", Party.FIRST),
                ("cousin", Party.SECOND),
                ("elsewhere", Party.FIRST),
                ("crm", Party.FIRST),
            ):
                registers.put_source(work, replace(a_source(name), party=party))
            registers.put_purpose(work, purpose, [self.channel])
            kind = RecipientKind(facts["recipient_type"])
            place = facts.get("recipient_location") or facts.get("processing_location") or ""
            home = "" if kind is RecipientKind.SELF else self._home()
            destination = facts.get("destination_kind")
            registers.put_recipient(
                work,
                a_recipient(
                    self.recipient,
                    kind=kind,
                    country=place or home,
                    transfer_mechanism=facts["transfer_mechanism"],
                    sector="self" if kind is RecipientKind.SELF else self.recipient,
                    destination=Destination(destination) if destination else _service(kind),
                ),
            )
            people = facts.get("exported_non_sensitive_individuals_this_year")
            if people is not None:
                declare_exports(work, Exports(2026, people, 0))

    def _home(self) -> str:
        """A recipient of whom the case says nothing is where the person is: the data does not leave."""
        return str(self.facts["residency"] or "").partition("-")[0]

    def _parent(self) -> PurposeId | None:
        with self.gateway.look() as work:
            held = work.registers.purposes.purposes.get(self.purpose)
        return None if held is None else held.parent

    def import_person(self) -> None:
        """Import the person once for each candidate residency, from the source that the case tells of."""
        facts, soft = self.facts, self.facts["soft_opt_in_conditions"]
        born = (
            None
            if facts["age"] is None
            else self.clock.instant.date().replace(day=1) - timedelta(days=366 * facts["age"] + 40)
        )
        on = facts.get("collected_at")
        told = Told(
            Subscriber(facts["subscriber_type"]),
            soft.get("collected_in_sale"),
            soft.get("opt_out_offered_at_collection"),
            soft.get("expressed_interest_or_support"),
            None if on is None else day_number(date.fromisoformat(on)),
        )
        identifiers = {
            "member_no": "M00001",
            "email": "person1@example.org",
            "phone": "+4915112345678",
            "device_id": "b7a6a1de-0c0e-4a43-9d43-0f2a5d8f3c11",
        }
        candidates = facts.get("residency_candidates") or [facts["residency"]]
        for place in candidates:
            item = SubjectItem(
                identifiers, country=place, birth_date=None if born is None else born.isoformat(), told=told
            )
            taken = take(self.gateway, [item], "shop" if soft.get("same_legal_entity", True) else "cousin")
            assert not taken.rejected, taken.rejections

    def say(self) -> None:
        """Record what was said about each purpose and channel of the case's scope."""
        facts = self.facts
        state = facts["consent_state"]
        if state == "none":
            return
        scope = facts.get("consent_scope") or {
            "purposes": [facts["purpose"]],
            "channels": [facts["channel"]],
            "recipients": ["self"],
        }
        at = self.now - 3600
        if facts.get("refused_at"):
            at = int(datetime.fromisoformat(facts["refused_at"]).replace(tzinfo=UTC).timestamp())
        if facts.get("minutes_since_revocation") is not None:
            at = self.now - 60 * facts["minutes_since_revocation"]
        with self.gateway.look() as work:
            known = set(work.registers.purposes.purposes)
        for purpose in (p for p in scope["purposes"] if p in known):
            for channel in scope["channels"]:
                for recipient in scope["recipients"]:
                    named = None if recipient == "self" else recipient
                    if state in ("withdrawn", "refused"):
                        named = None
                    kind = ConsentKind(state)
                    item = ConsentItem(
                        WHO,
                        purpose,
                        kind,
                        at,
                        channel,
                        properties=self._properties(),
                        recipient=named,
                        evidence=b'{"guardian": "mother"}',
                    )
                    assert take(self.gateway, [item], "elsewhere").accepted == 1

    def _properties(self) -> ConsentProperty:
        facts, found = self.facts, ConsentProperty(0)
        if facts["consent_method"] == "affirmative":
            found |= ConsentProperty.AFFIRMATIVE
        if facts["consent_evidence"] == "full":
            found |= ConsentProperty.EVIDENCE
        if facts["consent_given_by"] in ("parent", "guardian"):
            found |= ConsentProperty.GUARDIAN
        return found | _PROPERTIES.get(facts["consent_kind"] or "", ConsentProperty(0))

    def choose(self) -> None:
        """Switch the choices of the case."""
        facts = self.facts
        for choice, name in _CHOICES.items():
            if facts.get(name):
                choose(self.gateway, WHO, choice, at=self.now - 60)
        on = facts.get("last_opt_out_at")
        if facts["sale_share_opt_out"] or on:
            at = self.now - 60 if on is None else int(datetime.fromisoformat(on).replace(tzinfo=UTC).timestamp())
            choose(self.gateway, WHO, Choice.SALE_SHARE_OPT_OUT, at=at)
        incentive = facts.get("financial_incentive") or {}
        for choice, name in zip(
            (Choice.LOYALTY_PARTICIPANT, Choice.LOYALTY_ASKED, Choice.LOYALTY_AFFIRMED),
            ("participant", "asked_to_confirm", "affirmed"),
            strict=True,
        ):
            if incentive.get(name):
                choose(self.gateway, WHO, choice, at=self.now - 60)

    def contact(self) -> None:
        """Import the messages that the case counts."""
        sent = (
            (self.facts.get("frequency") or {}).get("sent_in_window") or self.facts.get("sends_same_subject_24h") or 0
        )
        items = [ContactItem(WHO, self.channel.value, self.now - 60 * (n + 1), "c", f"k{n}") for n in range(sent)]
        if items:
            assert take(self.gateway, items, "elsewhere").accepted == sent

    def use(self) -> Use:
        """What the case asks."""
        message = {name: self.facts["message"].get(name, True) for name in Message.__slots__}
        return Use(self.purpose, self.channel, self.recipient, Message(**message))


def _service(kind: RecipientKind) -> Destination | None:
    return Destination.SERVICE if kind is RecipientKind.PROCESSOR else None


def rules_of(facts: Facts) -> Rules:
    """The operator's settings: caps that do not bind where the case does not speak of them."""
    frequency = facts.get("frequency")
    cap = CapRule(4, DAY) if frequency is None else CapRule(frequency["cap"], frequency["window_hours"] * 3600)
    return Rules(
        k_floor=1,
        cap=cap,
        controller_country=facts.get("controller_location"),
        sender_type=facts.get("sender_type") or "commercial",
    )


def instant_of(facts: Facts) -> datetime:
    """The instant at which a clock in the person's first zone shows the case's local time, on the case's day."""
    day = datetime.fromisoformat(facts["now"]).date()
    zone = ZoneInfo(ZONES.get(str(facts["residency"]), candidate_zones((facts["residency"],))[0]))
    local = (facts.get("local_time_candidates") or [facts["local_time"]])[-1]
    hour, minute = (int(part) for part in local.split(":"))
    return datetime(day.year, day.month, day.day, hour, minute, tzinfo=zone).astimezone(UTC)


ZONES = {"US-FL": "America/New_York", "US": "America/New_York", "None": "UTC"}


def facts_of(case: Facts) -> dict[str, Any]:
    """The facts of a case with everything that it leaves out."""
    defaults, given = DOCUMENT["defaults"], case["given"]
    return {**defaults, **given, "message": {**defaults["message"], **given.get("message", {})}}


@pytest.fixture
def live(gateway: Gateway, clock: FixedClock) -> Any:
    def build(case: str, **changes: Any) -> Live:
        forget_people(gateway.store)
        with gateway.work() as work:
            for table in (tables.slots, tables.exports, tables.purposes):
                work.session.execute(delete(table))
            registers.seed(work)
        return Live(gateway, clock, facts_of(CASES[case]) | changes)

    return build


def test_every_case_is_answered_in_service_as_the_law_says(live: Any) -> None:
    differing = {}
    for name, case in CASES.items():
        wanted = answer_case(load_builtin(), case["given"], DOCUMENT["defaults"])
        assert (wanted.outcome, wanted.reason_code) == (case["expected"], case["reason_code"])
        if name in EXCEPTIONS and EXCEPTIONS[name][0] == "unknown_subject":
            continue
        story = live(name)
        found = ask(story)
        if (found.outcome, found.reason_code) != (wanted.outcome, wanted.reason_code):
            differing[name] = (found.outcome.value, found.reason_code)
    assert differing == {"EU-13": ("deny", EXCEPTIONS["EU-13"][0])}


def ask(story: Live) -> Any:
    """Ask alone, in a batch and as an audience; the answers must agree."""
    use = story.use()
    with story.gateway.work() as work:
        (alone,) = decide(work, [Ask(use, WHO, SYSTEM)])
        (together,), _ = decide_batch(work, use, [WHO])
        found = audiences.resolve(work, Everyone(), use)
    assert isinstance(alone, Decision), alone
    assert (alone.answer.outcome, alone.answer.reason_code) == (together.outcome, together.reason_code)
    assert found.row.size == int(alone.answer.permitted)
    return alone.answer


@pytest.mark.parametrize("name", [name for name, (reason, _) in EXCEPTIONS.items() if reason == "unknown_subject"])
def test_who_was_deleted_is_nobody(live: Any, name: str) -> None:
    story = live(name)
    with story.gateway.work() as work:
        erase(work, subject_id(work, WHO), "request")
    found = ask(story)
    assert (found.outcome.value, found.reason_code) == ("deny", EXCEPTIONS[name][0])


@pytest.mark.parametrize(
    ("name", "planted"),
    [
        ("EU-03", ("point_facts", lambda _facts, _points, _own: PointFact(0))),
        ("UK-02", ("point_facts", lambda _facts, _points, _own: PointFact.SINCE_CHARITY_DAY | PointFact.OPT_OUT_OFFERED | PointFact.INTEREST)),
    ],
)  # fmt: skip
def test_a_fact_that_does_not_arrive_is_seen(
    live: Any, monkeypatch: pytest.MonkeyPatch, name: str, planted: tuple[str, Any]
) -> None:
    monkeypatch.setattr(circumstances, *planted)
    found = ask(live(name))
    assert (found.outcome.value, found.reason_code) != (CASES[name]["expected"], CASES[name]["reason_code"])
