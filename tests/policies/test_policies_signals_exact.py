"""What decoders read and refuse, to the letter: errors with section, field and bit, US tables field by field."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from consent_gateway.errors import SignalError
from consent_gateway.policies.signals.bits import MAX_CHARS, Bits, Table, pairs_of
from consent_gateway.policies.signals.detect import SignalKind, decode
from consent_gateway.policies.signals.gpp import decode_gpp
from consent_gateway.policies.signals.id_sets import IdSet
from consent_gateway.policies.signals.sections import LAYOUTS, USNAT_LONG, Cut, Layout, Sensitive, Sub, cuts_of
from consent_gateway.policies.signals.tcf import decode_tcf, decode_tcf_ca
from consent_gateway.policies.signals.us import Undecoded, UspString, UsSection, decode_us, decode_usnat, decode_usp
from consent_gateway.policies.signals.views import section_view
from signals_encoder import (
    ALPHABET,
    LONG_NATIONAL,
    US_FIELDS,
    Tc,
    fibonacci,
    field_of,
    fixed_ranges,
    gpp,
    letters,
    number,
    text_of,
    us,
    vendors,
)


def refusal(read: Callable[..., object], *args: object) -> str:
    with pytest.raises(SignalError) as refused:
        read(*args)
    return refused.value.detail


def said(text: str) -> str:
    return refusal(decode, text)


# -- bits --------------------------------------------------------------------------------------------------------


def test_a_table_knows_where_its_fields_are_cut() -> None:
    table = Table.of(A=6, B=1, C=5)
    assert table == Table((("A", 6), ("B", 1), ("C", 5)), ((6, 0b111111), (5, 1), (0, 0b11111)), 12)
    r = Bits(text_of("000011" + "1" + "01010" + "111111"), "test")
    r.at = 3  # a table begins where the text does
    assert (r.cut(table), r.at) == ([3, 1, 10], 12)


def test_numbers_are_read_at_every_place_in_a_byte_and_of_every_width() -> None:
    bits = "".join("1" if n * n % 7 < 3 else "0" for n in range(96))
    for start in range(9):
        for width in range(1, 80):
            r = Bits(text_of(bits), "test")
            r.at = start
            assert r.number(width, "N") == int(bits[start : start + width], 2)
            assert (r.at, r.length) == (start + width, 96)


def test_every_letter_of_the_alphabet_is_its_number() -> None:
    for n, char in enumerate(ALPHABET):
        assert Bits(char, "test").number(6, "N") == n
        assert list(pairs_of(char, "test")) == [n >> 4, n >> 2 & 3, n & 3]
    for wrong in ("+", "/", "=", "!", "é", "\n", " "):
        for read in (Bits, pairs_of):
            with pytest.raises(SignalError) as refused:
                read(f"AB{wrong}A", "test")
            assert refused.value.detail == "test: character 3 is not of the base64url alphabet"


def test_ids_of_ranges_are_read_at_every_place_in_a_byte() -> None:
    ranges = ((1, 1), (2, 65_535), (40_000, 40_000), (65_535, 65_535), (3, 4))
    for before in range(8):
        r = Bits(text_of("1" * before + fixed_ranges(ranges)), "test")
        r.at = before
        assert r.ranges("Ids") == ranges
        assert r.at == before + 12 + 3 * 17 + 2 * 33


def test_fibonacci_numbers_are_read_at_every_place_in_a_byte_to_the_largest_id() -> None:
    for value in (1, 2, 3, 4, 12, 28_657, 46_368, 65_535):
        for before in range(8):
            r = Bits(text_of("1" * before + fibonacci(value) + "1"), "test")
            r.at = before
            assert r.fibonacci("Id") == value
            assert r.at == before + len(fibonacci(value))
    r = Bits(text_of("1" + fibonacci(65_536)), "test")
    r.at = 1
    assert refusal(r.fibonacci, "Id") == "test, Id, bit 1: is larger than any id"
    r = Bits(text_of("0" * 23 + "11"), "test")
    assert (
        refusal(r.fibonacci, "Id")
        == "test, Id, bit 0: is no Fibonacci number of an id: it does not end, or is too large"
    )


def test_ids_are_told_without_being_expanded() -> None:
    field = IdSet(3, 0b101)
    assert (3 in field, 1 in field, 2 in field, 4 in field, 0 in field, -1 in field) == (True, True) + (False,) * 4
    assert list(IdSet(ranges=((5, 9), (1, 2), (6, 7), (9, 10), (10, 10))).merged()) == [(1, 2), (5, 9), (10, 10)]
    assert (list(IdSet(4, 0).listed()), bool(IdSet(4, 0)), len(IdSet(4, 0))) == ([], False, 0)


# -- errors ------------------------------------------------------------------------------------------------------

PROMPT = [("Version", 6), ("Created", 36), ("LastUpdated", 36), ("CmpId", 12), ("CmpVersion", 12), ("ConsentScreen", 6),
          ("ConsentLanguage", 12), ("VendorListVersion", 12), ("TcfPolicyVersion", 6)]  # fmt: skip
EU = [*PROMPT, ("IsServiceSpecific", 1), ("UseNonStandardTexts", 1), ("SpecialFeatureOptIns", 12),
      ("PurposesConsent", 24), ("PurposesLITransparency", 24), ("PurposeOneTreatment", 1), ("PublisherCC", 12)]  # fmt: skip
CA = [*PROMPT, ("UseNonStandardStacks", 1), ("SpecialFeatureExpressConsent", 12), ("PurposesExpressConsent", 24),
      ("PurposesImpliedConsent", 24)]  # fmt: skip


def cut_off(place: str, fields: list[tuple[str, int]], bits: int) -> str:
    """The error of a text that ends after so many bits, counted by hand from the specification's table."""
    start = 0
    for name, width in fields:
        if start + width > bits:
            return f"{place}, {name}, bit {start}: ends after {bits} bits, {start + width - bits} short"
        start += width
    raise AssertionError("nothing is cut off")


