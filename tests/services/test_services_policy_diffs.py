"""What a change of the law would do: the counts are those of asking about everyone, and nobody can be told from them."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from builders import NOW_S, a_consent, a_pack_text, a_person, choose, ref, take, with_source
from consent_gateway.db import audience_rows, subjects
from consent_gateway.db.classes import class_sizes
from consent_gateway.domain.purposes import Channel
from consent_gateway.domain.subjects import Choice
from consent_gateway.errors import InputError, NotFoundError
from consent_gateway.policies import engine
from consent_gateway.policies.diff import Change, Edit, change_of
from consent_gateway.policies.packs import builtin_texts
from consent_gateway.policies.rules import PackSet
from consent_gateway.services.deciding.rules import Rules
from consent_gateway.services.policy import policies
from consent_gateway.services.policy.policy_diffs import UseDiff, Wanted, compare, side, side_of_text
from consent_gateway.services.work.gateway import Gateway, Work

PEOPLE = 24
EMAIL = Wanted(["direct_marketing"], [Channel.EMAIL])
STRICTER = a_pack_text(channel="email")
YOUNGER = a_pack_text(channel="email").replace(
    "channel: email", 'channel: email, age: ["16_17", adult], consent: given'
)


@pytest.fixture
def town(gateway: Gateway) -> Gateway:
    """Two dozen people of several ages, places and minds."""
    with gateway.work() as work:
        policies.record_shipped(work)
    with_source(gateway)
    countries, births = ("DE", "FR", "CN", "US"), ("1980-05-17", "2009-06-01", "2012-01-01", None)
    take(gateway, [a_person(n, country=countries[n % 4], birth_date=births[n // 4 % 4]) for n in range(PEOPLE)])
    take(gateway, [a_consent(ref(n)) for n in range(0, PEOPLE, 2)])
    for n in range(0, PEOPLE, 6):
        choose(gateway, ref(n), Choice.OBJECTION, at=NOW_S)
    return gateway


def one_by_one(work: Work, found: UseDiff, old: PackSet, new: PackSet) -> Counter[tuple[Change, str, str]]:
    """The reference: everyone read by key and decided alone under both."""
    decider = work.gateway.decider
    asked = decider.ask(found.use, work.registers, work.gateway.rules, work.now)
    ids = subjects.ids_after(work.session, 0, 1000)
    counts: Counter[tuple[Change, str, str]] = Counter()
    for person in audience_rows.read_people(work.session, asked.reading, ids, work.now).values():
        facts = decider.facts(asked, person.key, work.now)
        before, after = engine.decide_by_reading(old, facts), engine.decide_by_reading(new, facts)
        change = change_of(before, after)
        same = change is Change.SAME
        counts[change, "" if same else before.reason_code, "" if same else after.reason_code] += 1
    return counts


@pytest.mark.parametrize("text", [STRICTER, YOUNGER])
def test_the_counts_are_those_of_asking_about_everyone(town: Gateway, text: str) -> None:
    with town.look() as work:
        old, new = side(work, "active"), side_of_text(work, text)
        found = compare(work, old, new, Wanted())
        assert {(u.use.purpose, u.use.channel) for u in found.uses} == set(work.registers.slots)
        for use in found.uses:
            shown: Counter[tuple[Change, str, str]] = Counter()
            for group in use.groups:
                shown[group.change, group.reason, group.would_be] += group.people or 0
            shown[Change.SAME, "", ""] += use.unchanged or 0
            assert +shown == one_by_one(work, use, old, new)
            assert use.people == PEOPLE


def test_the_reverse_gives_back_what_was_taken(town: Gateway) -> None:
    with town.look() as work:
        old, new = side(work, "active"), side_of_text(work, STRICTER)
        (there,), (back,) = (compare(work, *pair, EMAIL).uses for pair in ((old, new), (new, old)))
    assert there.total(Change.TO_DENY) == back.total(Change.TO_PERMIT)
    assert there.total(Change.TO_DENY)
    assert there.total(Change.TO_PERMIT) == 0


def test_it_says_because_of_which_rules_and_who(town: Gateway) -> None:
    with town.look() as work:
        (use,) = compare(work, side(work, "active"), side_of_text(work, YOUNGER), EMAIL).uses
    denied = [group for group in use.groups if group.change is Change.TO_DENY]
    assert denied
    for group in denied:
        assert "trial.channel" in group.rules
        assert group.would_be == "frequency_cap"
        assert "consent: given" in (group.who or "")
        assert "同意状态:given" in (group.who_zh or "")


def test_equal_laws_change_nothing(town: Gateway) -> None:
    with town.look() as work:
        found = compare(work, side(work, "active"), side(work, "shipped"), Wanted())
    assert found.same
    assert all(use.unchanged == PEOPLE and not use.groups for use in found.uses)


@pytest.mark.parametrize("floor", [2, 5, 10, 100])
def test_small_counts_are_withheld_and_cannot_be_subtracted(town: Gateway, floor: int) -> None:
    town.rules = Rules(k_floor=floor)
    with town.look() as work:
        found = compare(work, side(work, "active"), side_of_text(work, YOUNGER), Wanted())
    for use in found.uses:
        counts = [group.people for group in use.groups] + [use.unchanged]
        assert all(count is None or count == 0 or count >= floor for count in counts)
        assert all((group.people is None) == (group.who is None) for group in use.groups)
        if use.people is not None and None in counts:
            left = use.people - sum(count or 0 for count in counts)
            assert counts.count(None) > 1
            assert left >= floor


def test_the_texts_are_compared_rule_by_rule(town: Gateway) -> None:
    text = builtin_texts()["gdpr"]
    changed = text.replace("GDPR Art 18(2)", "GDPR Art 18(2), rec. 67", 1)
    with town.look() as work:
        old, new = side(work, "active"), side_of_text(work, changed)
        (edited,) = compare(work, old, new).rules
        added = compare(work, old, side_of_text(work, STRICTER))
    assert (edited.id, edited.edit, edited.fields) == ("gdpr.restriction", Edit.CHANGED, ("cites",))
    assert [(e.id, e.edit) for e in added.packs] == [("trial", Edit.ADDED)]
    assert [(e.id, e.edit) for e in added.rules] == [("trial.channel", Edit.ADDED)]


def test_a_side_that_is_none_is_refused(town: Gateway) -> None:
    with town.look() as work:
        for name in ("yesterday", "gdpr@", "gdpr@x"):
            with pytest.raises(InputError):
                side(work, name)
        with pytest.raises(NotFoundError):
            side(work, "gdpr@999")
        with pytest.raises(InputError):
            side_of_text(work, "nothing")


def test_a_planted_miscount_is_found(town: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    """The comparison with everyone one by one goes red if the scan loses a class."""

    def losing(*arguments: Any) -> list[Any]:
        return list(class_sizes(*arguments))[1:]

    monkeypatch.setattr("consent_gateway.services.policy.policy_diffs.class_sizes", losing)
    with town.look() as work:
        old, new = side(work, "active"), side_of_text(work, STRICTER)
        (use,) = compare(work, old, new, EMAIL).uses
        assert (use.unchanged or 0) + sum(group.people or 0 for group in use.groups) < PEOPLE
        assert one_by_one(work, use, old, new).total() == PEOPLE
