"""What an operator may choose: nothing in silence, nothing that no pack offers, and every choice is cited."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import pytest
from policies_builders import a_person, a_question

from consent_gateway.errors import PolicyError
from consent_gateway.policies.choices import AS_SHIPPED, ChoiceError, parse_choices, read_choices
from consent_gateway.policies.engine import decide_for
from consent_gateway.policies.packs import builtin_texts, load, load_builtin, parse_pack
from consent_gateway.policies.render import pack_as_text

REASONS = load_builtin().reasons
DEMO = """\
id: demo
version: 3
title: A law
title_zh: 某法
jurisdiction: EU
effective_from: 2020-01-01
review_by: 2029-06-30
reviewer: somebody
territory: [{at_eu: yes}]
default_reason: no_legal_basis
settings:
  - {id: calls, value: no, choices: [no, yes], cites: Art 9, mark: UNVERIFIED, en: Calls., zh: 来电。}
rules:
  - {id: demo.no_calls, law: A, cites: Art 9, mark: UNVERIFIED, effect: deny, reason: no_prior_consent,
     when: {channel: call}, setting: {calls: no}}
  - {id: demo.calls, law: A, cites: Art 9, mark: UNVERIFIED, effect: permit, reason: opt_out_regime,
     when: {channel: call}, setting: {calls: yes}}
  - {id: demo.old, law: A, cites: Art 1, mark: K, effect: deny, reason: restriction,
     when: {restriction: yes}, effective_until: 2024-12-31}
  - {id: demo.new, law: A, cites: Art 2, mark: K, effect: deny, reason: erased,
     when: {restriction: yes}, effective_from: 2025-01-01}
"""


def demo(choices: str = "") -> dict[str, object]:
    chosen = parse_choices("choices.yaml", choices) if choices else AS_SHIPPED
    pack = parse_pack("demo", DEMO, REASONS, chosen)
    return {"name": pack.name, "rules": [r.id for r in pack.rules], "unchosen": [r.id for r in pack.unchosen]}


def test_a_rule_exists_only_under_its_choice_and_the_name_says_so() -> None:
    kept = ["demo.old", "demo.new"]
    assert demo() == {"name": "demo@3", "rules": ["demo.no_calls", *kept], "unchosen": ["demo.calls"]}
    shipped = demo("demo: {calls: no}")
    assert shipped["name"] == "demo@3"
    chosen = demo('{"demo": {"calls": "yes"}}')  # JSON is YAML
    assert chosen == {"name": "demo@3+calls=yes", "rules": ["demo.calls", *kept], "unchosen": ["demo.no_calls"]}


@pytest.mark.parametrize(
    ("text", "line", "what"),
    [
        ("demo: {calls: no}\nother: {calls: yes}", 2, "no pack 'other'"),
        ("demo:\n  calls: no\n  hours: late", 3, "no setting 'hours'"),
        ("demo:\n  calls: perhaps", 2, "demo.calls is one of no, yes"),
        ("demo:\n  calls: no\n  calls: yes", 3, "repeated"),
        ("demo: yes", 1, "not a mapping"),
        ("demo: {calls: [no, yes]}", 1, "not one word"),
        ("- demo", 1, "expected packs"),
        ("demo: [}", 1, "expected"),
        ("", 0, "empty"),
    ],
)
def test_what_no_pack_offers_is_refused_with_file_and_line(text: str, line: int, what: str) -> None:
    texts = {"reasons": builtin_texts()["reasons"], "demo": DEMO}
    with pytest.raises(ChoiceError, match=what) as caught:
        load(texts, parse_choices("choices.yaml", text))
    assert caught.value.detail.startswith("choices.yaml")
    assert not line or f"line {line}" in caught.value.detail


def test_a_rule_that_depends_on_nothing_offered_is_refused() -> None:
    unknown, unshipped = DEMO.replace("setting: {calls: yes}", "setting: {a: b}"), DEMO.replace("value: no", "value: x")
    for wrong in (unknown, unshipped):
        with pytest.raises(PolicyError, match="demo, line"):
            parse_pack("demo", wrong, REASONS)


def test_rules_come_and_go_on_their_own_days() -> None:
    packs = load({"reasons": builtin_texts()["reasons"], "demo": DEMO})
    question, person = a_question(), a_person(regions=("DE",), restriction=True)
    answers = [
        decide_for(packs.as_of(day), question, person).reason_code for day in (date(2024, 12, 31), date(2025, 1, 1))
    ]
    assert answers == ["restriction", "erased"]


def test_an_unreadable_file_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(ChoiceError, match=r"gone\.yaml: cannot be read"):
        read_choices(tmp_path / "gone.yaml")


def test_a_pack_prints_its_settings_and_the_rules_not_chosen() -> None:
    packs = load({"reasons": builtin_texts()["reasons"], "demo": DEMO})
    text = pack_as_text(packs, packs.packs[0])
    assert "calls = no (one of no, yes; shipped no): Calls. [Art 9; UNVERIFIED]" in text
    assert text.index("Rules of choices that were not made") < text.index("demo.calls: permits")
    assert "only if calls = no" in text
    assert "in force from 2025-01-01" in text
