"""Merging by name: what it shows, records and refuses, what imports say about it, and what becomes of an audience."""

from __future__ import annotations

import json
from typing import Any

import pytest
from sqlalchemy import event, select

from builders import (
    DAY,
    EMAIL_MARKETING,
    NOW_S,
    a_consent,
    a_person,
    a_recipient,
    answer_for,
    by,
    choose,
    dump,
    id_of,
    may_write,
    ref,
    take,
    with_source,
    withdraw,
)
from consent_gateway.audit.commitments import commit
from consent_gateway.db import tables
from consent_gateway.domain import merges as rules
from consent_gateway.domain.consents import CLOCKS_APART, ConsentKind
from consent_gateway.domain.merges import agreed, components, united_profile, why
from consent_gateway.domain.purposes import RecipientKind
from consent_gateway.domain.segments import Everyone
from consent_gateway.domain.subjects import Choice
from consent_gateway.errors import ConflictError, ErasedError, InputError, NotFoundError
from consent_gateway.services.disclosing import audiences
from consent_gateway.services.erasing.erasure import erase
from consent_gateway.services.identity.reconcile import reconcile
from consent_gateway.services.persons import merges as merging
from consent_gateway.services.persons.merges import Done, merge, unmerge
from consent_gateway.services.persons.subjects import lookup
from consent_gateway.services.registry import registers
from consent_gateway.services.work.gateway import Gateway
from consent_gateway.services.work.items import ContactItem, SubjectItem, SubjectRef
from consent_gateway.vault.envelope import derive_audit_key


@pytest.fixture
def crm(gateway: Gateway) -> Gateway:
    """Three people, the first two of whom agreed two days ago."""
    with_source(gateway)
    take(gateway, [a_person(n) for n in (1, 2, 3)])
    take(gateway, [a_consent(ref(n), at=NOW_S - 2 * DAY) for n in (1, 2)])
    return gateway


def join(gateway: Gateway, *people: SubjectRef, dry_run: bool = False) -> Done:
    with gateway.work() as work:
        return merge(work, people, "duplicate", dry_run=dry_run)


def part(gateway: Gateway, number: int | None, *, dry_run: bool = False) -> Done:
    assert number is not None
    with gateway.work() as work:
        return unmerge(work, number, "wrong_match", dry_run=dry_run)


def pseudonym(gateway: Gateway, who: SubjectRef) -> str:
    with gateway.look() as work:
        return lookup(work, who, None)


def standing(done: Done, recipient: str | None = None) -> dict[str, Any]:
    """What changed about direct marketing by e-mail."""
    (found,) = [
        s
        for s in done.result["standings"]
        if (s["purpose"], s["channel"], s["recipient"]) == ("direct_marketing", "email", recipient)
    ]
    return {name: found[name] for name in ("before", "after", "reason")}


# -- what it shows -------------------------------------------------------------------------------------------------


def test_a_later_no_of_one_holds_for_both_and_undone_it_is_ones_own(crm: Gateway) -> None:
    withdraw(crm, ref(2))
    old = by("pseudonym", pseudonym(crm, ref(2)))
    done = join(crm, ref(2), ref(1))
    assert standing(done) == {"before": ["given", "withdrawn"], "after": ["withdrawn"], "reason": "the_no_holds"}
    assert [may_write(crm, who) for who in (ref(1), ref(2), old)] == [False, False, False]
    undone = part(crm, done.merge)
    assert standing(undone) == {"before": ["withdrawn"], "after": ["given", "withdrawn"], "reason": "separated"}
    assert [may_write(crm, who) for who in (ref(1), ref(2), old)] == [True, False, False]


def test_a_later_yes_with_proof_is_the_persons_newest_word(crm: Gateway) -> None:
    take(crm, [a_consent(ref(2), kind=ConsentKind.WITHDRAWN, at=NOW_S - DAY)])
    take(crm, [a_consent(ref(1), at=NOW_S - 60)])
    done = join(crm, ref(1), ref(2))
    assert standing(done) == {"before": ["given", "withdrawn"], "after": ["given"], "reason": "the_later_yes_holds"}
    assert may_write(crm, ref(2))


