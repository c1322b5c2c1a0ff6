"""Erasing over HTTP: acknowledged only once the tombstone file knows, and a restored store is cleaned before it serves."""

from __future__ import annotations

from pathlib import Path

from backups import back_up, restore
from consent_gateway.assembly import build_gateway
from consent_gateway.services.erasing.holds import carry_out_due
from edge import JSON, Edge, client, running, serving, store_settings

KEY = {"idempotency-key": "erase-1"}


def import_one(edge: Edge, number: int) -> str:
    edge.admin.post("/v1/sources", json={"id": "crm", "name": "CRM", "channel": "web", "party": "first"})
    row = {"member_no": f"M{number}", "email": f"p{number}@example.org", "country": "DE"}
    done = edge.admin.post("/v1/subjects", json={"source": "crm", "items": [row]})
    assert done.status_code == 200, done.text
    found = edge.admin.post("/v1/subjects/lookup", json={"identifier": {"member_no": f"M{number}"}})
    return str(found.json()["pseudonym"])


def test_an_erasure_waits_for_the_file_and_is_acknowledged_later(tmp_path: Path) -> None:
    with running(tmp_path) as edge:
        who = import_one(edge, 1)
        file = tmp_path / "tombstones.log"
        file.chmod(0o644)  # as good as a full disk: nothing is written to it
        path = f"/v1/subjects/{who}/erase"
        for _ in range(2):
            refused = edge.admin.post(path, json={}, headers=KEY)
            assert refused.status_code == 503
            assert refused.headers["retry-after"] == "5"
            assert refused.json()["code"] == "tombstones_unavailable"
        known = edge.admin.post("/v1/subjects/lookup", json={"identifier": {"member_no": "M1"}})
        assert known.status_code == 404  # the erasure stands
        file.chmod(0o600)
        done = edge.admin.post(path, json={}, headers=KEY)
        assert done.status_code == 200
        assert done.headers["idempotent-replayed"] == "true"
        assert done.json()["erased"]
        assert len(file.read_bytes().splitlines()) == 3
    assert b"p1@example.org" not in edge.log.getvalue()


def test_a_server_over_a_restored_backup_answers_nothing_before_it_is_cleaned(tmp_path: Path, store_url: str) -> None:
    more = {} if store_url.startswith("sqlite") else {"CONSENT_GATEWAY_DATABASE_URL": store_url}
    with running(tmp_path / "store", store_url) as edge:
        who = [import_one(edge, n) for n in (1, 2)]
        backup = back_up(edge.gateway.store, tmp_path / "backup")
        assert edge.admin.post(f"/v1/subjects/{who[0]}/erase", json={}).status_code == 200
        key = edge.key
    gateway = build_gateway(store_settings(tmp_path / "store", store_url))
    restore(gateway.store, backup)
    gateway.store.dispose()
    with serving(tmp_path / "store", tmp_path / "log", **more) as served, client(served.url, key) as admin:
        gone = admin.post("/v1/subjects/lookup", json={"identifier": {"email": "p1@example.org"}}, headers=JSON)
        kept = admin.post("/v1/subjects/lookup", json={"identifier": {"email": "p2@example.org"}}, headers=JSON)
        assert (gone.status_code, kept.status_code) == (404, 200)
        assert served.stop()
    assert b"tombstones.replayed" in (tmp_path / "log").read_bytes()


def test_a_held_person_is_erased_later(tmp_path: Path) -> None:
    with running(tmp_path) as edge:
        who = import_one(edge, 1)
        holder = edge.client(edge.issue("legal", "hold"))
        placed = holder.post(f"/v1/subjects/{who}/holds", json={"reason": "legal_claim"})
        assert placed.status_code == 200, placed.text
        assert placed.json()["until"] is None
        for _ in range(2):
            done = edge.admin.post(f"/v1/subjects/{who}/erase", json={}, headers=KEY)
            assert done.status_code == 202
            assert done.json() | {"entry": None} == {
                "erased": False,
                "pending": True,
                "tombstones": 0,
                "rows": 0,
                "holds": ["legal_claim"],
                "entry": None,
                "bundle": None,
            }
        listed = holder.get(f"/v1/subjects/{who}/holds").json()
        assert [h["reason"] for h in listed["items"]] == ["legal_claim"]
        assert listed["pending"]["asked_by"] == "operator"
        assert holder.post(f"/v1/subjects/{who}/erase", json={}).status_code == 403
        for wrong in ("0", "x", "9" * 30, "99"):
            refused = holder.post(f"/v1/subjects/{who}/holds/{wrong}/lift", json={"reason": "closed"})
            assert refused.status_code == 404
        number = placed.json()["hold"]
        lifted = holder.post(f"/v1/subjects/{who}/holds/{number}/lift", json={"reason": "mistake"})
        assert lifted.status_code == 200, lifted.text
        carry_out_due(edge.gateway)
        assert holder.get(f"/v1/subjects/{who}/holds").status_code == 404
        other = edge.issue("house_key", "hold", recipient="self")
        assert edge.client(other).post("/v1/subjects/p1-0/holds", json={"reason": "legal_duty"}).status_code == 404


def test_a_recipient_holds_nobody(tmp_path: Path) -> None:
    with running(tmp_path) as edge:
        who = import_one(edge, 1)
        house = {"id": "house", "name": "House", "kind": "processor", "country": "DE", "contract": True}
        assert edge.admin.post("/v1/recipients", json=house).status_code == 200
        theirs = edge.client(edge.issue("house", "hold", recipient="house"))
        assert theirs.post(f"/v1/subjects/{who}/holds", json={"reason": "legal_duty"}).status_code == 403
        assert theirs.get(f"/v1/subjects/{who}/holds").status_code == 403
