"""A person's bundle from a living gateway: whole, recorded, and good for ever, also once the person is erased."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import update

from builders import (
    EMAIL_MARKETING,
    RIGHTS,
    a_consent,
    a_person,
    a_recipient,
    answer_for,
    by,
    choose,
    id_of,
    ref,
    subject_id,
    take,
    twin,
    with_source,
    withdraw,
)
from consent_gateway.audit.bundle_files import parse_bundle, parse_disclosed
from consent_gateway.audit.bundles import verify_bundle
from consent_gateway.audit.canonical import canonical_json
from consent_gateway.audit.commitments import payload_name
from consent_gateway.audit.entries import EntryKind, parse_entry
from consent_gateway.audit.singlefile import build_single_file
from consent_gateway.audit.verifier import Finding, verify_directory
from consent_gateway.clock import FixedClock
from consent_gateway.db import log_store, map_store, tables
from consent_gateway.domain.ids import RecipientId, SubjectId
from consent_gateway.domain.purposes import OWN
from consent_gateway.domain.segments import Everyone
from consent_gateway.domain.subjects import Choice
from consent_gateway.errors import ConflictError, ForbiddenError, NotFoundError, RaceError, UnavailableError
from consent_gateway.services.disclosing import audiences
from consent_gateway.services.erasing.erasure import erase
from consent_gateway.services.keys import dek_rotation
from consent_gateway.services.log import audit_log, bundles, maps
from consent_gateway.services.log.audit_log import Sequencer
from consent_gateway.services.log.bundles import Made, Wish, hand_out
from consent_gateway.services.persons import canaries, merges
from consent_gateway.services.registry.registers import put_recipient
from consent_gateway.services.work.gateway import SYSTEM, Gateway, Work
from consent_gateway.vault.envelope import derive_audit_key


@pytest.fixture
def crm(gateway: Gateway) -> Gateway:
    """Person 1, who is two subjects, has a new key and said things; person 2, a neighbour."""
    with_source(gateway)
    take(gateway, [a_person(n) for n in (1, 2, 3)])
    take(gateway, [a_consent(ref(n)) for n in (1, 2, 3)])
    with gateway.work() as work:
        merges.merge(work, [ref(1), ref(3)], "duplicate")
    with gateway.work() as work:
        dek_rotation.rotate(work, subject_id(work, ref(1)), "request")
    for number in (1, 2, 3):
        answer_for(gateway, ref(number))
    choose(gateway, ref(1), Choice.OBJECTION)
    answer_for(gateway, by("email", "stranger@example.org"))
    return gateway


def integrated(gateway: Gateway) -> None:
    sequencer = Sequencer(gateway)
    sequencer.drain()
    maps.publish(gateway)
    sequencer.drain()


def name_of(gateway: Gateway, number: int, recipient: RecipientId = OWN) -> str:
    with gateway.look() as work:
        return gateway.vault.pseudonym(subject_id(work, ref(number)), recipient, work.registers)


def made_of(gateway: Gateway, number: int = 1, **wish: Any) -> Made:
    return hand_out(gateway, RIGHTS, name_of(gateway, number), Wish(**wish))


def bundle_of(gateway: Gateway, number: int = 1, **wish: Any) -> bytes:
    return made_of(gateway, number, **wish).content


def checked(gateway: Gateway, data: bytes) -> Finding:
    finding = verify_bundle(gateway.signer.vkey, data)
    assert finding.ok, str(finding)
    return finding


def kinds_in(data: bytes) -> list[EntryKind]:
    return [parse_entry(t.logged.entry).kind for c in parse_bundle(data).chains for t in c.entries]


def test_a_bundle_has_everything_about_the_person_and_nothing_else(crm: Gateway) -> None:
    integrated(crm)
    data = bundle_of(crm)
    finding = checked(crm, data)
    assert finding.details["not_covered"] == 2
    assert sorted(kinds_in(data)) == sorted(
        [EntryKind.CONSENT_RECORDED] * 2
        + [EntryKind.SUBJECTS_MERGED] * 2
        + [EntryKind.DEK_ROTATED] * 4  # each of two subjects, in two chains each
        + [EntryKind.DECISION_MADE] * 2
        + [EntryKind.RIGHT_EXERCISED]
        + [EntryKind.BUNDLE_DISCLOSED] * 2  # its own: about each of the two
    )
    other = checked(crm, bundle_of(crm, 2))
    assert (other.details["entries"], other.details["chains"]) == (3, 1)


def test_a_map_that_the_log_has_not_taken_yet_is_waited_for(crm: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing could be proven against the map before it any more: the bundle would have none, and say so."""
    integrated(crm)
    build, late = bundles.build, [True]

    def overtaken(*given: Any) -> Any:
        if late and late.pop():
            assert maps.publish(twin(crm)) is not None
        with crm.look(RIGHTS) as work:
            return build(work, *given[1:])

    monkeypatch.setattr(bundles, "build", overtaken)
    found = checked(crm, bundle_of(crm, 2))
    assert "complete up to the map at" in found.message


