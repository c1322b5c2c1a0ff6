"""Normal forms: idempotent, versioned, silent about the value; the fast paths agree with the libraries."""

from __future__ import annotations

from datetime import date

import phonenumbers
import pytest
from email_validator import EmailNotValidError, validate_email
from hypothesis import example, given, settings
from hypothesis import strategies as st

from consent_gateway.vault import emails, normal_forms, phones
from consent_gateway.vault.normalisers import VERSIONS, Normalised, Rejected, clear_caches, normalise

TODAY = date(2026, 3, 1)
LONG_DOMAIN = ".".join(["a" * 49] * 4 + ["a" * 48]) + ".com"  # 252 characters, so that `j@` makes 254


def form(kind: str, value: str, **hints) -> str:
    """Return the normal form, or the code of the rejection in angle brackets."""
    found = normalise(kind, value, **hints)
    return found.value if isinstance(found, Normalised) else f"<{found.code}>"


@pytest.mark.parametrize(
    ("value", "want"),
    [
        ("jane@example.com", "jane@example.com"),
        ("  Jane.Doe+News@Example.COM\n", "jane.doe+news@example.com"),
        ("o'brien@mail.example.org", "o'brien@mail.example.org"),
        ("jane@bücher.example", "jane@xn--bcher-kva.example"),
        ("jane@BÜCHER.example", "jane@xn--bcher-kva.example"),
        ("jane@bu\u0308cher.example", "jane@xn--bcher-kva.example"),
        ("jane@xn--bcher-kva.example", "jane@xn--bcher-kva.example"),
        ("jane@XN--BCHER-KVA.example", "jane@xn--bcher-kva.example"),
        ("Jörg@example.com", "jörg@example.com"),
        ("jo\u0308rg@example.com", "jörg@example.com"),
        ("用户@例子.广告", "用户@xn--fsqu00a.xn--4rr70v"),
        ("jane@日本語テスト.example", "jane@xn--zckzah9945czlbtz6h.example"),
        ("jane@почта.example", "jane@xn--80a1acny.example"),
        ("jane@shop.test", "jane@shop.test"),
        ("jane@a日あア.example", "jane@xn--a-x7t2n213p.example"),
        ("jane@あア.example", "jane@xn--l8jwk.example"),
        ("jane@日ㄅ한.example", "<email_mixed_scripts>"),
        ("jane@pаypal.example", "<email_mixed_scripts>"),
        ("jane@goοgle.example", "<email_mixed_scripts>"),
        ("jane@xn--pypal-4ve.example", "<email_mixed_scripts>"),
        ("ja\x00ne@example.com", "<email_control_character>"),
        ("ja\u200bne@example.com", "<email_control_character>"),
        ("ja\u202ene@example.com", "<email_control_character>"),
        ("jane@exa\nmple.com", "<email_control_character>"),
        ("", "<email_invalid>"),
        ("jane", "<email_invalid>"),
        ("@example.com", "<email_invalid>"),
        ("jane@", "<email_invalid>"),
        ("jane@localhost", "<email_invalid>"),
        ("jane@@example.com", "<email_invalid>"),
        ("jane@example..com", "<email_invalid>"),
        (".jane@example.com", "<email_invalid>"),
        ("jane.@example.com", "<email_invalid>"),
        ("ja ne@example.com", "<email_invalid>"),
        ("jane@-example.com", "<email_invalid>"),
        ("jane@example.123", "<email_invalid>"),
        ("jane@[127.0.0.1]", "<email_invalid>"),
        ('"jane doe"@example.com', "<email_invalid>"),
        ("Jane <jane@example.com>", "<email_invalid>"),
        ("j" * 64 + "@example.com", "j" * 64 + "@example.com"),
        ("j" * 65 + "@example.com", "<email_too_long>"),
        ("j@" + "a" * 63 + ".com", "j@" + "a" * 63 + ".com"),
        ("j@" + "a" * 64 + ".com", "<email_invalid>"),
        (f"j@{LONG_DOMAIN}", f"j@{LONG_DOMAIN}"),
        (f"jj@{LONG_DOMAIN}", "<email_too_long>"),
        ("j" * 20000, "<email_too_long>"),
    ],
)
def test_email(value, want):
    assert form("email", value) == want


