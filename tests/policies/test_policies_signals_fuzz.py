"""Consent strings under fire: anything gives a value or the one error, what was encoded comes back, flips stay safe."""

from __future__ import annotations

from binascii import Error as Base64Error
from binascii import a2b_base64
from typing import Any

import pytest
from hypothesis import Phase, assume, given, settings
from hypothesis import strategies as st

from consent_gateway.errors import SignalError
from consent_gateway.policies.signals import bits
from consent_gateway.policies.signals.bits import MAX_CHARS, Bits
from consent_gateway.policies.signals.detect import SignalKind, decode
from consent_gateway.policies.signals.gpp import decode_gpp
from consent_gateway.policies.signals.tc_strings import TcString
from consent_gateway.policies.signals.tcf import decode_tcf
from consent_gateway.policies.signals.us import Undecoded, UsSection
from consent_gateway.policies.signals.views import view
from signals_encoder import (
    ALPHABET,
    LONG_NATIONAL,
    SHORT_NATIONAL,
    US_FIELDS,
    WITH_GPC,
    Tc,
    bits_in,
    fibonacci,
    gpp,
    number,
    text_of,
    us,
)

SHORT = settings(derandomize=True, deadline=None, max_examples=150)
SEEN = settings(SHORT, phases=[Phase.generate], report_multiple_bugs=False)  # a planted bug need not be short
LONG = settings(derandomize=True, deadline=None, max_examples=20_000)
IDS = st.sets(st.integers(1, 2000) | st.integers(1, 65_535), max_size=30)
PURPOSES = st.sets(st.integers(1, 24))
TC = st.builds(
    Tc,
    created=st.integers(0, 2**36 - 1),
    updated=st.integers(0, 2**36 - 1),
    cmp=st.integers(0, 4095),
    policy=st.integers(0, 63),
    service_specific=st.booleans(),
    features=st.sets(st.integers(1, 12)),
    consents=PURPOSES,
    interests=PURPOSES,
    vendors=IDS,
    vendor_interests=IDS,
    restrictions=st.dictionaries(st.tuples(st.integers(0, 63), st.integers(0, 3)), IDS, max_size=4),
    disclosed=st.none() | IDS,
    publisher=st.none() | PURPOSES,
    as_ranges=st.booleans(),
    to_bytes=st.booleans(),
)
ANYTHING = st.one_of(
    st.text(max_size=80),
    st.text(ALPHABET + "~.", max_size=400),
    st.text(ALPHABET + "~.", max_size=400).map("C".__add__),
    st.text(ALPHABET + "~.", max_size=400).map("DBA".__add__),
    st.text("01YN-", max_size=5),
    st.binary(max_size=80).map(lambda raw: raw.decode("latin-1")),
)


def value_or_the_one_error(text: str, kind: SignalKind | None = None) -> Any:
    """Decoding and printing gives a value, or `SignalError` and nothing else."""
    try:
        return view(decode(text, kind))
    except SignalError:
        return None


def anything_is_a_value_or_the_one_error(text: str, kind: SignalKind | None) -> None:
    value_or_the_one_error(text, kind)


def what_is_encoded_comes_back(tc: Tc) -> None:
    assume(len(tc.text()) <= MAX_CHARS)  # three bit fields of the largest ids are longer than any string in the field
    found = decode_tcf(tc.text())
    assert (found.prompt.created, found.prompt.updated, found.prompt.cmp_id) == (tc.created, tc.updated, tc.cmp)
    assert (found.prompt.language, found.country) == (tc.language, tc.country)
    assert (set(found.consents), set(found.legitimate_interests)) == (tc.consents, tc.interests)
    assert set(found.features) == tc.features
    for ids, expected in ((found.vendor_consents, tc.vendors), (found.vendor_interests, tc.vendor_interests)):
        assert list(ids) == sorted(expected)
        assert len(ids) == len(expected)
        assert all(n in ids for n in expected)
        assert not any(n in ids for n in (0, 65_536, *({n + 1 for n in expected} - expected)))
    assert (found.disclosed is None) == (tc.disclosed is None)
    assert set(found.disclosed or ()) == (tc.disclosed or set())
    assert {(r.purpose, int(r.type)): set(r.vendors) for r in found.restrictions} == tc.restrictions
    assert (found.publisher is None) == (tc.publisher is None)
    assert set(found.publisher.consents if found.publisher else ()) == (tc.publisher or set())
    assert ("policy_version_lt_4" in found.violations) == (tc.policy < 4)


def flips_and_cuts_stay_safe(tc: Tc, place: float, cut: float) -> None:
    """One flipped bit, one lost tail: a value or the one error, and never a consent that nobody gave."""
    text = tc.text()
    value_or_the_one_error(text[: int(cut * len(text))], SignalKind.TCF)
    parts = text.split(".")
    bits = bits_in(parts[0])
    n = int(place * len(bits))
    parts[0] = text_of(bits[:n] + ("0" if bits[n] == "1" else "1") + bits[n + 1 :])
    found = value_or_the_one_error(".".join(parts), SignalKind.TCF)
    # what lies before the flip is untouched by it
    if found is not None and n >= 78 and len(text) <= MAX_CHARS:
        assert found["decoded"]["created"] == view(decode_tcf(text))["decoded"]["created"]


