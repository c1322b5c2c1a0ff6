"""Shares: any k of n have the secret, fewer have nothing, and a slip, a mix or a forgery is named."""

from __future__ import annotations

import itertools
import re
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from consent_gateway.errors import InputError
from consent_gateway.vault import shares as module
from consent_gateway.vault.recovery import public_of
from consent_gateway.vault.shares import Share, combine, set_of, split

SECRET = bytes(range(7, 39))


def test_any_three_of_five_have_it_in_any_order():
    shares = split(SECRET, 3, 5)
    for chosen in itertools.permutations(shares, 3):
        assert combine(chosen) == SECRET
    assert combine(shares) == SECRET


@settings(derandomize=True, deadline=None, max_examples=40)
@given(st.binary(min_size=32, max_size=32), st.integers(2, 9), st.integers(0, 6), st.randoms(use_true_random=False))
def test_any_k_of_n_have_it_and_fewer_are_refused(secret, threshold, more, chance):
    shares = list(split(secret, threshold, threshold + more))
    chance.shuffle(shares)
    assert combine([Share.parse(share.text()) for share in shares[:threshold]]) == secret
    with pytest.raises(InputError, match="too few"):
        combine(shares[: threshold - 1])


def test_the_field_is_that_of_aes():
    """FIPS 197 section 4.2: {57} times {83} is {c1}, {57} times {13} is {fe}."""
    assert (module._times(0x57, 0x83), module._times(0x57, 0x13)) == (0xC1, 0xFE)
    assert all(module._times(value, module._inverse(value)) == 1 for value in range(1, 256))


def test_two_of_three_needed_say_nothing():
    """Whatever the third share may be: with two fixed, every value of the secret's byte is met exactly once."""
    one, two = split(SECRET, 3, 5)[:2]
    possible = {
        module._interpolate({1: one.values, 2: two.values, 3: bytes([third]) + bytes(31)})[0] for third in range(256)
    }
    assert possible == set(range(256))


def test_two_splits_of_one_secret_have_nothing_in_common():
    first, second = split(SECRET, 2, 3), split(SECRET, 2, 3)
    assert {share.values for share in first}.isdisjoint(share.values for share in second)


def test_a_share_describes_itself_and_survives_being_copied_by_hand():
    share = split(SECRET, 3, 5)[1]
    text = share.text()
    assert re.fullmatch(r"cgs1(-[A-Z2-7]{4}){18}", text)
    assert (share.threshold, share.count, share.index, share.set_id) == (3, 5, 2, set_of(public_of(SECRET)))
    for spelling in (text, text.lower(), text.replace("-", " "), text.replace("-", "\n"), f"  {text}\n"):
        assert Share.parse(spelling) == share
    assert share.values.hex() not in repr(share)


def test_every_slip_of_one_letter_is_found():
    text = split(SECRET, 2, 2)[0].text()
    for at in range(len(text)):
        for wrong in ("A", "B", "1", "é", ""):
            slipped = text[:at] + wrong + text[at + 1 :]
            if slipped.replace("-", "") == text.replace("-", ""):
                continue
            with pytest.raises(InputError) as failure:
                Share.parse(slipped)
            assert text[5:20] not in str(failure.value)


@pytest.mark.parametrize("text", ["", "cgs1", "cgs1-AAAA", "cgs1" + "A" * 72, "hello", "cgs1" + "A" * 800])
def test_what_is_no_share_is_refused(text):
    with pytest.raises(InputError):
        Share.parse(text)


@pytest.mark.parametrize("change", [{"threshold": 1}, {"threshold": 6}, {"index": 0}, {"index": 6}, {"count": 2}])
def test_a_share_that_cannot_be_is_refused(change):
    with pytest.raises(InputError, match="form"):
        Share.parse(replace(split(SECRET, 3, 5)[2], **change).text())


def test_a_share_of_another_version_is_refused(monkeypatch):
    monkeypatch.setattr(module, "VERSION", 2)
    text = split(SECRET, 3, 5)[0].text()
    monkeypatch.undo()
    with pytest.raises(InputError, match="form"):
        Share.parse(text)


@pytest.mark.parametrize(("threshold", "count"), [(1, 5), (0, 0), (6, 5), (2, 256)])
def test_odd_numbers_are_refused(threshold, count):
    with pytest.raises(InputError, match="threshold"):
        split(SECRET, threshold, count)


def test_mixed_repeated_contradicting_and_forged_shares_are_refused():
    one, two, three, *_ = split(SECRET, 3, 5)
    other = split(bytes(32), 3, 5)
    forged = replace(three, values=bytes(32))
    for wrong, message in (
        ((), "no share"),
        ((one, two, other[2]), "different sets"),
        ((one, two, replace(three, threshold=2)), "different sets"),
        ((one, two, two), "too few"),
        ((one, two, forged), "forged"),
        ((one, two, three, forged), "contradict"),
    ):
        with pytest.raises(InputError, match=message):
            combine(wrong)
