"""What is printed of a signal, name by name, and what comparing files of vectors tells, difference by difference."""

from __future__ import annotations

from typing import Any

import pytest

from consent_gateway.errors import InputError
from consent_gateway.policies.signals.detect import decode
from consent_gateway.policies.signals.gpc import WellKnown, read_well_known, says_opt_out
from consent_gateway.policies.signals.gpp import decode_gpp
from consent_gateway.policies.signals.tc_strings import CaString, PublisherPurposes
from consent_gateway.policies.signals.tcf import decode_tcf
from consent_gateway.policies.signals.us import Undecoded, UspString, UsSection
from consent_gateway.policies.signals.vectors import Comparison, Difference, compare
from consent_gateway.policies.signals.views import instant_view, section_view, view
from signals_encoder import (
    Tc,
    field_of,
    gpp,
    letters,
    number,
    optimized,
    text_of,
    us,
    vendors,
)


def ca_core() -> str:
    bits = number(1, 6) + number(17_000_000_001, 36) + number(17_000_000_012, 36) + number(31, 12) + number(7, 12)
    bits += number(5, 6) + letters("FR") + number(9, 12) + number(2, 6) + "1" + field_of({2, 12}, 12)
    return bits + field_of({1, 24}, 24) + field_of({3}, 24)


# -- views -------------------------------------------------------------------------------------------------------

FULL = Tc(
    created=16_000_000_001,
    updated=17_000_000_012,
    cmp=31,
    language="FR",
    policy=4,
    service_specific=False,
    features={2},
    consents={1, 24},
    interests={3, 4},
    country="BE",
    vendors={8, 300},
    vendor_interests={9},
    restrictions={(3, 0): {8}, (2, 1): {9, 10}},
    disclosed={8, 9},
    publisher={5},
)
CREATED, UPDATED = "2020-09-13T12:26:40.100Z", "2023-11-14T22:13:21.200Z"


def flags(*numbers: int, of: int = 24) -> list[bool]:
    return [n in numbers for n in range(1, of + 1)]


def full() -> str:
    """Every segment, with a publisher's own purposes, and every flag of the core set."""
    bits = FULL.core()
    bits = bits[:138] + "01" + bits[140:200] + "1" + bits[201:]
    assert bits[200] == "1"
    own = "011" + field_of({5}, 24) + field_of({6, 7}, 24) + number(3, 6) + "101" + "010"
    return ".".join(
        text_of(b) for b in (bits, "001" + vendors({8, 9}, as_ranges=False), "010" + vendors({4}, as_ranges=True), own)
    )


def test_a_tc_string_is_printed_name_by_name() -> None:
    assert view(decode(full())) == {
        "kind": "tcf",
        "violations": ["not_service_specific", "li_bits_3_to_6_set"],
        "absent": [],
        "decoded": {
            "version": 2, "created": CREATED, "lastUpdated": UPDATED, "cmpId": 31, "cmpVersion": 1,
            "consentScreen": 1, "consentLanguage": "FR", "vendorListVersion": 48, "policyVersion": 4,
            "isServiceSpecific": False, "useNonStandardTexts": True, "purposeOneTreatment": True,
            "publisherCountryCode": "BE", "specialFeatureOptins": [2], "purposeConsents": [1, 24],
            "purposeLegitimateInterests": [3, 4], "vendorConsents": [8, 300], "vendorLegitimateInterests": [9],
            "vendorsDisclosed": [8, 9], "publisherConsents": [5], "publisherLegitimateInterests": [6, 7],
            "numCustomPurposes": 3, "publisherCustomConsents": [1, 3], "publisherCustomLegitimateInterests": [2],
            "publisherRestrictions": [
                {"purposeId": 3, "restrictionType": 0, "vendors": [8]},
                {"purposeId": 2, "restrictionType": 1, "vendors": [9, 10]},
            ],
        },
    }  # fmt: skip
    assert section_view(decode_tcf(full())) == {
        "Version": 2, "Created": CREATED, "LastUpdated": UPDATED, "CmpId": 31, "CmpVersion": 1, "ConsentScreen": 1,
        "ConsentLanguage": "FR", "VendorListVersion": 48, "PolicyVersion": 4, "IsServiceSpecific": False,
        "UseNonStandardStacks": True, "SpecialFeatureOptins": flags(2, of=12), "PurposeConsents": flags(1, 24),
        "PurposeLegitimateInterests": flags(3, 4), "PurposeOneTreatment": True, "PublisherCountryCode": "BE",
        "VendorConsents": [8, 300], "VendorLegitimateInterests": [9],
        "PublisherRestrictions": [{"key": 3, "type": 0, "ids": [8]}, {"key": 2, "type": 1, "ids": [9, 10]}],
        "PublisherPurposesSegmentType": 3, "PublisherConsents": flags(5), "PublisherLegitimateInterests": flags(6, 7),
        "NumCustomPurposes": 3, "PublisherCustomConsents": [True, False, True],
        "PublisherCustomLegitimateInterests": [False, True, False], "VendorsAllowedSegmentType": 2,
        "VendorsAllowed": [4], "VendorsDisclosedSegmentType": 1, "VendorsDisclosed": [8, 9],
    }  # fmt: skip


