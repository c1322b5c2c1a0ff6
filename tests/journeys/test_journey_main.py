"""The main journey over HTTP, on both stores: from registers and raw files to a withdrawal, an erasure and receipts."""

from __future__ import annotations

import hashlib
import json
import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from consent_gateway.audit.manifests import member_leaves
from consent_gateway.audit.merkle import root_from_leaves
from consent_gateway.audit.verifier import verify_directory, verify_receipt
from consent_gateway.clock import FixedClock
from consent_gateway.services.log.audit_log import export
from edge import CSV, NDJSON, SHARED, Edge, running

NOON = datetime(2026, 11, 18, 12, 0, tzinfo=UTC)
MARKETING, SHARING = "direct_marketing", "third_party_audience_sharing"
YES = ["affirmative", "separate", "explicit", "written", "two_step", "evidence"]
PEOPLE = {
    "anna": "M-1,anna@example.org,,DE,Anna,Arnold,1980-01-31,7",
    "bert": "M-2,bert@example.org,+49 1512 3456789,DE,Bert,Braun,1975-05,4",
    "carl": "M-3,carl@example.org,,FR,Carl,Caron,1960,9",
    "dora": "M-4,dora@example.org,,DE,Dora,Dorn,1990-02-28,1",
    "eve": "M-5,eve@example.org,,DE,Eve,Ernst,2016-01-01,8",
}
HEADER = "member_no,email,phone,country,given_name,family_name,birth_date,trait.visits\n"


@pytest.fixture
def clock() -> FixedClock:
    return FixedClock(NOON)


@pytest.fixture
def edge(tmp_path: Path, store_url: str, clock: FixedClock) -> Iterator[Edge]:
    with running(tmp_path, store_url, clock=clock) as made:
        yield made


def ok(reply: Any, status: int = 200) -> Any:
    assert reply.status_code == status, reply.text
    return reply.json()


def register(edge: Edge) -> None:
    post = edge.admin.post
    notice = {"id": "privacy", "version": 1, "language": "en", "title": "Privacy", "text": "We write to you."}
    ok(post("/v1/notices", json=notice))
    source = {
        "id": "crm",
        "name": "CRM",
        "channel": "web",
        "party": "first",
        "notice": "privacy",
        "purposes": [MARKETING],
    }
    ok(post("/v1/sources", json=source))
    ok(post("/v1/traits", json={"id": "visits", "type": "integer", "description": "How often they came"}))
    house = {"id": "house", "name": "Mail house", "kind": "processor", "country": "DE", "contract": True}
    ads = {"id": "ads", "name": "Ads", "kind": "third_party", "country": "US", "contract": True}
    ok(post("/v1/recipients", json=house))
    ok(post("/v1/recipients", json={**ads, "transfer_mechanism": "scc"}))
    ok(post("/v1/segments", json={"id": "regulars", "text": "visits >= 3", "description": "came three times"}))


def bring_in(edge: Edge) -> None:
    file = (HEADER + "\n".join(PEOPLE.values()) + "\n").encode()
    answer = ok(edge.admin.post("/v1/imports/subjects?source=crm", content=file, headers=CSV))
    assert answer["rejections"] == []
    assert (answer["received"], answer["created"]) == (5, 5)
    lines = b"\n".join(json.dumps(line).encode() for line in consents())
    answer = ok(edge.admin.post("/v1/imports/consents?source=crm", content=lines, headers=NDJSON))
    assert (answer["received"], answer["accepted"], answer["rejected"]) == (8, 8, 0)


def consents() -> Iterator[dict[str, Any]]:
    """Everyone but Dora agreed to marketing by e-mail and to being put into segments."""
    for number in (1, 2, 3, 5):
        yield consent(number, MARKETING)
        yield consent(number, "segmentation_for_marketing", channel=None)


