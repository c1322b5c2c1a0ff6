"""Who was erased comes back by an act of their own from after it, and by nothing that is older; also after a restore."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select
from tombstone_builders import KEYRING, opened

from backups import back_up, restore
from builders import (
    NOW_S,
    SOURCE,
    a_consent,
    a_gateway,
    a_person,
    a_recipient,
    answer_for,
    by,
    id_of,
    may_write,
    ref,
    subject_id,
    take,
    with_source,
)
from consent_gateway.clock import FixedClock
from consent_gateway.db import tables
from consent_gateway.db.engine import Store
from consent_gateway.domain.approvals import Action
from consent_gateway.domain.circumstances import Told
from consent_gateway.domain.consents import ConsentKind
from consent_gateway.domain.holds import HoldReason
from consent_gateway.domain.ids import SourceId
from consent_gateway.domain.purposes import Party, Source
from consent_gateway.domain.registers import Principal
from consent_gateway.domain.tombstones import OwnAct
from consent_gateway.errors import ForbiddenError, InputError
from consent_gateway.services.erasing import holds
from consent_gateway.services.erasing.erasure import erase, erase_or_defer
from consent_gateway.services.erasing.tombstone_lifts import Act, Lift, lift
from consent_gateway.services.erasing.tombstones import Replay, compare, settle
from consent_gateway.services.identity.reconcile import reconcile
from consent_gateway.services.registry import registers
from consent_gateway.services.rows.intake import Intake
from consent_gateway.services.work import approvals, principals
from consent_gateway.services.work.gateway import Gateway
from consent_gateway.services.work.items import EventItem
from consent_gateway.vault.tombstone_file import TombstoneFile
from consent_gateway.vault.tombstones import LIFTED

DAY = 86_400
ERASED_AT = NOW_S
BACK_AT = NOW_S + 10 * DAY
PROOF = b'{"order":"4711","mail":"signed up again"}'


@pytest.fixture
def crm(store: Store, clock: FixedClock, tmp_path: Path) -> Gateway:
    """Four people; ten days ago 1 was erased because a period was over, 2 because they asked for it."""
    (tmp_path / "kept").mkdir()
    gateway = opened(store, tmp_path, clock)
    with gateway.work() as work:
        registers.seed(work)
    with_source(gateway)
    take(gateway, [a_person(n) for n in (1, 2, 3, 4)])
    take(gateway, [a_consent(ref(n)) for n in (1, 2, 3, 4)])
    forget(gateway, 1, "retention")
    forget(gateway, 2, "request")
    clock.advance(timedelta(days=10))
    return gateway


def forget(gateway: Gateway, number: int, reason: str) -> None:
    with gateway.work() as work:
        erase(work, subject_id(work, ref(number)), reason)


def officer(gateway: Gateway, name: str, recipient: str = "self") -> Principal:
    with gateway.work() as work:
        key = principals.issue(work, name, recipient, frozenset({"identity", "approve"}))
    with gateway.look() as work:
        return work.registers.principals[principals.digest(key)]


@pytest.fixture
def desk(crm: Gateway) -> Principal:
    return officer(crm, "desk")


def act(**changes: Any) -> Act:
    return replace(Act(OwnAct.ACCOUNT, BACK_AT, SOURCE, PROOF), **changes)


def names(number: int) -> dict[str, str]:
    return dict(a_person(number).identifiers)


def bring_back(gateway: Gateway, who: Principal, number: int = 1, what: Act | None = None, **only: str) -> Lift:
    with gateway.work(who) as work:
        return lift(work, what or act(), only or names(number))


def returned(gateway: Gateway, number: int = 1, at: int = BACK_AT) -> Intake:
    """The person comes in again and agrees anew."""
    found = take(gateway, [a_person(number)])
    assert found.created == 1, found.rejections
    assert take(gateway, [a_consent(ref(number), at=at)]).accepted == 1
    return found


def codes(intake: Intake) -> list[str]:
    return [reason.code for rejection in intake.rejections for reason in rejection.reasons]


def entries(gateway: Gateway, kind: str) -> list[dict[str, Any]]:
    with gateway.look() as work:
        raw = work.session.execute(select(tables.audit_pending.c.entry).order_by(tables.audit_pending.c.id)).scalars()
        found = [json.loads(bytes(e)) for e in raw]
    return [e["fields"] for e in found if e["kind"] == kind]


def lines(gateway: Gateway) -> list[str]:
    assert gateway.tombstones is not None
    return [burial.reason for burial in gateway.tombstones.read()]


# -- after retention -----------------------------------------------------------------------------------------------


def test_who_was_erased_by_retention_comes_back_by_an_act_of_their_own(crm: Gateway, desk: Principal) -> None:
    assert codes(take(crm, [a_person(1)])) == ["erased"]
    found = bring_back(crm, desk)
    assert (found.kinds, found.waiting) == (("email", "member_no"), None)
    returned(crm)
    assert may_write(crm, ref(1))
    assert reconcile(crm).clean
    (entry,) = entries(crm, "tombstone.lifted")
    digest = entry.pop("evidence")
    assert entry == {
        "source": SOURCE, "act": "account", "acted_at": BACK_AT, "kinds": ["email", "member_no"], "tombstones": 2,
        "erased_for": ["retention"],
    }  # fmt: skip
    assert len(digest) == 64
    assert lines(crm) == ["begun", "retention", "request", LIFTED]


def test_only_the_identifiers_that_were_named_are_free(crm: Gateway, desk: Principal) -> None:
    assert bring_back(crm, desk, email=names(1)["email"]).kinds == ("email",)
    assert codes(take(crm, [a_person(1)])) == ["erased"]  # the member number of before is not
    assert take(crm, [a_person(1, identifiers={"email": names(1)["email"], "member_no": "M99999"})]).created == 1


def test_who_has_no_tombstone_changes_nothing_and_is_asked_about_on_record(crm: Gateway, desk: Principal) -> None:
    assert bring_back(crm, desk, 3).kinds == ()
    bring_back(crm, desk)
    assert bring_back(crm, desk).kinds == ()  # the second time there is nothing to lift
    assert [e["tombstones"] for e in entries(crm, "tombstone.lifted")] == [0, 2, 0]
    assert lines(crm).count(LIFTED) == 1


@pytest.mark.parametrize(
    ("changes", "path", "code"),
    [
        ({"at": ERASED_AT}, "$.act.at", "before_erasure"),
        ({"at": ERASED_AT - DAY}, "$.act.at", "before_erasure"),
        ({"at": BACK_AT + 301}, "$.act.at", "future_date"),
        ({"evidence": b"{}"}, "$.act.evidence", "no_evidence"),
        ({"source": "partner"}, "$.source", "not_first_party"),
        ({"source": "nowhere"}, "$.source", "unknown_source"),
    ],
)
def test_an_act_that_proves_nothing_is_refused(
    crm: Gateway, desk: Principal, changes: dict[str, Any], path: str, code: str
) -> None:
    with crm.work() as work:
        registers.put_source(work, Source(SourceId("partner"), "Partner", "web", Party.SECOND, None, ()))
    with pytest.raises(InputError) as caught:
        bring_back(crm, desk, what=act(**changes))
    assert [(p.path, p.code) for p in caught.value.fields] == [(path, code)]
    assert codes(take(crm, [a_person(1)])) == ["erased"]


def test_a_key_of_somebody_else_and_a_name_that_is_none_are_refused(crm: Gateway, desk: Principal) -> None:
    with crm.work() as work:
        registers.put_recipient(work, a_recipient("mailer"))
    with pytest.raises(ForbiddenError):
        bring_back(crm, officer(crm, "theirs", "mailer"))
    with pytest.raises(InputError) as caught:
        bring_back(crm, desk, email="not an address")
    assert caught.value.fields[0].path == "$.identifiers.email"
    with pytest.raises(InputError), crm.work(desk) as work:
        lift(work, act(), {})


# -- what is older stays away ----------------------------------------------------------------------------------------


def test_what_is_from_before_the_erasure_does_not_count_for_who_came_back(crm: Gateway, desk: Principal) -> None:
    """A file of that time, or a yes of that time, was ended by the erasure."""
    bring_back(crm, desk)
    stale = Told(collected_day=day_of(ERASED_AT - DAY))
    assert codes(take(crm, [a_person(1, told=stale)])) == ["before_erasure"]
    assert take(crm, [a_person(1, told=Told(collected_day=day_of(BACK_AT)))]).created == 1
    old = [a_consent(ref(1), at=ERASED_AT - 60), a_consent(by("email", names(1)["email"]), at=ERASED_AT)]
    assert codes(take(crm, old)) == ["before_erasure"] * 2
    assert codes(take(crm, [EventItem(ref(1), "buy", ERASED_AT, "k")])) == ["before_erasure"]
    assert not may_write(crm, ref(1))
    with crm.look() as work:
        assert set(work.session.execute(select(tables.quarantine.c.sealed)).scalars()) == {b""}
    assert take(crm, [a_consent(ref(1), at=ERASED_AT - 60, kind=ConsentKind.WITHDRAWN)]).accepted == 1  # a no always
    assert take(crm, [a_consent(ref(1), at=ERASED_AT + 1)]).accepted == 1
    assert may_write(crm, ref(1))
    assert take(crm, [a_consent(ref(3), at=ERASED_AT - 30)]).accepted == 1  # of others it does


def day_of(at: int) -> int:
    return at // DAY


def test_a_no_that_was_said_besides_stays(crm: Gateway, desk: Principal) -> None:
    """Suppressions that the erasure left go; the one that the person asked for does not."""
    bring_back(crm, desk)
    with crm.look() as work:
        reasons = set(work.session.execute(select(tables.suppressions.c.reason)).scalars())
    assert reasons == {"erased"}  # that of 2
    assert (
        take(crm, [a_consent(by("email", names(1)["email"]), at=BACK_AT, kind=ConsentKind.WITHDRAWN)]).suppressed == 1
    )
    take(crm, [a_person(1)])
    assert not may_write(crm, ref(1))


# -- after an erasure by right -----------------------------------------------------------------------------------------


def test_an_erasure_by_right_needs_a_second_key_for_exactly_this(crm: Gateway, desk: Principal) -> None:
    second = officer(crm, "second")
    waiting = bring_back(crm, desk, 2).waiting
    assert waiting is not None
    assert waiting.action is Action.LIFT_TOMBSTONES
    assert bring_back(crm, desk, 2).waiting == waiting  # asked again, it is the same proposal
    assert codes(take(crm, [a_person(2)])) == ["erased"]
    with pytest.raises(ForbiddenError), crm.work(desk) as work:
        approvals.approve(work, waiting.id)
    with crm.work(second) as work:
        approvals.approve(work, waiting.id)
    other = bring_back(crm, desk, 2, act(evidence=b'{"other":1}'))
    assert other.waiting not in (None, waiting)
    assert other.kinds == ()
    assert bring_back(crm, desk, 2).kinds == ("email", "member_no")
    returned(crm, 2)
    assert entries(crm, "tombstone.lifted")[-1]["approval"] == waiting.id
    assert "person2" not in json.dumps([dict(waiting.subject), entries(crm, "approval.proposed")])


def test_a_mixed_request_is_one_by_right(crm: Gateway, desk: Principal) -> None:
    both = {"email": names(1)["email"], "member_no": names(2)["member_no"]}
    assert bring_back(crm, desk, **both).waiting is not None


def test_the_gateway_itself_brings_nobody_back_who_asked_to_go(crm: Gateway) -> None:
    with pytest.raises(ForbiddenError), crm.work() as work:
        lift(work, act(), names(2))


def test_a_request_outweighs_a_period_while_both_wait_for_a_hold(crm: Gateway) -> None:
    who = id_of(crm, ref(3))
    with crm.work() as work:
        holds.place(work, who, HoldReason.LEGAL_CLAIM, BACK_AT + DAY)
    for reason in ("retention", "request", "retention"):
        with crm.work() as work:
            erase_or_defer(work, who, reason)
    with crm.look() as work:
        assert list(work.session.execute(select(tables.pending_erasures.c.reason)).scalars()) == ["request"]


# -- erased again, restored ----------------------------------------------------------------------------------------------


def test_who_came_back_and_goes_again_stays_away(crm: Gateway, desk: Principal) -> None:
    bring_back(crm, desk)
    returned(crm)
    forget(crm, 1, "request")
    assert codes(take(crm, [a_person(1)])) == ["erased"]
    later = act(at=BACK_AT + 1)
    assert bring_back(crm, desk, what=later).waiting is not None  # by right now
    with pytest.raises(InputError):
        bring_back(crm, desk)  # the act of before proves nothing any more


def test_a_backup_of_any_age_has_the_new_person_and_not_the_old(
    store: Store, clock: FixedClock, tmp_path: Path
) -> None:
    (tmp_path / "kept").mkdir()
    crm = opened(store, tmp_path, clock)
    with crm.work() as work:
        registers.seed(work)
    with_source(crm)
    take(crm, [a_person(1), a_person(3)])
    desk = officer(crm, "desk")
    backups = {"before": back_up(store, tmp_path / "b0")}
    old = id_of(crm, ref(1))
    forget(crm, 1, "retention")
    backups["erased"] = back_up(store, tmp_path / "b1")
    clock.advance(timedelta(days=10))
    bring_back(crm, desk)
    backups["lifted"] = back_up(store, tmp_path / "b2")
    returned(crm)
    new = id_of(crm, ref(1))
    assert new != old
    backups["returned"] = back_up(store, tmp_path / "b3")
    lost = {"before": (1, 1, 1), "erased": (0, 0, 1), "lifted": (0, 0, 0), "returned": (0, 0, 0)}
    for name, backup in backups.items():
        restore(store, backup)
        started = a_gateway(store, keyring=KEYRING, clock=clock)
        started.tombstones = TombstoneFile(KEYRING, tmp_path / "kept" / "tombstones.log")
        erasures, people, lifts = lost[name]
        assert settle(started) == Replay(erasures, people, lifts), name
        assert settle(started) == Replay()
        assert compare(started, started.tombstones).lacking == ()
        with started.look() as work:
            ids = set(work.session.execute(select(tables.subjects.c.id)).scalars())
        assert old not in ids, name
        assert (new in ids) is (name == "returned")
        if name != "returned":
            returned(started)  # the lift holds, so that their file takes them in again
        assert answer_for(started, ref(1)).permitted, name
        assert codes(take(started, [a_consent(ref(1), at=ERASED_AT)])) == ["before_erasure"]
        assert reconcile(started).clean


def test_the_last_line_about_somebody_counts(crm: Gateway, desk: Principal, tmp_path: Path) -> None:
    """Erased, back, erased again: from the oldest backup on all of it is carried out in that order."""
    early = back_up(crm.store, tmp_path / "early")
    bring_back(crm, desk)
    returned(crm)
    middle = back_up(crm.store, tmp_path / "middle")
    forget(crm, 1, "request")
    assert isinstance(crm.clock, FixedClock)
    for backup in (early, middle):
        restore(crm.store, backup)
        started = opened(crm.store, tmp_path, crm.clock)
        assert codes(take(started, [a_person(1)])) == ["erased"]
        assert answer_for(started, ref(1)).reason_code == "unknown_subject"
        with started.look() as work:
            c = tables.tombstones.c
            (found,) = set(work.session.execute(select(c.reason, c.lifted_at).where(c.erased_at > ERASED_AT)).all())
        assert tuple(found) == ("request", None)


def test_an_old_release_takes_a_lift_for_an_erasure_of_nobody(crm: Gateway, desk: Principal) -> None:
    """It errs on the side of staying away: the line has the form that every release reads, and names no subject."""
    bring_back(crm, desk)
    assert crm.tombstones is not None
    line = crm.tombstones.read()[-1]
    assert (line.subject, line.reason, len(line.points)) == (None, LIFTED, 2)
