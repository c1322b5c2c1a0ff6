"""What the loader makes of a text, to the last field, and what it says of a text that is wrong, to the letter.

The words and the line are what the author of a pack has to go by, so they are part of the contract.
"""

from __future__ import annotations

from datetime import date

import pytest
import yaml

from consent_gateway.domain.decisions import Effect, Stage
from consent_gateway.errors import PolicyError
from consent_gateway.policies import packs as loader
from consent_gateway.policies.choices import AS_SHIPPED, ChoiceError, parse_choices
from consent_gateway.policies.documents import document, line, node_at
from consent_gateway.policies.packs import builtin_texts, load, load_builtin, parse_pack, parse_reasons
from consent_gateway.policies.rules import (
    Condition,
    Mark,
    Pack,
    ReasonText,
    Rule,
    Setting,
    broken_pack,
)
from consent_gateway.policies.vocabulary import BY_NAME

REASONS = load_builtin().reasons
TEXT = """\
id: demo
version: 7
title: Demo
title_zh: 演示
jurisdiction: EU
effective_from: 2026-01-01
effective_until: 2027-12-31
review_by: 2027-06-30
reviewer: counsel
territory:
  - {at_eu: yes}
  - at_uk: yes
default_reason: no_legal_basis
settings:
  - {id: calls, value: no, choices: [no, yes], cites: Art 9, mark: UNVERIFIED, en: Calls., zh: 来电。}
rules:
  - id: demo.plain
    law: L
    cites: Art 1
    mark: K
    effect: deny
    reason: restriction
    when:
      restriction: yes
  - id: demo.full
    law: M
    cites: Art 2
    mark: V1
    effect: oblige
    reason: duty
    when:
      age: [13, {ADULT}]
      channel:
        not: [call]
    unless:
      - objection: yes
      - {gpc: {not: [no]}}
    needs:
      - evidence
    obligations: [do_this, do_that]
    setting: {calls: no}
    effective_from: 2026-02-01
    effective_until: 2026-02-01
    when_permitted: yes
  - id: demo.chosen
    law: L
    cites: Art 3
    mark: POLICY
    effect: permit
    reason: consent_valid
    unless: {restriction: no}
    setting: {calls: yes}
""".replace("{ADULT}", "adult")
AT_EU = Condition.of({"at_eu": ["yes"]})
PLAIN = Rule("demo.plain", "L", "Art 1", Mark.K, Effect.DENY, Condition.of({"restriction": ["yes"]}), "restriction")
FULL = Rule(
    id="demo.full",
    law="M",
    cites="Art 2",
    mark=Mark.V1,
    effect=Effect.OBLIGE,
    when=Condition.of(
        {
            "age": ["13", "adult"],
            "channel": [value for value in BY_NAME["channel"].values if value != "call"],
            "evidence": ["yes"],
        }
    ),
    reason="duty",
    unless=(Condition.of({"objection": ["yes"]}), Condition.of({"gpc": ["yes", "seen_before"]})),
    needs=("evidence",),
    obligations=("do_this", "do_that"),
    settings=(("calls", "no"),),
    effective_from=date(2026, 2, 1),
    effective_until=date(2026, 2, 1),
    when_permitted=True,
)
CHOSEN = Rule(
    id="demo.chosen",
    law="L",
    cites="Art 3",
    mark=Mark.POLICY,
    effect=Effect.PERMIT,
    when=Condition.of({}),
    reason="consent_valid",
    unless=(Condition.of({"restriction": ["no"]}),),
    settings=(("calls", "yes"),),
)
PACK = Pack(
    id="demo",
    version=7,
    title="Demo",
    title_zh="演示",
    jurisdiction="EU",
    effective_from=date(2026, 1, 1),
    effective_until=date(2027, 12, 31),
    review_by=date(2027, 6, 30),
    reviewer="counsel",
    territory=(AT_EU, Condition.of({"at_uk": ["yes"]})),
    default_reason="no_legal_basis",
    rules=(PLAIN, FULL),
    settings=(Setting("calls", "no", "no", ("no", "yes"), "Art 9", Mark.UNVERIFIED, "Calls.", "来电。"),),
    unchosen=(CHOSEN,),
)


def parsed(text: str) -> Pack:
    return parse_pack("demo", text, REASONS)