def consent(number: int, purpose: str, channel: str | None = "email", **more: Any) -> dict[str, Any]:
    item = {
        "subject": {"member_no": f"M-{number}"}, "purpose": purpose, "channel": channel, "kind": "given",
        "at": "2026-10-01T09:00:00Z", "properties": YES, "notice": "privacy", "notice_version": 1,
        "evidence": {"form": "signup", "address": "192.0.2.7"},
    }  # fmt: skip
    return item | more


def share(edge: Edge) -> None:
    """Anna and Bert also agreed to being named to the ad partner."""
    items = [consent(n, SHARING, recipient="ads", notice=None, notice_version=None) for n in (1, 2)]
    assert ok(edge.admin.post("/v1/consents", json={"source": "crm", "items": items}))["accepted"] == 2


def decide(edge: Edge, number: int, **more: Any) -> dict[str, Any]:
    question = {"purpose": MARKETING, "channel": "email", "subject": {"member_no": f"M-{number}"}, "explain": True}
    return dict(ok(edge.admin.post("/v1/decisions", json=question | more)))


def audience(edge: Edge, recipient: str, purpose: str, **more: Any) -> dict[str, Any]:
    question = {"segment": "regulars", "purpose": purpose, "channel": "email", "recipient": recipient}
    return dict(ok(edge.admin.post("/v1/audiences", json=question | more), 201))


def members(edge: Edge, found: dict[str, Any], key: str | None = None) -> list[str]:
    reply = (edge.client(key) if key else edge.admin).get(f"/v1/audiences/{found['id']}/members")
    assert reply.status_code == 200
    assert reply.headers["content-type"].startswith("application/x-ndjson")
    return [json.loads(line)["pseudonym"] for line in reply.text.splitlines()]


def pseudonym(edge: Edge, number: int, recipient: str) -> str:
    question = {"identifier": {"member_no": f"M-{number}"}, "recipient": recipient}
    return str(ok(edge.admin.post("/v1/subjects/lookup", json=question))["pseudonym"])


@pytest.fixture
def story(edge: Edge) -> Edge:
    register(edge)
    bring_in(edge)
    share(edge)
    return edge


def test_decisions_say_why_and_what_would_change_it(story: Edge) -> None:
    yes = decide(story, 1)
    assert (yes["outcome"], yes["reason_code"], yes["changes"]) == ("permit", "consent_valid", [])
    assert "opt_out_each_message" in yes["obligations"]
    never = decide(story, 4)
    assert never["outcome"] == "deny"
    assert never["reasons"][0]["citation"]
    assert never["reasons"][0]["text_zh"]
    assert never["changes"]
    assert decide(story, 5)["outcome"] == "deny"  # ten years old
    assert decide(story, 3, recipient="ads", purpose=SHARING)["outcome"] == "deny"
    nobody = decide(story, 99)
    assert (nobody["outcome"], nobody["reason_code"]) == ("deny", "unknown_subject")
    assert all(len(d["entry"]["uid"]) == 32 for d in (yes, never, nobody))


def test_one_by_one_a_batch_and_an_audience_agree(story: Edge) -> None:
    subjects = [{"member_no": f"M-{n}"} for n in range(1, 6)]
    question = {"purpose": MARKETING, "channel": "email", "subjects": subjects}
    batch = ok(story.admin.post("/v1/decisions/batch", json=question))
    single = [decide(story, n) for n in range(1, 6)]
    assert [r["outcome"] for r in batch["results"]] == [d["outcome"] for d in single]
    assert [r["reason_code"] for r in batch["results"]] == [d["reason_code"] for d in single]
    everyone = audience(story, "self", MARKETING, segment=None, text="everyone")
    assert everyone["size"] == batch["permitted"] == sum(d["outcome"] == "permit" for d in single) == 3