def test_payloads_hold_no_number_that_we_count_by(crm: Gateway) -> None:
    """A guardian and a contact point are named by what only the person's key gives (promise P9)."""
    take(crm, [replace(a_person(5), birth_date="2014-05-01"), replace(a_person(6), birth_date="1980-05-01")])
    take(crm, [a_consent(ref(5), guardian=ref(6)), a_consent(ref(5), contact_point=by("email", "person5@example.org"))])
    payloads = [json.loads(t.payload) for t in parse_bundle(bundle_of(crm, 5)).chains[0].entries]
    with crm.look() as work:
        (key,) = crm.vault.audit_keys(work.session, subject_id(work, ref(5)))
        guardian = payload_name(key, "guardian", subject_id(work, ref(6)))
    assert {"guardian": guardian} in payloads
    assert {name for payload in payloads for name in payload} <= {"guardian", "contact_point", "audiences"}
    assert [len(p["contact_point"]) for p in payloads if "contact_point" in p] == [32]


@pytest.mark.planted_entry
def test_openings_of_former_releases_are_shown_as_they_were(crm: Gateway) -> None:
    """What an entry committed to cannot be changed any more: the number is in it, and it verifies."""
    Sequencer(crm).drain()
    with crm.work() as work:
        who = subject_id(work, ref(2))
        deks = crm.vault.keys(work.session, [who])
        old = canonical_json({"subject_id": who})
        work.record_about(EntryKind.LEDGER_READ, {"what": "bundle"}, who, derive_audit_key(deks[who]), old)
    data = bundle_of(crm, 2)
    assert checked(crm, data).ok
    assert old in [t.payload for t in parse_bundle(data).chains[0].entries]


def test_handing_it_out_is_recorded_before_and_it_has_that(crm: Gateway) -> None:
    """Also what the log has not taken yet when it is asked for."""
    made = made_of(crm, 2)
    (*_, last) = parse_bundle(made.content).chains[0].entries
    entry = parse_entry(last.logged.entry)
    assert (entry.kind, entry.fields, entry.uid) == (EntryKind.BUNDLE_DISCLOSED, {"for": "request"}, made.uid)
    assert (entry.actor, parse_disclosed(last.payload)) == ("rights", {})
    again = made_of(crm, 2)
    assert kinds_in(again.content).count(EntryKind.BUNDLE_DISCLOSED) == 2
    assert list(again.counts.values()) == [len(kinds_in(again.content))]


def test_what_is_newer_than_the_map_is_told_apart(crm: Gateway) -> None:
    assert checked(crm, bundle_of(crm, 2)).details["complete_to"] == 0
    integrated(crm)
    withdraw(crm, ref(2))
    finding = checked(crm, bundle_of(crm, 2))
    assert (finding.details["entries"], finding.details["not_covered"]) == (5, 2)
    mapped = checked(crm, bundle_of(crm, 2, mapped=True))
    assert (mapped.details["entries"], mapped.details["not_covered"]) == (6, 0)


