"""The manifest of a real audience proves everybody in or out, offline, until it expires."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from builders import EMAIL_MARKETING, a_consent, a_person, a_recipient, ref, subject_id, take, with_source
from consent_gateway.audit.manifests import verify_membership
from consent_gateway.audit.proofs import verify_inclusion
from consent_gateway.clock import FixedClock
from consent_gateway.domain.ids import RecipientId
from consent_gateway.domain.purposes import OWN
from consent_gateway.domain.segments import Everyone
from consent_gateway.errors import ConflictError, NotFoundError
from consent_gateway.services.disclosing import audiences
from consent_gateway.services.disclosing.audiences import Audience
from consent_gateway.services.erasing.erasure import erase
from consent_gateway.services.log import manifests
from consent_gateway.services.log.audit_log import Sequencer
from consent_gateway.services.registry.registers import put_recipient
from consent_gateway.services.work.gateway import Gateway
from edge import Edge, running

PEOPLE, YES = 40, 25


@pytest.fixture
def crm(gateway: Gateway) -> Gateway:
    """Forty people, of whom twenty-five said yes."""
    with_source(gateway)
    take(gateway, [a_person(n) for n in range(PEOPLE)])
    take(gateway, [a_consent(ref(n)) for n in range(YES)])
    return gateway


def resolve(gateway: Gateway) -> Audience:
    with gateway.work() as work:
        found = audiences.resolve(work, Everyone(), EMAIL_MARKETING)
    Sequencer(gateway).drain()
    return found


def name(gateway: Gateway, number: int, recipient: RecipientId = OWN) -> str:
    with gateway.look() as work:
        return gateway.vault.pseudonym(subject_id(work, ref(number)), recipient, work.registers)


def prove(gateway: Gateway, found: Audience, pseudonym: str) -> Any:
    with gateway.look() as work:
        return manifests.prove(work, audiences.find(work, found.row.id), pseudonym)


def test_everybody_is_proven_in_or_out(crm: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    for chunk in (1000, 7, 1):  # however members lie in chunks
        for module in (audiences, manifests):
            monkeypatch.setattr(module, "CHUNK", chunk)
        found = resolve(crm)
        for number in range(PEOPLE):
            document = prove(crm, found, name(crm, number))
            finding = verify_membership(crm.signer.vkey, json.dumps(document).encode())
            assert finding.code == ("member" if number < YES else "no_member"), (number, str(finding))


def test_tiles_above_the_members_are_rebuilt_from_what_is_kept(crm: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    """Three levels, as of a tree of 70,000: with what is kept of each 256, the proofs are those of the whole tree."""
    with crm.look() as work:
        base = resolve(crm).row
        ids = list(range(70_000))
        blocks = crm.vault.pseudonymiser.bulk_bytes(ids, OWN, base.epoch)
        members, leaves = audiences._in_order(ids, manifests.member_leaves(bytes.fromhex(base.id), blocks))  # type: ignore[arg-type]
        tree, rows = audiences.EMPTY_RANGE.climb(leaves)
        row = replace(base, size=len(ids), manifest_root=tree.root)
        monkeypatch.setattr(manifests, "chunk_ids", lambda _w, _a, n: members[n * 1000 : (n + 1) * 1000] or None)
        made = manifests._Tree(work, row, b"".join(rows[8]))
        for at in (0, 255, 256, 65_535, 65_536, 69_999):
            first, part = made.around(leaves[at])
            assert part[at - first] == leaves[at]
            path = manifests.manifest_proof(
                row.id, f"p1-{'0' * 32}", row.size, tree.root, [(at, leaves[at])], made.tile
            )
            shown: Any = path["leaves"]
            hashes = [bytes.fromhex(node) for node in shown[0]["path"]]
            assert verify_inclusion(at, len(ids), leaves[at], hashes, tree.root)
        assert len(made.chunks) < 20  # few of seventy were hashed again


def test_who_is_out_of_nobody_and_of_one(gateway: Gateway) -> None:
    with_source(gateway)
    take(gateway, [a_person(1), a_person(2)])
    for wanted in (0, 1):
        found = resolve(gateway)
        assert found.row.size == wanted
        document = prove(gateway, found, name(gateway, 2))
        assert verify_membership(gateway.signer.vkey, json.dumps(document).encode()).code == "no_member"
        take(gateway, [a_consent(ref(1))])


def test_what_is_no_name_of_the_recipient_proves_nothing(crm: Gateway) -> None:
    with crm.work() as work:
        put_recipient(work, a_recipient("mailer"))
    found = resolve(crm)
    for text in (name(crm, 1, RecipientId("mailer")), "p1-" + "0" * 32, "p9-" + name(crm, 1)[3:], "x"):
        with pytest.raises(NotFoundError):
            prove(crm, found, text)


def test_the_proof_is_of_then_also_after_an_erasure(crm: Gateway) -> None:
    found, pseudonym = resolve(crm), name(crm, 3)
    before = prove(crm, found, pseudonym)
    with crm.work() as work:
        erase(work, subject_id(work, ref(3)), "request")
    Sequencer(crm).drain()
    assert verify_membership(crm.signer.vkey, json.dumps(before).encode()).code == "member"
    assert verify_membership(crm.signer.vkey, json.dumps(prove(crm, found, pseudonym)).encode()).code == "member"


def test_an_audience_that_expired_or_is_too_old_shows_nothing(crm: Gateway, clock: FixedClock) -> None:
    found, pseudonym = resolve(crm), name(crm, 3)
    with crm.store.transaction() as session:
        session.exec_driver_sql("DELETE FROM audience_manifests")
    with pytest.raises(ConflictError, match="resolve it again"):
        prove(crm, found, pseudonym)
    clock.advance(timedelta(days=8))
    with pytest.raises(NotFoundError):
        prove(crm, found, pseudonym)


def test_an_audience_is_provable_once_its_entry_is_in_the_tree(crm: Gateway) -> None:
    with crm.work() as work:
        found = audiences.resolve(work, Everyone(), EMAIL_MARKETING)
    with pytest.raises(NotFoundError, match="retry"):
        prove(crm, found, name(crm, 1))


@pytest.fixture
def edge(tmp_path: Path) -> Iterator[Edge]:
    with running(tmp_path) as made:
        made.admin.post("/v1/sources", json={"id": "crm", "name": "CRM", "channel": "web", "party": "first"})
        made.admin.post(
            "/v1/subjects", json={"source": "crm", "items": [{"email": "anna@example.org", "country": "DE"}]}
        )
        yield made


def test_over_http_a_proof_is_recorded_and_for_the_recipient_alone(edge: Edge) -> None:
    asked = {"purpose": "direct_marketing", "channel": "email", "text": "everyone"}
    audience = edge.admin.post("/v1/audiences", json=asked).json()["id"]
    edge.settle()
    anna = edge.admin.post("/v1/subjects/lookup", json={"identifier": {"email": "anna@example.org"}}).json()[
        "pseudonym"
    ]
    with edge.gateway.work() as work:
        put_recipient(work, a_recipient("mailer"))
    stranger = edge.client(edge.issue("stranger", "audience", recipient="mailer"))
    path = f"/v1/audiences/{audience}/proof/{anna}"
    assert stranger.get(path).status_code == 404
    reply = edge.admin.get(path)
    assert verify_membership(edge.gateway.signer.vkey, reply.content).code == "no_member"
    edge.settle()
    entries = edge.gateway.store
    with entries.reading() as session:
        rows = session.exec_driver_sql("SELECT entry FROM audit_entries ORDER BY idx DESC LIMIT 1").scalar()
    assert json.loads(bytes(rows or b"{}"))["fields"] == {"audience": audience, "recipient": "self", "size": 1}
