from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from policies_builders import TERRITORIES, a_person, a_question, consenting, near_permits, values_of

from consent_gateway.domain.consents import ConsentState
from consent_gateway.domain.decisions import Answer, Effect, Outcome, Stage, blocking, stage_of
from consent_gateway.domain.purposes import Channel, PurposeKind, RecipientKind
from consent_gateway.policies.compile import Program, Row, program, specialise
from consent_gateway.policies.engine import decide, decide_by_reading, decide_for, decide_values, decide_without_packs
from consent_gateway.policies.facts import Facts, Suppressed, build
from consent_gateway.policies.packs import load_builtin
from consent_gateway.policies.rules import MARKETING, Condition, Pack, PackSet, Rule
from consent_gateway.policies.vocabulary import BY_NAME

PACKS = load_builtin()
RESTRICTIONS = {
    "objection": "yes",
    "restriction": "yes",
    "sale_share_opt_out": "yes",
    "limit_sensitive": "yes",
    "gpc": "yes",
    "personalisation_refused": "yes",
    "do_not_call": "yes",
    "revoked_elsewhere": "yes",
    "notice": "outdated",
    "suppressed": "all",
    "capped": "yes",
    **dict.fromkeys(TERRITORIES, "yes"),
}
law = settings(derandomize=True, deadline=None, max_examples=300)


def bound(facts: Facts) -> bool:
    """Some law applies: an empty set of laws is a denial of its own and not something to add a law to."""
    return any(pack.default_reason is not None and pack.binds(facts) for pack in PACKS.packs)


def widened(packs: PackSet) -> list[str]:
    """Search for a restriction that turns a denial into a permit; the checker of the property below."""
    bases = [f for base in consenting() for f in (base, base.replace(consent="none"), base.replace(objection="yes"))]
    denied = [f for f in bases if bound(f) and not decide(packs, f).permitted]
    return [
        name
        for name, value in RESTRICTIONS.items()
        if any(decide(packs, f.replace(**{name: value})).permitted for f in denied)
    ]


@law
@given(near_permits(), st.sampled_from(sorted(RESTRICTIONS)))
def test_no_restriction_signal_or_law_turns_a_denial_into_a_permit(facts: Facts, name: str) -> None:
    if bound(facts) and not decide(PACKS, facts).permitted:
        assert not decide(PACKS, facts.replace(**{name: RESTRICTIONS[name]})).permitted


def test_that_property_goes_red_when_an_objection_permits() -> None:
    assert widened(PACKS) == []
    gdpr = PACKS.pack("gdpr")
    assert gdpr is not None
    bug = Rule(
        "gdpr.bug",
        "GDPR",
        "none",
        gdpr.rules[0].mark,
        Effect.PERMIT,
        Condition.of({"objection": ["yes"]}),
        "consent_valid",
    )
    without = tuple(r for r in gdpr.rules if r.effect is not Effect.DENY)  # deny-overrides lost
    packs = tuple(replace(p, rules=(*without, bug)) if p.id == "gdpr" else p for p in PACKS.packs if p.id != "baseline")
    assert "objection" in widened(PackSet(packs, PACKS.reasons))


@law
@given(near_permits())
def test_the_compiled_program_answers_as_the_rules_read(facts: Facts) -> None:
    assert decide(PACKS, facts) == decide_by_reading(PACKS, facts)


def test_the_points_that_the_properties_start_from_are_permitted() -> None:
    assert {decide(PACKS, facts).outcome for facts in consenting()} == {Outcome.PERMIT}


def shuffled(pack: Pack) -> Pack:
    return replace(pack, rules=tuple(sorted(pack.rules, key=lambda r: r.id[::-1])))


@law
@given(near_permits())
def test_the_order_of_rules_and_packs_does_not_matter(facts: Facts) -> None:
    other = decide(REORDERED, facts)
    answer = decide(PACKS, facts)
    assert replace(other, packs=tuple(sorted(other.packs))) == replace(answer, packs=tuple(sorted(answer.packs)))


REORDERED = PackSet(tuple(shuffled(p) for p in reversed(PACKS.packs)), PACKS.reasons)


@law
@given(near_permits())
def test_a_denial_wins_and_every_fired_rule_is_a_reason(facts: Facts) -> None:
    answer = decide(PACKS, facts)
    assert answer.permitted == (not list(answer.denials()))
    fired = {r.id for p in PACKS.packs if p.binds(facts) for r in p.rules if r.holds(facts)}
    given_reasons = {r.rule_id for r in answer.reasons}
    assert fired <= given_reasons
    assert all(".default" in extra or extra.startswith("engine.") for extra in given_reasons - fired)
    assert answer.reason_code == answer.reasons[0].code
    assert all(r.citation and r.text_en and r.text_zh for r in answer.reasons)


