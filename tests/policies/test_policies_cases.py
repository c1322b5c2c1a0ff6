from __future__ import annotations

import json
from dataclasses import replace
from datetime import date
from typing import Any

import pytest
import yaml
from policies_builders import law_cases

from consent_gateway.domain.decisions import Effect
from consent_gateway.errors import InputError
from consent_gateway.policies.cases.fields import problems_of
from consent_gateway.policies.cases.runner import answer_case, parse_cases, run_cases
from consent_gateway.policies.packs import builtin_texts, load, load_builtin
from consent_gateway.policies.rules import PackSet
from consent_gateway.policies.shape import MAX_NODES

PACKS = load_builtin()


def consented(purpose: str, channel: str, *recipients: str, **more: Any) -> dict[str, Any]:
    scope = {"purposes": [purpose], "channels": [channel], "recipients": list(recipients or ("self",))}
    return {
        "purpose": purpose,
        "channel": channel,
        "legal_basis": "consent",
        "consent_state": "given",
        "consent_scope": scope,
        **more,
    }


def test_every_open_case_is_answered_with_its_reason_and_duties() -> None:
    results = run_cases(PACKS, law_cases())
    assert len(results) >= 60
    assert [r.id for r in results if not r.holds] == []
    assert [r.id for r in results if r.unread] == []


def test_the_runner_goes_red_when_a_rule_is_lost() -> None:
    without = [
        replace(p, rules=tuple(r for r in p.rules if r.reason != "objection_direct_marketing")) for p in PACKS.packs
    ]
    failed = {r.id for r in run_cases(PackSet(tuple(without), PACKS.reasons), law_cases()) if not r.holds}
    assert failed == {"EU-07"}


def test_the_runner_goes_red_for_a_wrong_reason_and_a_missing_duty() -> None:
    document = law_cases()
    case = {**document["cases"][0], "reason_code": "consent_withdrawn"}
    duty = {**document["cases"][1], "obligations": ["send_flowers"]}
    wrong, missing = run_cases(PACKS, {**document, "cases": [case, duty]})
    assert not wrong.holds
    assert not missing.holds
    assert missing.missing_obligations == ("send_flowers",)


@pytest.mark.parametrize("place", [0, 1])
def test_a_duty_is_known_by_its_code_with_or_without_a_citation(place: int) -> None:
    """A duty that a pack writes with a citation, and one that it writes without."""
    given = {"residency": "DE", "purpose": "direct_marketing", "channel": "post", "legal_basis": "legitimate_interest"}
    automated = {"automated_decision": True, "significant_effect": True, "legal_basis": "contract"}
    asked = [given, {"residency": "DE", "purpose": "automated_individual_decision", "channel": "none", **automated}][
        place
    ]
    duty = ["bring_right_to_object_to_attention_at_first_communication", "human_intervention"][place]
    case = {
        "id": "x",
        "given": asked,
        "expected": "permit",
        "reason_code": ["legitimate_interest", "contract_necessity"][place],
    }
    for text, missing in ((duty, ()), (f"{duty} (Art 99)", ()), (f"{duty}s (Art 99)", (f"{duty}s (Art 99)",))):
        (result,) = run_cases(PACKS, {"cases": [{**case, "obligations": [text]}]})
        assert result.missing_obligations == missing


def test_nothing_is_keyed_on_the_case_id() -> None:
    document = law_cases()
    renamed = [{**case, "id": f"other-{place}"} for place, case in enumerate(reversed(document["cases"]))]
    assert all(r.holds for r in run_cases(PACKS, {**document, "cases": renamed}))


