"""What answers that no rule gives look like, and that a question specialised is the question itself."""

from __future__ import annotations

from dataclasses import replace

import pytest
from policies_builders import a_person, a_question, consenting, values_of

from consent_gateway.domain.consents import ConsentState
from consent_gateway.domain.decisions import Answer, Effect, Outcome, Reason, Stage
from consent_gateway.domain.purposes import Channel, PurposeKind, RecipientKind
from consent_gateway.policies.combine import Reasons, denial
from consent_gateway.policies.compile import Program, program, specialise
from consent_gateway.policies.engine import (
    decide,
    decide_by_reading,
    decide_for,
    decide_values,
    decide_without_packs,
    deny_unknown,
    explain,
    explain_for,
)
from consent_gateway.policies.facts import QUESTION_MASK, Facts, build
from consent_gateway.policies.packs import load_builtin
from consent_gateway.policies.rules import POLICY, PackSet
from consent_gateway.policies.vocabulary import FACTS, FIELD, well_formed

PACKS = load_builtin()
UNKNOWN = PACKS.reasons["facts_unknown"]
MARKETING = a_question()
SHARING = a_question(
    channel=Channel.NONE,
    purpose_kind=PurposeKind.THIRD_PARTY_AUDIENCE_SHARING,
    recipient_kind=RecipientKind.THIRD_PARTY,
)
SERVICE = a_question(purpose_kind=PurposeKind.SERVICE_MESSAGE)
PEOPLE = [
    a_person(regions=regions, consent=state, scope_recipient=True)
    for regions in (("DE",), ("US-CA", "FR"), ("CN",), ("GB", "CN"), (None,), ("BR",))
    for state in (ConsentState.GIVEN, ConsentState.WITHDRAWN, ConsentState.NONE)
]


def refusal(code: str, citation: str, digest: str = "") -> Answer:
    """A denial that no rule gives, as it is to look."""
    text = PACKS.reasons[code]
    reason = Reason(code, f"engine.{code}", POLICY, citation, text.en, text.zh, text.stage, Effect.DENY)
    return Answer(Outcome.DENY, code, (reason,), (), (), digest)


def test_a_fact_outside_of_its_domain_is_denied_by_name() -> None:
    assert deny_unknown(PACKS, "the moon") == refusal("facts_unknown", "the moon")
    wrong, why = a_question(destination_kind="the_moon"), "the fact 'destination' has a value outside of its domain"
    assert decide_for(PACKS, wrong, a_person()) == refusal("facts_unknown", why)
    assert explain_for(PACKS, wrong, a_person()) == refusal("facts_unknown", why)
    good = values_of(consenting()[0])
    assert decide_values(PACKS, {**good, "mood": "x"}) == refusal("facts_unknown", "there is no fact named 'mood'")
    assert decide_values(PACKS, good) == decide_by_reading(PACKS, consenting()[0])
    del good["consent"]
    assert decide_values(PACKS, good) == refusal("facts_unknown", "the fact 'consent' is missing")


def test_bits_that_are_no_point_and_rules_that_fail_are_denied_alike_everywhere() -> None:
    facts = build(MARKETING, a_person())
    special, compiled = specialise(PACKS, MARKETING), Program(PACKS)
    broken = Facts(facts.bits ^ (facts.bits & FIELD["age"]))
    outside = refusal("facts_unknown", "facts outside of the vocabulary")
    assert not well_formed(broken.bits)
    assert compiled.evaluate(broken.bits) == special.rule_on(broken) == special.decide(broken) == outside
    special._sieve = None  # type: ignore[assignment]
    compiled._by_index = None  # type: ignore[assignment]
    assert special.rule_on(facts) == refusal("rule_error", "AttributeError")
    assert compiled.evaluate(facts.bits) == refusal("rule_error", "AttributeError", facts.digest())
    assert special.decide(facts) == refusal("rule_error", "AttributeError", facts.digest())


def test_without_packs_the_answer_says_so() -> None:
    closed, open_ = (decide_without_packs(p) for p in (PurposeKind.STORAGE, PurposeKind.REQUEST_RECORD_KEEPING))
    no = closed.leading
    assert closed == Answer(Outcome.DENY, "policy_unavailable", (no,), (), (), "")
    assert (no.rule_id, no.law, no.citation) == ("engine.policy_unavailable", POLICY, "promise P1: no packs, no use")
    assert (no.effect, no.stage) == (Effect.DENY, Stage.LAW)
    yes = open_.leading
    assert open_ == Answer(Outcome.PERMIT, "rights_fail_open", (yes,), (), (), "")
    assert (yes.rule_id, yes.law, yes.citation) == ("engine.rights", POLICY, "policy: rights fail open")
    assert (yes.effect, yes.stage) == (Effect.PERMIT, None)


