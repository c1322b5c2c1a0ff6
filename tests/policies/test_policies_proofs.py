"""What holds for the whole fact space, proven by z3."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import z3
from policies_z3 import VARS, answer_permits, binding, counterexample, fires, formula, member, permits, some, value

from consent_gateway.domain.decisions import Effect
from consent_gateway.policies.engine import RIGHTS
from consent_gateway.policies.packs import load_builtin
from consent_gateway.policies.rules import POLICY, Condition, Pack, PackSet, Rule
from consent_gateway.policies.vocabulary import BY_NAME

PACKS = load_builtin()
LAWS = [p for p in PACKS.packs if p.default_reason is not None]


def pack(pack_id: str) -> Pack:
    found = PACKS.pack(pack_id)
    assert found is not None
    return found


def sends_email(*purposes: str) -> Any:
    return z3.And(
        member("purpose", purposes or ("direct_marketing", "personalised_marketing")), member("channel", ["email"])
    )


def test_no_combination_without_opt_in_permits_email_marketing_under_pipl() -> None:
    assert counterexample(permits(pack("pipl")), sends_email(), z3.Not(member("consent", ["given"]))) is None


def test_the_proof_is_not_vacuous_and_goes_red_under_gdpr() -> None:
    assert counterexample(permits(pack("pipl")), sends_email()) is not None
    found = counterexample(permits(pack("gdpr")), sends_email(), z3.Not(member("consent", ["given"])))
    assert found is not None  # the false claim has the soft opt-in as its counterexample
    assert found["basis"] == str(value("basis", "soft_opt_in"))


def test_the_proof_goes_red_for_a_planted_permit() -> None:
    hole = Rule(
        "pipl.hole",
        "x",
        "x",
        pack("pipl").rules[0].mark,
        Effect.PERMIT,
        Condition.of({"basis": ["contract"]}),
        "consent_valid",
    )
    kept = tuple(r for r in pack("pipl").rules if r.id != "pipl.no_consent")
    planted = replace(pack("pipl"), rules=(*kept, hole))
    assert counterexample(permits(planted), sends_email(), z3.Not(member("consent", ["given"]))) is not None


@pytest.mark.parametrize("law", ["gdpr", "uk", "pipl", "strict"])
def test_valid_consent_is_affirmative_and_evidenced_in_every_opt_in_law(law: str) -> None:
    weak = z3.And(z3.Not(member("affirmative", ["yes"])), member("basis", ["consent"]))
    claims = [permits(pack(law)), sends_email("personalised_marketing"), weak, member("subscriber", ["individual"])]
    assert counterexample(*claims) is None


@pytest.mark.parametrize("law", [p.id for p in LAWS])
@pytest.mark.parametrize(
    ("fact", "restricted"),
    [
        ("objection", "yes"),
        ("restriction", "yes"),
        ("sale_share_opt_out", "yes"),
        ("limit_sensitive", "yes"),
        ("gpc", "yes"),
        ("gpc", "seen_before"),
        ("personalisation_refused", "yes"),
        ("do_not_call", "yes"),
        ("suppressed", "all"),
        ("capped", "yes"),
    ],
)
def test_no_restriction_opens_a_law(law: str, fact: str, restricted: str) -> None:
    """For every point: if the law permits with the restriction, it permits without (LAW part 3)."""
    before = z3.substitute(permits(pack(law)), (VARS[fact], z3.IntVal(0)))
    after = z3.substitute(permits(pack(law)), (VARS[fact], z3.IntVal(value(fact, restricted))))
    assert counterexample(after, z3.Not(before)) is None


@pytest.mark.parametrize("law", [p.id for p in PACKS.packs])
def test_no_rule_is_dead(law: str) -> None:
    """Every rule can fire where its pack binds, and every permit rule can carry a permit."""
    binding = z3.Or([formula(t) for t in pack(law).territory])
    denied = some(pack(law), Effect.DENY)
    for rule in pack(law).rules:
        assert counterexample(fires(rule), binding) is not None, rule.id
        if rule.effect is Effect.PERMIT:
            assert counterexample(fires(rule), binding, z3.Not(denied)) is not None, rule.id


@pytest.mark.parametrize("law", [p.id for p in LAWS])
def test_product_policy_closes_every_law_after_an_objection_or_a_withdrawal(law: str) -> None:
    uses = ["direct_marketing", "personalised_marketing", "third_party_audience_sharing", "segmentation_for_marketing"]
    silent = z3.Not(some(pack("baseline"), Effect.DENY))
    closed = z3.Or(member("objection", ["yes"]), member("consent", ["withdrawn", "refused"]))
    assert counterexample(permits(pack(law)), silent, closed, member("purpose", uses)) is None


# -- the whole set of packs (LAW part 3) -------------------------------------------------------------------------------

RESTRICTIONS = [
    ("objection", "yes"),
    ("restriction", "yes"),
    ("sale_share_opt_out", "yes"),
    ("limit_sensitive", "yes"),
    ("gpc", "yes"),
    ("gpc", "seen_before"),
    ("personalisation_refused", "yes"),
    ("do_not_call", "yes"),
    ("suppressed", "marketing"),
    ("suppressed", "all"),
    ("capped", "yes"),
    ("contacts_24h", "3_or_more"),
    ("opt_out_age", "under_12m"),
    ("refusal_age", "under_6m"),
]
PLACES = [
    "at_eu",
    "at_uk",
    "at_ca",
    "at_us",
    "us_other",
    "us_signal_state",
    "us_hours_state",
    "us_cap_state",
    "at_cn",
    "at_unknown",
]


def widened(packs: PackSet, fact: str, restricted: str) -> dict[str, str] | None:
    """Search for a point that is denied, some law applying, and permitted once `fact` is `restricted`."""
    whole = answer_permits(packs)
    bound = z3.Or([binding(law) for law in packs.packs if law.jurisdiction != POLICY])
    free, closed = (VARS[fact], z3.IntVal(0)), (VARS[fact], z3.IntVal(value(fact, restricted)))
    return counterexample(z3.substitute(whole, closed), z3.substitute(z3.And(bound, z3.Not(whole)), free))


@pytest.mark.parametrize(("fact", "restricted"), RESTRICTIONS)
def test_no_restriction_turns_a_denial_of_the_whole_set_into_a_permit(fact: str, restricted: str) -> None:
    """For every purpose, those of rights too: what is denied without an objection or the like is denied with it."""
    assert BY_NAME[fact].values[0] in {"no", "none", "under_3"}
    assert widened(PACKS, fact, restricted) is None


@pytest.mark.parametrize("place", PLACES)
def test_no_law_that_applies_besides_turns_a_denial_into_a_permit(place: str) -> None:
    assert widened(PACKS, place, "yes") is None


def test_those_proofs_go_red_for_an_objection_that_permits() -> None:
    gdpr = pack("gdpr")
    hole = Rule(
        "gdpr.hole", "x", "x", gdpr.rules[0].mark, Effect.PERMIT, Condition.of({"objection": ["yes"]}), "consent_valid"
    )
    planted = replace(gdpr, rules=(*(r for r in gdpr.rules if r.effect is not Effect.DENY), hole))
    packs = PackSet(tuple(planted if p.id == "gdpr" else p for p in PACKS.packs if p.id != "baseline"), PACKS.reasons)
    assert widened(packs, "objection", "yes") is not None


def test_rights_are_served_whatever_a_person_restricted() -> None:
    """Where a law permits what serves rights, no objection, opt-out or restriction closes it (LAW part 2.6)."""
    whole = answer_permits(PACKS)
    for fact, restricted in RESTRICTIONS:
        before = z3.And(z3.substitute(whole, (VARS[fact], z3.IntVal(0))), member("purpose", map(str, RIGHTS)))
        after = z3.substitute(whole, (VARS[fact], z3.IntVal(value(fact, restricted))))
        assert counterexample(before, z3.Not(after)) is None, fact