@pytest.mark.parametrize(
    ("given", "outcome", "reason"),
    [
        # the matrix, rows without an open case
        (consented("direct_marketing", "email", residency="DE"), "permit", "consent_valid"),
        (consented("direct_marketing", "email", residency="DE", consent_evidence="none"), "deny", "consent_not_demonstrable"),
        (consented("direct_marketing", "email", residency="DE", consent_state="expired"), "deny", "consent_expired"),
        (consented("direct_marketing", "email", residency="DE", consent_valid_until="2026-01-01", now="2026-11-18T12:00:00Z"), "deny", "consent_expired"),
        (consented("segmentation_for_marketing", "none", residency="DE", objection=True), "deny", "objection_direct_marketing"),
        ({"residency": "DE", "purpose": "segmentation_for_marketing", "legal_basis": "legitimate_interest"}, "permit", "legitimate_interest"),
        ({"residency": "DE", "purpose": "direct_marketing", "channel": "call", "legal_basis": "legitimate_interest"}, "deny", "no_prior_consent"),
        (consented("third_party_audience_sharing", "online_ads", "partner_a", residency="IT", recipient_type="third_party", recipient_id="partner_b"), "deny", "consent_scope_recipient"),
        (consented("direct_marketing", "email", residency="DE", recipient_type="processor", recipient_location="US", cross_border=True), "deny", "transfer_no_mechanism"),
        (consented("direct_marketing", "email", residency="DE", recipient_type="processor", recipient_location="US", transfer_mechanism="scc"), "permit", "consent_valid"),
        (consented("direct_marketing", "email", residency="DE", recipient_type="processor", contract=False), "deny", "no_processor_contract"),
        (consented("direct_marketing", "email", residency="AT", age=14, information_society_service=True), "permit", "consent_valid"),
        (consented("direct_marketing", "email", residency="AT", residency_candidates=["DE"], age=14, information_society_service=True), "deny", "child_needs_parent"),
        ({"residency": "AT", "purpose": "storage", "restriction": True}, "permit", "storage_permitted"),
        ({"residency": "DE", "purpose": "service_message", "channel": "email", "legal_basis": "contract", "objection": True}, "permit", "contract_necessity"),
        ({"residency": "GB", "purpose": "direct_marketing", "channel": "email", "subscriber_type": "corporate"}, "permit", "corporate_subscriber"),
        ({"residency": "GB", "purpose": "direct_marketing", "channel": "email", "subscriber_type": "corporate", "objection": True}, "deny", "objection_direct_marketing"),
        ({"residency": "GB", "purpose": "direct_marketing", "channel": "call", "tps_registered": True}, "deny", "do_not_call_registered"),
        ({"residency": "US-CA", "purpose": "direct_marketing", "channel": "email", "objection": True}, "deny", "opted_out"),
        ({"residency": "US-CA", "purpose": "third_party_audience_sharing", "channel": "online_ads", "recipient_type": "third_party"}, "permit", "opt_out_regime"),
        ({"residency": "US-CA", "purpose": "third_party_audience_sharing", "recipient_type": "third_party", "gpc_previously_seen": True}, "deny", "gpc"),
        ({"residency": "US-CA", "purpose": "direct_marketing", "channel": "email", "gpc": True}, "permit", "opt_out_regime"),
        (consented("third_party_audience_sharing", "online_ads", "third_party", residency="US-CA", recipient_type="third_party", age=15, consent_kind="two_step_opt_in"), "permit", "minor_opt_in"),
        (consented("third_party_audience_sharing", "online_ads", "third_party", residency="US-CA", recipient_type="third_party", age=15), "deny", "two_step_missing"),
        ({"residency": "US-CA", "purpose": "loyalty_programme_sharing", "recipient_type": "third_party", "gpc": True, "financial_incentive": {"participant": True, "asked_to_confirm": True, "affirmed": True}}, "permit", "loyalty_affirmed"),
        ({"residency": "US-CA", "purpose": "consent_request", "channel": "in_app", "requested_purpose": "third_party_audience_sharing", "last_opt_out_at": "2026-08-18"}, "deny", "reask_too_early"),
        (consented("direct_marketing", "sms", residency="US-TX"), "deny", "written_consent_missing"),
        (consented("direct_marketing", "sms", residency="US-TX", consent_kind="written", local_time="20:30"), "permit", "consent_valid"),
        (consented("direct_marketing", "sms", residency="US-TX", consent_kind="written", local_time="07:59"), "deny", "quiet_hours"),
        ({"residency": "US-TX", "purpose": "opt_out_confirmation", "channel": "sms", "consent_state": "withdrawn", "minutes_since_revocation": 6}, "deny", "confirmation_too_late"),
        ({"residency": "CN", "purpose": "direct_marketing", "channel": "post"}, "deny", "no_prior_consent"),
        (consented("direct_marketing", "push", residency="CN", age=13), "deny", "child_needs_parent"),
        (consented("direct_marketing", "push", residency="CN", age=13, consent_kind="parental", consent_given_by="parent"), "permit", "parental_consent"),
        (consented("third_party_audience_sharing", "none", "partner_a", residency="CN", recipient_type="third_party", recipient_id="partner_a", consent_kind="separate"), "permit", "separate_consent"),
        (consented("direct_marketing", "email", residency="CN", recipient_type="processor", recipient_location="DE", transfer_mechanism="cn_standard_contract", exported_non_sensitive_individuals_this_year=2_000_000, consent_kind="separate"), "deny", "transfer_needs_assessment"),
        ({"residency": "CN", "purpose": "consent_request", "channel": "in_app", "consent_state": "refused", "refused_at": "2025-11-17", "now": "2026-11-18T02:00:00Z"}, "permit", "reask_allowed"),
        (consented("direct_marketing", "email", residency=None, consent_kind="separate"), "permit", "strictest_profile_satisfied"),
        (consented("direct_marketing", "email", residency=None, consent_kind="separate", gpc=True), "deny", "gpc_as_objection"),
        (consented("direct_marketing", "email", residency="BR"), "deny", "separate_consent_missing"),
        (consented("direct_marketing", "email", residency=None, age=None, child_directed=True, consent_kind="separate"), "deny", "age_unknown"),
        ({"residency": None, "purpose": "service_message", "channel": "email"}, "permit", "service_permitted"),
        (consented("direct_marketing", "email", residency="US-CA", controller_location="DE"), "permit", "strictest_profile_satisfied"),
        (consented("direct_marketing", "email", residency="DE", policy_available=False), "deny", "policy_unavailable"),
        ({"residency": "DE", "purpose": "erasure_suppression_check", "policy_available": False}, "permit", "rights_fail_open"),
    ],
)  # fmt: skip
def test_rows_of_the_matrix(given: dict[str, Any], outcome: str, reason: str) -> None:
    answer = answer_case(PACKS, given, law_cases()["defaults"])
    assert (str(answer.outcome), answer.reason_code) == (outcome, reason)