@pytest.mark.parametrize(("ahead", "permitted"), [(0, False), (CLOCKS_APART - 1, False), (CLOCKS_APART, True)])
def test_an_order_that_clocks_leave_open_is_a_no(crm: Gateway, ahead: int, permitted: bool) -> None:  # noqa: FBT001
    take(crm, [a_consent(ref(2), kind=ConsentKind.WITHDRAWN, at=NOW_S - DAY)])
    take(crm, [a_consent(ref(1), at=NOW_S - DAY + ahead)])
    join(crm, ref(1), ref(2))
    assert may_write(crm, ref(1)) == permitted


def test_an_imported_yes_never_counts_over_what_the_other_said(crm: Gateway) -> None:
    take(crm, [a_consent(ref(3), at=NOW_S, imported=True)])
    take(crm, [a_consent(ref(2), kind=ConsentKind.REFUSED, at=NOW_S - DAY)])
    assert may_write(crm, ref(3))
    assert standing(join(crm, ref(2), ref(3)))["after"] == ["refused"]
    assert not may_write(crm, ref(3))


def test_who_said_nothing_is_asked_by_what_the_other_said(crm: Gateway) -> None:
    done = join(crm, ref(1), ref(3))
    assert standing(done) == {"before": ["given", "none"], "after": ["given"], "reason": "one_of_them_answered"}


def test_a_named_third_party_is_shown_by_itself(crm: Gateway) -> None:
    with crm.work() as work:
        registers.put_recipient(work, a_recipient("partner", kind=RecipientKind.THIRD_PARTY))
    take(crm, [a_consent(ref(1), at=NOW_S - DAY, recipient="partner")])
    withdraw(crm, ref(2), recipient="partner")
    done = join(crm, ref(1), ref(2))
    assert standing(done, "partner")["after"] == ["withdrawn"]
    assert standing(done)["after"] == ["given"]


def test_a_choice_of_either_is_on_and_the_others_off_switches_nothing_off(crm: Gateway) -> None:
    choose(crm, ref(1), Choice.OBJECTION, at=NOW_S - DAY)
    choose(crm, ref(2), Choice.OBJECTION, active=False, at=NOW_S)
    done = join(crm, ref(1), ref(2))
    assert done.result["choices"] == [{"choice": "objection", "before": [True, False], "after": [True]}]
    choose(crm, ref(2), Choice.OBJECTION, active=False, at=NOW_S)
    assert not may_write(crm, ref(2))


def test_caps_count_the_messages_to_every_member(crm: Gateway) -> None:
    take(crm, [ContactItem(ref(n), "email", NOW_S - 60 - k, "s", f"{n}-{k}") for n in (1, 2) for k in (1, 2)])
    assert may_write(crm, ref(1))
    done = join(crm, ref(1), ref(2))
    assert answer_for(crm, ref(2)).reason_code == "frequency_cap"
    part(crm, done.merge)
    assert may_write(crm, ref(1))


def test_a_dry_run_shows_the_same_and_changes_nothing(crm: Gateway) -> None:
    withdraw(crm, ref(2))
    before = dump(crm.store)
    shown = join(crm, ref(1), ref(2), dry_run=True)
    assert dump(crm.store) == before
    done = join(crm, ref(1), ref(2))
    assert (shown.result, shown.people, shown.merge) == (done.result, done.people, None)
    before = dump(crm.store)
    assert part(crm, done.merge, dry_run=True).changed
    assert dump(crm.store) == before


# -- what it records -----------------------------------------------------------------------------------------------


def test_each_subject_has_an_entry_that_commits_to_it_and_to_the_result(crm: Gateway) -> None:
    done = join(crm, ref(1), ref(2))
    part(crm, done.merge)
    with crm.look() as work:
        kept = {
            json.loads(row.entry)["uid"]: json.loads(row.entry)
            for row in work.session.execute(select(tables.audit_pending))
        }
        openings = {bytes(row.uid).hex(): row for row in work.session.execute(select(tables.audit_openings))}
        ids = [id_of(crm, ref(n)) for n in (1, 2)]
        deks = crm.vault.keys(work.session, ids)
    about = [entry for entry in kept.values() if entry["kind"].startswith("subjects.")]
    assert sorted(e["kind"] for e in about) == ["subjects.merged"] * 2 + ["subjects.unmerged"] * 2
    assert {e["fields"]["merge"] for e in about} == {done.merge}
    for uid in done.entries:
        opening = openings[uid.hex()]
        key = derive_audit_key(deks[opening.subject_id])
        sealed = commit(key, uid, "subject", bytes(opening.payload)).hex()
        assert kept[uid.hex()]["commitments"] == {"chain": "00" * 32, "subject": sealed}
        assert set(json.loads(opening.payload)) == {"merge", "result_sha256"}
    assert {openings[uid.hex()].subject_id for uid in done.entries} == set(ids)