@pytest.mark.parametrize(
    ("value", "region", "want"),
    [
        ("+4915112345678", None, "+4915112345678"),
        ("+49 (151) 123-456.78", None, "+4915112345678"),
        ("+49 0151 12345678", None, "+4915112345678"),
        ("0151 12345678", "DE", "+4915112345678"),
        ("0049 151 12345678", "DE", "+4915112345678"),
        ("０１５１ １２３４５６７８", "DE", "+4915112345678"),
        ("+１ 212 555 0100", None, "+12125550100"),
        ("(212) 555-0100", "US", "+12125550100"),
        ("+1 416 555 0100", None, "+14165550100"),
        ("+39 06 1234 5678", None, "+390612345678"),
        ("+86 138 0013 8000", None, "+8613800138000"),
        ("13800138000", "CN", "+8613800138000"),
        ("+44 7400 123456", None, "+447400123456"),
        ("07400 123456", "GB", "+447400123456"),
        ("+800 1234 5678", None, "+80012345678"),
        ("0151 12345678", None, "<phone_region_required>"),
        ("0151 12345678", "ZZ", "<phone_region_unknown>"),
        ("0151 12345678", "de", "<phone_region_unknown>"),
        ("+1 800 FLOWERS", None, "<phone_invalid>"),
        ("+49 151 12345678 ext 9", None, "<phone_invalid>"),
        ("+49+15112345678", None, "<phone_invalid>"),
        ("", None, "<phone_invalid>"),
        ("+", None, "<phone_invalid>"),
        ("+0151", None, "<phone_invalid>"),
        ("+1 000 000 0000", None, "<phone_unassigned>"),
        ("+49 1", None, "<phone_invalid>"),
        ("+999 12345678", None, "<phone_invalid>"),
        ("1" * 5000, "US", "<phone_invalid>"),
        ("+٤٩١٥١١٢٣٤٥٦٧٨", None, "<phone_invalid>"),
        ("+49²151", None, "<phone_unassigned>"),
    ],
)
def test_phone(value, region, want):
    assert form("phone", value, region=region) == want


@pytest.mark.parametrize(
    ("kind", "value", "want"),
    [
        ("member_no", " ab-12.x:3_4 ", "AB-12.X:3_4"),
        ("member_no", "ＡＢ１２", "AB12"),
        ("member_no", "", "<member_no_invalid>"),
        ("member_no", "A" * 64, "A" * 64),
        ("member_no", "A" * 65, "<member_no_invalid>"),
        ("member_no", "A B", "<member_no_invalid>"),
        ("external_id", "straße", "STRASSE"),
        ("external_id", "crm:42", "CRM:42"),
        ("external_id", "a/b", "<external_id_invalid>"),
        ("device_id", "6D92078A-8246-4BA4-AE5B-76104861E7DC", "6d92078a-8246-4ba4-ae5b-76104861e7dc"),
        ("device_id", "AbCdEf123", "AbCdEf123"),
        ("device_id", "00000000-0000-0000-0000-000000000000", "<device_id_null>"),
        ("device_id", "0000000000000000", "<device_id_null>"),
        ("device_id", "short", "<device_id_invalid>"),
        ("openid", " oABC-xyz_123 ", "oABC-xyz_123"),
        ("openid", "google-oauth2|107", "google-oauth2|107"),
        ("openid", "o" * 256, "<openid_invalid>"),
        ("openid", "ö", "<openid_invalid>"),
        ("name", "  Jane \u00a0  Doe ", "Jane Doe"),
        ("name", "张伟", "张伟"),
        ("name", "ﬁona", "fiona"),
        ("name", "می\u200cخواهم", "می\u200cخواهم"),
        ("name", "Ja\x00ne", "<name_control_character>"),
        ("name", "Jane\nDoe", "<name_control_character>"),
        ("name", "Jane\u202eeoD", "<name_control_character>"),
        ("name", "   ", "<name_length>"),
        ("name", "J" * 200, "J" * 200),
        ("name", "J" * 201, "<name_length>"),
        ("country", " de ", "DE"),
        ("country", "UK", "<country_unknown>"),
        ("country", "US-CA", "<country_unknown>"),
        ("country", "DEU", "<country_unknown>"),
        ("region", "us-ca", "US-CA"),
        ("region", "CN", "CN"),
        ("region", "US-DC", "US-DC"),
        ("region", "US-ZZ", "<region_unknown>"),
        ("region", "CA-US", "<region_unknown>"),
        ("date", "2024-02-29", "2024-02-29"),
        ("date", "2023-02-29", "<date_impossible>"),
        ("date", "0000-01-01", "<date_impossible>"),
        ("date", "2024-2-9", "<date_invalid>"),
        ("date", "20240209", "<date_invalid>"),
        ("date", "2024-W07-5", "<date_invalid>"),
        ("date", "٢٠٢٤-01-01", "<date_invalid>"),
        ("date", "2026-03-01", "2026-03-01"),
        ("date", "2026-03-02", "<date_future>"),
        ("birth_date", "1900-01-01", "1900-01-01"),
        ("birth_date", "1899-12-31", "<birth_date_range>"),
        ("birth_date", "2026-03-02", "<birth_date_future>"),
        ("birth_year", " 1900 ", "1900"),
        ("birth_year", "1899", "<birth_year_range>"),
        ("birth_year", "2026", "2026"),
        ("birth_year", "2027", "<birth_year_range>"),
        ("birth_year", "84", "<birth_year_invalid>"),
        ("shoe_size", "42", "<unknown_kind>"),
    ],
)
def test_other_kinds(kind, value, want):
    assert form(kind, value, today=TODAY) == want