def test_two_recipients_see_two_worlds(story: Edge) -> None:
    house, ads = audience(story, "house", MARKETING), audience(story, "ads", SHARING)
    in_house, in_ads = members(story, house), members(story, ads)
    assert sorted(in_house) == sorted(pseudonym(story, n, "house") for n in (1, 2, 3))
    assert sorted(in_ads) == sorted(pseudonym(story, n, "ads") for n in (1, 2))
    assert not set(in_house) & set(in_ads)
    stages = [line["stage"] for line in house["waterfall"]]
    assert stages == ["segment", "consent", "law", "suppression", "cap", "quiet_hours", "reachable"]


def test_the_manifest_commits_to_the_members(story: Edge) -> None:
    found = audience(story, "house", MARKETING)
    blocks = bytes.fromhex("".join(name.removeprefix("p1-") for name in members(story, found)))
    leaves = member_leaves(bytes.fromhex(found["id"]), blocks)
    assert root_from_leaves(leaves).hex() == found["manifest_root"]


def test_a_withdrawal_and_an_erasure_take_effect_at_once(story: Edge) -> None:
    """Also in an audience that was resolved before: members are asked about again while they are read out."""
    house = audience(story, "house", MARKETING)
    anna, bert, carl = (pseudonym(story, n, "house") for n in (1, 2, 3))
    assert set(members(story, house)) == {anna, bert, carl}
    taken_back = {"subject": {"email": "ANNA@example.org"}, "purpose": "marketing", "kind": "withdrawn"}
    body = {"source": "crm", "items": [taken_back | {"at": "2026-11-18T12:00:00Z"}]}
    assert ok(story.admin.post("/v1/consents", json=body))["accepted"] == 1
    assert set(members(story, house)) == {bert, carl}
    assert decide(story, 1)["reason_code"] == "consent_withdrawn"
    own = pseudonym(story, 2, "self")
    gone = ok(story.admin.post(f"/v1/subjects/{own}/erase", json={"reason": "request"}))
    assert gone["erased"]
    assert gone["tombstones"] == 3  # member number, e-mail address and telephone
    assert members(story, house) == [carl]
    assert decide(story, 2)["reason_code"] == "unknown_subject"
    assert story.admin.post("/v1/subjects/lookup", json={"identifier": {"member_no": "M-2"}}).status_code == 404
    assert story.admin.post(f"/v1/subjects/{own}/erase", json={}).status_code == 404
    again = story.admin.post(
        "/v1/imports/subjects?source=crm", content=(HEADER + PEOPLE["bert"] + "\n").encode(), headers=CSV
    )
    reasons = ok(again)["rejections"][0]["reasons"]
    assert [reason["code"] for reason in reasons] == ["erased"]
    receipts_hold(story, gone["entry"]["uid"])


def test_an_audience_expires(story: Edge, clock: FixedClock) -> None:
    found = audience(story, "house", MARKETING, ttl_seconds=60)
    assert found["expires_at"] == "2026-11-18T12:01:00Z"
    clock.advance(timedelta(seconds=60))
    assert story.admin.get(f"/v1/audiences/{found['id']}").status_code == 404
    assert story.admin.get(f"/v1/audiences/{found['id']}/members").status_code == 404


def test_every_answer_has_a_receipt_that_others_can_check(story: Edge, tmp_path: Path) -> None:
    uids = [decide(story, 1)["entry"]["uid"], audience(story, "house", MARKETING)["entry"]["uid"]]
    receipts = [receipts_hold(story, uid) for uid in uids]
    vkey = story.admin.get("/v1/audit/vkey").text.strip()
    script = SHARED / "verifiers" / "check_receipt.sh"
    if not script.is_file():
        pytest.skip("the independent verifier ../shared/verifiers/check_receipt.sh is not beside the project")
    for receipt, entry in receipts:
        assert check(script, vkey, receipt, entry, tmp_path).startswith("ok ")
        assert check(script, vkey, receipt, entry + b" ", tmp_path).startswith("FAIL")


