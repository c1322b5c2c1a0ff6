"""Digests of customer lists: the platforms' own examples, one spelling for each platform, and vectors that go red."""

from __future__ import annotations

import base64
import copy
import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from consent_gateway.errors import InputError
from consent_gateway.vault.customer_match import (
    MatchField,
    Platform,
    match_digest,
    match_form,
    meta_country,
    meta_name,
)
from consent_gateway.vault.vectors import compare

SHARED = Path(__file__).resolve().parents[3] / "shared" / "vectors" / "signals" / "hash_vectors.json"
PUBLISHED = Path(__file__).resolve().parents[1] / "vectors" / "pseudonyms.json"
EMAIL, PHONE = MatchField.EMAIL, MatchField.PHONE


@pytest.fixture(scope="module")
def digests() -> dict[str, Any]:
    if not SHARED.is_file():
        pytest.skip("SHARED VECTORS MISSING: hash_vectors.json is not beside the project root")
    return dict(json.loads(SHARED.read_text()))


@pytest.mark.parametrize(
    ("platform", "field", "value", "form"),
    [
        (Platform.META, EMAIL, "jane.doe+shop@gmail.com", "jane.doe+shop@gmail.com"),
        (Platform.GOOGLE, EMAIL, "jane.doe+shop@gmail.com", "jane.doe+shop@gmail.com"),
        (Platform.UID2, EMAIL, "jane.doe+shop@gmail.com", "janedoe@gmail.com"),
        (Platform.UID2, EMAIL, "jane.doe+shop@example.org", "jane.doe+shop@example.org"),
        (Platform.UID2, EMAIL, "jane.doe+shop@gmail.com.example", "jane.doe+shop@gmail.com.example"),
        (Platform.UID2, EMAIL, '"a@b"@gmail.com', '"a@b"@gmail.com'),
        (Platform.UID2, EMAIL, '"a.@b"@gmail.com', '"a@b"@gmail.com'),
        (Platform.META, EMAIL, " A@Example.org ", "a@example.org"),
        (Platform.GOOGLE, EMAIL, " A @Example.org ", "a@example.org"),
        (Platform.META, PHONE, "+16505551212", "16505551212"),
        (Platform.GOOGLE, PHONE, "+16505551212", "+16505551212"),
        (Platform.UID2, PHONE, "+16505551212", "+16505551212"),
        (Platform.META, PHONE, "+8613812345678", "8613812345678"),
        (Platform.META, PHONE, "0086 138-1234-5600", "8613812345600"),
        (Platform.GOOGLE, PHONE, "0086 138-1234-5600", "+8613812345600"),
    ],
)
def test_each_platform_spells_in_its_own_way(platform: Platform, field: MatchField, value: str, form: str) -> None:
    assert match_form(platform, field, value) == form


def test_uid2_takes_base64_and_the_others_hex() -> None:
    plain = hashlib.sha256(b"a@example.org").digest()
    assert base64.b64decode(match_digest(Platform.UID2, "a@example.org")) == plain
    assert {match_digest(p, "a@example.org") for p in (Platform.META, Platform.GOOGLE)} == {plain.hex()}


def test_names_and_countries_as_meta_hashes_them() -> None:
    assert [meta_name(name) for name in (" Mary ", "O'Neill", "Zoë", "Zoe\u0308")] == ["mary", "oneill", "zoë", "zoë"]
    assert meta_country("US") == "us"


@settings(derandomize=True)
@given(st.sampled_from(Platform), st.from_regex(r"\A[a-z0-9][a-z0-9.+_-]{0,20}@(gmail\.com|example\.org)\Z"))
def test_a_spelling_is_its_own_spelling(platform: Platform, address: str) -> None:
    form = match_form(platform, EMAIL, address)
    assert match_form(platform, EMAIL, form) == form
    assert form.rpartition("@")[2] == address.rpartition("@")[2]


