"""The blind index moves to another key while everything goes on: nobody is missed, nothing gets two owners."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import delete, func, select, update

from builders import (
    a_consent,
    a_gateway,
    a_person,
    an_officer,
    answer_for,
    by,
    id_of,
    may_write,
    ref,
    take,
    twin,
    with_source,
    withdraw,
)
from consent_gateway.clock import FixedClock
from consent_gateway.db import key_jobs, tables
from consent_gateway.db import subjects as subject_rows
from consent_gateway.db.engine import Store
from consent_gateway.domain.approvals import Action
from consent_gateway.domain.consents import ConsentKind
from consent_gateway.domain.key_jobs import START, JobKind, KeyJob
from consent_gateway.domain.subjects import Choice
from consent_gateway.errors import (
    ConflictError,
    ForbiddenError,
    GatewayError,
    KeyringError,
    NotFoundError,
    RaceError,
    StoreError,
)
from consent_gateway.services.erasing import erasure
from consent_gateway.services.identity import lasting_names
from consent_gateway.services.identity.people import Resolver
from consent_gateway.services.keys import index_rotation
from consent_gateway.services.keys.index_destruction import GENERATIONS
from consent_gateway.services.keys.index_rotation import Progress
from consent_gateway.services.keys.key_jobs import PAGE, Pace, Runner
from consent_gateway.services.keys.key_pages import PAGES
from consent_gateway.services.persons import merges
from consent_gateway.services.persons.subjects import import_subjects
from consent_gateway.services.registry import registers
from consent_gateway.services.rows.intake import Incoming
from consent_gateway.services.threads.key_keeper import KeyKeeper
from consent_gateway.services.work import approvals
from consent_gateway.services.work.gateway import Gateway
from consent_gateway.services.work.items import ChoiceItem, SubjectItem
from consent_gateway.vault import normalisers
from consent_gateway.vault.keyring import Keyring
from consent_gateway.vault.normal_forms import Normalised
from consent_gateway.vault.protectors import UnsafeUnsealedKeyring

IDS = tables.identifiers.c


@pytest.fixture
def crm(gateway: Gateway) -> Gateway:
    return with_source(gateway)


def by_generation(gateway: Gateway) -> dict[int, int]:
    statement = select(IDS.generation, func.count()).group_by(IDS.generation)
    with gateway.store.reading() as session:
        return {row[0]: row[1] for row in session.execute(statement)}


def owners(gateway: Gateway) -> list[tuple[int, str]]:
    """Every identifier of the person as the vault has it would be opened; here: rows of the generation that counts."""
    with gateway.look() as work:
        counts = work.registers.index.counts.number
        rows = work.session.execute(select(IDS.subject_id, IDS.kind).where(IDS.generation == counts))
        return sorted((row.subject_id, row.kind) for row in rows)


def finds(gateway: Gateway, *numbers: int) -> list[bool]:
    """Whether each person is found by both identifiers, alone and in a batch."""
    refs = [r for n in numbers for r in (ref(n), by("email", f"person{n}@example.org"))]
    with gateway.look() as work:
        resolver = Resolver(work, refs)
        found = [resolver.resolve(r) for r in refs]
    return [isinstance(found[n], int) and found[n] == found[n + 1] for n in range(0, len(found), 2)]


def later(gateway: Gateway, seconds: float) -> None:
    clock = gateway.clock
    assert isinstance(clock, FixedClock)
    clock.advance(timedelta(seconds=seconds))


def pass_the_grace(gateway: Gateway) -> Callable[[float], None]:
    return lambda seconds: later(gateway, seconds)


def start(gateway: Gateway) -> KeyJob:
    with gateway.work() as work:
        return index_rotation.start(work)


def page(gateway: Gateway, limit: int = PAGE) -> KeyJob:
    """Do the next page of the move that is under way."""
    with gateway.look() as work:
        (job,) = key_jobs.unfinished(work.session, JobKind.INDEX_GENERATION)
    return Runner(gateway, PAGES, "test").page(job.id, limit)


def switched(gateway: Gateway, limit: int = PAGE) -> KeyJob:
    """Do pages until the new generation counts."""
    while (job := page(gateway, limit)).rests_until is None:
        pass
    return job


def moved(gateway: Gateway, told: Callable[[KeyJob], None] = lambda _: None, page: int = PAGE) -> Progress:
    """Move to the next generation, or go on with a move, until it is done or has to wait for a merge."""

    def seen(job: KeyJob) -> None:
        told(job)
        if index_rotation.is_blocked(job):
            raise BlockedError(job.failed)

    Runner(gateway, PAGES, "test").run(start(gateway).id, Pace(page, sleep=pass_the_grace(gateway)), seen)
    return where(gateway)


def where(gateway: Gateway) -> Progress:
    with gateway.look() as work:
        return index_rotation.progress(work)


class BlockedError(Exception):
    """Identifiers of different people are one."""


# -- one move ----------------------------------------------------------------------------------------------------------


def test_a_move_leaves_every_row_under_the_new_generation_and_everybody_as_they_were(crm: Gateway) -> None:
    take(crm, [a_person(n) for n in range(1, 8)])
    take(crm, [a_consent(ref(n)) for n in range(1, 8)])
    withdraw(crm, ref(2))
    before = [answer_for(crm, ref(n)).reason_code for n in range(1, 8)], owners(crm), id_of(crm, ref(1))
    jobs: list[KeyJob] = []
    found = moved(crm, jobs.append)
    assert by_generation(crm) == {2: 14}
    assert (found.counts, found.moving, found.leaving, found.missing, found.left) == (2, None, None, 0, 0)
    assert ([answer_for(crm, ref(n)).reason_code for n in range(1, 8)], owners(crm), id_of(crm, ref(1))) == before
    assert finds(crm, *range(1, 8)) == [True] * 7
    assert [(job.done, job.rests_until is not None, job.finished_at is not None) for job in jobs] == [
        (14, False, False), (14, True, False), (28, False, False), (28, False, True)
    ]  # fmt: skip
    assert (jobs[-1].kind, jobs[-1].from_number, jobs[-1].to_number) == (JobKind.INDEX_GENERATION, 1, 2)
    assert [job.progress for job in jobs] == [0.5, 0.5, 1.0, 1.0]
    assert (take(crm, [a_person(1)]).duplicates, take(crm, [a_person(9)]).created) == (1, 1)
    assert by_generation(crm) == {2: 16}


def test_contact_points_keep_their_numbers_over_two_moves(crm: Gateway) -> None:
    take(crm, [a_person(1)])
    point = by("email", "person1@example.org")
    take(crm, [a_consent(ref(1), contact_point=point)])
    assert may_write(crm, ref(1))
    for _ in range(2):
        moved(crm)
        assert may_write(crm, ref(1))
    with crm.look() as work:
        held = subject_rows.contact_points(work.session, [id_of(crm, ref(1))], 3)
        numbers = sorted(p.id for points in held.values() for p in points)
        named = work.session.execute(select(tables.consent_events.c.contact_point)).scalars().all()
    assert set(named) - {None} <= set(numbers)
    withdraw(crm, ref(1), contact_point=point)
    assert not may_write(crm, ref(1))


def test_every_step_is_an_entry_and_each_can_be_repeated(crm: Gateway) -> None:
    take(crm, [a_person(1), a_person(2)])
    assert start(crm) == start(crm)
    assert [page(crm, 1).done for _ in range(2)] == [2, 4]
    rests = page(crm).rests_until
    assert where(crm).leaving == 1
    assert page(crm).rests_until == rests, "within the grace nothing goes"
    later(crm, 60)
    assert page(crm, 3).done == 7
    assert page(crm).done == 8
    assert page(crm).finished_at is not None
    with crm.store.reading() as session:
        entries = [json.loads(e) for e in session.execute(select(tables.audit_pending.c.entry)).scalars()]
    steps = [e["fields"]["step"] for e in entries if e["kind"] == "index.moved"]
    assert steps == ["started", "switched", "dropped"]


class KilledError(Exception):
    """The process died here."""


def test_a_job_that_is_killed_anywhere_is_taken_up_where_it_was(crm: Gateway) -> None:
    take(crm, [a_person(n) for n in range(1, 8)])
    seen = 0

    def die(_: KeyJob) -> None:
        nonlocal seen
        seen += 1
        if seen % 2:
            raise KilledError

    while True:
        try:
            moved(crm, die, 2)
        except KilledError:
            assert finds(crm, *range(1, 8)) == [True] * 7
        else:
            break
        assert seen < 50
    assert by_generation(crm) == {2: 14}
    assert seen >= 5


def test_a_move_that_an_earlier_release_began_gets_its_job(crm: Gateway) -> None:
    """There the move had no job; its position is not needed: what is missing is told by the rows."""
    take(crm, [a_person(n) for n in range(1, 5)])
    for stage in (lambda: page(crm, 1), lambda: switched(crm)):
        start(crm)
        stage()
        with crm.store.transaction() as session:
            session.execute(delete(tables.key_jobs))
        assert (start(crm).from_number, start(crm).to_number) == (1, 2)
    moved(crm)
    assert by_generation(crm) == {2: 8}


def test_a_rate_is_kept(crm: Gateway) -> None:
    take(crm, [a_person(n) for n in range(1, 5)])
    waited: list[float] = []

    def wait(seconds: float) -> None:
        waited.append(seconds)
        later(crm, seconds)

    with crm.work() as work:
        job = index_rotation.start(work, 2)
    assert Pace.of(job) == Pace(2, 2)
    Runner(crm, PAGES).run(job.id, Pace(2, 2, wait, lambda: 0.0))
    assert [seconds for seconds in waited if seconds] == [1.0, 1.0, 1.0, 59, 1.0, 1.0, 1.0, 1.0]


# -- while it moves ----------------------------------------------------------------------------------------------------


def stages(gateway: Gateway) -> Iterator[str]:
    """Bring a move through its stages, one by one."""
    yield "before"
    start(gateway)
    yield "started"
    page(gateway, 2)
    yield "half full"
    page(gateway)
    yield "full"
    switched(gateway)
    yield "switched"
    later(gateway, 60)
    page(gateway, 3)
    yield "half gone"
    while page(gateway).finished_at is None:
        pass
    yield "done"


def test_at_every_stage_known_people_are_found_and_new_ones_get_one_owner(crm: Gateway) -> None:
    take(crm, [a_person(n) for n in range(1, 6)])
    replica = twin(crm)
    replica.vault.custody.use(crm.vault.custody.keyring)
    for number, stage in enumerate(stages(crm), 10):
        replica.vault.custody.use(crm.vault.custody.keyring)
        assert finds(crm, *range(1, 6)) == [True] * 5, stage
        assert take(crm, [a_person(number)]).created == 1, stage
        assert take(replica, [a_person(number)]).duplicates == 1, stage
        more = SubjectItem({"member_no": f"M{number:05}", "device_id": f"device-{number}"}, country="DE")
        assert take(replica, [more]).updated == 1, stage
        assert take(crm, [more]).duplicates == 1, stage
        assert finds(replica, *range(10, number + 1)) == [True] * (number - 9), stage
    assert by_generation(crm) == {2: 10 + 7 * 3}


def test_at_every_stage_noes_of_strangers_wait_and_are_applied(crm: Gateway) -> None:
    take(crm, [a_person(n) for n in range(1, 4)])
    waiting: list[int] = []
    for number, stage in enumerate(stages(crm), 20):
        said = ChoiceItem(by("email", f"person{number}@example.org"), Choice.OBJECTION, active=True, at=1_700_000_000)
        assert take(crm, [said]).suppressed == 1, stage
        assert take(crm, [a_consent(by("email", f"person{number}@example.org"), kind=ConsentKind.WITHDRAWN)]).suppressed
        waiting.append(number)
    for number in waiting:
        take(crm, [a_person(number)])
        take(crm, [a_consent(ref(number))])
        assert not may_write(crm, ref(number))


def test_at_every_stage_the_erased_stay_away_and_their_quarantined_rows_go(crm: Gateway) -> None:
    take(crm, [a_person(n) for n in range(1, 20)])
    for number, stage in enumerate(stages(crm), 1):
        raw = json.dumps({"email": f"person{number}@example.org", "member_no": "x y"}).encode()
        item = SubjectItem({"member_no": "x y", "email": f"person{number}@example.org"})
        with crm.work() as work:
            import_subjects(work, "crm", [Incoming(1, raw, item)], "0" * 64)
        with crm.work() as work:
            erasure.erase(work, id_of(crm, ref(number)), "requested")
        with crm.store.reading() as session:
            kept = session.execute(select(tables.quarantine.c.sealed).order_by(tables.quarantine.c.id.desc())).scalar()
        assert kept == b"", stage
        assert take(crm, [a_person(number)]).rejections[0].reasons[0].code == "erased", stage


# -- processes that know less --------------------------------------------------------------------------------------------


def test_a_process_without_the_new_key_works_until_the_switch_and_then_refuses_rather_than_to_miss(
    crm: Gateway,
) -> None:
    take(crm, [a_person(n) for n in range(1, 4)])
    behind = twin(crm)
    start(crm)
    assert not page(crm).failed
    assert take(behind, [a_person(7)]).created == 1
    assert take(crm, [a_person(7)]).duplicates == 1
    assert finds(behind, 1, 7) == [True, True]
    assert page(crm).done == 8, "the person who came in behind the job, above its position"
    with crm.store.transaction() as session:
        session.execute(update(tables.key_jobs).values(position=99))
    assert take(behind, [a_person(6)]).created == 1
    assert page(crm).position == START, "one who came in below it is missing"
    assert where(crm).counts == 1
    switched(crm)
    assert where(crm).counts == 2
    for ask in (lambda: finds(behind, 1), lambda: take(behind, [a_person(8)])):
        with pytest.raises(KeyringError, match="lacks a generation"):
            ask()
    assert finds(crm, 1, 2, 3, 7) == [True] * 4


def test_a_job_without_the_new_key_does_not_begin(crm: Gateway) -> None:
    behind = twin(crm)
    start(crm)
    with pytest.raises(KeyringError, match="lacks the generation"):
        page(behind)
    assert page(crm).position == 0, "it holds no lease on what it cannot do"


@pytest.mark.filterwarnings("ignore::consent_gateway.vault.protectors.InsecureKeyringWarning")
def test_a_process_reads_the_new_key_from_the_file_when_it_needs_it(store: Store, tmp_path: Path) -> None:
    path, kms = tmp_path / "keyring.json", UnsafeUnsealedKeyring()
    first = a_gateway(store, keyring=Keyring.create(path, kms))
    with first.work() as work:
        registers.seed(work)
    take(with_source(first), [a_person(n) for n in range(1, 4)])
    second = a_gateway(store, keyring=Keyring.open(path, kms), clock=first.clock)
    moved(first)
    assert second.vault.custody.keyring.generations == (1,)
    assert finds(second, 1, 2, 3) == [True] * 3
    assert second.vault.custody.keyring.generations == (1, 2)
    assert take(second, [a_person(3)]).duplicates == 1


def test_a_crash_between_the_keyring_and_the_store_wastes_no_generation(crm: Gateway) -> None:
    crm.vault.custody.use(crm.vault.custody.keyring.new_index_generation())
    take(crm, [a_person(1)])
    assert by_generation(crm) == {1: 2}, "the newest key of the keyring is not the one that counts"
    assert start(crm).to_number == 2


def test_readers_from_before_the_switch_find_everybody_until_the_grace_is_over(crm: Gateway) -> None:
    take(crm, [a_person(1)])
    start(crm)
    page(crm)
    with crm.look() as reader:
        formerly = reader.registers
    switched(crm)
    assert formerly.index.counts.number == 1
    with crm.look() as work:
        work.registers = formerly
        assert Resolver(work, [ref(1)]).resolve(ref(1)) == id_of(crm, ref(1))
    moved(crm)
    with crm.look() as work:
        work.registers = formerly  # a reader that is later than any: it finds people under the other generation
        assert Resolver(work, [ref(1)]).resolve(ref(1)) == id_of(crm, ref(1))


def test_lookups_and_imports_under_load_never_fail_and_nobody_gets_two_owners(crm: Gateway) -> None:
    take(crm, [a_person(n) for n in range(1, 41)])
    replica = twin(crm)
    replica.vault.custody.use(crm.vault.custody.keyring)
    stop, wrong, done = threading.Event(), [], [0, 0]

    def look() -> None:
        number = 0
        while not stop.is_set():
            number = number % 40 + 1
            try:
                if finds(crm, number) != [True]:
                    wrong.append(("missed", number))
            except GatewayError as error:
                wrong.append(("failed", error))
            done[0] += 1

    def write(gateway: Gateway) -> None:
        for number in range(100, 130):
            while True:
                try:
                    take(gateway, [a_person(number)])
                    break
                except RaceError:
                    continue
                except GatewayError as error:
                    wrong.append(("failed", error))
                    break
            done[1] += 1

    start(crm)
    replica.vault.custody.use(crm.vault.custody.keyring)
    reading = threading.Thread(target=look)
    writing = [threading.Thread(target=write, args=(g,)) for g in (crm, replica)]
    for thread in (reading, *writing):
        thread.start()
    moved(crm, page=5)
    for thread in writing:
        thread.join()
    stop.set()
    reading.join()
    assert wrong == []
    assert done[0] > 0
    assert done[1] == 60
    assert finds(crm, *range(1, 41), *range(100, 130)) == [True] * 70
    assert by_generation(crm) == {2: 140}


# -- what strangers left before tokens were lasting --------------------------------------------------------------------


def make_formerly(gateway: Gateway, forms: dict[str, str]) -> None:
    """Give every row of strangers the token that it would have had before: that of generation 1."""
    with gateway.work() as work:
        for kind, value in forms.items():
            form = normalisers.stored(kind, value)
            lasting, former = lasting_names.names(work, form)
            for table in (tables.suppressions, tables.waiting_opt_outs, tables.quarantine_identifiers, tables.signals):
                statement = update(table).where(table.c.token == lasting.value)
                work.session.execute(statement.values(token=former.value, generation=1))


def test_former_rows_are_found_renamed_where_they_can_be_and_keep_their_key_from_being_destroyed(crm: Gateway) -> None:
    take(crm, [a_person(1)])
    for number in (2, 3):
        take(crm, [a_consent(by("email", f"person{number}@example.org"), kind=ConsentKind.WITHDRAWN)])
    raw = json.dumps({"email": "person5@example.org"}).encode()
    with crm.work() as work:
        import_subjects(work, "crm", [Incoming(1, raw, SubjectItem({"member_no": "x y"}))], "0" * 64)
        import_subjects(work, "crm", [Incoming(1, raw, SubjectItem({"member_no": "x y"}))], "0" * 64)
    with crm.work() as work:
        work.session.execute(update(tables.quarantine).where(tables.quarantine.c.id == 1).values(sealed=b""))
    make_formerly(crm, {"email": "person2@example.org"})
    make_formerly(crm, {"email": "person3@example.org"})
    make_formerly(crm, {"email": "person5@example.org"})
    take(crm, [a_person(2)])
    take(crm, [a_consent(ref(2))])
    assert not may_write(crm, ref(2))
    assert where(crm).strangers == {"suppressions": 2, "waiting_opt_outs": 1, "quarantine_identifiers": 2}
    found = moved(crm)
    assert found.strangers == {"suppressions": 1, "waiting_opt_outs": 1}, "person 3 is not known"
    with crm.store.reading() as session:
        ties = session.execute(select(tables.quarantine_identifiers)).all()
    assert [(row.quarantine_id, row.generation) for row in ties] == [(2, None)]
    with pytest.raises(ConflictError, match="2 rows"):
        destroy(crm, 1)
    take(crm, [a_person(3)])
    take(crm, [a_consent(ref(3))])
    assert not may_write(crm, ref(3))
    assert moved(crm).strangers == {}
    assert not may_write(crm, ref(2))
    assert not may_write(crm, ref(3))


def test_a_renamed_row_that_is_there_already_is_not_there_twice(crm: Gateway) -> None:
    mail = by("email", "person2@example.org")
    take(crm, [a_consent(mail, kind=ConsentKind.WITHDRAWN)])
    make_formerly(crm, {"email": "person2@example.org"})
    take(crm, [a_consent(mail, kind=ConsentKind.WITHDRAWN)])
    take(crm, [a_person(2)])
    assert moved(crm).strangers == {}
    with crm.store.reading() as session:
        assert len(session.execute(select(tables.suppressions)).all()) == 1


# -- the end of a key --------------------------------------------------------------------------------------------------


def approve(gateway: Gateway, number: int) -> None:
    one, two = (an_officer(gateway, name, "approve") for name in ("one", "two"))
    with gateway.work(one) as work:
        asked = approvals.propose(work, Action.DESTROY_INDEX_GENERATION, {"generation": number})
    with gateway.work(two) as work:
        approvals.approve(work, asked.id)


def destroy(gateway: Gateway, number: int) -> list[int]:
    with gateway.work() as work:
        GENERATIONS.decide(work, number)
    return GENERATIONS.carry_out(gateway)


def test_a_key_goes_with_four_eyes_and_only_when_nothing_needs_it(crm: Gateway) -> None:
    take(crm, [a_person(1)])
    with pytest.raises(NotFoundError, match="no such"):
        destroy(crm, 7)
    with pytest.raises(ConflictError, match="in use"):
        destroy(crm, 1)
    moved(crm)
    with pytest.raises(ForbiddenError, match="four eyes"):
        destroy(crm, 1)
    approve(crm, 1)
    with crm.work() as work:
        GENERATIONS.decide(work, 1)
    with pytest.raises(ConflictError, match="already"), crm.work() as work:
        GENERATIONS.decide(work, 1)
    KeyKeeper(crm, lambda error: pytest.fail(repr(error))).look()  # any process does what was decided
    assert GENERATIONS.carry_out(crm) == []
    assert crm.vault.custody.keyring.generations == (2,)
    assert finds(crm, 1) == [True]
    assert take(crm, [a_person(2)]).created == 1
    assert take(crm, [a_consent(by("email", "person3@example.org"), kind=ConsentKind.WITHDRAWN)]).suppressed == 1
    take(crm, [a_person(3)])
    take(crm, [a_consent(ref(3))])
    assert not may_write(crm, ref(3))


# -- newer normalisers -------------------------------------------------------------------------------------------------


@pytest.fixture
def bumped(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """The planted bump: version 2 of e-mail takes plus-tags away, as no release should without a new number."""

    def plant() -> None:
        first = normalisers.email

        def second(value: str) -> Any:
            found = first(value)
            if not isinstance(found, Normalised):
                return found
            local, _, domain = found.value.rpartition("@")
            return Normalised("email", f"{local.split('+')[0]}@{domain}", 2)

        monkeypatch.setattr(normalisers, "email", second)
        monkeypatch.setitem(normalisers.VERSIONS, "email", 2)
        monkeypatch.setitem(normalisers.FORMER, "email", {1: lambda value, _: first(value)})

    return plant


def mail(number: int, address: str) -> SubjectItem:
    return SubjectItem({"member_no": f"M{number:05}", "email": address}, country="DE", birth_date="1980-05-17")


def found(gateway: Gateway, address: str) -> Any:
    asked = by("email", address)
    with gateway.look() as work:
        return Resolver(work, [asked]).resolve(asked)


def test_people_are_found_by_the_former_rules_until_the_index_moved_to_the_new_ones(
    crm: Gateway, bumped: Callable[[], None]
) -> None:
    take(crm, [mail(1, "jane+news@example.org"), mail(2, "joe@example.org")])
    take(crm, [a_consent(by("email", "ann+x@example.org"), kind=ConsentKind.WITHDRAWN)])
    with crm.work() as work:
        gone = mail(9, "old+y@example.org")
        import_subjects(work, "crm", [Incoming(1, b"{}", gone)], "0" * 64)
    with crm.work() as work:
        erasure.erase(work, id_of(crm, ref(9)), "requested")
    bumped()
    assert found(crm, "jane+news@example.org") == id_of(crm, ref(1))
    assert found(crm, "joe@example.org") == id_of(crm, ref(2))
    assert not isinstance(found(crm, "jane@example.org"), int), "by the former rules that is another mailbox"
    assert where(crm).outdated == ("email",)
    assert moved(crm).outdated == ()
    assert found(crm, "jane@example.org") == found(crm, "jane+other@example.org") == id_of(crm, ref(1))
    taken = take(crm, [mail(8, "old+y@example.org")])
    assert taken.rejections[0].reasons[0].code == "erased", "tombstones are found by the former rules for good"
    take(crm, [mail(3, "ann+x@example.org")])
    take(crm, [a_consent(ref(3))])
    assert not may_write(crm, ref(3)), "so is what strangers said"
    with crm.work() as work:
        erasure.erase(work, id_of(crm, ref(1)), "requested")
    assert take(crm, [mail(7, "jane+third@example.org")]).rejections[0].reasons[0].code == "erased"


def test_identifiers_that_become_one_stop_the_move_until_their_people_are_merged(
    crm: Gateway, bumped: Callable[[], None]
) -> None:
    take(crm, [mail(1, "jane+a@example.org"), mail(2, "jane+b@example.org"), mail(3, "joe@example.org")])
    take(crm, [a_consent(ref(2), contact_point=by("email", "jane+b@example.org"))])
    bumped()
    with pytest.raises(BlockedError, match="1"):
        moved(crm)
    assert page(crm).rests_until is not None, "it looks again in a minute"
    later(crm, 60)
    assert [page(crm).failed for _ in range(2)] == [1, 1]
    assert found(crm, "jane+b@example.org") == id_of(crm, ref(2)), "it still counts"
    with crm.work() as work:
        merges.merge(work, [ref(1), ref(2)], "the same mailbox")
    assert moved(crm).counts == 2
    assert found(crm, "jane@example.org") == id_of(crm, ref(1))
    assert may_write(crm, ref(2)), "the ledger still knows the contact point"
    assert moved(crm).counts == 3
    assert may_write(crm, ref(2))
    assert by_generation(crm) == {3: 6}


def test_an_identifier_that_its_person_does_not_have_in_the_vault_stops_the_move(crm: Gateway) -> None:
    take(crm, [a_person(1)])
    with crm.store.transaction() as session:
        stray = {"subject_id": id_of(crm, ref(1)), "kind": "phone", "generation": 1, "token": b"x" * 16}
        subject_rows.add_identifiers(session, [stray])
    with pytest.raises(StoreError, match="sealed contact points"):
        moved(crm)


def test_a_row_that_the_new_generation_lacks_would_be_seen(crm: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    """The planted bug: a switch that does not count leaves people behind whom nobody finds."""
    take(crm, [a_person(1)])
    monkeypatch.setattr(index_rotation.rows, "count_missing", lambda *_: 0)
    monkeypatch.setattr(index_rotation.rows, "lacking", lambda *_: [])
    moved(crm)
    assert finds(crm, 1) == [False]
