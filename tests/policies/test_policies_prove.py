"""The prover: its formulas are the engine's answers, its search is complete, and z3 agrees on every shipped claim."""

from __future__ import annotations

from dataclasses import replace
from itertools import product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from policies_builders import near_permits
from policies_z3 import counterexample, failing

from consent_gateway.cli.demo.dice import Dice
from consent_gateway.cli.policy_checks import shipped_claims
from consent_gateway.domain.decisions import Effect
from consent_gateway.errors import InputError
from consent_gateway.policies.engine import decide
from consent_gateway.policies.facts import Facts
from consent_gateway.policies.packs import load_builtin
from consent_gateway.policies.proof import formulas
from consent_gateway.policies.proof.claims import MAX_DEPTH, Verb, formula_of, parse_claim, reads
from consent_gateway.policies.proof.formulas import (
    Every,
    Formula,
    Member,
    OutOfTimeError,
    Some,
    negated,
    satisfy,
    watched,
)
from consent_gateway.policies.proof.prove import NEUTRAL, fails, nearest, prove, read_claims
from consent_gateway.policies.rules import Condition, PackSet, Rule
from consent_gateway.policies.vocabulary import BITS, BY_NAME, FACTS, FIELD

PACKS = load_builtin()
CLAIMS = shipped_claims()
NAMES = ("purpose", "consent", "age", "objection", "at_eu")
PERMITS = formulas.permits(PACKS)
law = settings(derandomize=True, deadline=None, max_examples=60)
FALSE = [
    "never permit when at_eu = yes and purpose = direct_marketing and channel = email and consent != given",
    "always deny when purpose = direct_marketing and at_ca = yes",
    "always permit when consent = given and at_eu = yes",
    "permit implies separate = yes when at_eu = yes and purpose in @marketing",
    "deny implies objection = yes",
    "always oblige opt_out_each_message when at_eu = yes",
    "never oblige opt_out_each_message",
    "always cite consent_withdrawn when consent = withdrawn",
    "never cite jurisdiction_unknown",
    "under gdpr: never permit when purpose = direct_marketing and channel = email",
    'never oblige "contract_28"',
]


@pytest.mark.parametrize("named", CLAIMS, ids=lambda named: named.id)
def test_every_shipped_claim_is_proven_and_z3_agrees(named) -> None:
    assert prove(PACKS, named.claim).proved
    assert counterexample(failing(PACKS, named.claim)) is None


def test_the_shipped_claims_say_what_they_are_about() -> None:
    assert len(CLAIMS) >= 25
    assert all(named.says.endswith(".") and named.cites for named in CLAIMS)


@pytest.mark.parametrize("named", CLAIMS, ids=lambda named: named.id)
def test_no_shipped_claim_is_vacuous(named) -> None:
    """There are points that a claim is about, and for a claim about permits there are permits elsewhere."""
    assert satisfy(formula_of(named.claim.where)) is not None
    assert satisfy(Every((negated(formula_of(named.claim.where)), PERMITS))) is not None


@pytest.mark.parametrize("text", FALSE)
def test_a_false_claim_gives_a_point_at_which_it_fails(text: str) -> None:
    claim = parse_claim(text)
    proof = prove(PACKS, claim)
    assert not proof.proved
    assert proof.facts is not None
    assert proof.answer is not None
    packs = replace(PACKS, packs=tuple(p for p in PACKS.packs if p.id == claim.pack)) if claim.pack else PACKS
    assert fails(claim, proof.facts, decide(packs, proof.facts))
    assert {"purpose", "channel"} <= proof.differing().keys()
    if not claim.pack and claim.verb is not Verb.NEVER_OBLIGE and claim.name != "jurisdiction_unknown":
        assert counterexample(failing(PACKS, claim)) is not None


def test_a_counterexample_differs_from_a_neutral_person_where_it_must() -> None:
    proof = prove(
        PACKS, parse_claim("never permit when at_eu = yes and purpose = direct_marketing and channel = email")
    )
    assert proof.facts is not None
    for name in FACTS:
        if proof.facts[name.name] != NEUTRAL[name.name]:
            assert name.name in proof.differing()
    assert len(proof.differing()) < 15


