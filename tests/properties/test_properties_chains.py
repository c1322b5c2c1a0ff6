"""Chains, the map and bundles against a plain model, whatever happens to several people in whatever order.

The model notes who an entry is about when it is recorded, and in which order; it knows nothing of heads, links or maps.
Two sequencers take turns and die at any statement; people are merged, get new keys and are erased. At the end of each
run every chain holds exactly what the model has, in the order of the log, the map adds up, every proof holds, and every
living person's bundle verifies.
"""

from __future__ import annotations

from contextlib import suppress
from typing import Any, ClassVar

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule, run_state_machine_as_test
from sqlalchemy import select

from builders import RIGHTS, a_person, answer_for, ref, subject_id, take, twin, with_source
from consent_gateway.audit.bundles import verify_bundle
from consent_gateway.audit.chains import (
    CHAIN,
    NEW_CHAIN,
    OTHER_CHAIN,
    ChainHead,
    chain_key,
    chain_link,
    chain_payload,
    chain_secret,
)
from consent_gateway.audit.commitments import opening_salt, verify_opening
from consent_gateway.audit.entries import parse_entry
from consent_gateway.audit.log import Integration, chain_keys_of
from consent_gateway.audit.maps import SumCheck, verify_map
from consent_gateway.audit.merkle import leaf_hash
from consent_gateway.db import map_store, tables
from consent_gateway.db.log_store import Edge
from consent_gateway.domain.ids import SubjectId
from consent_gateway.services.erasing.erasure import erase
from consent_gateway.services.keys import dek_rotation
from consent_gateway.services.log import bundles, chain_checks, maps
from consent_gateway.services.log.audit_log import Sequencer
from consent_gateway.services.persons import merges
from consent_gateway.services.work.gateway import Gateway
from fakes import PowerCutError, faults_of

PEOPLE = 4
numbers = st.integers(0, PEOPLE - 1)