def ca_core() -> str:
    bits = number(1, 6) + number(17_000_000_001, 36) + number(17_000_000_012, 36) + number(31, 12) + number(7, 12)
    bits += number(5, 6) + letters("FR") + number(9, 12) + number(2, 6) + "1" + field_of({2, 12}, 12)
    return bits + field_of({1, 24}, 24) + field_of({3}, 24)


@pytest.mark.parametrize("chars", range(1, 36))
def test_a_core_that_is_cut_off_names_the_field_it_ends_in(chars: int) -> None:
    assert said(Tc().core_text()[:chars]) == cut_off("core", EU, chars * 6)
    canadian = text_of(ca_core())[:chars] if chars < 28 else text_of(ca_core())[:27]
    assert said(gpp({5: canadian})) == cut_off("tcfcav1", CA, len(canadian) * 6)


def tc_with(tail: str) -> str:
    return text_of(Tc().core()[:213] + tail)


ID = number(9, 16)
RANGE_WORDS = "is no range of ids: reversed, from 0, or above the largest"
NONE = vendors((), as_ranges=False)
ERRORS = [
    (tc_with("0" * 9), "core, VendorConsent, bit 213: ends after 222 bits, 7 short"),
    (tc_with(ID + "0" + "1" * 4), "core, VendorConsent, bit 230: ends after 234 bits, 5 short"),
    (tc_with(ID + "1" + number(1, 12) + "0" * 4), "core, VendorConsent, bit 242: ends after 246 bits"),
    (tc_with(ID + "1" + number(1, 12) + "1" + number(1, 16) + number(2, 16)[:5]), "core, VendorConsent, bit 242: ends after 264 bits"),
    (tc_with(ID + "1" + fixed_ranges([(2, 3), (5, 4)])), f"core, VendorConsent, bit 275: {RANGE_WORDS}"),
    (tc_with(ID + "1" + fixed_ranges([(0, 0)])), f"core, VendorConsent, bit 242: {RANGE_WORDS}"),
    (tc_with(ID + "1" + fixed_ranges([(10, 10)])), f"core, VendorConsent, bit 242: {RANGE_WORDS}"),
    (tc_with(NONE + ID + "0" + "1" * 4), "core, VendorLegitimateInterest, bit 247: ends after 252 bits, 4 short"),
    (tc_with(NONE + ID + "1" + fixed_ranges([(3, 2)])), f"core, VendorLegitimateInterest, bit 259: {RANGE_WORDS}"),
    (tc_with(NONE + NONE + "0" * 5), "core, NumPubRestrictions, bit 247: ends after 252 bits, 7 short"),
    (tc_with(NONE + NONE + number(1, 12) + "0" * 5), "core, PubRestrictions, bit 259: ends after 264 bits, 3 short"),
    (tc_with(NONE + NONE + number(1, 12) + "0" * 8 + fixed_ranges([(3, 2)])), f"core, PubRestrictions, bit 279: {RANGE_WORDS}"),
    (text_of(Tc().core()[:108] + number(26, 6) + number(0, 6) + Tc().core()[120:]), "core, ConsentLanguage, bit 213: is not two letters from A to Z"),
    (text_of(Tc().core()[:201] + number(0, 6) + number(26, 6) + Tc().core()[213:]), "core, PublisherCC, bit 213: is not two letters from A to Z"),
    (Tc().core_text() + ".", "core segment 2: is empty"),
    (Tc().core_text() + ".I*", "core segment 2: character 2 is not of the base64url alphabet"),
    (Tc().core_text() + ".gAAA", "core segment 2, SegmentType, bit 0: no such segment is known"),
    (Tc().core_text() + "." + text_of("010" + NONE) * 1 + "." + text_of("010" + NONE), "core segment 3, SegmentType, bit 0: comes twice"),
    (Tc().core_text() + ".IA", "core segment 2, DisclosedVendors, bit 3: ends after 12 bits, 7 short"),
    (Tc().core_text() + ".QA", "core segment 2, AllowedVendors, bit 3: ends after 12 bits, 7 short"),
    (Tc().core_text() + ".YA", "core segment 2, PubPurposesConsent, bit 3: ends after 12 bits, 15 short"),
    (Tc().core_text() + "." + text_of("011" + "0" * 24), "core segment 2, PubPurposesLITransparency, bit 27: ends after 30 bits, 21 short"),
    (Tc().core_text() + "." + text_of("011" + "0" * 48)[:9], "core segment 2, NumCustomPurposes, bit 51: ends after 54 bits, 3 short"),
    (Tc().core_text() + "." + text_of("011" + "0" * 48 + number(4, 6))[:10], "core segment 2, CustomPurposesConsent, bit 57: ends after 60 bits, 1 short"),
    (Tc().core_text() + "." + text_of("011" + "0" * 48 + number(3, 6))[:10], "core segment 2, CustomPurposesLITransparency, bit 60: ends after 60 bits, 3 short"),
    ("x", "signal: begins like no TCF, GPP or US Privacy string and is no value of Sec-GPC"),
    ("C" * (MAX_CHARS + 1), "signal: is longer than 32768 characters"),
    ("DA", "header, Version, bit 6: only version 1 is understood"),
    ("DBA", "header, SectionIds, bit 12: ends after 18 bits, 6 short"),
    ("DBABMA", "header, SectionIds, bit 12: lists 1 sections, 0 follow"),
    ("DBABMA~", "tcfeuv2: is empty"),
    ("D+", "header: character 2 is not of the base64url alphabet"),
    (text_of(number(3, 6) + number(1, 6) + number(1, 12) + "1" + fibonacci(40_000) * 2) + "~1YNN", "header, SectionIds, bit 24: is larger than any id"),
    ("DBABTA~1yNN", "uspv1: is not a 1 and three of Y, N and -"),
    (gpp({2: text_of(number(1, 6) + "0" * 240)}), "tcfeuv2, Version, bit 0: only version 2 is understood"),
    (gpp({5: text_of(number(2, 6) + "0" * 240)}), "tcfcav1, Version, bit 0: only version 1 is understood"),
    (gpp({5: text_of(ca_core() + "0" * 9)}), "tcfcav1, VendorExpressConsent, bit 199: ends after 210 bits, 5 short"),
    (gpp({5: text_of(ca_core() + number(3, 16) + "1" + number(1, 12) + "0" + fibonacci(2) + "1" * 80)}), "tcfcav1, VendorExpressConsent, bit 199: the largest id is not the last of the range"),
    (gpp({5: text_of(ca_core()) + ".QAAA"}), "tcfcav1 segment 2, SegmentType, bit 0: no such segment is known"),
    (gpp({8: us([0] * 12)}), "usca, KnownChildSensitiveDataConsents, bit 36: ends after 36 bits"),
    (gpp({8: us([3] + [0] * 19)}), "usca, SaleOptOutNotice, bit 6: the value 3 means nothing"),
    (gpp({8: us([0] * 19 + [3])}), "usca, MspaServiceProviderMode, bit 44: the value 3 means nothing"),
    (gpp({8: us([0] * 7 + [3] + [0] * 12)}), "usca, SensitiveDataProcessing, bit 20: the value 3 means nothing"),
    (gpp({8: "B!"}), "usca: character 2 is not of the base64url alphabet"),
    (gpp({8: ".YA"}), "usca: is empty"),
    (gpp({8: us([0] * 20) + ".AA"}), "usca sub-section, GpcSegmentType, bit 0: is not a GPC sub-section"),
    (gpp({8: us([0] * 20) + "."}), "usca sub-section: is empty"),
    (gpp({8: us([0] * 20, gpc=True) + ".YA"}), "usca sub-section: there is one too many"),
    (gpp({9: us([0] * 17, gpc=True)}), "usva sub-section: there is one too many"),
    (gpp({25: us([0] * 9) + ".AA"}), "usin sub-section, SensitiveDataProcessing, bit 12: ends after 12 bits"),
    (gpp({25: us([0] * 9) + "." + text_of("00" * 7 + "11")}), "usin sub-section, SensitiveDataProcessing, bit 14: the value 3 means nothing"),
    (gpp({7: us([0] * 12)}), "usnat, SensitiveDataProcessing, bit 36: ends after 36 bits"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "detail"), ERRORS)