def test_same_facts_same_answer_and_the_cache_is_the_pack_sets_own() -> None:
    facts = consenting()[0]
    assert decide(PACKS, facts) is decide(PACKS, Facts(facts.bits))
    other = PackSet(PACKS.packs[:1], PACKS.reasons)
    assert decide(other, facts) != decide(PACKS, facts)
    assert program(PACKS) is program(PACKS)
    assert program(other) is not program(PACKS)


def test_unknown_facts_deny() -> None:
    good = values_of(consenting()[0])
    assert decide_values(PACKS, good).permitted
    for bad in (
        {**good, "age": "ageless"},
        {**good, "mood": "fine"},
        {k: v for k, v in good.items() if k != "consent"},
    ):
        assert decide_values(PACKS, bad).reason_code == "facts_unknown"
    assert (
        decide_for(PACKS, a_question(destination_kind="the_moon"), a_person(regions=("DE",))).reason_code
        == "facts_unknown"
    )


def test_bits_that_are_no_point_deny() -> None:
    good = consenting()[0].bits
    lowest = good & -good
    for bits in (0, good ^ lowest, good | (lowest << 1), good | 1 << 400, -good, good ^ lowest | 1 << 300):
        answer = decide(PACKS, Facts(bits))
        assert (answer.outcome, answer.reason_code) == (Outcome.DENY, "facts_unknown")


def test_an_error_in_a_rule_denies_with_its_own_reason() -> None:
    broken = Program(PACKS)
    row = Row(None, (), 0)  # type: ignore[arg-type]
    broken.tables = tuple(replace(t, rows=(row,)) for t in broken.tables)
    facts = consenting()[0]
    answer = broken.evaluate(facts.bits)
    assert (answer.outcome, answer.reason_code) == (Outcome.DENY, "rule_error")
    assert answer.leading.citation == "TypeError"
    special = specialise(PACKS, a_question())
    special._sieve = None  # type: ignore[assignment]
    for answer in (special.decide(facts), special.rule_on(facts)):
        assert (answer.outcome, answer.reason_code) == (Outcome.DENY, "rule_error")


def test_without_packs_only_what_serves_rights_goes_on() -> None:
    for purpose in PurposeKind:
        answer = decide_without_packs(purpose)
        assert answer.permitted == (
            purpose in {PurposeKind.ERASURE_SUPPRESSION_CHECK, PurposeKind.REQUEST_RECORD_KEEPING}
        )
        assert answer.leading.text_zh
    empty = decide(PackSet((), PACKS.reasons), consenting()[0])
    assert not empty.permitted


def test_no_law_at_all_denies() -> None:
    facts = consenting()[0].replace(**dict.fromkeys(TERRITORIES, "no"))
    answer = decide(PACKS, facts)
    assert (answer.outcome, answer.reason_code, answer.packs) == (Outcome.DENY, "jurisdiction_unknown", ("baseline@1",))


def answer_for(**changes: object) -> Answer:
    question = {k: changes.pop(k) for k in list(changes) if k in {"channel", "purpose_kind", "recipient_kind"}}
    return decide_for(PACKS, a_question(**question), a_person(**{"regions": ("DE",), **changes}))


@pytest.mark.parametrize(
    ("changes", "stage", "shown"),
    [
        ({"consent": ConsentState.NONE}, Stage.CONSENT, "no_prior_consent"),
        ({"consent": ConsentState.WITHDRAWN, "capped": True}, Stage.CONSENT, "consent_withdrawn"),
        ({"scope_channel": False}, Stage.CONSENT, "consent_scope_channel"),
        ({"objection": True, "suppressed": Suppressed.ALL}, Stage.LAW, "objection_direct_marketing"),
        ({"suppressed": Suppressed.MARKETING, "capped": True}, Stage.SUPPRESSION, "suppressed"),
        ({"capped": True}, Stage.CAP, "frequency_cap"),
        (
            {"regions": ("CN",), "channel": Channel.SMS, "local_minutes": (1230,)},
            Stage.QUIET_HOURS,
            "quiet_hours_carrier",
        ),
        ({"regions": ("CN",), "channel": Channel.SMS, "local_minutes": ()}, Stage.QUIET_HOURS, "local_time_unknown"),
        ({}, None, None),
    ],
)
def test_stages_of_the_waterfall(changes: dict[str, object], stage: Stage | None, shown: str | None) -> None:
    answer = answer_for(**changes)
    assert stage_of(answer) is stage
    blocker = blocking(answer)
    assert (blocker.code if blocker else None) == shown


def test_an_hour_is_not_a_disagreement_of_laws() -> None:
    answer = answer_for(regions=("CN", "DE"), channel=Channel.SMS, local_minutes=(1230,))
    assert answer.reason_code == "quiet_hours_carrier"
    assert answer_for(regions=("US-CA", "DE"), consent=ConsentState.NONE).reason_code == "strictest_of_set"
    assert answer_for(regions=("US-CA", "DE")).reason_code == "strictest_profile_satisfied"