def test_a_canadian_string_is_read_and_printed_name_by_name() -> None:
    tail = optimized({8, 9}, as_ranges=True) + optimized({4}, as_ranges=False) + number(1, 12) + number(6, 6)
    core = text_of(ca_core() + tail + number(3, 2) + optimized({2, 3}, as_ranges=True))
    own = "011" + field_of({5}, 24) + field_of({6}, 24) + number(2, 6) + "10" + "01"
    text = f"{core}.{text_of('001' + optimized({8, 11}, as_ranges=True))}.{text_of(own)}"
    found = decode_gpp(gpp({5: text}))
    (ca,) = found.sections
    assert isinstance(ca, CaString)
    assert ca.publisher == PublisherPurposes((5,), (6,), 2, (1,), (2,))
    assert section_view(ca) == {
        "Version": 1, "Created": "2023-11-14T22:13:20.100Z", "LastUpdated": UPDATED, "CmpId": 31, "CmpVersion": 7,
        "ConsentScreen": 5, "ConsentLanguage": "FR", "VendorListVersion": 9, "TcfPolicyVersion": 2,
        "UseNonStandardStacks": True, "SpecialFeatureExpressConsent": flags(2, 12, of=12),
        "PurposesExpressConsent": flags(1, 24), "PurposesImpliedConsent": flags(3),
        "VendorExpressConsent": [8, 9], "VendorImpliedConsent": [4],
        "PubRestrictions": [{"key": 6, "type": 3, "ids": [2, 3]}], "PubPurposesSegmentType": 3,
        "PubPurposesExpressConsent": flags(5), "PubPurposesImpliedConsent": flags(6), "NumCustomPurposes": 2,
        "CustomPurposesExpressConsent": [True, False], "CustomPurposesImpliedConsent": [False, True],
        "DisclosedVendorsSegmentType": 1, "DisclosedVendors": [8, 11],
    }  # fmt: skip
    assert view(found)["absent"] == {}
    assert view(decode_gpp(gpp({5: core})))["absent"] == {"tcfcav1": ["disclosed", "publisher"]}
    older = decode_gpp(gpp({5: core + "." + text_of("001" + vendors({8, 11}, as_ranges=True))})).sections[0]
    assert isinstance(older, CaString)
    assert list(older.disclosed or ()) == [8, 11]


def test_a_gpp_string_is_printed_with_what_of_it_may_not_be_relied_on() -> None:
    core = Tc(policy=3, disclosed=None).text()
    written = {2: core, 3: "AAAA", 6: "1YN-", 7: us([0] * 27), 8: us([0] * 20, gpc=True), 9: us([0] * 17), 99: "B"}
    found = decode_gpp(gpp(written))
    shown = view(found)
    assert list(shown) == ["kind", "section_ids", "violations", "undecoded", "absent", "sections"]
    assert (shown["kind"], shown["section_ids"]) == ("gpp", [2, 3, 6, 7, 8, 9, 99])
    assert shown["violations"] == {"tcfeuv2": ["policy_version_lt_4", "no_disclosed_vendors_segment"]}
    reason = "no layout of this section is known"
    assert shown["undecoded"] == {"3": reason, "99": reason}
    assert shown["absent"] == {"tcfeuv2": ["disclosed", "allowed", "publisher"], "usnat": ["gpc"]}
    assert list(shown["sections"]) == ["tcfeuv2", "3", "uspv1", "usnat", "usca", "usva", "99"]
    assert shown["sections"]["3"] == {"undecoded": reason}
    assert shown["sections"]["uspv1"] == {"Version": 1, "Notice": "Y", "OptOutSale": "N", "LspaCovered": "-"}
    assert [type(found.section(n)) for n in (6, 8, 99)] == [UspString, UsSection, Undecoded]
    assert (found.section(4), found.section(99)) == (None, Undecoded(99, None, reason))
    assert found.undecoded == (Undecoded(3, None, reason), Undecoded(99, None, reason))