class Lives(RuleBasedStateMachine):
    """Several people, two sequencers, one log that goes on over all runs."""

    gateway: ClassVar[Gateway]
    sequencers: ClassVar[list[Sequencer]]
    runs: ClassVar[int]
    chains: ClassVar[dict[bytes, list[bytes]]]  # the uids of each chain, as they were recorded
    keys: ClassVar[dict[bytes, bytes]]  # the audit key of each chain
    seen: ClassVar[set[bytes]]  # the uids that the model has noted

    @classmethod
    def begin(cls, gateway: Gateway) -> None:
        cls.gateway, cls.runs, cls.chains, cls.keys, cls.seen = with_source(gateway), 0, {}, {}, set()
        cls.sequencers = [Sequencer(gateway), Sequencer(twin(gateway))]

    @initialize()
    def come(self) -> None:
        first = type(self).runs * PEOPLE + 1
        type(self).runs += 1
        self.people = [first + n for n in range(PEOPLE)]
        take(self.gateway, [a_person(n) for n in self.people])
        self.living = set(self.people)
        self.note()

    @rule(n=numbers)
    def decide(self, n: int) -> None:
        answer_for(self.gateway, ref(self.people[n]))
        self.note()

    @rule(a=numbers, b=numbers)
    def merge(self, a: int, b: int) -> None:
        one, other = self.people[a], self.people[b]
        if one != other and {one, other} <= self.living:
            with self.gateway.work() as work:
                merges.merge(work, [ref(one), ref(other)], "duplicate")
            self.note()

    @rule(n=numbers)
    def renew(self, n: int) -> None:
        if self.people[n] in self.living:
            with self.gateway.work() as work:
                dek_rotation.rotate(work, subject_id(work, ref(self.people[n])), "request")
            self.note()

    @rule(n=numbers)
    def forget(self, n: int) -> None:
        if self.people[n] in self.living:
            with self.gateway.work() as work:
                erase(work, subject_id(work, ref(self.people[n])), "request")
            with self.gateway.look() as work:
                self.living = {p for p in self.living if subject_id_or_none(work, p) is not None}
            self.note()

    @rule(which=st.integers(0, 1), dies_at=st.none() | st.integers(0, 9))
    def integrate(self, which: int, dies_at: int | None) -> None:
        if dies_at is None:
            self.sequencers[which].drain()
            return
        with suppress(PowerCutError), faults_of(self.gateway.store).cut(at=dies_at):
            self.sequencers[which].run_once()

    @rule()
    def publish(self) -> None:
        maps.publish(self.gateway)

    def note(self) -> None:
        """Note whom new entries are about, and the keys that people have now."""
        pending, cls = tables.audit_pending, type(self)
        with self.gateway.look() as work:
            for row in work.session.execute(select(pending).order_by(pending.c.id)):
                if bytes(row.uid) in cls.seen:
                    continue
                cls.seen.add(bytes(row.uid))
                for key in chain_keys_of([bytes(row.chains or b"")]):
                    cls.chains.setdefault(key, []).append(bytes(row.uid))
            for person in self.living:
                for key in self.gateway.vault.audit_keys(work.session, subject_id(work, ref(person))):
                    cls.keys[chain_key(chain_secret(key))] = key

    def teardown(self) -> None:
        if not hasattr(self, "people"):
            return
        self.sequencers[0].drain()
        maps.publish(self.gateway)
        self.sequencers[1].drain()
        with self.gateway.look() as work:
            rows = work.session.execute(select(tables.audit_entries.c.entry).order_by(tables.audit_entries.c.idx))
            log = [bytes(entry) for entry in rows.scalars()]
        self.every_chain_is_the_models(log)
        self.the_map_adds_up(log)
        for person in self.living:
            with self.gateway.work(RIGHTS) as work:
                who = subject_id(work, ref(person))
                named: dict[SubjectId, dict[str, str]] = {member: {} for member in bundles._members(work, who)}
                uid = bundles.record(work, who, named, "request")
            self.note()
            bundles._integrate(self.gateway, publishing=True)
            with self.gateway.look(RIGHTS) as work:
                made = bundles._made(work, who, uid)
            finding = verify_bundle(self.gateway.signer.vkey, made.content)
            assert (finding.ok, finding.details["not_covered"]) == (True, 0), str(finding)
        assert chain_checks.check(self.gateway).clean

    def every_chain_is_the_models(self, log: list[bytes]) -> None:
        heads: dict[bytes, ChainHead] = {}
        for raw in log:
            entry = parse_entry(raw)
            mine = [key for key, uids in self.chains.items() if entry.uid in uids]
            made = [entry.commitments[place] for place in (CHAIN, OTHER_CHAIN) if place in entry.commitments]
            assert len(mine) == len(made)
            for key in mine:
                count, prev = heads.get(key, NEW_CHAIN)
                assert self.chains[key][count] == entry.uid  # in the order of the model, none left out
                places = {p: opening_salt(self.keys[key], entry.uid, p) for p in (CHAIN, OTHER_CHAIN)}
                payload = chain_payload(count + 1, prev)
                fits = [s for p, s in places.items() if verify_opening(entry.commitments.get(p, b""), s, payload)]
                assert len(fits) == 1
                (salt,) = fits
                heads[key] = count + 1, chain_link(salt, leaf_hash(raw))
        with self.gateway.look() as work:
            stored = {bytes(k): (n, bytes(link)) for k, n, link in work.session.execute(select(tables.audit_chains))}
        assert stored == heads
        assert {key: n for key, (n, _) in heads.items()} == {key: len(uids) for key, uids in self.chains.items()}

    def the_map_adds_up(self, log: list[bytes]) -> None:
        check = SumCheck()
        for entry in log:
            check.feed(entry)
        with self.gateway.look() as work:
            newest = map_store.newest(work.session)
            if newest is None:
                assert self.chains == {}
                return
            assert newest.entries == sum(map(len, self.chains.values()))
            for key, uids in self.chains.items():
                proof = maps.proof(work.session, key)
                assert proof.leaf is not None
                assert (proof.leaf.key, proof.leaf.entries) == (key, len(uids))
                assert verify_map(key, proof, newest.root, newest.entries)


def subject_id_or_none(work: object, person: int) -> object:
    try:
        return subject_id(work, ref(person))  # type: ignore[arg-type]
    except AssertionError:
        return None


def run(gateway: Gateway, examples: int, **more: Any) -> None:
    Lives.begin(gateway)
    run_state_machine_as_test(
        Lives,
        settings=settings(
            derandomize=True, deadline=None, max_examples=examples, stateful_step_count=14,
            suppress_health_check=list(HealthCheck), print_blob=False, **more,
        ),
    )  # fmt: skip


def test_chains_are_those_of_the_model(gateway: Gateway) -> None:
    run(gateway, 8)


def test_a_sequencer_that_goes_on_from_an_old_head_is_found(
    sqlite_gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The planted bug: what is remembered of a chain is not what was written."""

    def careless(edge: Edge, integration: Integration) -> None:
        edge.head = integration.head
        edge.chains = dict.fromkeys(integration.chains, NEW_CHAIN)

    monkeypatch.setattr(Edge, "moved", careless)
    with pytest.raises(AssertionError):
        run(sqlite_gateway, 40, phases=[Phase.generate], report_multiple_bugs=False)