def test_nothing_is_held_against_a_map_that_the_log_has_not_taken(
    crm: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    integrated(crm)
    made = made_of(crm, 2)
    maps.publish(crm)
    with crm.look(RIGHTS) as work, pytest.raises(RaceError):
        bundles._made(work, subject_id(work, ref(2)), made.uid)
    monkeypatch.setattr(Sequencer, "drain", lambda _: 0)
    with pytest.raises(UnavailableError, match="disclosure"):
        made_of(crm, 2)


def test_it_outlives_the_person(crm: Gateway, tmp_path: Path) -> None:
    """Actor of a choice, target of a merge, mentioned in another's: erased, and the log verifies without alarm."""
    an_audience(crm)
    data, who = bundle_of(crm, mapped=True), name_of(crm, 1)
    with crm.work() as work:
        erase(work, subject_id(work, ref(1)), "request")
    integrated(crm)
    checked(crm, data)
    audit_log.export(crm, tmp_path / "log")
    assert verify_directory(crm.signer.vkey, tmp_path / "log", strict=True).ok
    verifier = tmp_path / "verify.py"
    verifier.write_text(build_single_file(), encoding="utf-8")
    (tmp_path / "bundle.json").write_bytes(data)
    command = [sys.executable, "-I", str(verifier), "bundle", crm.signer.vkey, str(tmp_path / "bundle.json")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("ok 13 entries in 4 chains")
    assert "of audiences it says nothing" in done.stdout  # they object, so that no audience has them
    with pytest.raises(NotFoundError):
        hand_out(crm, RIGHTS, who, Wish())


def test_nobody_has_no_bundle_and_the_first_entry_of_a_log_can_be_that_of_one(gateway: Gateway) -> None:
    for nobody in ("p1-" + "0" * 32, "", "p"):
        with pytest.raises(NotFoundError):
            hand_out(gateway, RIGHTS, nobody, Wish())
    with_source(gateway)
    take(gateway, [a_person(1)])
    assert kinds_in(bundle_of(gateway)) == [EntryKind.BUNDLE_DISCLOSED]


def test_the_scope_is_needed_by_name_and_of_a_key_of_our_own(crm: Gateway) -> None:
    who = name_of(crm, 1)
    for actor in (SYSTEM, replace(RIGHTS, scopes=frozenset({"admin", "decide"}))):
        with pytest.raises(ForbiddenError, match="by name"):
            hand_out(crm, actor, who, Wish())
    put_mailer(crm)
    theirs = name_of(crm, 1, MAILER)
    with pytest.raises(ForbiddenError):
        hand_out(crm, replace(RIGHTS, recipient=MAILER), theirs, Wish())
    with crm.look() as work:
        assert log_store.pending_count(work.session) > 0  # nothing was recorded of it, and nothing integrated
    Sequencer(crm).drain()
    with crm.look() as work:
        assert not list(log_store.entries_of_kind(work.session, EntryKind.BUNDLE_DISCLOSED))


def test_a_history_that_is_too_long_for_a_server_is_refused_before_anything(crm: Gateway) -> None:
    with pytest.raises(ConflictError, match="more than 1 entries: use consent-gateway audit bundle"):
        made_of(crm, 2, most=1)
    assert bundles.before_erasure(crm, RIGHTS, name_of(crm, 2), most=1).why == "conflict"
    assert EntryKind.BUNDLE_DISCLOSED not in kinds_in(bundle_of(crm, 2, most=2))[:-1]
    assert made_of(crm, 2, most=None).finding.ok


def test_a_canary_is_handed_out_like_everybody_and_is_an_alarm(crm: Gateway) -> None:
    """The key is suspended for bundles too, until an officer lets it go on."""
    with crm.work() as work:
        planted = canaries.plant(work, "crm", a_person(77), "")
    made = hand_out(crm, RIGHTS, planted.pseudonym, Wish())
    assert (made.canaries, made.finding.ok) == (1, True)
    assert made_of_alarm(crm) == [{"purpose": "access", "recipient": "self", "canaries": 1}]
    with pytest.raises(ForbiddenError, match="suspended"):
        made_of(crm, 2)
    assert hand_out(crm, replace(RIGHTS, id="others"), name_of(crm, 2), Wish()).canaries == 0


def made_of_alarm(gateway: Gateway) -> list[Any]:
    Sequencer(gateway).drain()
    with gateway.look() as work:
        return [parse_entry(e).fields for e in log_store.entries_of_kind(work.session, EntryKind.CANARY_READ)]


def test_a_map_that_changes_between_two_reads_is_a_race(crm: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    integrated(crm)
    with crm.store.reading() as session:
        stale = map_store.newest(session)
    answer_for(crm, ref(2))
    integrated(twin(crm))
    monkeypatch.setattr(map_store, "newest", lambda _: stale)
    with pytest.raises(RaceError):
        made_of(crm, 2)


@pytest.mark.parametrize("bug", ["payload", "forgotten"])
def test_a_side_table_that_was_changed_shows(crm: Gateway, bug: str) -> None:
    """The planted bugs: an opening that says something else, and one that is gone."""
    integrated(crm)
    openings = tables.audit_openings
    with crm.store.transaction() as session:
        mine = openings.c.subject_id == id_of(crm, ref(2))
        if bug == "payload":
            session.execute(update(openings).where(mine).values(payload=b'{"n":1}'))
        else:
            row = session.execute(openings.select().where(mine)).first()
            assert row is not None
            session.execute(openings.delete().where(openings.c.uid == row.uid))
    # An opening that does not open is under no key: to the bundle the entry is missing, and its chain has it.
    made = made_of(crm, 2)
    assert (made.finding.ok, made.finding.code) == (False, "chain")


# -- audiences -----------------------------------------------------------------------------------------------------

MAILER = RecipientId("mailer")


def put_mailer(gateway: Gateway) -> None:
    with gateway.work() as work:
        put_recipient(work, a_recipient("mailer"))


def an_audience(gateway: Gateway, recipient: RecipientId = OWN, ttl: int | None = None) -> str:
    with gateway.work() as work:
        return audiences.resolve(work, Everyone(), replace(EMAIL_MARKETING, recipient=recipient), ttl).row.id


@pytest.fixture
def shop(gateway: Gateway) -> Gateway:
    """Twelve people, eight of whom said yes, and another recipient."""
    with_source(gateway)
    take(gateway, [a_person(n) for n in range(12)])
    take(gateway, [a_consent(ref(n)) for n in range(8)])
    put_mailer(gateway)
    return gateway


def shown_in(finding: Finding) -> dict[str, bool]:
    audiences_: Any = finding.details["audiences"]
    return {audience["audience"]: audience["member"] for audience in audiences_}


def test_every_audience_that_had_them_is_shown_and_others_when_asked_for(shop: Gateway) -> None:
    ours, theirs = an_audience(shop), an_audience(shop, MAILER)
    withdraw(shop, ref(3))
    later = an_audience(shop)
    assert shown_in(checked(shop, bundle_of(shop, 3))) == {ours: True, theirs: True}
    assert shown_in(checked(shop, bundle_of(shop, 3, audiences=(later,)))) == {ours: True, theirs: True, later: False}
    assert shown_in(checked(shop, bundle_of(shop, 3, memberships=False))) == {}
    assert shown_in(checked(shop, bundle_of(shop, 3, memberships=False, audiences=(ours,)))) == {ours: True}
    assert shown_in(checked(shop, bundle_of(shop, 9))) == {}
    named = {part.pseudonym for part in parse_bundle(bundle_of(shop, 3)).audiences or ()}
    assert named == {name_of(shop, 3), name_of(shop, 3, MAILER)}


def test_an_audience_that_is_asked_for_and_is_not_there_refuses_the_call(shop: Gateway) -> None:
    for unknown in ("0" * 32, "", "x"):
        with pytest.raises(NotFoundError, match="audience"):
            made_of(shop, 3, audiences=(unknown,))


def test_an_audience_is_shown_as_long_as_it_is_kept(shop: Gateway) -> None:
    short, long = an_audience(shop, ttl=300), an_audience(shop)
    first = bundle_of(shop, 3)
    assert shown_in(checked(shop, first)) == {short: True, long: True}
    assert isinstance(shop.clock, FixedClock)
    shop.clock.advance(timedelta(seconds=301))
    assert shown_in(checked(shop, bundle_of(shop, 3))) == {long: True}
    assert shown_in(checked(shop, first)) == {short: True, long: True}


def test_the_subjects_of_one_person_are_shown_each_by_their_name(shop: Gateway) -> None:
    before = an_audience(shop)
    with shop.work() as work:
        merges.merge(work, [ref(1), ref(9)], "duplicate")
    data = bundle_of(shop, 1)
    checked(shop, data)
    found = {(part.pseudonym, part.member) for part in parse_bundle(data).audiences or ()}
    assert len(found) == 2
    assert {member for _, member in found} == {True, False}  # the second subject had said nothing
    assert len({part.logged.index for part in parse_bundle(data).audiences or ()}) == 1
    assert before in shown_in(checked(shop, data))


def test_what_is_shown_is_what_was_last_recorded_whoever_asked(shop: Gateway) -> None:
    """Two at once: the newest disclosure is in both files, and what it names as well."""
    ours = an_audience(shop)
    made = made_of(shop, 3, memberships=False)
    other = made_of(shop, 3)
    with shop.look(RIGHTS) as work:
        again = bundles._made(work, subject_id(work, ref(3)), made.uid)
    assert (again.finding.ok, shown_in(again.finding)) == (True, {ours: True})
    assert other.finding.ok


def test_an_audience_that_goes_while_the_bundle_is_made_is_a_race(
    shop: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    an_audience(shop)

    def gone(*_: object) -> None:
        raise NotFoundError

    monkeypatch.setattr(audiences, "find", gone)
    with pytest.raises(RaceError):
        made_of(shop, 3)


def test_a_person_who_is_merged_meanwhile_is_looked_at_again(shop: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    looked, look = [], bundles._audiences_of

    def merging(work: Work, members: list[SubjectId], wish: Wish) -> Any:
        looked.append(len(members))
        if len(looked) == 1:
            with twin(shop).work() as other:
                merges.merge(other, [ref(1), ref(9)], "duplicate")
        return look(work, members, wish)

    monkeypatch.setattr(bundles, "_audiences_of", merging)
    checked(shop, bundle_of(shop, 1))
    assert looked == [1, 2]