# -- vectors -------------------------------------------------------------------------------------------------------


def test_the_platforms_published_digests(digests: dict[str, Any]) -> None:
    found = compare(digests)
    assert (found.format, found.checked, found.differences) == ("digests", 42, [])


def test_the_published_pseudonyms() -> None:
    found = compare(json.loads(PUBLISHED.read_text()))
    assert (found.format, found.differences) == ("pseudonyms", [])
    assert found.checked > 40


@pytest.mark.parametrize("member", ["normalized", "sha256_hex", "sha256_base64"])
def test_a_digest_that_is_made_otherwise_is_reported(digests: dict[str, Any], member: str) -> None:
    """The planted bug: a vector says something else."""
    planted = copy.deepcopy(digests)
    planted["vectors"][0][member] = "x"
    (found,) = compare(planted).differences
    assert (found.place, found.expected) == (f"vectors[0].uid2.{member}", "x")


@pytest.mark.parametrize(("part", "member"), [("pseudonyms", "text"), ("moves", "new")])
def test_a_pseudonym_that_is_made_otherwise_is_reported(part: str, member: str) -> None:
    planted = json.loads(PUBLISHED.read_text())
    planted[part][0][member] = "p1-" + "0" * 32
    assert {d.place.partition(".")[0] for d in compare(planted).differences} == {f"{part}[0]"}


def test_a_value_that_is_none_is_a_difference() -> None:
    vector = {"scheme": "meta", "kind": "em", "raw": "no address", "normalized": "x", "sha256_hex": "x"}
    places = [d.place for d in compare({"vectors": [vector]}).differences]
    assert places == ["vectors[0].meta.normalized", "vectors[0].meta.sha256_hex"]


GOOD = {"scheme": "meta", "kind": "em", "raw": "a@example.org", "normalized": "x", "sha256_hex": "x"}


@pytest.mark.parametrize(
    "document",
    [
        None, [], {}, "x", {"vectors": []}, {"vectors": 3}, {"vectors": [3]}, {"vectors": [{}]},
        {"vectors": [GOOD | {"scheme": "tiktok"}]}, {"vectors": [GOOD | {"kind": "dob"}]},
        {"vectors": [GOOD | {"raw": 3}]},
        {"root": "zz", "pseudonyms": [], "refused": []}, {"root": "00", "pseudonyms": [{}], "refused": []},
        {"root": 3, "pseudonyms": [], "refused": []},
    ],
)  # fmt: skip
def test_a_file_of_no_known_format_is_refused(document: object) -> None:
    with pytest.raises(InputError):
        compare(document)


def test_a_code_is_a_country_already() -> None:
    vector = {"scheme": "meta", "kind": "country", "raw": "DE", "normalized": "de", "sha256_hex": ""}
    assert [d.place for d in compare({"vectors": [vector]}).differences] == ["vectors[0].meta.sha256_hex"]


def test_what_is_no_vector_file_says_what_one_would_be() -> None:
    formats = "a vector file has `root`, `pseudonyms` and `refused`, or `vectors` with `scheme` and `raw`"
    for document in (None, {}, {"vectors": []}, {"root": "00", "pseudonyms": []}):
        with pytest.raises(InputError) as failure:
            compare(document)
        assert str(failure.value) == formats
    with pytest.raises(InputError) as failure:
        compare({"vectors": [3]})
    assert str(failure.value) == "a vector lacks a member, or one of it is of the wrong kind"


def test_a_name_that_is_not_refused_is_reported_and_moves_may_be_left_out() -> None:
    planted = json.loads(PUBLISHED.read_text())
    del planted["moves"]
    assert compare(planted).differences == []
    genuine = planted["pseudonyms"][0]
    planted["refused"][0] = {"text": genuine["text"], "recipient": genuine["recipient"]}
    (found,) = compare(planted).differences
    assert (found.place, found.expected, found.got) == ("refused[0]", None, genuine["subject_id"])