@pytest.mark.parametrize(
    "change",
    [
        {"channel": "telepathy"},
        {"purpose": "world_peace"},
        {"transfer_mechanism": "trust"},
        {"age": -1},
        {"consent_kind": "implied"},
    ],
)
def test_an_unknown_value_denies_with_its_own_reason(change: dict[str, Any]) -> None:
    answer = answer_case(PACKS, {**consented("direct_marketing", "email", residency="DE"), **change})
    assert (str(answer.outcome), answer.reason_code) == ("deny", "facts_unknown")
    assert next(answer.denials()).effect is Effect.DENY


def test_an_unread_field_is_reported() -> None:
    case = {**law_cases()["cases"][0]}
    case["given"] = {**case["given"], "moon_phase": "full"}
    (result,) = run_cases(PACKS, {"cases": [case]})
    assert result.unread == ("moon_phase",)
    assert result.problems == ("moon_phase: no such field",)
    assert (result.holds, result.got) == (False, "error")


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"age": "thirty"}, "age: must be a whole number"),
        ({"age": True}, "age: must be a whole number"),
        ({"objection": "yes"}, "objection: must be true or false"),
        ({"objection": 1}, "objection: must be true or false"),
        ({"purpose": 3}, "purpose: must be text"),
        ({"local_time": 840}, "local_time: must be text"),  # what YAML 1.1 makes of a bare 14:00
        ({"sensitive": "health"}, "sensitive: must be a list of texts"),
        ({"sensitive": [1]}, "sensitive: must be a list of texts"),
        ({"consent_kind": {}}, "consent_kind: must be text or a list of texts"),
        ({"message": []}, "message: must be an object"),
        ({"message": {"unsubscribe": "no"}}, "message.unsubscribe: must be true or false"),
        ({"message": {"colour": True}}, "message.colour: no such field"),
        ({"consent_scope": {"purposes": "all"}}, "consent_scope.purposes: must be a list of texts"),
        ({"frequency": {"cap": "three"}}, "frequency.cap: must be a whole number"),
    ],
)
def test_wrong_types_are_named_by_case_and_field(change: dict[str, Any], problem: str) -> None:
    case = {**law_cases()["cases"][0]}
    case["given"] = {**case["given"], **change}
    good = law_cases()["cases"][1]
    bad_result, good_result = run_cases(PACKS, {**law_cases(), "cases": [case, good]})
    assert bad_result.problems == (problem,)
    assert not bad_result.holds
    assert good_result.holds
    assert (
        run_cases(PACKS, {**law_cases(), "cases": [{**case, "given": {**good["given"], "note": "told"}}]})[0].problems
        == ()
    )