def test_a_pack_is_read_to_the_last_field() -> None:
    assert parsed(TEXT) == PACK
    open_ended = TEXT.replace("effective_until: 2027-12-31\n", "").replace("no_legal_basis", "null")
    assert (parsed(open_ended).effective_until, parsed(open_ended).default_reason) == (None, None)
    chosen = parse_pack("demo", TEXT, REASONS, parse_choices("mine", "demo: {calls: yes}"))
    assert chosen.rules == (PLAIN, CHOSEN)
    assert chosen.unchosen == (FULL,)
    assert chosen.settings[0].value == "yes"


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("restriction: yes", "restrictoin: yes", "line 24: rule 'demo.plain': there is no fact named 'restrictoin'"),
        ("restriction: yes", "restriction: maybe", "line 24: rule 'demo.plain': the fact 'restriction' has a value outside of its domain"),
        ("not: [call]", "not: [shout]", "line 32: rule 'demo.full': the fact 'channel' has a value outside of its domain"),
        ("- objection: yes", "- luck: yes", "line 36: rule 'demo.full': there is no fact named 'luck'"),
        ("- evidence", "- luck", "line 39: rule 'demo.full': 'luck' is not a property of consent"),
        ("age: [13, adult]", "evidence: no", "line 39: rule 'demo.full': it needs 'evidence' and its `when` excludes it"),
        ("age: [13, adult]", "age: []", "line 25: rule 'demo.full': its condition can never hold, because no value of 'age' is left"),
        ("- objection: yes", "- evidence: yes", "line 25: rule 'demo.full': an `unless` holds whenever its `when` does, so that it never fires"),
        ("age: [13, adult]", "at_eu: no\n      at_uk: no", "line 25: rule 'demo.full': it can never fire where the pack binds"),
        ("- at_uk: yes", "- at_uk: maybe", "line 12: the fact 'at_uk' has a value outside of its domain"),
        ("- {at_eu: yes}", "- {at_eux: yes}", "line 11: there is no fact named 'at_eux'"),
        ("effective_until: 2027-12-31", "effective_until: 2025-12-31", "line 7: effective_until lies before effective_from"),
        ("review_by: 2027-06-30", "review_by: 2025-12-31", "line 8: review_by lies before effective_from"),
        ("effective_until: 2026-02-01", "effective_until: 2026-01-31", "line 25: rule 'demo.full': its end lies before effective_from"),
        ("id: demo.full", "id: demo.plain", "line 25: rule 'demo.plain' is repeated, or does not start with the pack's id"),
        ("id: demo.full", "id: demonic.full", "line 25: rule 'demonic.full' is repeated, or does not start with the pack's id"),
        ("reason: duty", "reason: because", "line 25: rule 'demo.full' gives the reason 'because', which the catalogue does not list"),
        ("setting: {calls: no}", "setting: {hours: no}", "line 25: rule 'demo.full' depends on a choice of 'hours' that the pack does not offer"),
        ("setting: {calls: no}", "setting: {calls: perhaps}", "line 25: rule 'demo.full' depends on a choice of 'calls' that the pack does not offer"),
        ("effect: permit", "effect: permit\n    when_permitted: yes", "line 45: rule 'demo.chosen' is no duty, so that `when_permitted` says nothing"),
        ("reason: duty", "reason: restriction", "line 25: rule 'demo.full' gives the reason 'restriction', which is of the other effect"),
        ("effect: deny", "effect: permit", "line 17: rule 'demo.plain' gives the reason 'restriction', which is of the other effect"),
        ("effect: oblige", "effect: forbid", "line 29: rule 'demo.full': rules.1.effect: Input should be 'permit', 'deny' or 'oblige'"),
        ("mark: UNVERIFIED", "mark: sure", "line 15: settings.0.mark: Input should be 'V1', 'V2', 'K', 'UNVERIFIED' or 'POLICY'"),
        ("value: no", "value: maybe", "line 15: settings.0: Value error, the shipped value is not one of the choices"),
        ("version: 7", "version: 0", "line 2: version: Input should be greater than or equal to 1"),
        ("version: 7", "version: 7\nversion: 8", "line 3: the key is repeated, or no plain word"),
        ("at_eu: yes", "? [at_eu]\n    : yes", "line 11: the key is repeated, or no plain word"),
        ("at_eu: yes", "at_eu: [", "line 11: did not find expected node content"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_a_pack_is_said_at_its_line(old: str, new: str, said: str) -> None:
    assert old in TEXT
    with pytest.raises(PolicyError) as caught:
        parsed(TEXT.replace(old, new, 1))
    assert caught.value.detail.startswith(f"demo, {said}")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "demo: the file is empty"),
        ("a: \x07", "demo: the text has characters that YAML does not allow"),
        ("a: 2026-13-45", "demo: a value is not of the type that it is written as"),
        (TEXT.replace("no_legal_basis", "because"), "demo: the default reason 'because' is not in the catalogue"),
    ],
)
def test_what_has_no_line_is_said_without_one(text: str, said: str) -> None:
    with pytest.raises(PolicyError) as caught:
        parsed(text)
    assert caught.value.detail == said


