"""Normal forms that need no library: operator-given ids, names, places, dates; and the two possible answers.

A normal form is idempotent: the form of a form is itself. An answer is a value, `Normalised` or `Rejected`; the
message of a rejection says what is wrong and never repeats the input, because inputs are personal data.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from datetime import date
from typing import Final, NamedTuple

CACHED: Final = 65_536  # how many answers of a library are remembered; values of people, so that it is a bound
MAX_NAME = 200
MIN_ADDRESS, MAX_ADDRESS, MAX_LINES = 5, 300, 6
MIN_BIRTH_YEAR = 1900


class Normalised(NamedTuple):
    """One spelling of a value: its `kind`, the `value`, and the `version` of the rules that made it.

    `earlier`: the version and the value of each earlier rule that is still in use somewhere (`normalisers.FORMER`).
    A tuple, because a batch makes and hashes thousands.
    """

    kind: str
    value: str
    version: int
    earlier: tuple[tuple[int, str], ...] = ()

    def under(self, version: int) -> str:
        """Return the value by the rules of a version; where those had none, by the newest."""
        return self.value if version == self.version else dict(self.earlier).get(version, self.value)

    def values(self) -> list[str]:
        """Return the value by every rule that is still in use, the newest first, each once."""
        return list(dict.fromkeys((self.value, *(value for _, value in self.earlier))))


@dataclass(frozen=True, slots=True)
class Rejected:
    """Why a value has no normal form: a stable `code` and a `message` that is free of the value."""

    code: str
    message: str


# ISO 3166-1 alpha-2, the 249 officially assigned codes
_COUNTRIES = """
    AD AE AF AG AI AL AM AO AQ AR AS AT AU AW AX AZ BA BB BD BE BF BG BH BI BJ BL BM BN BO BQ BR BS BT BV BW BY BZ
    CA CC CD CF CG CH CI CK CL CM CN CO CR CU CV CW CX CY CZ DE DJ DK DM DO DZ EC EE EG EH ER ES ET FI FJ FK FM FO
    FR GA GB GD GE GF GG GH GI GL GM GN GP GQ GR GS GT GU GW GY HK HM HN HR HT HU ID IE IL IM IN IO IQ IR IS IT JE
    JM JO JP KE KG KH KI KM KN KP KR KW KY KZ LA LB LC LI LK LR LS LT LU LV LY MA MC MD ME MF MG MH MK ML MM MN MO
    MP MQ MR MS MT MU MV MW MX MY MZ NA NC NE NF NG NI NL NO NP NR NU NZ OM PA PE PF PG PH PK PL PM PN PR PS PT PW
    PY QA RE RO RS RU RW SA SB SC SD SE SG SH SI SJ SK SL SM SN SO SR SS ST SV SX SY SZ TC TD TF TG TH TJ TK TL TM
    TN TO TR TT TV TW TZ UA UG UM US UY UZ VA VC VE VG VI VN VU WF WS YE YT ZA ZM ZW
"""
# ISO 3166-2:US, the states, the district and the outlying areas
_US_STATES = """
    AL AK AZ AR CA CO CT DE FL GA HI ID IL IN IA KS KY LA ME MD MA MI MN MS MO MT NE NV NH NJ NM NY NC ND OH OK OR
    PA RI SC SD TN TX UT VT VA WA WV WI WY DC AS GU MP PR UM VI
