from __future__ import annotations

from contextlib import suppress
from datetime import date

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from policies_builders import a_person, a_question, consenting

from consent_gateway.domain.decisions import Effect, Stage
from consent_gateway.domain.purposes import Basis, PurposeKind
from consent_gateway.errors import PolicyError
from consent_gateway.policies.engine import decide, decide_for
from consent_gateway.policies.packs import builtin_texts, load, load_builtin, parse_pack, parse_reasons
from consent_gateway.policies.rules import PackSet

PACKS = load_builtin()
TEXTS = builtin_texts()
HEAD = """id: demo
version: 1
title: Demo
title_zh: 演示
jurisdiction: EU
effective_from: 2026-01-01
effective_until: 2027-12-31
review_by: 2027-06-30
reviewer: counsel
territory: [{at_eu: yes}]
default_reason: no_legal_basis
rules:
"""
NINE_TIMES = "a: &a [1,1,1,1,1,1,1,1,1]\n" + "".join(
    f"{name}: &{name} [{','.join([f'*{before}'] * 9)}]\n" for before, name in zip("abcde", "bcdef", strict=True)
)
GOOD = "  - {id: demo.a, law: L, cites: Art 1, mark: K, effect: deny, reason: restriction, when: {restriction: yes}}\n"


def test_the_shipped_packs_are_sound() -> None:
    assert PACKS.faults == ()
    assert [p.id for p in PACKS.packs] == [
        "baseline",
        "ccpa",
        "gdpr",
        "pipl",
        "strict",
        "uk",
        "us_messaging",
        "us_states",
    ]
    assert sum(len(p.rules) for p in PACKS.packs) > 250
    for pack in PACKS.packs:
        assert pack.effective_from < pack.review_by
        for rule in pack.rules:
            assert rule.cites
            assert rule.when.allowed
            assert (rule.effect is Effect.OBLIGE) == (rule.reason == "duty")


def test_every_reason_is_used_and_speaks_both_languages() -> None:
    used = {rule.reason for pack in PACKS.packs for rule in pack.rules} | {p.default_reason for p in PACKS.packs}
    engine = {
        "policy_unavailable",
        "facts_unknown",
        "rule_error",
        "pack_invalid",
        "pack_not_in_force",
        "pack_review_overdue",
    }
    engine |= {"strictest_of_set", "strictest_profile_satisfied", "rights_fail_open"}
    assert set(PACKS.reasons) - used - engine == set()
    assert all(r.en and any("\u4e00" <= c <= "\u9fff" for c in r.zh) for r in PACKS.reasons.values())


def test_a_good_pack_reads() -> None:
    pack = parse_pack("demo", HEAD + GOOD, PACKS.reasons)
    assert pack.name == "demo@1"
    assert pack.rules[0].when.allowed == {"restriction": {"yes"}}


@pytest.mark.parametrize(
    ("text", "line", "what"),
    [
        (HEAD + GOOD.replace("restriction: yes", "restrictoin: yes"), 13, "no fact named 'restrictoin'"),
        (HEAD + GOOD.replace("restriction: yes", "restriction: maybe"), 13, "outside of its domain"),
        (HEAD + GOOD.replace("restriction: yes", "restriction: {not: [maybe]}"), 13, "outside of its domain"),
        (
            HEAD + GOOD + GOOD.replace("effect: deny", "effect: forbid").replace("demo.a", "demo.b"),
            14,
            "'permit', 'deny' or 'oblige'",
        ),
        (HEAD + GOOD.replace("mark: K", "mark: sure"), 13, "mark"),
        (HEAD + GOOD.replace("reason: restriction", "reason: because"), 13, "catalogue does not list"),
        (HEAD + GOOD.replace("effect: deny", "effect: permit"), 13, "other effect"),
        (HEAD + GOOD + GOOD, 14, "repeated"),
        (HEAD + GOOD.replace("demo.a", "other.a"), 13, "does not start with"),
        (HEAD + GOOD.replace("mark: K", "mark: K, needs: [luck]"), 13, "not a property of consent"),
        (HEAD + GOOD.replace("cites: Art 1, ", ""), 13, "cites"),
        (HEAD.replace("version: 1", "version: 1\nversion: 2") + GOOD, 3, "key is repeated"),
        (HEAD.replace("review_by: 2027-06-30", "review_by: soon") + GOOD, 8, "review_by"),
        (HEAD + GOOD.replace("mark: K", "mark: K, colour: red"), 13, "colour"),
        (HEAD + GOOD.replace("mark: K", "mark: K, when_permitted: yes"), 13, "'demo.a' is no duty"),
        (HEAD + "  - {id: [}\n", 13, "parsing|expected"),
        (HEAD + GOOD.replace("cites: Art 1, ", ""), 13, "rule 'demo.a': rules.0.cites: Field required"),
        (HEAD + GOOD.replace("restriction: yes", "restriction: maybe"), 13, "rule 'demo.a': the fact 'restriction'"),
        (HEAD + GOOD.replace("restriction: yes", "restriction: []"), 13, "rule 'demo.a': .*can never hold"),
        (HEAD + GOOD.replace("restriction: yes", "restriction: {not: [yes, no]}"), 13, "no value of 'restriction'"),
        (
            HEAD + GOOD.replace("{restriction: yes}", "{affirmative: no}, needs: [affirmative]"),
            13,
            "'demo.a': it needs",
        ),
        (
            HEAD + GOOD.replace("{restriction: yes}", "{restriction: yes}, unless: {restriction: {not: [no]}}"),
            13,
            "never fires",
        ),
        (HEAD + GOOD.replace("{restriction: yes}", "{restriction: yes, at_eu: no}"), 13, "where the pack binds"),
        (HEAD.replace("effective_until: 2027-12-31", "effective_until: 2025-12-31") + GOOD, 7, "before effective_from"),
        (HEAD.replace("review_by: 2027-06-30", "review_by: 2025-06-30") + GOOD, 8, "before effective_from"),
        ("", 0, "empty"),
        ("- just\n- a list\n", 1, "dictionary|mapping|object"),
        (HEAD + "  - !!python/object/apply:os.system ['true']\n", 13, "constructor|tag"),
    ],
)
def test_errors_name_the_line_and_the_matter(text: str, line: int, what: str) -> None:
    with pytest.raises(PolicyError, match=what) as caught:
        parse_pack("demo", text, PACKS.reasons)
    assert "demo" in caught.value.detail
    assert not line or f"line {line}" in caught.value.detail