def test_a_planted_hole_turns_a_claim_false() -> None:
    pipl = PACKS.pack("pipl")
    assert pipl is not None
    hole = Rule(
        "pipl.hole", "x", "x", pipl.rules[0].mark, Effect.PERMIT, Condition.of({"basis": ["contract"]}), "consent_valid"
    )
    kept = tuple(r for r in pipl.rules if r.reason != "no_prior_consent")
    packs = PackSet(tuple(replace(p, rules=(*kept, hole)) if p.id == "pipl" else p for p in PACKS.packs), PACKS.reasons)
    (claim,) = [named.claim for named in CLAIMS if named.id == "pipl_email_opt_in"]
    proof = prove(packs, claim)
    assert proof.answer is not None
    assert proof.answer.permitted
    assert {reason.rule_id for reason in proof.answer.reasons} >= {"pipl.hole"}


# -- formulas are answers ----------------------------------------------------------------------------------------------


def holds_at(formula: Formula, facts: Facts) -> bool:
    return satisfy(formula, facts.bits) is not None


CODES = sorted(
    {rule.reason for pack in PACKS.packs for rule in pack.rules} | {"no_legal_basis", "jurisdiction_unknown"}
)
DUTIES = sorted({duty for pack in PACKS.packs for rule in pack.rules for duty in rule.obligations})


@law
@given(near_permits(), st.sampled_from(CODES), st.sampled_from(DUTIES))
def test_the_formulas_say_what_the_engine_answers(facts: Facts, code: str, duty: str) -> None:
    answer = decide(PACKS, facts)
    assert holds_at(PERMITS, facts) == answer.permitted
    assert holds_at(negated(PERMITS), facts) != answer.permitted
    assert holds_at(formulas.cites(PACKS, code), facts) == (code in {r.code for r in answer.reasons})
    assert holds_at(formulas.brings(PACKS, duty, permitted=answer.permitted), facts) == (duty in answer.obligations)


def test_the_formulas_say_it_anywhere_in_the_space() -> None:
    dice = Dice("formulas")
    for _ in range(150):
        facts = Facts.of({fact.name: dice.pick(fact.values) for fact in FACTS})
        assert holds_at(PERMITS, facts) == decide(PACKS, facts).permitted


def members() -> st.SearchStrategy[Formula]:
    def of(name: str) -> st.SearchStrategy[Formula]:
        values = st.sets(st.sampled_from(BY_NAME[name].values))
        return values.map(lambda v: Member(FIELD[name], sum(BITS[name][each] for each in v)))

    return st.sampled_from(NAMES).flatmap(of)


def some_formulas() -> st.SearchStrategy[Formula]:
    def grown(inner: st.SearchStrategy[Formula]) -> st.SearchStrategy[Formula]:
        parts = st.lists(inner, max_size=4).map(tuple)
        return st.one_of(parts.map(Every), parts.map(Some))

    return st.recursive(members(), grown, max_leaves=12)


def true_at(formula: Formula, bits: int) -> bool:
    if isinstance(formula, Member):
        return bool(bits & formula.allowed)
    found = [true_at(part, bits) for part in formula.parts]
    return all(found) if isinstance(formula, Every) else any(found)


SMALL = [sum(point) for point in product(*(BITS[name].values() for name in NAMES))]


@law
@given(some_formulas())
def test_the_search_is_complete_and_what_it_finds_is_true(formula: Formula) -> None:
    box = satisfy(formula)
    assert (box is not None) == any(true_at(formula, bits) for bits in SMALL)
    if box is not None:
        assert true_at(formula, nearest(box).bits)
        fields = [FIELD[name] for name in NAMES]
        assert all(true_at(formula, bits) for bits in SMALL if all(bits & field & box for field in fields))
    assert all(true_at(formula, bits) != true_at(negated(formula), bits) for bits in SMALL[::7])