def test_to_explain_for_a_person_is_to_explain_their_facts() -> None:
    for person in PEOPLE:
        assert explain_for(PACKS, MARKETING, person) == explain(PACKS, build(MARKETING, person))
        assert decide_for(PACKS, MARKETING, person) == decide_by_reading(PACKS, build(MARKETING, person))


@pytest.mark.parametrize("question", [MARKETING, SHARING, SERVICE])
def test_a_question_specialised_answers_as_the_whole(question: object) -> None:
    asked = specialise(PACKS, question)  # type: ignore[arg-type]
    assert asked.question is question
    for person in PEOPLE:
        facts = asked.build(person)
        assert facts == build(asked.question, person)
        whole = decide_by_reading(PACKS, facts)
        assert asked.decide(facts) == whole
        assert asked.rule_on(facts) == replace(whole, facts_digest="")
    assert {person.regions for person in PEOPLE if asked.decide(asked.build(person)).permitted}


def test_what_no_rule_speaks_of_is_denied_by_default() -> None:
    facts = build(a_question(purpose_kind=PurposeKind.STORAGE, channel=Channel.NONE), a_person(regions=("DE",)))
    quiet = PackSet(tuple(replace(pack, rules=()) for pack in PACKS.packs if pack.id in {"gdpr", "uk"}), PACKS.reasons)
    answer = Program(quiet).decide(facts)
    assert answer == decide_by_reading(quiet, facts)
    assert [reason.rule_id for reason in answer.reasons] == ["gdpr.default"]
    assert answer.packs == (PACKS.packs[2].name,)
    silent = replace(quiet, packs=tuple(replace(pack, default_reason=None) for pack in quiet.packs))
    assert [reason.rule_id for reason in Program(silent).decide(facts).reasons] == ["engine.no_permit"]


def test_the_class_of_a_point_holds_the_facts_that_are_read_and_the_purpose() -> None:
    asked = specialise(PACKS, MARKETING)
    facts = asked.build(a_person(regions=("DE",)))
    read = sum(FIELD[name] for name in (*asked.relevant_facts, "purpose"))
    assert asked.class_of(facts) == facts.bits & read
    assert read & QUESTION_MASK == FIELD["purpose"]
    for fact in FACTS:
        if fact.of_question:
            assert fact.name not in asked.relevant_facts
        else:
            changed = facts.replace(**{fact.name: next(v for v in fact.values if v != facts[fact.name])})
            assert (asked.class_of(changed) != asked.class_of(facts)) is (fact.name in asked.relevant_facts)


def test_facts_of_another_question_are_refused() -> None:
    asked = specialise(PACKS, MARKETING)
    for ask in (asked.rule_on, asked.decide):
        with pytest.raises(ValueError, match=r"^the facts belong to another question$"):
            ask(build(SERVICE, a_person()))


def test_one_program_belongs_to_one_pack_set_and_remembers() -> None:
    facts = consenting()[0]
    fresh = Program(PACKS)
    assert fresh.decide(facts) is fresh.decide(facts)
    assert fresh.decide(facts) is not fresh.evaluate(facts.bits)
    assert fresh.sieve(facts.bits) is fresh.sieve(facts.replace(consent="none").bits)
    assert fresh.sieve(facts.bits) is not fresh.sieve(facts.replace(channel="sms").bits)
    assert fresh.reasons.catalogue is PACKS
    assert program(PACKS) is not fresh
    assert decide(PACKS, facts) == fresh.decide(facts)


def test_a_reason_that_the_catalogue_does_not_know_denies_for_the_law() -> None:
    reasons = Reasons.of(PackSet((), {}))
    found = denial(reasons, "unheard_of", "nowhere", "d").leading
    assert found == Reason(
        "unheard_of", "engine.unheard_of", POLICY, "nowhere", "unheard_of", "unheard_of", Stage.LAW, Effect.DENY
    )
    named = Reasons.of(PACKS).synthetic("no_legal_basis", "x", "y", Stage.CAP)
    assert (named.stage, named.effect, named.rule_id) == (Stage.CAP, Effect.DENY, "engine.x")
