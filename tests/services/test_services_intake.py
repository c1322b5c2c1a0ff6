"""Intake: every row is accounted for, known files change nothing, and what is refused is kept sealed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from sqlalchemy import select

from builders import (
    ALL_PROPERTIES,
    NOW_S,
    a_consent,
    a_gateway,
    a_person,
    by,
    choose,
    dump,
    forget_people,
    id_of,
    incoming,
    may_write,
    ref,
    subject_id,
    take,
    with_source,
    withdraw,
)
from consent_gateway.db import tables
from consent_gateway.db.engine import Store, sqlite_url
from consent_gateway.db.migrate import upgrade
from consent_gateway.domain.consents import ConsentKind
from consent_gateway.domain.ids import TraitId
from consent_gateway.domain.segments import TraitOrigin, TraitType
from consent_gateway.domain.subjects import Choice, Flag
from consent_gateway.errors import FieldProblem, InputError
from consent_gateway.services.erasing.erasure import erase
from consent_gateway.services.ledger.choices import record_choices
from consent_gateway.services.persons import subjects as subjects_module
from consent_gateway.services.persons.subjects import import_subjects
from consent_gateway.services.registry import registers
from consent_gateway.services.rows.intake import MAX_ITEMS, Incoming, Intake
from consent_gateway.services.work.gateway import Gateway
from consent_gateway.services.work.items import ChoiceItem, ConsentItem, ContactItem, EventItem, SubjectItem, SubjectRef
from consent_gateway.services.work.vault import GATEWAY_ITSELF, open_bytes

RULES = settings(derandomize=True, deadline=None, suppress_health_check=list(HealthCheck))
SQLITE, POSTGRES = settings(RULES, max_examples=60), settings(RULES, max_examples=15)


@pytest.fixture
def crm(gateway: Gateway) -> Gateway:
    """The gateway with a source and a few declared traits."""
    with gateway.work() as work:
        registers.put_trait(work, TraitId("visits"), TraitType.INTEGER, TraitOrigin.DECLARED, None, "")
        registers.put_trait(work, TraitId("city"), TraitType.TEXT, TraitOrigin.DECLARED, None, "")
        registers.put_trait(work, TraitId("vip"), TraitType.BOOLEAN, TraitOrigin.DECLARED, None, "")
    return with_source(gateway)


# -- counts --------------------------------------------------------------------------------------------------------

numbers = st.integers(1, 4)
dirt = st.sampled_from(["", " ", "x", "@", "a\0b", "ä" * 70, "--5", "9" * 30, "1", "-7", "true", "2030-13-01", "ZZ"])
refs = st.one_of(
    numbers.map(ref),
    numbers.map(lambda n: by("email", f"person{n}@example.org")),
    st.builds(SubjectRef, st.sampled_from(["pseudonym", "email", "phone", "member_no"]), dirt),
)
instants = st.sampled_from([NOW_S, NOW_S - 9, NOW_S - 86_400, NOW_S + 299, NOW_S + 301, 0, -5])
people = st.builds(
    SubjectItem,
    identifiers=st.one_of(
        numbers.map(lambda n: dict(a_person(n).identifiers)),
        st.dictionaries(
            st.sampled_from(["email", "phone", "member_no", "device_id"]),
            st.one_of(dirt, numbers.map(lambda n: f"person{n}@example.org"), numbers.map(lambda n: f"M{n:05}")),
            max_size=3,
        ),
    ),
    country=st.one_of(st.none(), st.sampled_from(["DE", "US-CA", "FR"]), dirt),
    birth_date=st.one_of(st.none(), st.sampled_from(["1980-05-17", "2010-01", "1970"]), dirt),
    given_name=st.one_of(st.none(), st.just("Anna"), dirt),
    traits=st.dictionaries(
        st.sampled_from(["visits", "city", "vip", "nope"]), st.one_of(dirt, st.integers(-5, 1 << 80), st.booleans())
    ),
)
facts = st.builds(
    ConsentItem,
    subject=refs,
    purpose=st.sampled_from(["direct_marketing", "marketing", "nothing"]),
    kind=st.sampled_from(ConsentKind),
    at=instants,
    channel=st.sampled_from([None, "email", "sms", "pigeon"]),
    valid_until=st.one_of(st.none(), instants),
    properties=st.just(ALL_PROPERTIES),
    recipient=st.sampled_from([None, "self", "nobody"]),
    contact_point=st.one_of(st.none(), refs.filter(lambda r: r.kind != "pseudonym")),
    evidence=st.sampled_from([None, b'{"ip":"203.0.113.9"}']),
)
choices = st.builds(ChoiceItem, subject=refs, choice=st.sampled_from(Choice), active=st.booleans(), at=instants)
keys = st.sampled_from(["k1", "k2", "k3", "k4", "", "k" * 65])
behaviour = st.builds(EventItem, subject=refs, type=st.sampled_from(["buy", "Buy!"]), at=instants, key=keys)
messages = st.builds(
    ContactItem,
    subject=refs,
    channel=st.sampled_from(["email", "sms", "none", "pigeon"]),
    at=instants,
    campaign=st.sampled_from(["spring", "Spring!"]),
    key=keys,
)
batches = st.one_of(*(st.lists(kind, min_size=1, max_size=6) for kind in (people, facts, choices, behaviour, messages)))


def adds_up(taken: Intake, rows: int) -> None:
    """Every row is in exactly one count, and every refused row has its reasons and its place."""
    assert taken.received == rows
    assert taken.received == taken.accepted + taken.duplicates + taken.rejected
    assert {r.row for r in taken.rejections} <= set(range(1, rows + 1))
    assert all(r.reasons for r in taken.rejections)
    if taken.kind == "subjects":
        assert taken.accepted == taken.created + taken.joined
        assert taken.updated <= taken.joined
    else:
        assert taken.accepted == taken.created + taken.suppressed


def run_batches(crm: Gateway, rules: settings) -> None:
    forget_people(crm.store)

    @rules
    @given(st.lists(batches, min_size=1, max_size=3))
    def check(found: list[list[object]]) -> None:
        take(crm, [a_person(n) for n in (1, 2)])
        for batch in found:
            adds_up(take(crm, batch), len(batch))
        forget_people(crm.store)

    check()


def test_every_row_of_any_dirty_batch_is_accounted_for(crm: Gateway) -> None:
    run_batches(crm, SQLITE if crm.store.is_sqlite else POSTGRES)


def test_a_row_that_is_lost_is_found(crm: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    """The planted bug: rows of people that are known already are counted only when something changed."""
    original = subjects_module._update

    def forgetful(work: object, intake: Intake, drafts: list[object]) -> None:
        original(work, intake, drafts)  # type: ignore[arg-type]
        intake.duplicates = 0

    monkeypatch.setattr(subjects_module, "_update", forgetful)
    with pytest.raises(AssertionError):
        run_batches(crm, settings(SQLITE, phases=[Phase.generate], report_multiple_bugs=False))


def test_a_batch_has_a_limit(crm: Gateway) -> None:
    with pytest.raises(InputError) as caught:
        take(crm, [a_person(1)] * (MAX_ITEMS + 1))
    assert caught.value.fields[0].code == "too_many"


def test_a_source_must_be_registered(crm: Gateway) -> None:
    with pytest.raises(InputError) as caught:
        take(crm, [a_person(1)], "elsewhere")
    assert caught.value.fields[0].code == "unknown_source"


# -- the same file again -------------------------------------------------------------------------------------------

CHANGING = {"imports", "audit_pending", "audit_openings"}  # that a file came again is itself recorded


def state(gateway: Gateway) -> dict[str, object]:
    return {name: rows for name, rows in dump(gateway.store).items() if name not in CHANGING}


FILE = [
    a_person(1, given_name="Anna", traits={"visits": 3, "city": "Ulm", "vip": True}),
    a_person(2, country="US-CA", birth_date="1990"),
    a_person(1, identifiers={"email": "PERSON1@example.org ", "phone": "+4915112345678"}),
]
EVENTS = [EventItem(ref(1), "buy", NOW_S - 5, "k1"), EventItem(ref(1), "buy", NOW_S - 4, "k2", 700)]
CONTACTS = [ContactItem(ref(1), "email", NOW_S - 5, "spring", "k1"), ContactItem(ref(2), "sms", NOW_S, "spring", "k2")]


def test_the_same_files_twice_change_nothing(crm: Gateway) -> None:
    take(crm, FILE)
    take(crm, EVENTS)
    take(crm, CONTACTS)
    before = state(crm)
    for batch in (FILE, EVENTS, CONTACTS):
        again = take(crm, batch)
        assert (again.duplicates, again.accepted) == (len(batch), 0)
    assert state(crm) == before


def test_the_same_consents_twice_change_nothing_of_what_they_mean(crm: Gateway) -> None:
    take(crm, FILE)
    facts = [a_consent(ref(1)), a_consent(ref(2), kind=ConsentKind.WITHDRAWN, at=NOW_S)]
    take(crm, facts)
    before = state(crm)["audience_rows"]
    take(crm, facts)
    assert state(crm)["audience_rows"] == before


def test_a_key_twice_in_one_file_counts_once(crm: Gateway) -> None:
    take(crm, FILE)
    taken = take(crm, [EVENTS[0], EVENTS[0], EVENTS[1]])
    assert (taken.created, taken.duplicates) == (2, 1)


# -- one person ----------------------------------------------------------------------------------------------------


def reasons(taken: Intake) -> list[tuple[int, str]]:
    return [(r.row, reason.code) for r in taken.rejections for reason in r.reasons]


def test_rows_join_one_person_by_any_identifier(crm: Gateway) -> None:
    taken = take(crm, FILE)
    assert (taken.created, taken.joined) == (2, 1)
    assert id_of(crm, by("phone", "+49 151 12345678")) == id_of(crm, ref(1))


def test_a_row_that_belongs_to_two_people_is_refused(crm: Gateway) -> None:
    take(crm, [a_person(1), a_person(2)])
    before = state(crm)
    both = SubjectItem({"member_no": "M00001", "email": "person2@example.org"})
    taken = take(crm, [both])
    assert reasons(taken) == [(1, "identity_conflict")]
    after = state(crm)
    changed = {name for name in before if before[name] != after[name]}
    assert changed <= {"quarantine", "quarantine_identifiers", "subject_keys"}  # the row is kept; nobody changed


def test_two_people_of_one_file_are_not_joined_by_a_third_row(crm: Gateway) -> None:
    both = SubjectItem({"member_no": "M00001", "email": "person2@example.org"})
    taken = take(crm, [a_person(1), a_person(2), both])
    assert (taken.created, reasons(taken)) == (2, [(3, "identity_conflict")])


def test_every_claimed_region_is_kept_and_of_two_birth_dates_the_later(crm: Gateway) -> None:
    take(crm, [a_person(1), a_person(1, country="US-CA", birth_date="1999-01-01")])
    take(crm, [a_person(1, country="FR", birth_date="1970-01-01")])
    with crm.look() as work:
        row = work.session.execute(select(tables.audience_rows)).one()
    assert (row.regions, row.birth_month) == ("DE|FR|US-CA", 1999 * 12)


def test_an_erased_person_does_not_come_back(crm: Gateway) -> None:
    take(crm, FILE)
    with crm.work() as work:
        erase(work, subject_id(work, ref(1)), "request")
    taken = take(crm, FILE)
    assert reasons(taken) == [(1, "erased"), (3, "erased")]
    assert taken.duplicates == 1
    assert reasons(take(crm, [SubjectItem({"phone": "0151 12345678"}, country="DE")])) == [(1, "erased")]


def test_a_pseudonym_of_somebody_erased_means_nobody_and_stops_no_batch(crm: Gateway) -> None:
    """A recipient may still hold it: neither a crash nor a row about somebody who is gone."""
    take(crm, [a_person(1), a_person(2)])
    gone = id_of(crm, ref(1))
    with crm.look() as work:
        pseudonym = crm.vault.pseudonym(gone, work.actor.recipient, work.registers)
    with crm.work() as work:
        erase(work, gone, "request")
    who = by("pseudonym", pseudonym)
    for batch in (
        [a_consent(who, kind=ConsentKind.WITHDRAWN), a_consent(ref(2))],
        [ChoiceItem(who, Choice.OBJECTION, True, NOW_S), ChoiceItem(ref(2), Choice.GPC, True, NOW_S)],  # noqa: FBT003 - a row
        [EventItem(who, "buy", NOW_S, "a"), EventItem(ref(2), "buy", NOW_S, "b")],
        [ContactItem(who, "email", NOW_S, "spring", "a"), ContactItem(ref(2), "email", NOW_S, "spring", "b")],
    ):
        taken = take(crm, batch)
        adds_up(taken, 2)
        assert reasons(taken) == [(1, "unknown_subject")]
    found = dump(crm.store)
    for name in ("consent_events", "choice_events", "events", "contacts"):
        columns = tables.metadata.tables[name].columns.keys()
        assert {row[columns.index("subject_id")] for row in found[name]} == {id_of(crm, ref(2))}


# -- the quarantine ------------------------------------------------------------------------------------------------

SECRET = b'{"email":"canary-1c9@example.org","country":"ZZ"}'


def quarantined(gateway: Gateway) -> list[Any]:
    with gateway.look() as work:
        return list(work.session.execute(select(tables.quarantine)))


def refuse_one(gateway: Gateway) -> Intake:
    bad = Incoming(1, SECRET, SubjectItem({"email": "canary-1c9@example.org"}, country="ZZ"))
    with gateway.work() as work:
        return import_subjects(work, "crm", [bad], "0" * 64)


def test_a_refused_row_is_kept_sealed_under_the_gateways_own_key(crm: Gateway) -> None:
    taken = refuse_one(crm)
    (row,) = quarantined(crm)
    assert row.id == taken.rejections[0].quarantine_id
    with crm.look() as work:
        dek = crm.vault.keys(work.session, [GATEWAY_ITSELF])[GATEWAY_ITSELF]
    assert open_bytes(dek, GATEWAY_ITSELF, bytes(row.sealed)) == SECRET
    assert "canary" not in row.reasons + row.reference


def test_a_refused_row_is_not_in_the_file(tmp_path: Path) -> None:
    path = tmp_path / "raw.sqlite3"
    store = Store(sqlite_url(str(path)))
    upgrade(store)
    gateway = with_source(a_gateway(store))
    refuse_one(gateway)
    take(gateway, [SubjectItem({"email": "accepted-7d2@example.org"}, given_name="Canaryname")])
    raw = b"".join(p.read_bytes() for p in tmp_path.iterdir())
    store.dispose()
    assert b"crm" in raw  # the scan does look into the file
    for plain in (b"canary", b"1c9@example", b"7d2@example", b"Canaryname"):
        assert plain not in raw


def test_what_the_edge_could_not_read_is_kept_too(crm: Gateway) -> None:
    unread = Incoming(7, b"{broken", None, (FieldProblem("$", "malformed", "not JSON"),))
    with crm.work() as work:
        taken = import_subjects(work, "crm", [unread, *incoming([a_person(1)])], "0" * 64)
    assert (taken.created, reasons(taken)) == (1, [(7, "malformed")])
    assert [row.reference for row in quarantined(crm)] == ["7"]


# -- somebody nobody knows -----------------------------------------------------------------------------------------


STRANGER = by("email", "Person9@Example.org")


@pytest.mark.parametrize(
    "opt_out",
    [
        lambda g: withdraw(g, STRANGER),
        lambda g: take(g, [a_consent(STRANGER, kind=ConsentKind.REFUSED)]),
        lambda g: choose(g, STRANGER, Choice.OBJECTION),
        lambda g: choose(g, STRANGER, Choice.GPC),
        lambda g: choose(g, STRANGER, Choice.SALE_SHARE_OPT_OUT),
    ],
    ids=["withdrawn", "refused", "objection", "gpc", "opt_out"],
)
def test_an_opt_out_of_a_stranger_is_accepted_and_holds_when_they_turn_up(crm: Gateway, opt_out) -> None:
    taken = opt_out(crm)
    assert (taken.accepted, taken.suppressed, taken.created) == (1, 1, 0)
    take(crm, [a_person(9), a_person(8)])
    take(crm, [a_consent(ref(9)), a_consent(ref(8))])
    assert may_write(crm, ref(8))
    assert not may_write(crm, ref(9))


@pytest.mark.parametrize("order", ["before", "after"])
def test_a_withdrawal_for_an_address_nobody_has_holds_for_whoever_gets_it(crm: Gateway, order: str) -> None:
    """A known person names an address that is not theirs yet: the no is not lost for that."""
    take(crm, [a_person(9, identifiers={"member_no": "M00009"})])
    taken = withdraw(crm, ref(9), contact_point=by("email", "person9@example.org"))
    assert (taken.suppressed, taken.rejected) == (1, 0)
    if order == "before":
        take(crm, [a_consent(ref(9))])
    take(crm, [a_person(9)])
    if order == "after":
        take(crm, [a_consent(ref(9))])
    assert not may_write(crm, ref(9))


def test_a_grant_of_a_stranger_is_refused(crm: Gateway) -> None:
    assert reasons(take(crm, [a_consent(STRANGER)])) == [(1, "unknown_subject")]
    assert reasons(choose(crm, STRANGER, Choice.GPC, active=False)) == [(1, "unknown_subject")]


def test_a_second_address_does_not_open_what_the_first_closed(crm: Gateway) -> None:
    withdraw(crm, STRANGER)
    take(crm, [a_person(9)])
    take(crm, [SubjectItem({"member_no": "M00009", "email": "other@example.org"})])
    with crm.look() as work:
        flags = work.session.execute(select(tables.audience_rows.c.flags)).scalar()
    assert flags is not None
    assert flags & Flag.SUPPRESSED_EMAIL  # an answer does not say which address may be written to


def test_gpc_of_a_call_is_recorded_for_its_people_and_counted_once(crm: Gateway) -> None:
    take(crm, [a_person(1), a_person(2)])
    with crm.work() as work:
        rows = incoming([ChoiceItem(ref(n), Choice.OBJECTION, True, NOW_S) for n in (1, 2, 2)])  # noqa: FBT003 - a row
        taken = record_choices(work, "crm", rows, "0" * 64, gpc=True)
    adds_up(taken, 3)
    with crm.look() as work:
        flags = work.session.execute(select(tables.audience_rows.c.flags)).scalars().all()
    assert all(f & Flag.GPC and f & Flag.OBJECTION for f in flags)
