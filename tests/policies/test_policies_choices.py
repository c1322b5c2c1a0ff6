"""What an operator may choose: nothing in silence, nothing that no pack offers, and every choice is cited."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import pytest
from policies_builders import a_person, a_question

from consent_gateway.errors import PolicyError
from consent_gateway.policies.choices import (
    AS_SHIPPED,
    ChoiceError,
    Choices,
    parse_choices,
    read_choices,
    word,
    words_of,
)
from consent_gateway.policies.engine import decide_for
from consent_gateway.policies.packs import builtin_texts, load, load_builtin, parse_pack
from consent_gateway.policies.render import pack_as_text
from consent_gateway.policies.rules import Mark, Setting

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


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("demo: {calls: no}\nother: {calls: yes}", "c.yaml, line 2: there is no pack 'other'; packs are bare, demo"),
        ("demo:\n  calls: no\n  hours: late", "c.yaml, line 3: demo has no setting 'hours'; settings are calls"),
        ("bare: {hours: late}", "c.yaml, line 1: bare has no setting 'hours'; settings are none"),
        ("demo:\n  calls: perhaps", "c.yaml, line 2: demo.calls is one of no, yes"),
        ("bare: {}\ndemo: yes", "c.yaml, line 2: 'demo' is not a mapping of settings to choices"),
        ("demo:\n\n  calls: [no, yes]", "c.yaml, line 3: the choice of 'calls' is not one word"),
        ("- demo", "c.yaml, line 1: expected packs with their settings"),
        ("", "c.yaml: the file is empty"),
    ],
)
def test_what_is_wrong_with_a_choice_is_said_at_its_line(text: str, said: str) -> None:
    bare = DEMO[: DEMO.index("settings:")].replace("id: demo", "id: bare")
    bare += "rules:\n  - {id: bare.a, law: A, cites: Art 1, mark: K, effect: deny, reason: restriction}\n"
    with pytest.raises(ChoiceError) as caught:
        load({"reasons": builtin_texts()["reasons"], "demo": DEMO, "bare": bare}, parse_choices("c.yaml", text))
    assert caught.value.detail == said


def test_choices_are_read_with_their_places(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_bytes("# 选择\ngdpr: {calls: yes, months: 13}\nuk:\n  calls: 否\n".encode())
    wanted = (("gdpr", "calls", "yes", 2), ("gdpr", "months", "13", 2), ("uk", "calls", "否", 4))
    assert read_choices(file) == Choices("mine.yaml", wanted)
    assert read_choices(file).of("gdpr", {"calls": ["no", "yes"], "months": ["13"]}) == {"calls": "yes", "months": "13"}
    assert read_choices(file).of("pipl", {}) == {}
    file.write_bytes(b"\xff\xfe")
    with pytest.raises(ChoiceError) as caught:
        read_choices(file)
    assert caught.value.detail == "mine.yaml: cannot be read (UnicodeDecodeError)"


def test_a_setting_keeps_what_was_shipped_beside_what_was_chosen() -> None:
    chosen = parse_pack("demo", DEMO, REASONS, parse_choices("c.yaml", "demo: {calls: yes}"))
    assert chosen.settings == (
        Setting("calls", "yes", "no", ("no", "yes"), "Art 9", Mark.UNVERIFIED, "Calls.", "来电。"),
    )
    assert parse_pack("demo", DEMO, REASONS).settings[0].value == "no"


def test_words_are_words_however_yaml_reads_them() -> None:
    assert [word(value) for value in (True, False, 13, "x", None, 1.5)] == ["yes", "no", "13", "x", None, 1.5]
    assert words_of({"a": True, "b": 3}) == {"a": "yes", "b": "3"}
    assert words_of([False, "x"]) == ["no", "x"]
    assert words_of("x") == "x"


def test_an_unreadable_file_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(ChoiceError, match=r"^gone\.yaml: cannot be read \(FileNotFoundError\)$"):
        read_choices(tmp_path / "gone.yaml")


def test_a_pack_prints_its_settings_and_the_rules_not_chosen() -> None:
    packs = load({"reasons": builtin_texts()["reasons"], "demo": DEMO})
    text = pack_as_text(packs, packs.packs[0])
    assert "calls = no (one of no, yes; shipped no): Calls. [Art 9; UNVERIFIED]" in text
    assert text.index("Rules of choices that were not made") < text.index("demo.calls: permits")
    assert "only if calls = no" in text
    assert "in force from 2025-01-01" in text