def test_the_result_is_kept_with_the_record(crm: Gateway) -> None:
    done = join(crm, ref(1), ref(2))
    with crm.look() as work:
        (row,) = work.session.execute(select(tables.merges)).all()
    assert (json.loads(row.result), row.rules, row.reason) == (done.result, rules.RULES, "duplicate")


def test_the_same_merge_again_changes_nothing(crm: Gateway) -> None:
    first = join(crm, ref(1), ref(2))
    join(crm, ref(2), ref(3))
    before = dump(crm.store)
    again = [join(crm, ref(2), ref(1)), join(crm, ref(1), ref(3))]
    assert [(done.changed, done.merge) for done in again] == [(False, first.merge), (False, None)]
    part(crm, first.merge)
    after = dump(crm.store)
    assert not part(crm, first.merge).changed
    assert dump(crm.store) == after != before


# -- what it refuses -----------------------------------------------------------------------------------------------


def test_nobody_the_same_and_the_erased_are_refused_with_their_place(crm: Gateway) -> None:
    with pytest.raises(NotFoundError) as unknown:
        join(crm, ref(1), ref(9))
    assert [(p.path, p.code) for p in unknown.value.fields] == [("$.subjects[1]", "unknown_subject")]
    with pytest.raises(InputError) as same:
        join(crm, ref(1), by("email", "person1@example.org"))
    assert [p.code for p in same.value.fields] == ["same_subject"]
    gone = id_of(crm, ref(3))
    with crm.work() as work:
        erase(work, gone, "request")
    with pytest.raises(ErasedError):
        join(crm, ref(1), ref(3))
    with pytest.raises(NotFoundError):
        part(crm, 999)


