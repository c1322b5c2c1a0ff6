"""Decoders of consent strings: the vectors, the rules, hostile strings, and what a signal is taken to say."""

from __future__ import annotations

import copy
import json
import time
from typing import Any

import pytest

from consent_gateway.errors import InputError, SignalError
from consent_gateway.policies.signals.bits import MAX_CHARS
from consent_gateway.policies.signals.detect import SignalKind, decode, kind_of
from consent_gateway.policies.signals.gpc import Support, read_well_known, says_opt_out
from consent_gateway.policies.signals.gpp import GppString, decode_gpp
from consent_gateway.policies.signals.id_sets import IdSet
from consent_gateway.policies.signals.sections import LAYOUTS, Sensitive
from consent_gateway.policies.signals.tc_strings import CaString, RestrictionType, TcString
from consent_gateway.policies.signals.tcf import decode_tcf
from consent_gateway.policies.signals.us import Undecoded, UspString, UsSection
from consent_gateway.policies.signals.vectors import compare
from consent_gateway.policies.signals.views import view
from edge import SHARED
from signals_encoder import (
    LONG_NATIONAL,
    SHORT_NATIONAL,
    US_FIELDS,
    WITH_GPC,
    Tc,
    fibonacci,
    fixed_ranges,
    gpp,
    header,
    letters,
    number,
    optimized,
    text_of,
    us,
    vendors,
)

VECTORS = SHARED / "vectors" / "signals"
FILES = ("tcf_vectors", "tcf_2_3_generated_vectors", "gpp_vectors", "gpc_vectors")


def read(name: str) -> Any:
    path = VECTORS / f"{name}.json"
    if not path.is_file():
        pytest.skip("the vectors ../shared/vectors/signals are not beside the project")
    return json.loads(path.read_text())


# -- vectors -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", FILES)
def test_every_vector_is_decoded_or_refused_as_the_file_says(name: str) -> None:
    found = compare(read(name))
    assert found.differences == []
    assert found.checked >= 5
    assert found.not_compared <= {"reencoded_by_ref"}


@pytest.mark.parametrize("name", FILES)
def test_a_planted_expectation_turns_every_vector_red(name: str) -> None:
    """Whatever a file expects is compared: each leaf changed on its own makes a difference."""
    document = read(name)
    checked = 0
    for spoilt in planted(document, limit=400):
        assert compare(spoilt).differences, checked
        checked += 1
    assert checked >= 10