GOOD = {
    "email": "jane@example.com", "phone": "+4915112345678", "member_no": "A-1", "external_id": "CRM:1",
    "device_id": "AbCdEf123", "openid": "oABC", "name": "Jane", "country": "DE", "region": "US-CA",
    "date": "2024-02-29", "birth_date": "1984-05-06", "birth_year": "1984",
}  # fmt: skip


def test_a_form_says_its_kind_and_the_version_of_its_rules():
    assert GOOD.keys() == VERSIONS.keys()
    for kind, value in GOOD.items():
        assert normalise(kind, value, today=TODAY) == Normalised(kind, value, VERSIONS[kind])
    assert normalise("phone", "0151 12345678", region="DE") == Normalised("phone", GOOD["phone"], 1)
    assert normalise("phone", "+49 (0) 151 12345678") == Normalised("phone", GOOD["phone"], 1)


def test_without_today_the_future_is_not_judged():
    assert form("date", "2999-01-01") == "2999-01-01"
    assert form("birth_year", "2999") == "2999"


TEXTS = (
    st.text(max_size=30)
    | st.emails()
    | st.from_regex(r"\+[0-9 ]{6,16}", fullmatch=True)
    | st.from_regex(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", fullmatch=True)
    | st.from_regex(r"[A-Za-z]{1,5}@[a-zäöüа-я]{1,5}\.(com|рф)", fullmatch=True)
)


@settings(derandomize=True, deadline=None, max_examples=300)
@given(st.sampled_from(sorted(VERSIONS)), TEXTS, st.sampled_from([None, "DE", "US", "CN", "IT"]))
@example("email", "İ@example.com", None)
@example("name", "\u1e9e\u0345 \u0390", None)
@example("external_id", "ŉ", None)
def test_a_normal_form_is_its_own_normal_form_and_never_raises(kind, value, region):
    once = normalise(kind, value, region=region, today=TODAY)
    if isinstance(once, Normalised):
        assert once.kind == kind
        assert once.version == VERSIONS[kind]
        assert normalise(kind, once.value, region=region, today=TODAY) == once


@settings(derandomize=True, deadline=None, max_examples=300)
@given(st.sampled_from(sorted(VERSIONS)), st.from_regex(r"[a-zA-Z0-9@.+\u0430-]{9,30}", fullmatch=True))
def test_a_rejection_never_repeats_the_value(kind, value):
    found = normalise(kind, value, today=TODAY)
    if isinstance(found, Rejected):
        assert value.lower() not in (found.message + found.code).lower()


# --- the fast paths against the libraries


@settings(derandomize=True, deadline=None, max_examples=400)
@given(
    st.emails()
    | st.from_regex(r"[a-zA-Z0-9.!#$%&'*+/=?^_`{|}~-]{1,12}@([a-zA-Z0-9-]{1,6}\.){1,3}[a-zA-Z]{1,4}", fullmatch=True)
)
def test_the_fast_email_path_says_what_the_library_says(value):
    fast = emails._SIMPLE.fullmatch(value.lower())
    if fast is None or len(value) > 254:
        return
    assert form("email", value) == value.lower()
    try:
        parts = validate_email(value, check_deliverability=False, test_environment=True)
    except EmailNotValidError as refusal:
        assert "special-use" in str(refusal), "only names reserved for other uses may differ"  # noqa: PT017 - the text is the point
        return
    assert f"{parts.local_part.lower()}@{parts.ascii_domain}" == value.lower()


def library_phone(text: str) -> str | None:
    try:
        number = phonenumbers.parse(text, None)
    except phonenumbers.NumberParseException:
        return None
    if not phonenumbers.is_valid_number(number):
        return None
    return str(phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164))


