"""A person's bundle from a living gateway: whole, recorded, and good for ever, also once the person is erased."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from sqlalchemy import update

from builders import (
    RIGHTS,
    a_consent,
    a_person,
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
from consent_gateway.audit.bundles import parse_bundle, verify_bundle
from consent_gateway.audit.entries import EntryKind, parse_entry
from consent_gateway.audit.singlefile import build_single_file
from consent_gateway.audit.verifier import Finding, verify_directory
from consent_gateway.db import map_store, tables
from consent_gateway.domain.ids import SubjectId
from consent_gateway.domain.subjects import Choice
from consent_gateway.errors import NotFoundError, RaceError
from consent_gateway.services import audit_log, bundles, dek_rotation, maps, merges
from consent_gateway.services.audit_log import Sequencer
from consent_gateway.services.erasure import erase
from consent_gateway.services.gateway import Gateway


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


def bundle_of(gateway: Gateway, number: int = 1) -> bytes:
    with gateway.work(RIGHTS) as work:
        return bundles.bundle(work, subject_id(work, ref(number)))[0]


def checked(gateway: Gateway, data: bytes) -> Finding:
    finding = verify_bundle(gateway.signer.vkey, data)
    assert finding.ok, str(finding)
    return finding


def test_a_bundle_has_everything_about_the_person_and_nothing_else(crm: Gateway) -> None:
    integrated(crm)
    data = bundle_of(crm)
    finding = checked(crm, data)
    assert finding.details["not_covered"] == 0
    kinds = [parse_entry(t.logged.entry).kind for c in parse_bundle(data).chains for t in c.entries]
    assert sorted(kinds) == sorted(
        [EntryKind.CONSENT_RECORDED] * 2
        + [EntryKind.SUBJECTS_MERGED] * 2
        + [EntryKind.DEK_ROTATED] * 4  # each of two subjects, in two chains each
        + [EntryKind.DECISION_MADE] * 2
        + [EntryKind.RIGHT_EXERCISED]
    )
    other = checked(crm, bundle_of(crm, 2))
    assert (other.details["entries"], other.details["chains"]) == (2, 1)


def test_handing_it_out_is_recorded_and_the_next_one_has_that(crm: Gateway) -> None:
    integrated(crm)
    first = checked(crm, bundle_of(crm, 2))
    Sequencer(crm).drain()
    second = bundle_of(crm, 2)
    assert checked(crm, second).details["entries"] == int(str(first.details["entries"])) + 1
    (*_, last) = parse_bundle(second).chains[0].entries
    assert (parse_entry(last.logged.entry).kind, parse_entry(last.logged.entry).fields) == (
        EntryKind.LEDGER_READ,
        {"what": "bundle"},
    )
    assert checked(crm, second).details["not_covered"] == 1


def test_what_is_newer_than_the_map_is_told_apart(crm: Gateway) -> None:
    Sequencer(crm).drain()
    assert checked(crm, bundle_of(crm, 2)).details["complete_to"] == 0
    integrated(crm)
    withdraw(crm, ref(2))
    Sequencer(crm).drain()
    finding = checked(crm, bundle_of(crm, 2))
    assert (finding.details["entries"], finding.details["not_covered"]) == (4, 1)
    maps.publish(crm)  # whose own entry is not integrated yet: nothing is held against a map that nobody can check
    assert checked(crm, bundle_of(crm, 2)).details["complete_to"] == 0


def test_it_outlives_the_person(crm: Gateway, tmp_path: Path) -> None:
    """Actor of a choice, target of a merge, mentioned in another's: erased, and the log verifies without alarm."""
    integrated(crm)
    data = bundle_of(crm)
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
    assert done.stdout.startswith("ok 11 entries in 4 chains")
    with crm.work(RIGHTS) as work, pytest.raises(NotFoundError):
        bundles.bundle(work, SubjectId(1))


def test_nobody_has_no_bundle_and_an_empty_log_has_none(gateway: Gateway) -> None:
    with gateway.work(RIGHTS) as work, pytest.raises(NotFoundError):
        bundles.bundle(work, SubjectId(0))
    with_source(gateway)
    take(gateway, [a_person(1)])
    with gateway.work(RIGHTS) as work, pytest.raises(NotFoundError, match="no entries"):
        bundles.bundle(work, subject_id(work, ref(1)))


def test_a_map_that_changes_between_two_reads_is_a_race(crm: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    integrated(crm)
    with crm.store.reading() as session:
        stale = map_store.newest(session)
    answer_for(crm, ref(2))
    integrated(twin(crm))
    monkeypatch.setattr(map_store, "newest", lambda _: stale)
    with crm.work(RIGHTS) as work, pytest.raises(RaceError):
        bundles.bundle(work, subject_id(work, ref(2)))


@pytest.mark.parametrize("bug", ["payload", "forgotten"])
def test_a_side_table_that_was_changed_shows(crm: Gateway, bug: str) -> None:
    """The planted bugs: an opening that says something else, and one that is gone."""
    integrated(crm)
    openings = tables.audit_openings
    with crm.store.transaction() as session:
        mine = openings.c.subject_id == id_of(crm, ref(2))
        if bug == "payload":
            session.execute(update(openings).where(mine).values(payload=b"{}"))
        else:
            row = session.execute(openings.select().where(mine)).first()
            assert row is not None
            session.execute(openings.delete().where(openings.c.uid == row.uid))
    finding = verify_bundle(crm.signer.vkey, data := bundle_of(crm, 2))
    # An opening that does not open is under no key: to the bundle the entry is missing, and the map has it.
    assert (finding.ok, finding.code in {"map", "chain"}) == (False, bug == "forgotten") or json.loads(data)[
        "chains"
    ] == []