def test_short_signals_are_printed() -> None:
    decoded = {"Version": 1, "Notice": "Y", "OptOutSale": "N", "LspaCovered": "-"}
    assert view(decode("1YN-")) == {"kind": "usp", "decoded": decoded}
    assert view(decode("0, 1")) == {"kind": "gpc", "decoded": {"gpc": True}}
    assert view(decode("0")) == {"kind": "gpc", "decoded": {"gpc": False}}
    assert (instant_view(0), instant_view(9)) == ("1970-01-01T00:00:00.000Z", "1970-01-01T00:00:00.900Z")


# -- Global Privacy Control --------------------------------------------------------------------------------------


def test_space_around_a_member_is_blank_or_tab_and_nothing_else() -> None:
    assert says_opt_out(["\t 1 \t"])
    for value in ("\n1", "1\r", "\x0b1", "X1", "1X", "\u00a01"):
        assert not says_opt_out([value])


@pytest.mark.parametrize(
    "value", ["2026-02-28T01:02:03Z", "2026-02-28 01:02:03z", "2026-02-28T23:59:60.25-08:00", "2026-02-28"]
)
def test_an_instant_of_a_well_known_resource_is_shown_as_written(value: str) -> None:
    read = read_well_known(" application/json ;x=1", {"gpc": True, "lastUpdate": value})
    assert read == WellKnown(read.support, value)


@pytest.mark.parametrize(
    "value",
    [
        "2026-02-28T24:02:03Z",
        "2026-02-28T01:02:03+25:00",
        "2026-02-30",
        "x2026-02-28",
        "2026-02-28x",
        "2026-02-28T01:02:03.Z",
    ],
)
def test_what_is_no_instant_is_not_shown(value: str) -> None:
    assert read_well_known("application/json", {"gpc": True, "lastUpdate": value}).last_update is None


# -- files of vectors --------------------------------------------------------------------------------------------


def differences(vector: dict[str, Any]) -> list[tuple[str, Any, Any]]:
    return [(d.place, d.expected, d.got) for d in compare({"vectors": [vector]}).differences]


def test_every_difference_of_a_gpp_string_is_told_with_both_sides() -> None:
    usp = {"Version": 1, "Notice": "Y", "OptOutSale": "N", "LspaCovered": "N"}
    text = "DBABTA~1YNN"
    assert differences({"string": text, "sections": {"uspv1": usp}, "section_ids": [6]}) == []
    assert differences({"string": text, "section_ids": [7]}) == [("vectors[0].section_ids", [7], [6])]
    assert differences({"string": text, "sections": {"usaa": {}, "zz": 1}}) == [
        ("vectors[0].sections.usaa", {}, "(nothing)"),
        ("vectors[0].sections.uspv1", "(nothing)", usp),
        ("vectors[0].sections.zz", 1, "(nothing)"),
    ]
    spoilt = {"Version": 1, "Notice": "N", "Other": 1, "LspaCovered": "N"}
    assert differences({"string": text, "sections": {"uspv1": spoilt}}) == [
        ("vectors[0].sections.uspv1.Notice", "N", "Y"),
        ("vectors[0].sections.uspv1.Other", 1, "(nothing)"),
        ("vectors[0].sections.uspv1.OptOutSale", "(nothing)", "N"),
    ]
    assert differences({"string": text, "decoded": {}}) == [("vectors[0]", "a TC string", "GppString")]
    assert differences({"string": Tc().text(), "section_ids": []}) == [("vectors[0]", "a GPP string", "TcString")]


def test_every_difference_of_a_tc_string_is_told_with_both_sides() -> None:
    text = full()
    rules = ["li_bits_3_to_6_set", "not_service_specific"]
    ordered = [
        {"purposeId": 2, "restrictionType": 1, "vendors": [9, 10]},
        {"purposeId": 3, "restrictionType": 0, "vendors": [8]},
    ]
    for restrictions in (ordered, ordered[::-1]):
        vector = {"string": text, "decoded": {"publisherRestrictions": restrictions}, "spec_2_3_rule_violations": rules}
        assert differences(vector) == []
    assert differences({"string": text, "spec_2_3_rule_violations": rules[:1]}) == [
        ("vectors[0].spec_2_3_rule_violations", rules[:1], rules)
    ]
    for name in ("decoded", "asserted_by_iabtcf_java_tests"):
        assert differences({"string": text, name: {"cmpId": 30, "version": True}}) == [
            (f"vectors[0].{name}.cmpId", 30, 31),
            (f"vectors[0].{name}.version", True, 2),
        ]
    assert differences({"string": text, "decoded": {"publisherRestrictions": ordered[:1]}}) == [
        ("vectors[0].decoded.publisherRestrictions", ordered[:1], ordered)
    ]