CODES = sorted(phonenumbers.COUNTRY_CODE_TO_REGION_CODE)


@settings(derandomize=True, deadline=None, max_examples=600)
@given(st.sampled_from(CODES), st.text("0123456789", min_size=4, max_size=12))
def test_the_fast_phone_path_accepts_only_what_the_library_accepts(code, national):
    text = f"+{code}{national}"
    if phones._simple(text):
        assert library_phone(text) == text


def example_numbers() -> list[str]:
    kinds = (
        phonenumbers.PhoneNumberType.MOBILE, phonenumbers.PhoneNumberType.FIXED_LINE,
        phonenumbers.PhoneNumberType.TOLL_FREE, phonenumbers.PhoneNumberType.VOIP,
    )  # fmt: skip
    found = (
        phonenumbers.example_number_for_type(region, kind)
        for region in sorted(phonenumbers.SUPPORTED_REGIONS)
        for kind in kinds
    )
    return [phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164) for number in found if number]


def test_example_numbers_of_every_country_keep_their_form_and_their_neighbours_agree():
    examples = example_numbers()
    fast = 0
    for text in examples:
        assert form("phone", text) == library_phone(text) == text
        fast += phones._simple(text) is not None
        for near in (text[:-1], text + "0", text[:-1] + str(9 - int(text[-1])), text[:3] + "0" + text[3:]):
            if phones._simple(near):
                assert library_phone(near) == near, near
    assert len(examples) > 600
    assert fast > len(examples) / 2, "the fast path must carry most ordinary numbers"


def test_a_fast_path_that_forgot_the_national_prefix_would_be_seen():
    """The planted bug: accepting any `+digits` differs from the library on a number with a trunk zero."""
    dialled = "+49015112345678"
    assert library_phone(dialled) == "+4915112345678"
    assert form("phone", dialled) == "+4915112345678"


# --- the caches


def test_caches_answer_the_same_and_can_be_cleared_for_an_erasure():
    first = normalise("email", "jörg@bücher.example"), normalise("phone", "0151 12345678", region="DE")
    assert emails._by_library.cache_info().currsize > 0
    assert (normalise("email", "jörg@bücher.example"), normalise("phone", "0151 12345678", region="DE")) == first
    clear_caches()
    assert emails._by_library.cache_info().currsize == 0
    assert phones._by_library.cache_info().currsize == 0


def test_the_tables_of_places_are_complete():
    assert len(normal_forms.COUNTRIES) == 249
    assert len(normal_forms.US_STATES) == 57
    assert set(phonenumbers.SUPPORTED_REGIONS) - normal_forms.COUNTRIES == {"AC", "TA", "XK"}