@pytest.mark.parametrize(
    "text",
    [
        "deny: []\npermit: []\n",
        "deny: [{code: a, en: x, zh: 文}]\npermit: []\noblige: []\n",
        "deny: []\npermit: [{code: a, en: x, zh: 文}, {code: a, en: x, zh: 文}]\noblige: []\n",
    ],
)
def test_errors_of_the_catalogue(text: str) -> None:
    with pytest.raises(PolicyError):
        parse_reasons("reasons", text)
    with pytest.raises(PolicyError):
        load({"reasons": text})
    with pytest.raises(PolicyError, match="missing"):
        load({})


def test_a_broken_pack_permits_no_marketing_and_says_so() -> None:
    packs = load({**TEXTS, "gdpr": TEXTS["gdpr"].replace("effect: deny", "effect: dney", 1)})
    assert len(packs.faults) == 1
    assert "gdpr, line" in packs.faults[0]
    for region in ("DE", "US-CA", "CN"):
        answer = decide_for(packs, a_question(), a_person(regions=(region,)))
        assert (answer.permitted, answer.reason_code) == (False, "pack_invalid")
        assert "gdpr, line" in answer.leading.citation
    service = a_question(purpose_kind=PurposeKind.SERVICE_MESSAGE, basis=Basis.CONTRACT)
    assert decide_for(packs, service, a_person(regions=("CN",))).permitted
    assert not decide_for(packs, service, a_person(regions=("DE",))).permitted


def test_past_its_review_date_a_pack_permits_no_marketing() -> None:
    german = consenting()[0]
    gdpr = PACKS.pack("gdpr")
    assert gdpr is not None
    on_the_day, after = PACKS.as_of(gdpr.review_by), PACKS.as_of(date(2028, 1, 1))
    assert decide(on_the_day, german).permitted
    answer = decide(after, german)
    assert (answer.permitted, answer.reason_code, answer.leading.stage) == (False, "pack_review_overdue", Stage.LAW)
    assert str(gdpr.review_by) in answer.leading.citation
    service = a_question(purpose_kind=PurposeKind.SERVICE_MESSAGE, basis=Basis.CONTRACT)
    assert decide_for(after, service, a_person(regions=("DE",))).permitted


def test_packs_before_and_after_their_time() -> None:
    texts = {
        "reasons": TEXTS["reasons"],
        "demo": HEAD
        + GOOD.replace("deny, reason: restriction", "permit, reason: consent_valid").replace(
            "restriction: yes", "at_eu: yes"
        ),
    }
    packs = load(texts)
    german = consenting()[0]
    assert decide(packs.as_of(date(2026, 6, 1)), german).permitted
    assert decide(packs.as_of(date(2025, 6, 1)), german).reason_code == "jurisdiction_unknown"
    late = load({**texts, "demo": texts["demo"].replace("review_by: 2027-06-30", "review_by: 2029-06-30")})
    assert decide(late.as_of(date(2028, 6, 1)), german).reason_code == "pack_not_in_force"


NEXT = HEAD.replace("version: 1", "version: 2").replace("2026-01-01", "2028-01-01").replace("2027-12-31", "2029-12-31")
NEXT = NEXT.replace("2027-06-30", "2029-06-30")
PERMIT = GOOD.replace("deny, reason: restriction", "permit, reason: consent_valid").replace("restriction", "at_eu")