def planted(document: Any, limit: int) -> Any:
    """Copies of a file, each with one expected leaf changed."""
    for place in list(leaves(document))[:: max(1, sum(1 for _ in leaves(document)) // limit)]:
        spoilt = copy.deepcopy(document)
        holder = spoilt
        for step in place[:-1]:
            holder = holder[step]
        holder[place[-1]] = other(holder[place[-1]])
        yield spoilt


def leaves(value: Any, place: tuple[Any, ...] = ()) -> Any:
    expected = {"decoded", "sections", "section_ids", "spec_2_3_rule_violations", "expected", "support", "last_update"}
    for name, item in value.items() if isinstance(value, dict) else enumerate(value):
        here = (*place, name)
        if isinstance(item, (dict, list)):
            yield from leaves(item, here)
        elif item is not None and expected & set(here):
            yield here


def other(value: Any) -> Any:
    if isinstance(value, bool):
        return not value
    return value + 1 if isinstance(value, int) else f"{value}?"


def test_the_format_of_a_file_is_told_by_its_content() -> None:
    assert compare({"vectors": [{"string": Tc().text(), "decoded": {"cmpId": 300}}]}).format == "tcf"
    assert compare({"vectors": [{"string": "DBABTA~1YNN", "sections": {}}]}).format == "gpp"
    assert compare({"sec_gpc": [{"headers": [["SEC-gpc", "1"]], "expected": True}]}).format == "gpc"
    for wrong in ([], {}, {"vectors": {}}, {"vectors": [1]}, {"vectors": [{}]}, {"sec_gpc": [{}]}, None):
        with pytest.raises(InputError):
            compare(wrong)


def test_a_vector_that_should_be_refused_or_is_of_the_other_kind_is_a_difference() -> None:
    good = Tc().text()
    document = {
        "vectors": [
            {"string": good, "valid": False},
            {"string": good + "!", "valid": True},
            {"string": good, "sections": {}},
            {"string": "DBABTA~1YNN", "decoded": {}},
            {"string": "DBABTA~1YNN", "sections": {}},
            {"string": "DBABTA~1YNN", "sections": {"uspv1": {"Version": True, "Notice": "Y"}}},
        ]
    }
    places = [found.place for found in compare(document).differences]
    assert places == [
        "vectors[0].valid",
        "vectors[1].valid",
        "vectors[2]",
        "vectors[3]",
        "vectors[4].sections.uspv1",
        "vectors[5].sections.uspv1.Version",
        "vectors[5].sections.uspv1.LspaCovered",
        "vectors[5].sections.uspv1.OptOutSale",
    ]


# -- TCF ---------------------------------------------------------------------------------------------------------


def test_the_rules_of_2_3_are_told_one_by_one() -> None:
    assert decode_tcf(Tc().text()).violations == ()
    assert decode_tcf(Tc(policy=3).text()).violations == ("policy_version_lt_4",)
    assert decode_tcf(Tc(policy=4).text()).violations == ()
    assert decode_tcf(Tc(disclosed=None).text()).violations == ("no_disclosed_vendors_segment",)
    assert decode_tcf(Tc(service_specific=False).text()).violations == ("not_service_specific",)
    for purpose in range(1, 12):
        found = decode_tcf(Tc(interests={purpose}).text()).violations
        assert found == (("li_bits_3_to_6_set",) if purpose in {3, 4, 5, 6} else ())


def test_a_vendor_has_consent_only_if_shown_consented_and_let() -> None:
    tc = Tc(
        consents={1, 3}, vendors={8, 20, 21, 30}, disclosed={8, 20, 21, 40}, restrictions={(3, 0): {20}, (3, 2): {21}}
    )
    found = decode_tcf(tc.text())
    assert found.consented(8, 3)
    assert not found.consented(8, 2)  # another purpose
    assert not found.consented(30, 3)  # never shown
    assert not found.consented(40, 3)  # shown, not consented
    assert not found.consented(20, 3)  # not allowed by the publisher
    assert not found.consented(21, 3)  # the publisher wants legitimate interest
    assert found.consented(20, 1)
    assert decode_tcf(Tc(consents={3}, vendors={8}, disclosed={8}, restrictions={(3, 1): {8}}).text()).consented(8, 3)
    assert not decode_tcf(Tc(consents={3}, vendors={8}, disclosed=None).text()).consented(8, 3)


def test_restrictions_of_one_purpose_and_type_are_joined() -> None:
    bits = Tc().core()[:-12] + number(2, 12)
    for ids in ([(3, 9)], [(7, 12)]):
        bits += number(2, 6) + number(1, 2) + fixed_ranges(ids)
    (found,) = decode_tcf(text_of(bits)).restrictions
    assert (found.purpose, found.type) == (2, RestrictionType.REQUIRE_CONSENT)
    assert list(found.vendors) == list(range(3, 13))
    assert len(found.vendors) == 10


@pytest.mark.parametrize(
    ("text", "where"),
    [
        (Tc().text()[:10], "core, LastUpdated, bit 42"),
        (Tc().text().partition(".")[0][:-4], "core, "),
        ("C" + "!" * 10, "character 2"),
        (Tc().text() + "=", "character"),
        ("CPXxRfAPXxRfAAfKABENB-CgAAAAAAAAAAYgAAAAAAAA\n", "character 45"),
        (Tc(version=1).text(), "begins like no TCF"),
        (Tc().text() + ".", "segment 3: is empty"),
        (Tc().text() + "." + Tc().text().split(".")[1], "segment 3, SegmentType, bit 0: comes twice"),
        (Tc().text() + ".4AAA", "segment 3, SegmentType, bit 0: no such segment"),
        (Tc(disclosed=None).text() + ".AAAA", "segment 2, SegmentType, bit 0: no such segment"),
        ("." .join([Tc().text()] * 9), "segment 3"),
        (text_of(Tc().core()[:213] + number(9, 16) + "1" + fixed_ranges([(5, 4)])), "VendorConsent, bit 242"),
        (text_of(Tc().core()[:213] + number(9, 16) + "1" + fixed_ranges([(0, 4)])), "VendorConsent, bit 242"),
        (text_of(Tc().core()[:213] + number(9, 16) + "1" + fixed_ranges([(3, 10)])), "VendorConsent, bit 242"),
        (text_of(Tc().core()[:213] + number(65_535, 16) + "0" + "1" * 60), "VendorConsent, bit 230: ends after"),
        (text_of(Tc().core()[:213] + number(9, 16) + "1" + number(4095, 12)), "VendorConsent"),
        (text_of(Tc().core()[:108] + "111111" * 2 + Tc().core()[120:]), "ConsentLanguage"),
        ("C" * (MAX_CHARS + 1), "longer than"),
        ("", "begins like no"),
    ],
)  # fmt: skip
def test_an_undecodable_string_is_refused_with_its_place(text: str, where: str) -> None:
    with pytest.raises(SignalError) as refused:
        decode(text)
    assert where in refused.value.detail
    assert not text or text not in refused.value.detail


def test_filling_to_six_and_to_eight_bits_and_more_is_the_same() -> None:
    for tc in (Tc(vendors={1, 700}), Tc(vendors={1, 700}, as_ranges=True, publisher={1})):
        tc.to_bytes = False
        short = tc.text()
        tc.to_bytes = True
        assert decode_tcf(short) == decode_tcf(tc.text()) == decode_tcf(short.replace(".", "A."))
    assert decode_gpp("DBABM~" + Tc().text()) == decode_gpp("DBABMA~" + Tc().text())


def test_ranges_that_explode_stay_small() -> None:
    """The longest string of the widest ranges: bounded time, and nothing is expanded."""
    begun = time.process_time()
    many = [(1, 65_535)] * 4095
    wide = text_of(
        Tc().core()[:213] + number(65_535, 16) + "1" + fixed_ranges(many) + vendors((), as_ranges=False) + number(0, 12)
    )
    found = decode_tcf(wide)
    assert len(found.vendor_consents) == 65_535
    assert 65_535 in found.vendor_consents
    assert 65_536 not in found.vendor_consents
    bits = Tc().core()[:-12] + number(3000, 12) + (number(1, 6) + number(1, 2) + fixed_ranges([(1, 65_535)])) * 3000
    with pytest.raises(SignalError, match="more vendors than there can be"):
        decode_tcf(text_of(bits))
    assert time.process_time() - begun < 5


def test_an_id_set_knows_its_members() -> None:
    field, ranges = IdSet(5, 0b10010), IdSet(ranges=((4, 6), (2, 4), (9, 9)))
    assert (list(field), len(field), bool(field)) == ([1, 4], 2, True)
    assert (list(ranges), len(ranges), bool(ranges)) == ([2, 3, 4, 5, 6, 9], 6, True)
    assert [n for n in range(-1, 12) if n in field] == [1, 4]
    assert [n for n in range(-1, 12) if n in ranges] == [2, 3, 4, 5, 6, 9]
    assert "4" not in field
    assert not IdSet()


# -- GPP ---------------------------------------------------------------------------------------------------------


def test_every_us_section_is_read_by_its_own_table() -> None:
    assert set(LAYOUTS) == set(US_FIELDS)
    for section, fields in US_FIELDS.items():
        values = [n % 3 for n in range(fields)]
        found = decode_gpp(gpp({section: us(values, gpc=True if section in WITH_GPC else None)})).sections[0]
        assert isinstance(found, UsSection)
        assert flat(found) == values
        assert found.gpc is (True if section in WITH_GPC else None)
        assert len(values) == fields == (LAYOUTS[section].bits - 6) // 2


def flat(section: UsSection) -> list[int]:
    found: list[int] = []
    for value in section.values.values():
        found += value if isinstance(value, tuple) else [value]
    return found


def test_the_national_section_is_read_by_its_length_and_shown_by_its_version() -> None:
    sensitive, children = [1, 2, 0] * 5 + [1], [2, 1, 2]
    tail = [1, 2, 1, 0]
    long = [0] * 9 + sensitive + children + tail
    short = [0] * 9 + sensitive[:12] + children[:2] + tail
    assert (len(short), len(long)) == (SHORT_NATIONAL, LONG_NATIONAL)
    for version, values in ((1, short), (1, long), (2, short), (2, long)):
        found = decode_gpp(gpp({7: us(values, version=version)})).sections[0]
        assert isinstance(found, UsSection)
        assert found.version == version
        expected = sensitive[:12] + ([] if version == 1 else sensitive[12:] if values is long else [0] * 4)
        assert found.values["SensitiveDataProcessing"] == tuple(expected)
        assert found.values["MspaCoveredTransaction"] == 2
        assert found.values["PersonalDataConsents"] == 1


def test_two_is_never_an_opt_out_and_one_always_is() -> None:
    for section in LAYOUTS:
        names = list(LAYOUTS[section].fields)
        for wanted in ("SaleOptOut", "SharingOptOut", "TargetedAdvertisingOptOut"):
            if (wanted, 0) not in names:
                continue
            for value, expected in ((0, False), (1, True), (2, False)):
                values = [v for name, length in names for v in ([value] if name == wanted else [2] * (length or 1))]
                found = decode_gpp(gpp({section: us(values)})).sections[0]
                assert isinstance(found, UsSection)
                assert found.sale_share_opted_out is expected, (section, wanted, value)
                assert not found.sensitive_limited


def test_what_one_says_about_sensitive_data_depends_on_the_section() -> None:
    means = {s: layout.sensitive for s, layout in LAYOUTS.items()}
    assert {s for s, m in means.items() if m is Sensitive.OPT_OUT} == {8, 11, 18}
    found = decode_gpp(gpp({8: us([0] * 5 + [2, 1] + [0] * 13)})).sections[0]
    assert isinstance(found, UsSection)
    assert found.sensitive_limited


def test_a_sensitive_sub_section_is_read_where_there_is_one() -> None:
    for section in (25, 26, 27):
        core = us([1] + [0] * 8)
        found = decode_gpp(gpp({section: core + "." + text_of("01" * 8)})).sections[0]
        assert isinstance(found, UsSection)
        assert found.values["SensitiveDataProcessing"] == (1,) * 8
        assert view(decode_gpp(gpp({section: core})))["sections"][found.name]["SensitiveDataProcessing"] == [0] * 8


def test_what_has_no_table_is_named_and_not_guessed() -> None:
    found = decode_gpp(
        gpp({3: "AAAA", 8: us([0] * 20, version=2), 24: us([24, 0][:0] + [0] * 8, version=24), 99: "B~"[:1]})
    )
    assert [type(s) for s in found.sections] == [Undecoded] * 4
    assert [(s.id, s.name) for s in found.undecoded] == [(3, None), (8, "usca"), (24, "usmd"), (99, None)]
    assert found.undecoded[1].reason == "no layout of version 2 is known"
    assert set(view(found)["undecoded"]) == {"3", "usca", "usmd", "99"}


def test_canadian_strings_are_read_with_fibonacci_and_with_older_fixed_ranges() -> None:
    ids, implied = {2, 5, 6, 7, 400}, {9}
    bits = number(1, 6) + number(1, 36) * 2 + number(1, 12) * 2 + number(1, 6) + letters("FR") + number(1, 12)
    bits += number(2, 6) + "0" + "0" * 12 + "1" + "0" * 47
    new = bits + optimized(ids, as_ranges=True) + optimized(implied, as_ranges=False) + number(0, 12)
    old = bits + vendors(ids, as_ranges=True) + vendors(implied, as_ranges=True) + number(0, 12)
    for core in (new, old):
        found = decode_gpp(gpp({5: text_of(core) + "." + text_of("001" + optimized({3}, as_ranges=True))})).sections[0]
        assert isinstance(found, CaString)
        assert (set(found.vendor_express), set(found.vendor_implied)) == (ids, implied)
        assert found.express == (1,)
        assert set(found.disclosed or ()) == {3}
    restricted = bits + optimized((), as_ranges=False) * 2 + number(1, 12) + number(4, 6) + number(2, 2)
    found = decode_gpp(gpp({5: text_of(restricted + optimized({8}, as_ranges=False))})).sections[0]
    assert isinstance(found, CaString)
    assert [(r.purpose, r.type, list(r.vendors)) for r in found.restrictions] == [(4, 2, [8])]


@pytest.mark.parametrize(
    ("text", "where"),
    [
        ("D", "header, Version, bit 6"),
        ("DBABMA", "header, SectionIds, bit 12: lists 1 sections, 0 follow"),
        ("DBABMA~", "tcfeuv2: is empty"),
        ("DBABMA~~", "lists 1 sections, 2 follow"),
        ("DBABTA~1YNN~1YNN", "lists 1 sections, 2 follow"),
        ("DCABTA~1YNN", "header, Version"),
        ("DBABTA~1yNN", "uspv1"),
        ("DBABTA~1YNNN", "uspv1"),
        (text_of(number(3, 6) + number(1, 6) + number(1, 12) + "0" + "0" * 60) + "~1YNN", "SectionIds, bit 25"),
        (text_of(number(3, 6) + number(1, 6) + number(1, 12) + "0" + "0" * 23 + "11") + "~1YNN", "SectionIds, bit 25"),
        (text_of(number(3, 6) + number(1, 6) + number(1, 12) + "1" + fibonacci(40_000) * 2) + "~1YNN", "larger than any id"),
        (text_of(number(3, 6) + number(1, 6) + number(1, 12) + "1" + fibonacci(1) + fibonacci(65_534)) + "~1YNN", "lists 65535 sections"),
        (text_of(number(3, 6) + number(1, 6) + number(4095, 12)) + "~1YNN", "SectionIds"),
        (header([8]) + "~" + us([0] * 12), "usca, KnownChildSensitiveDataConsents, bit 36: ends after 36 bits"),
        (header([8]) + "~" + us([0, 3] + [0] * 18), "usca, SharingOptOutNotice, bit 8: the value 3"),
        (header([8]) + "~" + us([0] * 7 + [3] + [0] * 12), "usca, SensitiveDataProcessing, bit 20: the value 3"),
        (header([8]) + "~" + us([0] * 20) + ".AA", "usca sub-section, GpcSegmentType"),
        (header([8]) + "~" + us([0] * 20) + ".", "usca sub-section: is empty"),
        (header([8]) + "~" + us([0] * 20, gpc=True) + ".YA", "one too many"),
        (header([9]) + "~" + us([0] * 17, gpc=True), "usva sub-section: there is one too many"),
        (header([25]) + "~" + us([0] * 9) + ".AA", "usin sub-section, SensitiveDataProcessing"),
        ("~".join([header([2])] + ["1YNN"] * 300), "header"),
    ],
)  # fmt: skip
def test_an_undecodable_gpp_string_is_refused_with_its_place(text: str, where: str) -> None:
    with pytest.raises(SignalError) as refused:
        decode(text)
    assert where in refused.value.detail


# -- which kind, GPC ---------------------------------------------------------------------------------------------


def test_the_kind_is_told_by_the_text() -> None:
    assert kind_of(Tc().text()) is SignalKind.TCF
    assert kind_of("DBABTA~1YNN") is SignalKind.GPP
    assert kind_of("1YNN") is SignalKind.USP
    for value in ("1", "0", "1, 0", "0,1"):
        assert kind_of(value) is SignalKind.GPC
    assert decode("1YYN") == UspString("Y", "Y", "N")
    assert decode("1YYN").sale_share_opted_out  # type: ignore[union-attr]
    assert isinstance(decode(Tc().text()), TcString)
    assert isinstance(decode("DBABTA~1YNN"), GppString)
    for nothing in ("", "B", "BPSG", "2", "true", "{}", "1YN", "1yyn", " ", "x" * 9):
        with pytest.raises(SignalError):
            decode(nothing)


def test_a_known_kind_is_not_guessed_again() -> None:
    assert not decode("C", SignalKind.GPC).on  # type: ignore[union-attr]
    with pytest.raises(SignalError):
        decode("1", SignalKind.TCF)


def test_only_an_exact_one_is_the_signal() -> None:
    assert says_opt_out(["1"])
    assert says_opt_out(["0", " 1\t"])
    assert says_opt_out(["0, 1"])  # folded on the way (RFC 9110 5.2)
    for values in ([], ["0"], ["11"], ["1;"], ["1; 1"], ["true"], ["１"], ['"1"'], ["+1"], [""]):
        assert not says_opt_out(values)


@pytest.mark.parametrize(
    ("body", "support", "update"),
    [
        ({"gpc": True, "lastUpdate": "2026-02-28"}, Support.YES, "2026-02-28"),
        ({"gpc": True, "lastUpdate": "2026-02-30"}, Support.YES, None),
        ({"gpc": False, "lastUpdate": "2026-02-28T23:59:60Z"}, Support.NO, "2026-02-28T23:59:60Z"),
        ({"gpc": True, "lastUpdate": "2026-02-28t01:02:03.5+01:00"}, Support.YES, "2026-02-28t01:02:03.5+01:00"),
        ({"gpc": True, "lastUpdate": "2026-02-28T01:02:03"}, Support.YES, None),
        ({"gpc": True, "lastUpdate": "20260228"}, Support.YES, None),
        ({"gpc": True, "lastUpdate": 20260228}, Support.YES, None),
        ({"gpc": 1}, Support.UNKNOWN, None),
        (None, Support.UNKNOWN, None),
    ],
)
def test_a_well_known_resource(body: object, support: Support, update: str | None) -> None:
    found = read_well_known("Application/JSON; charset=utf-8", body)
    assert (found.support, found.last_update) == (support, update)
    assert read_well_known("text/json", body).support is Support.UNKNOWN