def receipts_hold(edge: Edge, uid: str) -> tuple[bytes, bytes]:
    """Fetch an entry's receipt and bytes, and verify them with the pinned key; a changed byte must show."""
    edge.settle()
    receipt = edge.admin.get(f"/v1/audit/entries/{uid}/receipt").content
    entry = edge.admin.get(f"/v1/audit/entries/{uid}/bytes").content
    vkey = edge.admin.get("/v1/audit/vkey").text.strip()
    assert verify_receipt(vkey, receipt, entry).ok
    assert not verify_receipt(vkey, receipt, entry.replace(b"{", b"[", 1)).ok
    return receipt, entry


def check(script: Path, vkey: str, receipt: bytes, entry: bytes, directory: Path) -> str:
    (directory / "a.tlog-proof").write_bytes(receipt)
    (directory / "a.entry").write_bytes(entry)
    command = ["bash", script, vkey, directory / "a.tlog-proof", directory / "a.entry"]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout


def test_the_whole_log_verifies_and_tiles_are_what_is_exported(story: Edge, tmp_path: Path) -> None:
    decide(story, 1)
    story.settle()
    vkey = story.admin.get("/v1/audit/vkey").text.strip()
    size = export(story.gateway, tmp_path / "log")
    assert verify_directory(vkey, tmp_path / "log").ok
    served = story.admin.get("/checkpoint")
    assert (
        served.content == story.admin.get("/v1/audit/checkpoint").content == (tmp_path / "log/checkpoint").read_bytes()
    )
    assert int(served.text.splitlines()[1]) == size
    for file in (tmp_path / "log" / "tile").rglob("*"):
        if file.is_file():
            path = file.relative_to(tmp_path / "log").as_posix()
            assert story.admin.get(f"/{path}").content == file.read_bytes()
    assert story.client(None).get("/tile/0/000").status_code == 401


def test_the_log_grows_by_what_was_done(story: Edge) -> None:
    """Every answer is one entry, of the kind that it claims; none of them names a person."""
    decision = decide(story, 1)
    story.settle()
    entry = ok(story.admin.get(f"/v1/audit/entries/{decision['entry']['uid']}"))
    body = story.admin.get(f"/v1/audit/entries/{decision['entry']['uid']}/bytes")
    parsed = body.json()
    assert isinstance(entry["index"], int)
    assert parsed["kind"] == "decision.made"
    assert "anna" not in body.text
    assert hashlib.sha256(body.content).digest()


def test_the_fast_way_and_the_documented_way_agree(story: Edge) -> None:
    """The plain question about a pseudonym is answered on a path of its own; the answer may not differ."""
    name = pseudonym(story, 1, "self")
    plain = {"purpose": MARKETING, "channel": "email", "subject": {"pseudonym": name}}
    for more in ({}, {"explain": True}, {"recipient": "house"}, {"recipient": "nobody"}, {"purpose": "nothing"}):
        fast = story.admin.post("/v1/decisions", json=plain | more)
        slow = story.admin.post("/v1/decisions", json=plain | more | {"message": {}})
        assert fast.status_code == slow.status_code
        assert _lasting(fast.json()) == _lasting(slow.json())
        assert {k: v for k, v in fast.headers.items() if k != "x-request-id"}.keys() == (
            {k: v for k, v in slow.headers.items() if k != "x-request-id"}.keys()
        )


def _lasting(body: dict[str, Any]) -> dict[str, Any]:
    return {k: v for k, v in body.items() if k not in ("entry", "request_id", "instance")}


def test_a_stream_that_does_not_ask_again_is_noticed(story: Edge, monkeypatch: pytest.MonkeyPatch) -> None:
    """The journey goes red if members are read out as they were resolved."""
    monkeypatch.setattr("consent_gateway.domain.decisions.Answer.permitted", property(lambda _: True))
    with pytest.raises(AssertionError):
        test_a_withdrawal_and_an_erasure_take_effect_at_once(story)