def test_every_problem_of_the_shape_is_told_and_by_the_rule_it_lies_in() -> None:
    with pytest.raises(PolicyError) as caught:
        parsed(TEXT.replace("    law: M\n    cites: Art 2\n", "").replace("title: Demo", "titel: Demo"))
    assert caught.value.detail.split("; ") == [
        "demo, line 1: title: Field required",
        "demo, line 25: rule 'demo.full': rules.1.law: Field required",
        "demo, line 25: rule 'demo.full': rules.1.cites: Field required",
        "demo, line 3: titel: Extra inputs are not permitted",
    ]
    nameless = TEXT[: TEXT.index("  - id")] + "  - {id: [a]}\n"
    with pytest.raises(PolicyError, match=r"^demo, line 17: rules\.0\.id: Input should be a valid string; "):
        parsed(nameless)
    with pytest.raises(PolicyError, match=r"demo, line 16: rules: Input should be a valid list"):
        parsed(TEXT[: TEXT.index("rules:")] + "rules: none\n")


@pytest.mark.parametrize("dropped", ["effective_from", "effective_until"])
def test_a_rule_may_have_a_beginning_or_an_end_alone(dropped: str) -> None:
    rule = parsed(TEXT.replace(f"    {dropped}: 2026-02-01\n", "")).rules[1]
    assert getattr(rule, dropped) is None
    assert {rule.effective_from, rule.effective_until} == {None, date(2026, 2, 1)}


def test_a_rule_may_need_what_its_condition_leaves_open() -> None:
    both = parsed(TEXT.replace("age: [13, adult]", "evidence: [no, yes]"))
    assert both.rules[1].when.allowed["evidence"] == {"yes"}


def test_a_pack_may_end_on_the_day_on_which_it_begins() -> None:
    one_day = TEXT.replace("2027-12-31", "2026-01-01").replace("2027-06-30", "2026-01-01")
    assert parsed(one_day).review_by == parsed(one_day).effective_until == date(2026, 1, 1)


# -- the catalogue -------------------------------------------------------------------------------------------------

CATALOGUE = """\
deny:
  - {code: never, stage: law, en: No., zh: 否。}
permit:
  - {code: yes_indeed, en: Yes., zh: 是。}
oblige:
  - {code: duty, en: Do., zh: 做。}
"""


def test_the_order_of_the_catalogue_is_the_rank() -> None:
    assert parse_reasons("reasons", CATALOGUE) == {
        "never": ReasonText("never", 0, Stage.LAW, "No.", "否。"),
        "yes_indeed": ReasonText("yes_indeed", 1, None, "Yes.", "是。"),
        "duty": ReasonText("duty", 2, None, "Do.", "做。"),
    }


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("code: never", "code: never, mood: bad", "reasons, line 2: deny.0.mood: Extra inputs are not permitted"),
        ("code: never", "code: yes_indeed", "reasons: a reason code is listed twice"),
        ("code: never, stage: law", "code: never", "reasons: the denial 'never' has no stage"),
        ("oblige:", "obliged:", "reasons, line 1: oblige: Field required; reasons, line 6: obliged: "),
    ],
)
def test_what_is_wrong_with_the_catalogue_is_said(old: str, new: str, said: str) -> None:
    with pytest.raises(PolicyError) as caught:
        parse_reasons("reasons", CATALOGUE.replace(old, new))
    assert caught.value.detail.startswith(said)


# -- sets of packs -------------------------------------------------------------------------------------------------

SHIPPED = builtin_texts()
LATER = TEXT.replace("version: 7", "version: 8").replace("2026-", "2028-").replace("2027-", "2029-")


def test_a_set_holds_what_it_was_read_from() -> None:
    texts = {"reasons": SHIPPED["reasons"], "b": TEXT, "a": LATER, "c": TEXT.replace("demo", "other")}
    found = load(texts, parse_choices("mine", "other: {calls: yes}"))
    assert [pack.name for pack in found.packs] == ["demo@8", "other@7+calls=yes"]
    assert found.others == (PACK,)
    assert found.reasons == REASONS
    assert found.faults == ()
    assert found.texts == texts
    assert found.chosen == (("other", "calls", "yes", 1),)
    assert load(texts).chosen == AS_SHIPPED.values