def test_more_subjects_than_one_person_can_be_are_refused(crm: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(merging, "MAX_MEMBERS", 2)
    join(crm, ref(1), ref(2))
    with pytest.raises(ConflictError):
        join(crm, ref(2), ref(3))


# -- imports, erasure, audiences -----------------------------------------------------------------------------------


def test_a_row_that_names_two_people_says_how_to_merge_and_is_taken_in_afterwards(crm: Gateway) -> None:
    row = SubjectItem({"member_no": "M00001", "email": "person2@example.org", "phone": "+4915112345678"}, "FR")
    refused = take(crm, [row])
    (reason,) = refused.rejections[0].reasons
    assert reason.code == "identity_conflict"
    assert "/v1/subjects/merge" in reason.message
    done = join(crm, ref(1), ref(2))
    assert take(crm, [row, a_person(2, traits={})]).rejected == 0
    assert reconcile(crm).clean
    part(crm, done.merge)
    assert id_of(crm, by("phone", "+4915112345678")) == id_of(crm, ref(1))
    assert reconcile(crm).clean


def test_what_is_said_about_an_address_stays_with_who_has_it(crm: Gateway) -> None:
    done = join(crm, ref(1), ref(2))
    assert withdraw(crm, ref(1), contact_point=by("email", "person2@example.org")).rejected == 0
    assert may_write(crm, ref(1))  # by the address that nobody closed
    part(crm, done.merge)
    assert (may_write(crm, ref(1)), may_write(crm, ref(2))) == (True, False)


def test_an_erasure_of_one_reaches_all_and_nobody_comes_back(crm: Gateway) -> None:
    join(crm, ref(1), ref(2))
    before = dump(crm.store)
    gone = id_of(crm, ref(2))
    with crm.work() as work:
        done = erase(work, gone, "request")
    assert done.tombstones == 4
    assert take(crm, [a_person(1), a_person(2)]).rejected == 2
    after = dump(crm.store)
    assert (after["merges"], after["subject_links"]) == ([], [])
    assert len(after["subjects"]) == len(before["subjects"]) - 2
    assert len(after["audit_pending"]) >= len(before["audit_pending"]) + 2


def test_an_audience_from_before_a_merge_names_the_person_once(crm: Gateway) -> None:
    with crm.work() as work:
        audience = audiences.resolve(work, Everyone(), EMAIL_MARKETING)
    told = [p for chunk in audiences.stream_members(crm, audience.row.id) for p in chunk]
    head = pseudonym(crm, ref(1))
    assert sorted(told) == sorted([head, pseudonym(crm, ref(2))])
    join(crm, ref(1), ref(2))
    assert [p for chunk in audiences.stream_members(crm, audience.row.id) for p in chunk] == [head]
    assert pseudonym(crm, ref(2)) == pseudonym(crm, ref(1)) == head


def test_reconcile_finds_and_repairs_links_and_rows_that_are_wrong(crm: Gateway) -> None:
    join(crm, ref(1), ref(2))
    with crm.store.transaction() as session:
        session.execute(tables.subject_links.delete())
    found = reconcile(crm)
    assert (found.clean, found.links) == (False, 1)
    reconcile(crm, repair=True)
    assert reconcile(crm).clean
    with crm.store.transaction() as session:
        row = session.execute(select(tables.audience_rows).limit(1)).mappings().one()
        session.execute(tables.audience_rows.insert(), [dict(row) | {"subject_id": id_of(crm, ref(2))}])
    assert reconcile(crm).stray == 1


def reads_of_a_decision(gateway: Gateway, who: SubjectRef) -> int:
    """How many statements one decision reads people with."""
    told: list[str] = []

    def listen(_c: Any, _cursor: Any, statement: str, *_: Any) -> None:
        told.append(statement)

    event.listen(gateway.store.engine, "before_cursor_execute", listen)
    try:
        answer_for(gateway, who)
    finally:
        event.remove(gateway.store.engine, "before_cursor_execute", listen)
    return sum("audience_rows" in statement for statement in told)


def test_only_a_member_without_a_row_costs_a_second_read(crm: Gateway) -> None:
    names = [by("pseudonym", pseudonym(crm, ref(n))) for n in (1, 2, 3)]
    assert [reads_of_a_decision(crm, who) for who in names] == [1, 1, 1]
    join(crm, ref(1), ref(2))
    assert [reads_of_a_decision(crm, who) for who in names] == [1, 2, 1]


# -- the rules by themselves ---------------------------------------------------------------------------------------


def test_components_connect_whoever_is_in_a_pair() -> None:
    pairs = [(rules.SubjectId(4), rules.SubjectId(2)), (rules.SubjectId(2), rules.SubjectId(7))]
    assert components([rules.SubjectId(n) for n in (1, 2, 9)], pairs) == {1: [1], 2: [2, 4, 7], 9: [9]}


def test_profiles_are_joined_to_the_strictest() -> None:
    assert united_profile([("DE|FR", 100), ("", None), ("US-CA", 200)]) == ("DE|FR|US-CA", 200)
    assert united_profile([("", None)]) == ("", None)


def test_a_trait_is_known_where_nobody_disagrees() -> None:
    assert agreed([{"a": 1, "b": 1}, {"a": 1, "b": 2}, {"c": "x"}]) == {"a": 1, "b": None, "c": "x"}


@pytest.mark.parametrize(
    ("before", "after", "reason"),
    [
        (["given", "given"], ["given"], "unchanged"),
        (["given", "refused"], ["refused"], "the_no_holds"),
        (["withdrawn", "given"], ["given"], "the_later_yes_holds"),
        (["none", "expired"], ["expired"], "one_of_them_answered"),
        (["given", "expired"], ["expired"], "read_together"),
        (["given"], ["given", "given"], "unchanged"),
        (["given"], ["given", "none"], "separated"),
    ],
)
def test_the_reason_is_one_word(before: list[str], after: list[str], reason: str) -> None:
    assert why(before, after) == reason


def test_a_placeholder_is_refused_at_intake_with_the_reason(crm: Gateway) -> None:
    taken = take(crm, [SubjectItem({"member_no": "0000", "email": "new@example.org"})])
    assert [(p.path, p.code) for p in taken.rejections[0].reasons] == [("$.member_no", "placeholder_identifier")]