# -- the language ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "character", "what"),
    [
        ("", 1, "expected one of never permit"),
        ("sometimes permit", 1, "found 'sometimes'"),
        ("never permit if objection = yes", 14, "the end or `when`"),
        ("never permit when objektion = yes", 19, "the name of a fact"),
        ("never permit when objection", 28, "the claim ends"),
        ("never permit when objection = maybe", 31, "a value of 'objection' (no, yes)"),
        ("never permit when age in 13", 26, "`(`"),
        ("never permit when age in (13, 99)", 31, "a value of 'age'"),
        ("never permit when age in (13 14)", 30, "`)`"),
        ("never permit when age not 13", 27, "`in`"),
        ("never permit when (age = 13", 28, "`)`"),
        ("never permit when age = 13 age = 14", 28, "the end, `and` or `or`"),
        ("never permit when purpose in @nothing", 30, "a value of 'purpose'"),
        ("never permit when age in @marketing", 26, "a value of 'age'"),
        ("never permit when age ~ 13", 23, "has no meaning here"),
        ("permit implies when age = 13", 16, "the name of a fact"),
        ("always oblige when age = 13", 20, "the end or `when`"),
        ("under: never permit", 6, "the id of a pack"),
        ("under gdpr never permit", 12, "`:`"),
    ],
)
def test_errors_of_a_claim_name_the_position(text: str, character: int, what: str) -> None:
    with pytest.raises(InputError) as caught:
        parse_claim(text)
    assert caught.value.detail.startswith(f"claim, character {character}: ")
    assert what in caught.value.detail


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("always oblige flowers", "no rule brings the duty 'flowers'"),
        ("never cite because", "no rule gives the reason 'because'"),
        ("under atlantis: never permit", "there is no pack 'atlantis'"),
    ],
)
def test_a_claim_about_what_does_not_exist_is_refused(text: str, problem: str) -> None:
    with pytest.raises(InputError, match=problem):
        prove(PACKS, parse_claim(text))


@law
@given(near_permits())
def test_conditions_bind_as_they_read(facts: Facts) -> None:
    claim = parse_claim(
        "never permit when objection = yes or consent = given and not (age in (13, 14) or at_eu != yes) and channel not in (sms, call)"
    )
    young = facts["age"] in {"13", "14"} or facts["at_eu"] != "yes"
    wanted = facts["objection"] == "yes" or (
        facts["consent"] == "given" and not young and facts["channel"] not in {"sms", "call"}
    )
    assert reads(claim.where, facts) == wanted == holds_at(formula_of(claim.where), facts)


@pytest.mark.parametrize(
    "document",
    [
        {},
        {"claims": [3]},
        {"claims": [{"id": "a"}]},
        {"claims": [{"claim": "never permit"}]},
        {"claims": [{"id": "a", "claim": "never permit"}, {"id": "a", "claim": "never permit"}]},
        {"claims": [{"id": "a", "claim": "never"}]},
    ],
)
def test_files_of_claims_of_another_shape_are_refused(document) -> None:
    with pytest.raises(InputError, match="claim"):
        read_claims(document)


def test_a_claim_is_neither_proven_nor_refuted_when_the_time_ends() -> None:
    def tick() -> None:
        raise OutOfTimeError

    claim = parse_claim("never permit when purpose = direct_marketing and at_eu = yes")
    with watched(tick):
        found = prove(PACKS, claim)
    assert (found.finished, found.proved, found.facts, found.answer) == (False, False, None, None)
    whole = prove(PACKS, claim)
    assert (whole.finished, whole.proved, whole.facts is None) == (True, False, False)


@pytest.mark.parametrize(
    ("opening", "closing", "place"), [("not ", "", 147), ("(", ")", 51), ("not (", ")", 99)], ids=["not", "(", "not("]
)
def test_a_claim_that_nests_too_deeply_is_refused(opening: str, closing: str, place: int) -> None:
    fits, text = "age = 13", "never permit when "
    for times in (MAX_DEPTH, 5_000):
        with pytest.raises(InputError) as caught:
            parse_claim(text + opening * times + fits + closing * times)
        assert f"character {place}" in caught.value.detail or times == MAX_DEPTH
        assert f"expected at most {MAX_DEPTH} parts within each other" in caught.value.detail
    times = (MAX_DEPTH - 2) // len(opening.split()) // 2 * 2  # an even number of `not` is none
    assert prove(PACKS, parse_claim(f"{text}{opening * times}{fits}{closing * times} and age = 14")).proved