def test_an_error_names_section_field_and_bit_to_the_letter(text: str, detail: str) -> None:
    assert said(text) == detail


def test_a_decoder_asked_alone_names_its_section() -> None:
    for read, text, place in ((decode_tcf, "A", "tcfeuv2"), (decode_tcf_ca, "C", "tcfcav1")):
        assert refusal(read, text).startswith(f"{place}, Version, bit 0: only version ")
    for read in (decode_tcf, decode_tcf_ca):
        assert refusal(read, "C" * (MAX_CHARS + 1), "here") == "here: is longer than 32768 characters"
        assert refusal(read, "C.", "here") == "here segment 2: is empty"
        assert refusal(read, "", "here") == "here: is empty"
    assert refusal(decode_usp, "1YN", "here") == "here: is not a 1 and three of Y, N and -"
    assert refusal(decode_gpp, "D" * (MAX_CHARS + 1)) == "header: is longer than 32768 characters"
    assert refusal(decode_gpp, "C") == "header, Type, bit 0: is not 3"
    assert refusal(decode, "1" * (MAX_CHARS + 1), SignalKind.GPC) == "signal: is longer than 32768 characters"
    assert decode("1," * (MAX_CHARS // 2), SignalKind.GPC).on  # type: ignore[union-attr]


def test_a_refused_canadian_string_names_what_its_own_form_lacks() -> None:
    """The error is that of the Fibonacci form, which the specification asks for, not of the older one."""
    bits = ca_core() + number(9, 16) + "1" + number(1, 12) + "0" + "10" * 20
    assert said(gpp({5: text_of(bits)})) == (
        "tcfcav1, VendorExpressConsent, bit 229: is no Fibonacci number of an id: it does not end, or is too large"
    )
    implied = ca_core() + NONE + number(9, 16) + "1" + number(1, 12) + "0" + "10" * 20
    assert said(gpp({5: text_of(implied)})).startswith("tcfcav1, VendorImpliedConsent, bit 246: is no Fibonacci number")


# -- tables of the US sections -----------------------------------------------------------------------------------

SHARING = "SharingNotice SaleOptOutNotice TargetedAdvertisingOptOutNotice SaleOptOut TargetedAdvertisingOptOut"
PROCESSING = SHARING.replace("SharingNotice", "ProcessingNotice")
MSPA = "MspaCoveredTransaction MspaOptOutOptionMode MspaServiceProviderMode"
S, K, M = "SensitiveDataProcessing", "KnownChildSensitiveDataConsents", "AdditionalDataProcessingConsent"
WRITTEN = {  # as the section specifications list them
    8: f"SaleOptOutNotice SharingOptOutNotice SensitiveDataLimitUseNotice SaleOptOut SharingOptOut {S}*9 {K}*2 PersonalDataConsents {MSPA}",
    9: f"{SHARING} {S}*8 {K} {MSPA}",
    10: f"{SHARING} {S}*7 {K} {MSPA}",
    11: f"SharingNotice SaleOptOutNotice TargetedAdvertisingOptOutNotice SensitiveDataProcessingOptOutNotice SaleOptOut TargetedAdvertisingOptOut {S}*8 {K} {MSPA}",
    12: f"{SHARING} {S}*8 {K}*3 {MSPA}",
    13: f"{PROCESSING} {S}*8 {K}*3 {M} {MSPA}",
    14: f"{SHARING} {S}*8 {K}*3 {M} {MSPA}",
    15: f"{PROCESSING} {S}*11 {K}*3 {M} {MSPA}",
    16: f"{PROCESSING} {S}*8 {K} {M} {MSPA}",
    17: f"{PROCESSING} {S}*9 {K}*5 {M} {MSPA}",
    18: f"ProcessingNotice SaleOptOutNotice TargetedAdvertisingOptOutNotice SensitiveDataOptOutNotice SaleOptOut TargetedAdvertisingOptOut {S}*8 {K} {MSPA}",
    19: f"{PROCESSING} {S}*8 {K} {M} {MSPA}",
    20: f"{PROCESSING} {S}*8 {K}*3 {M} {MSPA}",
    21: f"{PROCESSING} {S}*10 {K}*5 {M} {MSPA}",
    22: f"{PROCESSING} {S}*8 {K} {M} {MSPA}",
    23: f"{PROCESSING} {S}*8 {K} {M} {MSPA}",
    24: f"MspaCoveredTransaction MspaMode {PROCESSING} {M}",
    25: f"MspaCoveredTransaction MspaMode {PROCESSING} {K} {M}",
    26: f"MspaCoveredTransaction MspaMode {PROCESSING} {K} {M}",
    27: f"MspaCoveredTransaction MspaMode {PROCESSING} {K} {M}",
}  # fmt: skip
STATES = [
    "ca",
    "va",
    "co",
    "ut",
    "ct",
    "fl",
    "mt",
    "or",
    "tx",
    "de",
    "ia",
    "ne",
    "nh",
    "nj",
    "tn",
    "mn",
    "md",
    "in",
    "ky",
    "ri",
]


def printed(words: str, values: list[int]) -> dict[str, Any]:
    """The fields of a section as the reference prints them, from its list in the specification."""
    left = list(values)
    found: dict[str, Any] = {}
    for word in words.split():
        name, _, length = word.partition("*")
        found[name] = [left.pop(0) for _ in range(int(length))] if length else left.pop(0)
    assert not left
    return found


@pytest.mark.parametrize(("section", "words"), WRITTEN.items())
def test_a_us_section_is_printed_field_by_field(section: int, words: str) -> None:
    values = [(n * n + n // 3) % 3 for n in range(US_FIELDS[section])]
    expected: dict[str, Any] = {"MspaVersion" if section >= 24 else "Version": 1, **printed(words, values)}
    if section in {25, 26, 27}:
        expected["SensitiveDataProcessing"] = [0] * 8
    elif section not in {9, 11, 13}:
        expected |= {"GpcSegmentType": 1, "Gpc": False}
    found = decode_gpp(gpp({section: us(values)})).sections[0]
    assert isinstance(found, UsSection)
    assert section_view(found) == expected
    assert (found.id, found.name, found.version) == (section, f"us{STATES[section - 8]}", 1)
    assert (found.sub, found.gpc, found.sensitive) == (Sub.NONE, None, LAYOUTS[section].sensitive)
    assert found.version_field == LAYOUTS[section].version_field
    if section not in {9, 11, 13, 25, 26, 27}:
        for gpc in (True, False):
            shown = decode_gpp(gpp({section: us(values, gpc=gpc)})).sections[0]
            assert isinstance(shown, UsSection)
            assert section_view(shown) == expected | {"Gpc": gpc}
            assert (shown.sub, shown.gpc) == (Sub.GPC, gpc)


def test_a_layout_is_made_of_words() -> None:
    plain = Layout.of(40, "usxx", "A B*3 C")
    assert plain == Layout(
        40, "usxx", (("A", 0), ("B", 3), ("C", 0)), Sub.GPC, Sensitive.CONSENT, frozenset({1}), "Version"
    )
    other = Layout.of(
        41, "usyy", "A", sub=Sub.NONE, sensitive=Sensitive.OPT_OUT, versions=frozenset({2}), version_field="V"
    )
    assert other == Layout(41, "usyy", (("A", 0),), Sub.NONE, Sensitive.OPT_OUT, frozenset({2}), "V")
    assert plain.cuts == (Cut("A", 3, 4, single=True), Cut("B", 4, 7, single=False), Cut("C", 7, 8, single=True))
    assert cuts_of((("A", 2),), 0) == (Cut("A", 0, 2, single=False),)
    assert (plain.bits, USNAT_LONG.bits) == (16, 6 + 2 * LONG_NATIONAL)


def test_a_section_is_read_by_its_layout_alone() -> None:
    layout = Layout.of(
        40, "usxx", "A B*2", sub=Sub.SENSITIVE, sensitive=Sensitive.OPT_OUT, versions=frozenset({33}), version_field="V"
    )
    text = us([2, 1, 0], version=33) + "." + text_of("01" * 8)
    sensitive = {"SensitiveDataProcessing": (1,) * 8}
    expected = UsSection(40, "usxx", 33, {"A": 2, "B": (1, 0)} | sensitive, Sensitive.OPT_OUT, "V", Sub.SENSITIVE, None)
    assert decode_us(layout, text) == expected
    for version in (1, 2, 32, 34, 63):
        reason = f"no layout of version {version} is known"
        assert decode_us(layout, us([0] * 3, version=version)) == Undecoded(40, "usxx", reason)


def test_the_national_section_is_the_same_whichever_length_it_has() -> None:
    for version in (1, 2):
        for length in (27, LONG_NATIONAL):
            values = [0] * 9 + [1] * (length - 13) + [2, 1, 2, 0]
            found = decode_usnat(us(values, version=version, gpc=True))
            assert isinstance(found, UsSection)
            assert (found.id, found.name, found.version, found.sub) == (7, "usnat", version, Sub.GPC)
            assert (found.sensitive, found.version_field, found.gpc) == (Sensitive.CONSENT, "Version", True)
            shown = section_view(found)
            assert len(shown["SensitiveDataProcessing"]) == (12 if version == 1 else 16)
            assert len(shown["KnownChildSensitiveDataConsents"]) == (2 if version == 1 else 3)
            assert (shown["PersonalDataConsents"], shown["MspaCoveredTransaction"]) == (2, 1)
            assert (shown["MspaOptOutOptionMode"], shown["MspaServiceProviderMode"]) == (2, 0)
    # 70 bits are the long core and no more: twelve characters hold it, eleven do not.
    assert decode_usnat("C" + "A" * 11).values["SensitiveDataProcessing"] == (0,) * 16  # type: ignore[union-attr]
    assert decode_usnat(us([0] * 27, version=3)) == Undecoded(7, "usnat", "no layout of version 3 is known")


def test_opt_outs_are_the_ones_and_nothing_else() -> None:
    def section(**values: Any) -> UsSection:
        return UsSection(8, "usca", 1, values, Sensitive.OPT_OUT)

    assert section(SaleOptOut=1).sale_share_opted_out
    assert section(SharingOptOut=1).sale_share_opted_out
    assert section(TargetedAdvertisingOptOut=1, SaleOptOut=2).sale_share_opted_out
    assert not section(SaleOptOut=2, SharingOptOut=0, SaleOptOutNotice=1).sale_share_opted_out
    assert section(SensitiveDataProcessing=(0, 1)).sensitive_limited
    assert not section(SensitiveDataProcessing=(0, 2)).sensitive_limited
    assert not section().sensitive_limited
    assert [UspString("Y", said, "Y").sale_share_opted_out for said in "YN-"] == [True, False, False]
    assert decode_usp("1NY-") == UspString("N", "Y", "-")