def test_obligations_unite_over_laws_and_only_permits_bring_theirs() -> None:
    both = answer_for(regions=("US-CA", "DE"))
    assert {"unsubscribe_30_days_live", "opt_out_each_message"} <= set(both.obligations)
    assert len(both.obligations) == len(set(both.obligations))
    denied = answer_for(regions=("US-CA", "DE"), objection=True)
    assert "unsubscribe_30_days_live" not in denied.obligations


def test_smallest_cap_and_narrowest_window_win() -> None:
    florida = {"regions": ("US-FL", "US-TX"), "channel": Channel.SMS}
    assert answer_for(**florida, local_minutes=(1230,)).reason_code == "quiet_hours_state"
    assert answer_for(regions=("US-TX",), channel=Channel.SMS, local_minutes=(1230,)).permitted
    assert answer_for(**florida, contacts_24h=3).reason_code == "frequency_cap_state"
    assert answer_for(regions=("US-TX",), channel=Channel.SMS, contacts_24h=3).permitted


QUESTIONS = [
    a_question(),
    a_question(channel=Channel.SMS, controller_country="DE"),
    a_question(
        channel=Channel.NONE,
        purpose_kind=PurposeKind.THIRD_PARTY_AUDIENCE_SHARING,
        recipient_kind=RecipientKind.THIRD_PARTY,
    ),
    a_question(purpose_kind=PurposeKind.SERVICE_MESSAGE),
]
SPECIALISED = [specialise(PACKS, q) for q in QUESTIONS]


@law
@given(near_permits(10), st.integers(0, len(QUESTIONS) - 1))
def test_partial_evaluation_changes_nothing(facts: Facts, place: int) -> None:
    special = SPECIALISED[place]
    question = build(QUESTIONS[place], a_person())
    mixed = facts.replace(**{n: v for n, v in values_of(question).items() if BY_NAME[n].of_question})
    answer = decide(PACKS, mixed)
    assert special.decide(mixed) == answer
    assert special.rule_on(mixed) == replace(answer, facts_digest="")


@law
@given(near_permits(10), near_permits(10))
def test_facts_of_one_class_have_one_answer(one: Facts, two: Facts) -> None:
    special = SPECIALISED[0]
    question = values_of(build(QUESTIONS[0], a_person()))
    asked = {n: v for n, v in question.items() if BY_NAME[n].of_question}
    first = one.replace(**asked)
    second = two.replace(**asked).replace(**{n: first[n] for n in special.relevant_facts})
    assert special.class_of(first) == special.class_of(second)
    assert decide(PACKS, first).reasons == decide(PACKS, second).reasons


def test_the_residual_reads_few_facts_and_refuses_other_questions() -> None:
    special = SPECIALISED[0]
    assert "hours_8_20" not in special.relevant_facts  # no window binds e-mail
    assert "consent" in special.relevant_facts
    assert "loyalty" not in special.relevant_facts
    assert len(special.relevant_facts) < 35
    with pytest.raises(ValueError, match="another question"):
        special.decide(build(QUESTIONS[1], a_person()))


def test_every_marketing_purpose_is_denied_by_default_everywhere() -> None:
    for region in ("DE", "GB", "CN", None):
        for purpose in MARKETING - {PurposeKind.CONSENT_REQUEST}:
            person = a_person(regions=(region,), consent=ConsentState.NONE)
            answer = decide_for(PACKS, a_question(purpose_kind=purpose, channel=Channel.EMAIL), person)
            assert not answer.permitted, (region, purpose)


@pytest.mark.parametrize(
    ("region", "outcome"),
    [("DE", "deny"), ("GB", "deny"), ("CN", "deny"), (None, "deny"), ("US-CA", "permit"), ("US-TX", "permit")],
)
def test_a_consent_under_a_replaced_notice_ends_where_consent_is_the_rule(region: str | None, outcome: str) -> None:
    """GDPR Art 4(11) and PIPL Art 14(2); the US acts ask for none, the TCPA for its own contract."""
    question, now = a_question(channel=Channel.SMS), a_person(regions=(region,))
    assert decide_for(PACKS, question, now).permitted
    then = decide_for(PACKS, question, replace(now, notice_outdated=True))
    assert then.outcome == outcome
    assert ("consent_outdated" in {reason.code for reason in then.denials()}) == (outcome == "deny")


@pytest.mark.parametrize("region", ["DE", "GB", "CN", None])
def test_duties_of_a_message_come_with_a_permit_only(region: str | None) -> None:
    """What a message must hold means nothing where none is sent; to delete after a withdrawal means something."""
    permit = answer_for(regions=(region,))
    denial = answer_for(regions=(region,), consent=ConsentState.WITHDRAWN)
    assert permit.permitted
    assert not denial.permitted
    told = {"opt_out_each_message", "free_refusal_way_in_message", "unsubscribe_each_message"}
    assert told & set(permit.obligations)
    assert not told & set(denial.obligations)
    assert ("delete_on_own_initiative" in denial.obligations) is (region == "CN")
