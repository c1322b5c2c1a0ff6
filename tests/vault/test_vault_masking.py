"""Masked views show a little, hide the length, and never the whole."""

from __future__ import annotations

import phonenumbers
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from consent_gateway.vault import masking
from consent_gateway.vault.masking import mask
from consent_gateway.vault.normalisers import VERSIONS


@pytest.mark.parametrize(
    ("kind", "value", "want"),
    [
        ("email", "jane.doe@example.com", "j***@example.com"),
        ("email", "j@example.com", "***@example.com"),
        ("email", "用户@xn--fsqu00a.example", "用***@xn--fsqu00a.example"),
        ("phone", "+4915112341234", "+49 *** 1234"),
        ("phone", "+12125550100", "+1 *** 0100"),
        ("phone", "+35312345678", "+353 *** 5678"),
        ("phone", "+29045678", "+290 *** 78"),
        ("phone", "+29012", "+290 ***"),
        ("name", "Jane Doe", "J*** D***"),
        ("name", "张伟", "张***"),
        ("name", "J", "***"),
        ("member_no", "AB-1234567890", "***7890"),
        ("member_no", "AB-12345", "***"),
        ("birth_date", "1984-05-06", "1984-***"),
        ("country", "DE", "***"),
        ("unheard_of", "x", "***"),
    ],
)
def test_masks(kind, value, want):
    assert mask(kind, value) == want


@settings(derandomize=True, deadline=None)
@given(st.sampled_from(sorted(VERSIONS)), st.text(max_size=40))
def test_a_mask_always_stars_and_never_raises(kind, value):
    assert "***" in mask(kind, value)


@settings(derandomize=True, deadline=None)
@given(st.text("abcdefgh", min_size=2, max_size=30), st.text("abcdefgh", min_size=2, max_size=30))
def test_two_addresses_of_one_initial_and_domain_look_alike(one, other):
    same = mask("email", f"a{one}@example.com"), mask("email", f"a{other}@example.com")
    assert same[0] == same[1]
    assert one not in same[0].partition("@")[0]


def test_country_codes_are_cut_where_the_numbering_plan_cuts_them():
    for code in phonenumbers.COUNTRY_CODE_TO_REGION_CODE:
        assert masking.mask_phone(f"+{code}12345678").startswith(f"+{code} ")
