"""Every kind of finding is shown by a planted pack; the shipped packs have no error.

z3 agrees which of their rules are implied here, and that none is dead or contradicted in `test_policies_proofs`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import date, timedelta

import pytest
from policies_z3 import answer_permits, counterexample

from consent_gateway.domain.decisions import Effect
from consent_gateway.policies.packs import builtin_texts, load, load_builtin
from consent_gateway.policies.proof.formulas import OutOfTimeError, permits, watched
from consent_gateway.policies.proof.lint import CHECKS, Finding, Level, _implied, _outcomes_stay, lint
from consent_gateway.policies.rules import Pack, PackSet, ReasonText, Rule

PACKS = load_builtin()
TODAY = date(2026, 11, 30)
HEAD = """id: demo
version: 1
title: Demo
title_zh: 演示
jurisdiction: EU
effective_from: 2026-01-01
review_by: 2027-10-31
reviewer: counsel
territory: [{at_eu: yes}]
default_reason: no_legal_basis
rules:
"""


def rule(name: str, effect: str, reason: str, when: str, rest: str = "", mark: str = "K") -> str:
    return f"  - {{id: demo.{name}, law: L, cites: Art 1, mark: {mark}, effect: {effect}, reason: {reason}, when: {{{when}}}{rest}}}\n"


DENY = rule("deny", "deny", "restriction", "restriction: yes")
BAD = rule("bad", "deny", "objection_direct_marketing", "objection: yes", ", unless: [{objection: no}, {age: 13}]")
AGAIN = rule("again", "deny", "restriction", "capped: yes")
PERMIT = rule("permit", "permit", "consent_valid", "consent: given")


def findings(*rules: str) -> list[Finding]:
    packs = load({"reasons": builtin_texts()["reasons"], "demo": HEAD + "".join(rules)})
    assert packs.faults == ()
    return lint(packs, TODAY, 90)


def kinds(found: list[Finding]) -> list[tuple[str, str]]:
    return [(f.kind, f.rule.removeprefix("demo.")) for f in found if f.kind != "implied"]


def test_a_plain_pack_has_no_finding() -> None:
    assert findings(DENY, PERMIT) == []


@pytest.mark.parametrize(
    ("rules", "kind", "name", "level", "message"),
    [
        (
            [rule("dead", "deny", "restriction", "age: [13, 14]", ", unless: [{age: 13}, {age: 14}]")],
            "dead", "dead", Level.ERROR, "fires nowhere",
        ),
        (
            [rule("lost", "permit", "legitimate_interest", "restriction: yes, consent: none")],
            "contradicted", "lost", Level.ERROR, "its pack denies (demo.deny)",
        ),
        (
            [
                rule("half", "deny", "objection_direct_marketing", "objection: yes"),
                rule("lost", "permit", "legitimate_interest", "basis: contract", ", unless: {restriction: no, objection: no}"),
            ],
            "contradicted", "lost", Level.ERROR, "its pack denies",
        ),
        (
            [rule("under", "deny", "frequency_cap", "restriction: yes, capped: yes")],
            "shadowed", "under", Level.WARNING, "(demo.deny)",
        ),
        (
            [rule("idle", "deny", "objection_direct_marketing", "objection: yes", ", unless: [{objection: no}, {age: 13}]")],
            "idle_unless", "idle", Level.WARNING, "`unless` 1",
        ),
        (
            [rule("there", "deny", "objection_direct_marketing", "objection: yes", ", unless: {at_eu: no}")],
            "idle_unless", "there", Level.WARNING, "`unless` 1",
        ),
        (
            [rule("open", "deny", "objection_direct_marketing", "objection: yes", mark="UNVERIFIED")],
            "unverified", "open", Level.WARNING, "Art 1",
        ),
        (
            [rule("again", "deny", "restriction", "objection: yes")],
            "overlap", "again", Level.INFO, "the reason restriction together with demo.deny",
        ),
        (
            [
                rule("one", "oblige", "duty", "age: 13", ", obligations: [tell]"),
                rule("two", "oblige", "duty", "capped: yes", ", obligations: [tell, log]"),
            ],
            "overlap", "two", Level.INFO, "the duty tell together with demo.one",
        ),
    ],
)  # fmt: skip
def test_each_finding_is_shown_by_a_planted_rule(
    rules: list[str], kind: str, name: str, level: Level, message: str
) -> None:
    found = [f for f in findings(DENY, PERMIT, *rules) if f.kind == kind]
    assert [(f.rule, f.level, f.pack) for f in found] == [(f"demo.{name}", level, "demo@1")]
    assert message in found[0].message


def test_implied_rules_change_no_outcome() -> None:
    same = rule("same", "deny", "frequency_cap", "restriction: yes, capped: yes")
    other = rule("other", "deny", "frequency_cap", "capped: yes")
    unneeded = rule("unneeded", "permit", "legitimate_interest", "consent: given, basis: contract")
    needed = rule("needed", "permit", "legitimate_interest", "basis: contract")
    one = rule("one", "oblige", "duty", "age: 13", ", obligations: [tell]")
    two = rule("two", "oblige", "duty", "age: [13, 14]", ", obligations: [tell, log]")
    for extra, implied in ((same, True), (other, False), (unneeded, True), (needed, False)):
        name = extra.partition("demo.")[2].partition(",")[0]
        assert (("implied", f"demo.{name}") in {(f.kind, f.rule) for f in findings(DENY, PERMIT, extra)}) == implied
    duties = {f.rule for f in findings(DENY, PERMIT, one, two) if f.kind == "implied"}
    assert duties == {"demo.one"}


def ticks(limit: int) -> Callable[[], None]:
    """A clock that is over after so many steps."""
    left = iter(range(limit))

    def tick() -> None:
        if next(left, None) is None:
            raise OutOfTimeError

    return tick


def test_what_was_not_finished_in_time_is_said() -> None:
    packs = load({"reasons": builtin_texts()["reasons"], "demo": HEAD + DENY + PERMIT + BAD + AGAIN})
    whole, kinds = lint(packs, TODAY, 90), [kind for kind, _ in CHECKS]
    said, limit = list[str](), 0
    while True:
        with watched(ticks(limit)):
            found = lint(packs, TODAY, 90)
        if found == whole:
            break
        (short,) = [f for f in found if f.kind == "unfinished"]
        left = short.message.removeprefix("the time ended; not looked at to the end: ").split(", ")
        assert left == kinds[-len(left) :]
        assert [f for f in found if f is not short] == [f for f in whole if f in found]
        assert [f for f in whole if f not in found and f.kind not in left] == []
        said, limit = said + [left[0]] * (left[0] not in said), limit + 1
    assert said == ["dead", "idle_unless", "contradicted", "shadowed", "overlap", "implied"]
    assert lint(packs, TODAY, 90) == whole  # the clock was that of the block alone


def test_reviews_texts_and_files_that_cannot_be_read() -> None:
    gdpr = PACKS.pack("gdpr")
    assert gdpr is not None
    only = replace(PACKS, packs=(gdpr,))
    near, past = gdpr.review_by - timedelta(days=30), gdpr.review_by + timedelta(days=1)
    for today, days, expected in ((near, 30, "review_due"), (near, 29, None), (past, 0, "review_overdue")):
        found = [f for f in lint(only, today, days) if f.kind.startswith("review")]
        assert [f.kind for f in found] == ([expected] if expected else [])
    bare = replace(
        PACKS,
        packs=(replace(gdpr, title_zh="GDPR"),),
        reasons={**PACKS.reasons, "odd": ReasonText("odd", 999, None, " ", "none")},
        faults=("demo, line 3: wrong",),
    )
    found = [f for f in lint(bare, TODAY, 0) if f.level is Level.ERROR]
    assert [(f.kind, f.pack) for f in found] == [
        ("missing_text", ""),
        ("missing_text", ""),
        ("missing_text", "gdpr@1"),
        ("unreadable", "demo"),
    ]
    assert {f.message for f in found} >= {
        "reason odd: there is no English text",
        "reason odd: there is no Chinese text",
    }


# -- the shipped packs -------------------------------------------------------------------------------------------------


def test_the_shipped_packs_have_no_error() -> None:
    checks = [check for _, check in CHECKS if check is not _implied]  # which never gives an error, and takes long
    found = [finding for check in checks for finding in check(PACKS)]
    assert found
    assert [finding for finding in found if finding.level is Level.ERROR] == []


def less(pack: Pack, gone: Rule) -> PackSet:
    lesser = replace(pack, rules=tuple(r for r in pack.rules if r is not gone))
    return replace(PACKS, packs=tuple(lesser if p is pack else p for p in PACKS.packs))


def test_z3_agrees_which_rules_of_the_shipped_packs_are_implied() -> None:
    """Every twenty-fifth rule of those whose loss may change an outcome, by removing it from the whole set."""
    whole, ours = answer_permits(PACKS), permits(PACKS)
    asked = [(p, r) for p in PACKS.packs for r in p.rules if r.effect is not Effect.OBLIGE and not r.obligations][::25]
    implied = {gone.id for pack, gone in asked if _outcomes_stay(PACKS, ours, pack, gone)}
    assert 0 < len(implied) < len(asked)
    for pack, gone in asked:
        changed = counterexample(whole != answer_permits(less(pack, gone)))
        assert (changed is None) == (gone.id in implied), gone.id