def versions(**texts: str) -> PackSet:
    return load({"reasons": TEXTS["reasons"], **texts})


@pytest.mark.parametrize("names", [("a", "b"), ("b", "a")])
def test_of_several_versions_the_one_in_force_on_the_day_counts(names: tuple[str, str]) -> None:
    packs = versions(**{names[0]: HEAD + PERMIT, names[1]: NEXT + PERMIT.replace("demo.a", "demo.later")})
    assert packs.faults == ()
    german = consenting()[0]
    for day, name, permitted in (
        (date(2025, 12, 31), (), False),
        (date(2026, 1, 1), ("demo@1",), True),
        (date(2027, 12, 31), ("demo@1",), False),  # past its review
        (date(2028, 1, 1), ("demo@2",), True),
        (date(2030, 1, 1), ("demo@2",), False),  # out of force
    ):
        answer = decide(packs.as_of(day), german)
        assert (answer.packs, answer.permitted) == (name, permitted), day
    assert decide(packs, german).packs == ("demo@2",)  # without a day the newest


@pytest.mark.parametrize(
    ("second", "line", "what"),
    [
        (HEAD + PERMIT, 2, "version 1 of the pack 'demo' is given twice"),
        (
            NEXT.replace("2028-01-01", "2027-12-31") + PERMIT,
            6,
            "demo@2 and demo@1 would both be in force on 2027-12-31",
        ),
    ],
)
def test_versions_that_clash_close_the_gate(second: str, line: int, what: str) -> None:
    packs = versions(first=HEAD + PERMIT, second=second)
    assert packs.faults == (f"second, line {line}: {what}",)
    answer = decide(packs.as_of(date(2026, 6, 1)), consenting()[0])
    assert (answer.permitted, answer.reason_code, answer.leading.citation) == (False, "pack_invalid", packs.faults[0])
    open_ended = HEAD.replace("effective_until: 2027-12-31\n", "")
    assert "both be in force on 2028-01-01" in versions(first=open_ended + PERMIT, second=NEXT + PERMIT).faults[0]


def test_a_pack_that_cannot_be_read_is_nobodys_version() -> None:
    packs = versions(demo="id: [", later=HEAD.replace("id: demo", "id: demo") + PERMIT)
    assert len(packs.faults) == 1
    assert decide(packs.as_of(date(2026, 6, 1)), consenting()[0]).reason_code == "pack_invalid"


def test_builtin_is_read_once_and_dated_on_request() -> None:
    assert load_builtin() is load_builtin()
    assert decide(load_builtin(date(2026, 11, 21)), consenting()[0]).permitted
    assert not decide(load_builtin(date(2031, 1, 1)), consenting()[0]).permitted


@pytest.mark.parametrize(
    "line",
    [
        "? [a, b]\n: 1",
        "? {a: b}\n: 1",
        "x: 2026-13-45",
        "x: 2026-01-01T99:99:99Z",
        "x: !!int abc",
        "x: !!float abc",
        "x: !!bool zz",
        "x: !!timestamp abc",
        "x: !!binary é",
        "x: !!int ''",
        "x: " + "9" * 5000,
        "x: !!python/object/apply:os.system [id]",
        "x: {<<: 3}",
        "x: &a [*a]",
        NINE_TIMES,
        "x: " + "[" * 5000,
    ],
)
def test_a_text_that_is_no_data_is_a_problem_of_the_text(line: str) -> None:
    """Whatever the parser meets in a text that somebody proposes, it is said as a problem of the pack, and no crash."""
    with pytest.raises(PolicyError, match="demo"):
        parse_pack("demo", HEAD.replace("version: 1", f"{line}\nversion: 1") + GOOD, PACKS.reasons)


@pytest.mark.parametrize(("old", "new"), [("version: 1", "version: 1000001"), ("demo", "d" * 64)])
def test_names_and_versions_fit_where_they_are_kept(old: str, new: str) -> None:
    with pytest.raises(PolicyError):
        parse_pack("demo", (HEAD + GOOD).replace(old, new), PACKS.reasons)


MARKS = ["[", "]", "{", "&a", "*a", "<<: ", "? ", "!!int ", "!!timestamp ", "- ", "~", '"', "|", ">", "%", "---"]


@settings(derandomize=True, deadline=None, max_examples=300)
@given(st.integers(0, len(HEAD + GOOD)), st.sampled_from(MARKS))
def test_a_text_with_a_mark_in_the_wrong_place_is_read_or_refused(at: int, mark: str) -> None:
    """Damage as of a bad edit: nothing but a pack or a problem comes of it."""
    text = (HEAD + GOOD)[:at] + mark + (HEAD + GOOD)[at:]
    with suppress(PolicyError):
        assert parse_pack("demo", text, PACKS.reasons).rules