def test_a_pack_that_cannot_be_read_stands_in_for_itself() -> None:
    with pytest.raises(PolicyError, match=r"^the catalogue of reasons is missing$"):
        load({"demo": TEXT})
    wrong = TEXT.replace("version: 7", "version: x")
    found = load({"reasons": SHIPPED["reasons"], "b": wrong, "c": TEXT})
    (problem,) = found.faults
    assert problem.startswith("b, line 2: version: ")
    assert found.packs == (broken_pack("b", problem), PACK)


def test_a_choice_for_a_pack_that_is_wrong_is_still_a_choice_for_no_pack() -> None:
    texts = {"reasons": SHIPPED["reasons"], "a": TEXT}
    with pytest.raises(ChoiceError) as caught:
        load(texts, parse_choices("mine", "demo: {calls: yes}\nothers: {a: b}"))
    assert caught.value.detail == "mine, line 2: there is no pack 'others'; packs are demo"


def test_shipped_texts_are_the_files_beside_the_loader() -> None:
    assert {"reasons", "gdpr", "pipl", "strict"} <= set(SHIPPED)
    assert SHIPPED["reasons"].startswith("#")
    assert not [name for name in SHIPPED if "." in name]


def test_packs_under_choices_are_others_and_kept_apart() -> None:
    chosen = parse_choices("mine", "gdpr: {live_calls: opt_out}")
    gdpr = load_builtin(choices=chosen).pack("gdpr")
    assert gdpr is not None
    assert gdpr.name.endswith("+live_calls=opt_out")
    shipped = load_builtin().pack("gdpr")
    assert shipped is not None
    assert shipped.name == f"gdpr@{shipped.version}"
    dated = load_builtin(date(2026, 11, 21), chosen).pack("gdpr")
    assert dated is not None
    assert dated.name == gdpr.name
    assert loader._builtin(AS_SHIPPED) is load_builtin()


# -- places in a document ------------------------------------------------------------------------------------------

NODE: yaml.Node = document("demo", TEXT)[0]


@pytest.mark.parametrize(
    ("path", "at"),
    [
        ((), 1),
        (("territory",), 11),
        (("territory", 1), 12),
        (("territory", 2), 11),  # the deepest that is there
        (("territory", "at_eu"), 11),
        (("nothing", "below"), 1),
        (("title", "below"), 3),
        (("rules", 1, "when", "channel", "not"), 34),
        (("rules", 9, "when"), 17),
    ],
)
def test_the_line_of_a_place_is_that_of_the_deepest_node(path: tuple[int | str, ...], at: int) -> None:
    assert line(NODE, path) == at


def test_a_node_is_found_by_its_whole_path_or_not() -> None:
    found = node_at(NODE, ("rules", 1, "id"))
    assert isinstance(found, yaml.ScalarNode)
    assert found.value == "demo.full"
    assert node_at(NODE, ()) is NODE
    for path in (("rules", 3), ("rules", 9, "id"), ("nothing", "id", "id"), ("title", 0), ("rules", "id")):
        assert node_at(NODE, path) is None


@pytest.mark.parametrize(
    ("text", "at"),
    [("a: {b: 1,\n b: 2}", 2), ("- 1\n- {a: 1,\n   a: 2}", 3), ("a: 1\nb:\n  c: 1\n  c: 2\n", 4), ("? {a: b}\n: 1", 1)],
)
def test_a_key_is_given_once_at_every_depth(text: str, at: int) -> None:
    with pytest.raises(PolicyError) as caught:
        document("demo", text)
    assert caught.value.detail == f"demo, line {at}: the key is repeated, or no plain word"


def test_a_text_may_have_as_many_nodes_as_is_said() -> None:
    text = "a:\n  - 1\n  - 2\n"  # the mapping, its key, the list and its two members
    assert document("small.yaml", text, most=5)[1] == {"a": [1, 2]}
    with pytest.raises(PolicyError, match=r"^small.yaml, line 3: the text nests or repeats more than it may$"):
        document("small.yaml", text, most=4)


def test_what_is_wrong_with_the_shape_of_the_catalogue_is_told_with_its_name() -> None:
    for text, told in (("", "reasons: the file is empty"), ("a: 1\na: 2\n", "reasons, line 2: the key is repeated")):
        for read in (lambda t: parse_reasons("reasons", t), lambda t: load({"reasons": t})):
            with pytest.raises(PolicyError, match=f"^{told}"):
                read(text)