def test_a_restriction_is_ordered_by_purpose_and_then_by_type() -> None:
    tc = Tc(restrictions={(3, 2): {1}, (3, 0): {2}, (1, 3): {3}})
    held = [{"purposeId": p, "restrictionType": t, "vendors": v} for p, t, v in ((3, 0, [2]), (1, 3, [3]), (3, 2, [1]))]
    assert differences({"string": tc.text(), "decoded": {"publisherRestrictions": held}}) == []


def test_a_refusal_that_was_not_expected_is_told_and_one_that_was_not_given() -> None:
    assert differences({"string": "1YNN", "valid": False}) == [("vectors[0].valid", False, "decoded")]
    (place, expected, got), *more = differences({"string": "DA"})
    assert (place, expected, more) == ("vectors[0].valid", True, [])
    assert got == "refused: header, Version, bit 6: only version 1 is understood"
    assert differences({"string": "DA", "valid": False, "sections": {}}) == []


def test_what_was_compared_is_counted_and_what_was_not_is_named() -> None:
    found = compare({"vectors": [{"string": "1YNN", "name": "n", "why": "w", "sources": [], "error": "", "note": "", "odd": 1},
                                 {"string": "DBABTA~1YNN", "even": 1}, {"string": Tc().text(), "section_ids": []}]})  # fmt: skip
    assert (found.format, found.checked, found.unspecified) == ("gpp+tcf", 3, 0)
    assert (found.not_compared, found.passed_over) == ({"odd", "even"}, "")
    assert [d.place for d in found.differences] == ["vectors[2]"]


def test_a_file_about_gpc_is_compared_case_by_case() -> None:
    field = [["Sec-GPC", "1"]]
    found = compare({
        "sec_gpc": [{"headers": field, "expected": False}, {"headers": [["DNT", "1"]], "expected": True},
                    {"headers": field}, {"headers": field, "expected": None}, {"headers": field, "expected": True}],
        "well_known_gpc_json": [
            {"content_type": "application/json", "body": {"gpc": True}, "support": "yes", "last_update": "unknown"},
            {"content_type": "application/json", "body": {"gpc": True}, "support": "no"},
            {"content_type": "application/json", "body": {"lastUpdate": "2026-01-01"}, "last_update": "unknown"},
        ],
    })  # fmt: skip
    assert found == Comparison("gpc", 8, 2, [
        Difference("sec_gpc[0].expected", expected=False, got=True),
        Difference("sec_gpc[1].expected", expected=True, got=False),
        Difference("well_known_gpc_json[1].support", "no", "yes"),
        Difference("well_known_gpc_json[2].last_update", "unknown", "2026-01-01"),
    ])  # fmt: skip
    case = {"content_type": "", "body": 1, "support": "yes"}
    assert [d.got for d in compare({"well_known_gpc_json": [case]}).differences] == ["unknown"]
    assert compare({"sec_gpc": []}) == Comparison("gpc")


@pytest.mark.parametrize(
    ("document", "detail"),
    [
        ({"sec_gpc": [{}]}, "sec_gpc[0] has no `headers`"),
        ({"sec_gpc": [{"headers": []}, 7]}, "sec_gpc[1] has no `headers`"),
        ({"well_known_gpc_json": [{"body": 1}]}, "well_known_gpc_json[0] has no `content_type`"),
        ({"well_known_gpc_json": [{"content_type": ""}]}, "well_known_gpc_json[0] has no `body`"),
        ({"vectors": [{"string": "1"}, {"string": 1}]}, "vectors[1] has no text `string`"),
        ({"vectors": [{"string": "1"}, "1"]}, "vectors[1] has no text `string`"),
        ([], "a vector file is an object with a list `vectors`, or with `sec_gpc` or `well_known_gpc_json`"),
        (
            {"sec_gpc": {}},
            "a vector file is an object with a list `vectors`, or with `sec_gpc` or `well_known_gpc_json`",
        ),
    ],
)
def test_a_file_of_no_known_form_is_refused_to_the_letter(document: object, detail: str) -> None:
    with pytest.raises(InputError) as refused:
        compare(document)
    assert refused.value.detail == detail


def test_files_that_hold_no_strings_are_passed_over_with_the_reason() -> None:
    clicks = compare({"endpoint": [], "headers": [], "vectors": [{"string": "1"}]})
    assert clicks == Comparison("one-click", passed_over="requests to unsubscribe (RFC 8058): no consent strings")
    digests = compare({"vectors": [{"scheme": "meta", "raw": "a"}]})
    assert digests == Comparison("digests", passed_over="digests of customer lists: see `pseudonyms test`")
    with pytest.raises(InputError):
        compare({"vectors": [{"scheme": "meta", "raw": "a"}, {"scheme": "meta"}]})
    assert compare({"endpoint": [], "vectors": [{"string": "1"}]}).checked == 1