def us_sections_come_back(drawn: dict[int, list[int]], filling: tuple[bool | None, bool]) -> None:
    gpc, to_bytes = filling
    written = {}
    for section, values in drawn.items():
        own = gpc if section in WITH_GPC else None
        version = 2 if len(values) == LONG_NATIONAL and section == 7 else 1
        written[section] = us(values, version=version, gpc=own, to_bytes=to_bytes)
    found = decode_gpp(gpp(written, to_bytes=to_bytes))
    assert found.ids == tuple(sorted(drawn))
    for section in found.sections:
        assert isinstance(section, UsSection)
        flat = [v for value in section.values.values() for v in (value if isinstance(value, tuple) else [value])]
        assert flat == drawn[section.id]
        assert section.gpc is (gpc if section.id in WITH_GPC else None)


def fibonacci_numbers_come_back(values: list[int]) -> None:
    r = Bits(text_of("".join(fibonacci(v) for v in values)), "test")
    assert [r.fibonacci("n") for _ in values] == values


US = st.dictionaries(st.sampled_from([7, *US_FIELDS]), st.integers(0, 2**32), min_size=1, max_size=8).map(
    lambda drawn: {n: _digits(n, seed) for n, seed in drawn.items()}
)


def _digits(section: int, seed: int) -> list[int]:
    length = US_FIELDS.get(section) or (SHORT_NATIONAL if seed % 2 else LONG_NATIONAL)
    found = []
    for _ in range(length):
        seed = (seed * 1_103_515_245 + 12_345) % 2**31
        found.append((seed >> 16) % 3)
    return found


KIND = st.none() | st.sampled_from(SignalKind)
UNIT = st.floats(0, 1, exclude_max=True)
PROPERTIES: list[tuple[Any, Any]] = [
    (anything_is_a_value_or_the_one_error, (ANYTHING, KIND)),
    (what_is_encoded_comes_back, (TC,)),
    (flips_and_cuts_stay_safe, (TC, UNIT, UNIT)),
    (us_sections_come_back, (US, st.tuples(st.none() | st.booleans(), st.booleans()))),
    (fibonacci_numbers_come_back, (st.lists(st.integers(1, 65_535), min_size=1, max_size=20),)),
]
NAMES = [check.__name__ for check, _ in PROPERTIES]


@pytest.mark.parametrize(("check", "strategies"), PROPERTIES, ids=NAMES)
def test_decoders_in_short(check: Any, strategies: Any) -> None:
    SHORT(given(*strategies)(check))()


@pytest.mark.long
@pytest.mark.parametrize(("check", "strategies"), PROPERTIES, ids=NAMES)
def test_decoders_at_length(check: Any, strategies: Any) -> None:
    LONG(given(*strategies)(check))()


def test_a_decoder_that_loses_a_vendor_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """The round trip can go red: a planted decoder that is off by one bit."""
    whole = Bits.vendors

    def careless(self: Bits, field: str) -> Any:
        found = whole(self, field)
        return type(found)(found.size, found.field >> 1 << 1, found.ranges[1:])

    monkeypatch.setattr(Bits, "vendors", careless)
    with pytest.raises(AssertionError):
        SEEN(given(TC)(what_is_encoded_comes_back))()


def test_a_decoder_that_crashes_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bits, "bytes_of", lambda text, _: a2b_base64(text))
    with pytest.raises(Base64Error):
        SEEN(given(ANYTHING, KIND)(anything_is_a_value_or_the_one_error))()


def test_every_single_flip_of_a_whole_string_stays_safe() -> None:
    """Deterministic and complete for one string of every kind."""
    tc = Tc(consents={1, 3}, vendors={8, 9, 10, 40}, disclosed={8}, restrictions={(3, 0): {8, 9}}, as_ranges=True)
    for text in (tc.text(), gpp({2: tc.text(), 7: us([1] * 32, version=2, gpc=True), 8: us([2] * 20, gpc=False)})):
        for n, char in enumerate(text):
            if char in "~.":
                continue
            for bit in range(6):
                flipped = text[:n] + ALPHABET[ALPHABET.index(char) ^ 1 << bit] + text[n + 1 :]
                value_or_the_one_error(flipped)
            value_or_the_one_error(text[:n])


def test_what_is_not_understood_is_never_consent() -> None:
    """A string of another version, or of no known section, gives no consent of anybody."""
    assert value_or_the_one_error(Tc(version=3, consents={1}, vendors={8}).text(), SignalKind.TCF) is None
    found = decode_gpp(gpp({40: text_of(number(1, 60))}))
    assert not any(isinstance(s, (TcString, UsSection)) for s in found.sections)
    assert all(isinstance(s, Undecoded) for s in found.sections)
