"""A rule's former self: forms carry what it made of a value, for as long as anything is found by it."""

from __future__ import annotations

import pytest

from consent_gateway.vault import normalisers
from consent_gateway.vault.normalisers import Normalised, Rejected, normalise, stored


def former(value: str, _region: str | None) -> Normalised | Rejected:
    """Version 0: letters as they are, nothing above ten characters."""
    return Normalised("openid", value.strip().swapcase(), 0) if len(value) < 10 else Rejected("no", "no")


@pytest.fixture
def _bumped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(normalisers.FORMER, "openid", {0: former})


def test_without_former_rules_a_form_has_one_value():
    found = normalise("openid", "abc")
    assert found == Normalised("openid", "abc", 1)
    assert found.values() == ["abc"]
    assert found.under(1) == found.under(7) == "abc"
    assert stored("openid", "abc") == found
    assert stored("external_id", "abc") == Normalised("external_id", "abc", 1), "what is stored is not made anew"
    assert Normalised("openid", "new", 1, ((1, "old"),)).under(1) == "new"


def test_former_rules_are_told_the_newest_first_and_where_a_number_is_dialled(monkeypatch):
    rules = {n: lambda value, region, n=n: Normalised("openid", f"{value}-{region}-{n}", n) for n in (0, 2, 1)}
    monkeypatch.setitem(normalisers.FORMER, "openid", rules)
    found = normalise("openid", "a", region="DE")
    assert found == Normalised("openid", "a", 1, ((2, "a-DE-2"), (1, "a-DE-1"), (0, "a-DE-0")))


@pytest.mark.usefixtures("_bumped")
def test_a_form_carries_what_the_former_rule_made():
    found = normalise("openid", " aBc ")
    assert found == Normalised("openid", "aBc", 1, ((0, "AbC"),))
    assert (found.under(1), found.under(0)) == ("aBc", "AbC")
    assert found.values() == ["aBc", "AbC"]
    assert stored("openid", "aBc") == found


@pytest.mark.usefixtures("_bumped")
def test_where_the_former_rule_had_no_form_the_new_value_stands():
    found = normalise("openid", "abcdefghijk")
    assert isinstance(found, Normalised)
    assert found.earlier == ()
    assert found.under(0) == "abcdefghijk"
    assert isinstance(normalise("openid", "ö"), Rejected)


@pytest.mark.usefixtures("_bumped")
def test_what_was_stored_and_has_no_form_any_more_keeps_its_value():
    assert stored("openid", "ö") == Normalised("openid", "ö", 1)
