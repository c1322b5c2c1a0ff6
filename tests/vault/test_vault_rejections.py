"""What is said of a value that has no normal form: the code that programs read, the sentence that people do."""

from __future__ import annotations

from datetime import date

import pytest

from consent_gateway.vault.checksums import doubtful
from consent_gateway.vault.normal_forms import Normalised, Rejected
from consent_gateway.vault.normalisers import normalise

TODAY = date(2026, 3, 1)
EMAIL_LENGTH = "An e-mail address has at most 254 bytes, 64 before the @"
PHONE_FORM = "A phone number has digits, a leading `+`, and separators only"
REGION_REQUIRED = (
    "Write the number with `+` and its country code, or name the country in which it is dialled as it stands"
)
ID = "An id has 1 to 64 letters A-Z, digits or `._:-`"


@pytest.mark.parametrize(
    ("kind", "value", "region", "code", "message"),
    [
        ("email", "j" * 65 + "@example.com", None, "email_too_long", EMAIL_LENGTH),
        ("email", "x" * 255, None, "email_too_long", EMAIL_LENGTH),
        ("email", "x" * 1001, None, "email_too_long", EMAIL_LENGTH),
        ("email", "ja\x00ne@example.com", None, "email_control_character", "An e-mail address holds no control or invisible characters"),
        ("email", "jane", None, "email_invalid", "This is not an e-mail address that the internet could deliver to"),
        ("email", "jane@p\u0430ypal.example", None, "email_mixed_scripts", "A label of the domain mixes scripts, as look-alikes do"),
        ("phone", "x", None, "phone_invalid", PHONE_FORM),
        ("phone", "1" * 65, None, "phone_invalid", PHONE_FORM),
        ("phone", "0151 12345678", None, "phone_region_required", REGION_REQUIRED),
        ("phone", "0151", "ZZ", "phone_region_unknown", "The country of the number is an ISO 3166-1 alpha-2 code"),
        ("phone", "+49 1", None, "phone_invalid", "This is not a phone number"),
        ("phone", "+1 000 000 0000", None, "phone_unassigned", "No such phone number can exist in that country"),
        ("member_no", "A B", None, "member_no_invalid", ID),
        ("external_id", "a/b", None, "external_id_invalid", ID),
        ("device_id", "short", None, "device_id_invalid", "A device id has 6 to 128 letters, digits or `._:-`"),
        ("device_id", "0" * 16, None, "device_id_null", "An all-zero device id means that tracking was declined"),
        ("openid", "\u00f6", None, "openid_invalid", "An openid has 1 to 255 printable ASCII characters, no spaces"),
        ("name", "\x00", None, "name_control_character", "A name holds no control or invisible characters"),
        ("name", " ", None, "name_length", "A name has 1 to 200 characters"),
        ("country", "UK", None, "country_unknown", "A country is an ISO 3166-1 alpha-2 code such as DE"),
        ("region", "US-ZZ", None, "region_unknown", "A region is a country code such as DE, or a state such as US-CA"),
        ("date", "x", None, "date_invalid", "A date is written YYYY-MM-DD"),
        ("date", "2023-02-29", None, "date_impossible", "There is no such day in the calendar"),
        ("date", "2026-03-02", None, "date_future", "The date lies in the future"),
        ("birth_date", "x", None, "birth_date_invalid", "A date is written YYYY-MM-DD"),
        ("birth_date", "1899-12-31", None, "birth_date_range", "The date lies before 1900-01-01"),
        ("birth_year", "84", None, "birth_year_invalid", "A birth year has four digits"),
        ("birth_year", "2027", None, "birth_year_range", "A birth year lies between 1900 and this year"),
        ("shoe_size", "42", None, "unknown_kind", "There is no such kind of value"),
    ],
)  # fmt: skip
def test_a_rejection_says_this(kind: str, value: str, region: str | None, code: str, message: str) -> None:
    assert normalise(kind, value, region=region, today=TODAY) == Rejected(code, message)


@pytest.mark.parametrize(
    ("kind", "value", "code", "message"),
    [
        ("member_no", "11010519491231002X", "identity_card_number", "A resident identity card number is sensitive: use a number of your own"),
        ("device_id", "490154203237519", "device_id_checksum", "The check digit of this IMEI is wrong: read it again"),
        ("external_id", "LEI:X", "external_id_checksum", "The check digits of this LEI are wrong: read it again"),
        ("external_id", "USCC:X", "external_id_checksum", "The check digits of this USCC are wrong: read it again"),
    ],
)  # fmt: skip
def test_a_doubt_says_this(kind: str, value: str, code: str, message: str) -> None:
    assert doubtful(Normalised(kind, value, 1)) == Rejected(code, message)


@pytest.mark.parametrize(
    ("kind", "last", "beyond"),
    [
        ("member_no", "A" * 64, "A" * 65),
        ("device_id", "a" * 128, "a" * 129),
        ("device_id", "a" * 6, "a" * 5),
        ("openid", "o" * 255, "o" * 256),
        ("name", "J" * 200, "J" * 201),
        ("name", "J", ""),
        ("birth_year", "1900", "1899"),
        ("birth_year", "2026", "2027"),
        ("birth_date", "1900-01-01", "1899-12-31"),
        ("date", "2026-03-01", "2026-03-02"),
        ("date", "0001-01-01", "0000-12-31"),
        ("phone", "+" + " " * 50 + "4915112345678", "+" + " " * 51 + "4915112345678"),
        ("email", " " * 984 + "jan\u00e9@example.com", " " * 985 + "jan\u00e9@example.com"),
        ("email", "j" * 64 + "@\u00fcb.example", "j" * 65 + "@\u00fcb.example"),
    ],
)
def test_a_limit_is_where_it_is_said_to_be(kind: str, last: str, beyond: str) -> None:
    assert isinstance(normalise(kind, last, today=TODAY), Normalised)
    assert isinstance(normalise(kind, beyond, today=TODAY), Rejected)
