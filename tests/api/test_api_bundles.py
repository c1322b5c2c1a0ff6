"""A person's bundle over HTTP and on the command line: for keys of our own, recorded, and checked by the verifier."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from click.testing import CliRunner

from builders import a_consent, ref, take
from consent_gateway.audit.bundle_files import parse_bundle
from consent_gateway.audit.bundles import verify_bundle
from consent_gateway.audit.entries import parse_entry
from consent_gateway.cli.main import cli
from consent_gateway.cli.opening import open_gateway
from consent_gateway.db import tables
from edge import Edge, running


def person(edge: Edge) -> str:
    edge.admin.post("/v1/sources", json={"id": "crm", "name": "CRM", "channel": "web", "party": "first"})
    row = {"member_no": "M00001", "email": "p1@example.org", "country": "DE"}
    assert edge.admin.post("/v1/subjects", json={"source": "crm", "items": [row]}).is_success
    take(edge.gateway, [a_consent(ref(1))])
    found = edge.admin.post("/v1/subjects/lookup", json={"identifier": {"member_no": "M00001"}})
    return str(found.json()["pseudonym"])


def vkey_of(edge: Edge) -> str:
    return edge.gateway.signer.vkey


def test_a_bundle_is_handed_out_and_holds_after_the_erasure(tmp_path: Path) -> None:
    with running(tmp_path) as edge:
        who = person(edge)
        edge.settle()
        desk = edge.client(edge.issue("rights", "access"))
        given = desk.get(f"/v1/subjects/{who}/bundle")
        assert given.status_code == 200, given.text
        finding = verify_bundle(vkey_of(edge), given.content)
        assert (finding.ok, finding.details["entries"]) == (True, 3), str(finding)
        assert edge.admin.post(f"/v1/subjects/{who}/erase", json={}).json()["erased"]
        assert desk.get(f"/v1/subjects/{who}/bundle").status_code == 404
        assert verify_bundle(vkey_of(edge), given.content).ok
        assert b"p1@example.org" not in given.content


def test_only_a_key_of_our_own_with_the_scope_by_name_gets_one(tmp_path: Path) -> None:
    with running(tmp_path) as edge:
        who = person(edge)
        edge.admin.post("/v1/recipients", json={
            "id": "mailer", "name": "Mailer", "kind": "processor", "country": "DE", "contract": True, "sector": "mailer",
        })  # fmt: skip
        asked = {"identifier": {"member_no": "M00001"}, "recipient": "mailer"}
        theirs = edge.admin.post("/v1/subjects/lookup", json=asked).json()["pseudonym"]
        mailer = edge.client(edge.issue("mailer", "access", "decide", recipient="mailer"))
        assert mailer.get(f"/v1/subjects/{theirs}/bundle").status_code == 403
        for key in (edge.key, edge.issue("desk", "decide", "reveal", "reveal_plain", "erase", "audit")):
            refused = edge.client(key).get(f"/v1/subjects/{who}/bundle")
            assert (refused.status_code, "access" in refused.json()["detail"]) == (403, True)
        edge.settle()
        assert edge.client(edge.issue("rights", "access")).get(f"/v1/subjects/{who}/bundle").status_code == 200


def resolved(edge: Edge) -> str:
    use = {"purpose": "direct_marketing", "channel": "email", "text": "everyone"}
    reply = edge.admin.post("/v1/audiences", json=use)
    assert reply.status_code == 201, reply.text
    return str(reply.json()["id"])


def test_audiences_are_shown_as_they_are_asked_for(tmp_path: Path) -> None:
    with running(tmp_path) as edge:
        who, audience = person(edge), resolved(edge)
        desk = edge.client(edge.issue("rights", "access"))

        def shown(**query: object) -> list[tuple[str, bool]]:
            given = desk.get(f"/v1/subjects/{who}/bundle", params=query)
            assert given.status_code == 200, given.text
            assert given.headers["content-disposition"] == 'attachment; filename="bundle.json"'
            finding = verify_bundle(vkey_of(edge), given.content)
            assert finding.ok, str(finding)
            told: Any = finding.details["audiences"]
            entries = [parse_entry(t.logged.entry) for c in parse_bundle(given.content).chains for t in c.entries]
            assert given.headers["consent-gateway-entry"] == entries[-1].uid.hex()
            return [(a["audience"], a["member"]) for a in told]

        both = sorted([(audience, True), (later := resolved(edge), True)])
        assert sorted(shown()) == both
        assert shown(memberships="false") == []
        assert shown(memberships="false", audiences=audience) == [(audience, True)]
        assert sorted(shown(memberships="false", audiences=f"{audience},{later},{later}")) == both
        assert desk.get(f"/v1/subjects/{who}/bundle", params={"audiences": "0" * 32}).status_code == 404
        assert desk.get(f"/v1/subjects/{who}/bundle", params={"memberships": "perhaps"}).status_code == 400


def test_the_command_publishes_the_map_first(tmp_path: Path) -> None:
    with running(tmp_path / "store") as edge:
        who, vkey = person(edge), vkey_of(edge)
        audience = resolved(edge)
        (tmp_path / "key").write_text(edge.issue("desk", "access") + "\n")
    into = tmp_path / "bundle.json"
    options = ["--key-file", str(tmp_path / "key"), "--store", str(tmp_path / "store"), "--json"]
    done = CliRunner().invoke(cli, ["audit", "bundle", who, str(into), *options])
    assert done.exit_code == 0, (done.output, done.exception)
    told = json.loads(done.stdout)
    assert (told["bytes"], told["ok"], told["code"]) == (len(into.read_bytes()), True, "ok")
    assert [(a["audience"], a["member"]) for a in told["audiences"]] == [(audience, True)]
    assert into.stat().st_mode & 0o777 == 0o600
    finding = verify_bundle(vkey, into.read_bytes())
    assert (finding.ok, finding.details["not_covered"]) == (True, 0), str(finding)
    human = CliRunner().invoke(cli, ["audit", "bundle", who, str(into), *options[:-1], "--audience", audience])
    assert human.exit_code == 0, human.output
    assert f"in audience {audience} (direct_marketing, email, self)" in human.output
    assert "ok 4 entries in 1 chains, complete up to the map" in human.output
    none = CliRunner().invoke(cli, ["audit", "bundle", who, str(into), *options, "--no-memberships"])
    assert json.loads(none.stdout)["audiences"] == []
    checked = CliRunner().invoke(cli, ["audit", "verify", "bundle", vkey, str(into)])
    assert (checked.exit_code, checked.output.startswith("ok ")) == (0, True)
    found = CliRunner().invoke(cli, ["audit", "chains", "--store", str(tmp_path / "store"), "--json"])
    assert json.loads(found.stdout) == {
        "living": 1,
        "erased": 0,
        "phantoms": [],
        "revived": [],
        "unequal": [],
        "orphans": 0,
    }
    with open_gateway(tmp_path / "store").store.transaction() as session:
        session.execute(tables.audit_chains.insert(), [{"chain_key": b"p" * 32, "count": 1, "link": bytes(32)}])
    shown = CliRunner().invoke(cli, ["audit", "chains", "--store", str(tmp_path / "store")])
    assert (shown.exit_code, "1 of nobody" in shown.output) == (1, True)
