from __future__ import annotations

from dataclasses import replace
from itertools import combinations

import pytest
from hypothesis import given, settings
from policies_builders import a_person, a_question, consenting, near_permits

from consent_gateway.domain.consents import ConsentProperty, ConsentState
from consent_gateway.domain.purposes import Channel
from consent_gateway.errors import PolicyError
from consent_gateway.policies.compile import program
from consent_gateway.policies.counterfactual import MAX_CHANGES, MOVES, Move, Ways
from consent_gateway.policies.engine import decide, explain
from consent_gateway.policies.facts import Facts, build
from consent_gateway.policies.packs import load_builtin
from consent_gateway.policies.render import answer_as_text, pack_as_text
from consent_gateway.policies.rules import Condition, PackSet

PACKS = load_builtin()
GERMAN = consenting()[0]


def applied(facts: Facts, moves: tuple[Move, ...]) -> Facts:
    changes: dict[str, str] = {}
    for move in moves:
        changes |= move.settles()
    return facts.replace(**changes)


def smallest_by_force(packs: PackSet, facts: Facts, at_most: int) -> tuple[Move, ...]:
    """Try every combination of moves without pruning: the checker of the search."""
    evaluate = program(packs).evaluate
    open_moves = [move for move in MOVES if facts[move.fact] != move.need]
    for size in range(1, at_most + 1):
        for moves in combinations(open_moves, size):
            if len({m.fact for m in moves}) == size and evaluate(applied(facts, moves).bits).permitted:
                return moves
    return ()


@pytest.mark.parametrize(
    ("facts", "changed"),
    [
        (build(a_question(), a_person(regions=("DE",), consent=ConsentState.NONE)), ["consent"]),
        (GERMAN.replace(objection="yes"), ["objection"]),
        (GERMAN.replace(msg_unsubscribe="no"), ["msg_unsubscribe"]),
        (GERMAN.replace(capped="yes", scope_channel="no"), ["capped", "scope_channel"]),
        (GERMAN.replace(special_category="yes", explicit="no", evidence="no"), ["evidence", "explicit"]),
        (build(a_question(channel=Channel.SMS), a_person(regions=("CN",), local_minutes=(1300,))), ["hours_8_20"]),
        (build(a_question(recipient_country="US"), a_person(regions=("DE",))), ["transfer_mechanism"]),
        (build(a_question(recipient_country="DE"), a_person(regions=("CN",), properties=ConsentProperty(0))), []),
    ],
)
def test_what_would_permit(facts: Facts, changed: list[str]) -> None:
    answer = explain(PACKS, facts)
    assert not answer.permitted
    if changed:
        assert [c.fact for c in answer.changes] == changed
        assert all(c.have != c.need and c.have == facts[c.fact] and c.text_en and c.text_zh for c in answer.changes)


@settings(derandomize=True, deadline=None, max_examples=80)
@given(near_permits(4))
def test_the_change_permits_and_no_smaller_one_does(facts: Facts) -> None:
    answer = explain(PACKS, facts)
    if answer.permitted:
        assert answer.changes == ()
        return
    moves = tuple(next(m for m in MOVES if (m.fact, m.need) == (c.fact, c.need)) for c in answer.changes)
    if moves:
        assert len(moves) <= MAX_CHANGES
        assert decide(PACKS, applied(facts, moves)).permitted
    by_force = smallest_by_force(PACKS, facts, min(2, len(moves) or 2))
    assert by_force == (moves if len(moves) <= 2 else ())


@settings(derandomize=True, deadline=None, max_examples=8)
@given(near_permits(8))
def test_by_force_three_changes_agree_with_the_search(facts: Facts) -> None:
    if not decide(PACKS, facts).permitted:
        found = [(change.fact, change.need) for change in explain(PACKS, facts).changes]
        assert [(m.fact, m.need) for m in smallest_by_force(PACKS, facts, MAX_CHANGES)] == found


def test_the_checker_goes_red_when_the_search_forgets_a_demand() -> None:
    facts = GERMAN.replace(capped="yes", scope_channel="no")
    hasty = Ways(program(PACKS).sieve(facts.bits))
    assert len(hasty.search(facts.bits)) == len(smallest_by_force(PACKS, facts, 2)) == 2
    hasty._breaks = tuple(0 for _ in hasty._breaks)
    assert hasty.search(facts.bits) == ()


def test_a_move_that_would_change_where_a_law_binds_is_refused() -> None:
    gdpr = PACKS.pack("gdpr")
    assert gdpr is not None
    moved = replace(gdpr, territory=(Condition.of({"consent": ["given"]}),))
    with pytest.raises(PolicyError, match="where a law binds"):
        explain(PackSet((moved,), PACKS.reasons), GERMAN.replace(objection="yes", consent="given"))


def test_nothing_that_nobody_can_change_is_ever_proposed() -> None:
    fixed = {
        "age",
        "eu_child",
        "at_eu",
        "at_cn",
        "at_unknown",
        "purpose",
        "channel",
        "sensitive_cn",
        "special_category",
        "deletion",
    }
    assert fixed.isdisjoint({name for move in MOVES for name in move.settles()})
    erased = explain(PACKS, GERMAN.replace(deletion="completed"))
    assert (erased.reason_code, erased.changes) == ("erased", ())


def test_explaining_does_not_change_the_answer() -> None:
    facts = GERMAN.replace(objection="yes")
    plain, explained = decide(PACKS, facts), explain(PACKS, facts)
    assert (plain.reasons, plain.facts_digest) == (explained.reasons, explained.facts_digest)
    assert plain.changes == ()


def test_answers_render_in_both_languages() -> None:
    answer = explain(PACKS, GERMAN.replace(objection="yes"))
    english, chinese = answer_as_text(answer), answer_as_text(answer, "zh")
    assert english.startswith("**DENY** (objection_direct_marketing)")
    assert "GDPR Art 21(2)-(3)" in english
    assert "gdpr@1" in english
    assert answer.changes[0].text_en in english
    assert chinese.startswith("**拒绝**")
    assert answer.changes[0].text_zh in chinese
    assert answer_as_text(decide(PACKS, GERMAN)).startswith("**PERMIT**")


@pytest.mark.parametrize("language", ["en", "zh"])
def test_packs_render_completely(language: str) -> None:
    for pack in PACKS.packs:
        text = pack_as_text(PACKS, pack, language)
        for rule in pack.rules:
            assert f"## {rule.id}:" in text
            assert rule.cites in text
            assert all(duty in text for duty in rule.obligations)
    with pytest.raises(KeyError):
        pack_as_text(PACKS, PACKS.packs[0], "fr")