"""
COUNTRIES: Final = frozenset(_COUNTRIES.split())
US_STATES: Final = frozenset(_US_STATES.split())
REGIONS: Final = COUNTRIES | {f"US-{state}" for state in US_STATES}

_ID = re.compile(r"[A-Z0-9._:-]{1,64}")
_DEVICE = re.compile(r"[A-Za-z0-9._:-]{6,128}")
_UUID = re.compile(r"[0-9A-Fa-f]{8}(?:-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}")
_NO_DEVICE = re.compile(r"[0:.\-]+")
_OPENID = re.compile(r"[!-~]{1,255}")
_DAY = re.compile(r"([0-9]{4})-([0-9]{2})-([0-9]{2})")
_YEAR = re.compile(r"[0-9]{4}")
_LINE_ENDS = frozenset("\n")
_JOINERS = frozenset("\u200c\u200d")  # spelling, not formatting, in Persian and Indic names


def has_controls(text: str, *, allowed: frozenset[str] = frozenset()) -> bool:
    """Tell whether `text` holds a control, format, surrogate, private or unassigned character (Unicode C*)."""
    if text.isprintable():  # the short way: nothing of Unicode C* is
        return False
    return any(unicodedata.category(char)[0] == "C" and char not in allowed for char in text)


def member_no(value: str) -> Normalised | Rejected:
    """Return NFKC, trimmed, upper-case; 1 to 64 of `A-Z 0-9 . _ : -`."""
    return _plain_id("member_no", value)


def external_id(value: str) -> Normalised | Rejected:
    """Return NFKC, trimmed, upper-case; 1 to 64 of `A-Z 0-9 . _ : -`."""
    return _plain_id("external_id", value)


def device_id(value: str) -> Normalised | Rejected:
    """Return a UUID in lower case, another id as it is; 6 to 128 characters.

    The all-zero id is refused: platforms hand it out for everybody who declined tracking, so it names no device.
    """
    text = value.strip()
    if not _DEVICE.fullmatch(text):
        return Rejected("device_id_invalid", "A device id has 6 to 128 letters, digits or `._:-`")
    if _NO_DEVICE.fullmatch(text):
        return Rejected("device_id_null", "An all-zero device id means that tracking was declined")
    return Normalised("device_id", text.lower() if _UUID.fullmatch(text) else text, 1)


def openid(value: str) -> Normalised | Rejected:
    """Return the trimmed id, case kept (OpenID Connect Core section 2: `sub` is case-sensitive, <= 255 ASCII)."""
    text = value.strip()
    if not _OPENID.fullmatch(text):
        return Rejected("openid_invalid", "An openid has 1 to 255 printable ASCII characters, no spaces")
    return Normalised("openid", text, 1)


def name(value: str) -> Normalised | Rejected:
    """Return NFKC with runs of spaces collapsed; 1 to 200 characters, none of them a control."""
    if has_controls(value, allowed=_JOINERS):
        return Rejected("name_control_character", "A name holds no control or invisible characters")
    text = " ".join(unicodedata.normalize("NFKC", value).split())
    if not 1 <= len(text) <= MAX_NAME:
        return Rejected("name_length", f"A name has 1 to {MAX_NAME} characters")
    return Normalised("name", text, 1)


def postal_address(value: str) -> Normalised | Rejected:
    """Return NFC, its one to six lines without outer blanks and each run of blanks one; 5 to 300 characters.

    It is no identifier: people who live together share one, and no index is made of it.
    """
    lines = [" ".join(line.split()) for line in unicodedata.normalize("NFC", value).splitlines()]
    text = "\n".join(line for line in lines if line)
    if has_controls(text, allowed=_LINE_ENDS):
        return Rejected("address_control_character", "An address holds no control or invisible characters")
    if not MIN_ADDRESS <= len(text) <= MAX_ADDRESS or text.count("\n") >= MAX_LINES:
        message = f"An address has {MIN_ADDRESS} to {MAX_ADDRESS} characters on at most {MAX_LINES} lines"
        return Rejected("address_length", message)
    return Normalised("postal_address", text, 1)


def country(value: str) -> Normalised | Rejected:
    """Return the ISO 3166-1 alpha-2 code in upper case."""
    return _place("country", value, COUNTRIES, "A country is an ISO 3166-1 alpha-2 code such as DE")


def region(value: str) -> Normalised | Rejected:
    """Return a country code, or `US-` and a state, in upper case: the grain at which laws differ."""
    return _place("region", value, REGIONS, "A region is a country code such as DE, or a state such as US-CA")


def day(value: str, today: date | None = None) -> Normalised | Rejected:
    """Return an ISO 8601 calendar date `YYYY-MM-DD` that exists and, if `today` is given, is not after it."""
    return _dated("date", value, date.min, today)


def birth_date(value: str, today: date | None = None) -> Normalised | Rejected:
    """Return an ISO 8601 date between 1900-01-01 and `today`."""
    return _dated("birth_date", value, date(MIN_BIRTH_YEAR, 1, 1), today)


def birth_year(value: str, today: date | None = None) -> Normalised | Rejected:
    """Return a year of four digits between 1900 and the year of `today`."""
    text = value.strip()
    if not _YEAR.fullmatch(text):
        return Rejected("birth_year_invalid", "A birth year has four digits")
    latest = today.year if today else date.max.year
    if not MIN_BIRTH_YEAR <= int(text) <= latest:
        return Rejected("birth_year_range", f"A birth year lies between {MIN_BIRTH_YEAR} and this year")
    return Normalised("birth_year", text, 1)


def _plain_id(kind: str, value: str) -> Normalised | Rejected:
    text = unicodedata.normalize("NFKC", value).strip().upper()
    if not _ID.fullmatch(text):
        return Rejected(f"{kind}_invalid", "An id has 1 to 64 letters A-Z, digits or `._:-`")
    return Normalised(kind, text, 1)


def _place(kind: str, value: str, known: frozenset[str], message: str) -> Normalised | Rejected:
    text = value.strip().upper()
    return Normalised(kind, text, 1) if text in known else Rejected(f"{kind}_unknown", message)


def _dated(kind: str, value: str, earliest: date, latest: date | None) -> Normalised | Rejected:
    text = value.strip()
    found = _DAY.fullmatch(text)
    if found is None:
        return Rejected(f"{kind}_invalid", "A date is written YYYY-MM-DD")
    try:
        when = date(int(found[1]), int(found[2]), int(found[3]))
    except ValueError:
        return Rejected(f"{kind}_impossible", "There is no such day in the calendar")
    if when < earliest:
        return Rejected(f"{kind}_range", f"The date lies before {earliest.isoformat()}")
    if latest is not None and when > latest:
        return Rejected(f"{kind}_future", "The date lies in the future")
    return Normalised(kind, text, 1)