def test_json_and_yaml_give_the_same_cases() -> None:
    document = law_cases()
    text = yaml.safe_dump(document, allow_unicode=True)
    assert parse_cases("cases.yaml", text) == document == parse_cases("c.json", json.dumps(document))
    assert parse_cases("c.yml", "cases: []\ndefaults: {now: 2026-11-18}")["defaults"] == {"now": "2026-11-18"}


@pytest.mark.parametrize(
    ("name", "text", "what"),
    [
        ("c.json", '{"a": 1,\n "cases": [}', "c.json, line 2: Expecting value"),
        ("c.json", "[1]", "c.json: the file must hold an object"),
        ("c.json", "{'cases': []}", "c.json, line 1: Expecting property name enclosed in double quotes"),  # no YAML
        ("c.json", "[" * 100_000, "c.json: the text nests too deeply"),
        ("c.yaml", "cases: [}", "c.yaml, line 1: "),
        ("c.yaml", "- a", "c.yaml: the file must hold an object"),
        ("c.yaml", "", "c.yaml: the file is empty"),
        ("c.yaml", "a: !!python/object/apply:os.system [x]", "c.yaml, line 1: "),
        ("c.yaml", "cases: []\ncases: []", "c.yaml, line 2: the key is repeated, or no plain word"),
        ("c.yaml", "a: \x07", "c.yaml: the text has characters that YAML does not allow"),
        ("c.yaml", "a: 2026-13-45", "c.yaml: a value is not of the type that it is written as"),
        ("c.yaml", "a: " + "[" * 20 + "]" * 20, "c.yaml, line 1: the text nests or repeats more than it may"),
    ],
)
def test_files_that_cannot_be_read_are_named(name: str, text: str, what: str) -> None:
    with pytest.raises(InputError) as caught:
        parse_cases(name, text)
    assert caught.value.detail.startswith(what)


def test_a_file_of_many_cases_is_larger_than_a_pack_may_be() -> None:
    ones, often = ", ".join("1" * 250), ", ".join(["*a"] * 250)
    file = parse_cases("c.yaml", f"defaults: &a [{ones}]\ncases: [{often}]")
    assert len(file["cases"]) * len(file["defaults"]) > MAX_NODES


def a_case(**changes: Any) -> dict[str, Any]:
    return {"id": "A", "given": {"purpose": "storage"}, "expected": "deny", "reason_code": "x", **changes}


@pytest.mark.parametrize(
    ("document", "what"),
    [
        ({}, "a case file is an object with a list `cases`"),
        ({"cases": {}}, "a case file is an object with a list `cases`"),
        ({"cases": [3]}, "case 1 of the list: it must be an object with a text `id`"),
        ({"cases": [a_case(), {"id": ""}]}, "case 2 of the list: it must be an object with a text `id`"),
        ({"cases": [a_case(id=7)]}, "case 1 of the list: it must be an object with a text `id`"),
        ({"cases": [{"id": "A"}]}, "case A: `given` must be an object"),
        ({"cases": [a_case(given=3)]}, "case A: `given` must be an object"),
        ({"cases": [a_case(expected="maybe")]}, "case A: `expected` must be permit or deny"),
        ({"cases": [a_case(reason_code=None)]}, "case A: `reason_code` must be text"),
        ({"cases": [a_case(given={})]}, "case A: KeyError: 'purpose'"),
        ({"cases": [], "defaults": 3}, "`defaults` must be an object"),
        (
            {"cases": [], "defaults": {"moon": "full", "age": "old"}},
            "defaults: moon: no such field; age: must be a whole number",
        ),
        ({"cases": [a_case()] * 2}, "case A: the id is repeated"),
    ],
)
def test_a_file_of_another_shape_is_refused(document: dict[str, Any], what: str) -> None:
    with pytest.raises(InputError) as caught:
        run_cases(PACKS, document)
    assert caught.value.detail == what


def test_a_result_tells_what_the_case_cites_and_what_was_answered() -> None:
    plain, told = run_cases(
        PACKS, {"cases": [a_case(), a_case(id="B", basis_kind="statute", citation="Art 1"), a_case(id="C")]}
    )[:2]
    assert (plain.basis_kind, plain.citation, plain.binding) == ("", "", False)
    assert (told.basis_kind, told.citation, told.binding) == ("statute", "Art 1", True)
    assert (plain.id, told.id) == ("A", "B")
    assert plain.answer == answer_case(PACKS, {"purpose": "storage"})
    assert {reason.effect for reason in plain.deciding} == {Effect.PERMIT if plain.answer.permitted else Effect.DENY}


def test_a_case_with_problems_is_denied_and_every_problem_is_told() -> None:
    (result,) = run_cases(PACKS, {"cases": [a_case(given={"purpose": "storage", "moon": 1, "age": "old"})]})
    assert result.problems == ("moon: no such field", "age: must be a whole number")
    assert (result.got, result.reason_got) == ("error", "facts_unknown")
    assert result.answer.leading.citation == "moon: no such field; age: must be a whole number"


def test_a_value_outside_of_the_vocabulary_is_cited_by_the_denial() -> None:
    answer = answer_case(PACKS, {"purpose": "storage", "consent_kind": "implied"})
    assert answer.leading.citation == "the consent is of an unknown kind"


def test_an_answer_explains_itself_only_if_asked() -> None:
    given = consented("direct_marketing", "email", residency="DE", objection=True)
    assert answer_case(PACKS, given).changes == ()
    assert [change.fact for change in answer_case(PACKS, given, explained=True).changes] == ["objection"]


def test_a_message_of_a_case_adds_to_the_message_of_the_defaults() -> None:
    given = consented("direct_marketing", "email", residency="DE", message={"sender_identity": True})
    assert answer_case(PACKS, given, {"message": {"unsubscribe": True}}).permitted
    assert not answer_case(PACKS, given, {"message": {"unsubscribe": False}}).permitted
    mended = {**given, "message": {"unsubscribe": True}}
    assert answer_case(PACKS, mended, {"message": {"unsubscribe": False}}).permitted
    assert not answer_case(PACKS, {**given, "message": {"unsubscribe": False}}).permitted


DATED = """\
id: dated
version: 1
title: A law
title_zh: 某法
jurisdiction: EU
effective_from: 2020-01-01
review_by: 2029-06-30
reviewer: somebody
territory: [{at_eu: yes}]
default_reason: no_legal_basis
rules:
  - {id: dated.old, law: A, cites: Art 1, mark: K, effect: deny, reason: restriction,
     when: {restriction: yes}, effective_until: 2024-12-31}
  - {id: dated.new, law: A, cites: Art 2, mark: K, effect: deny, reason: erased,
     when: {restriction: yes}, effective_from: 2025-01-01}
"""


def test_a_case_is_answered_by_the_rules_of_its_own_day_or_else_of_today() -> None:
    packs = load({"reasons": builtin_texts()["reasons"], "dated": DATED})
    given = {"purpose": "storage", "residency": "DE", "restriction": True}
    old, new = date(2024, 12, 31), date(2025, 1, 1)

    def reasons(now: str | None, today: date | None, /, **defaults: str) -> set[str]:
        case = a_case(given=given if now is None else {**given, "now": now})
        (result,) = run_cases(packs, {"cases": [case], "defaults": defaults}, today)
        return {reason.rule_id for reason in result.answer.reasons if reason.effect is Effect.DENY}

    assert reasons(None, None) == {"dated.old", "dated.new"}
    assert reasons(None, old) == {"dated.old"}
    assert reasons(None, new) == {"dated.new"}
    for today in (None, old, new):
        assert reasons("2024-12-31", today) == reasons(None, today, now="2024-12-31") == {"dated.old"}
        assert reasons("2025-01-01", today, now="2024-12-31") == {"dated.new"}


@pytest.mark.parametrize(
    ("given", "problems"),
    [
        ({"message": {"unsubscribe": "yes", "colour": 3}}, ("message.unsubscribe: must be true or false", "message.colour: no such field")),
        ({"message": None, "age": None}, ()),
        ({"sensitive": ["health", None]}, ()),
        ({"sensitive": ["health", 3]}, ("sensitive: must be a list of texts",)),
    ],
)  # fmt: skip
def test_problems_of_fields(given: dict[str, Any], problems: tuple[str, ...]) -> None:
    assert problems_of(given) == problems
