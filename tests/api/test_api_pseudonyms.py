"""Epochs of pseudonyms over HTTP: who may roll, who may move what, and the same bytes for whatever means nobody."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from edge import Edge, running

PEOPLE = 3


@pytest.fixture
def edge(tmp_path: Path, store_url: str) -> Iterator[Edge]:
    with running(tmp_path, store_url) as made:
        post = made.admin.post
        assert post("/v1/sources", json={"id": "crm", "name": "CRM", "channel": "web", "party": "first"}).is_success
        for name in ("house", "rival"):
            more = {"kind": "processor", "country": "DE", "contract": True}
            assert post("/v1/recipients", json={"id": name, "name": name} | more).is_success
        items = [{"member_no": f"M-{n}", "country": "DE"} for n in range(1, PEOPLE + 1)]
        assert post("/v1/subjects", json={"source": "crm", "items": items}).is_success
        yield made


def name(edge: Edge, key: str, number: int = 1) -> str:
    reply = edge.client(key).post("/v1/subjects/lookup", json={"identifier": {"member_no": f"M-{number}"}})
    return str(reply.json()["pseudonym"])


def roll(edge: Edge, recipient: str = "house", **more: int) -> dict[str, Any]:
    reply = edge.admin.post(f"/v1/recipients/{recipient}/epochs", json=more)
    assert reply.status_code == 201, reply.text
    return dict(reply.json())


def test_a_recipient_moves_its_table(edge: Edge) -> None:
    house = edge.issue("house_key", "decide", "audience", recipient="house")
    old = [name(edge, house, n) for n in range(1, PEOPLE + 1)]
    assert edge.client(house).get("/v1/pseudonyms/epochs").json()["former"] == []
    rolled = roll(edge, overlap_seconds=3600)
    assert (rolled["recipient"], rolled["sector"], rolled["epoch"]) == ("house", "house", 2)
    assert edge.client(house).get("/v1/pseudonyms/epochs").json() == rolled
    assert [former["epoch"] for former in rolled["former"]] == [1]
    sent = {"pseudonyms": [*old, "p1-" + "0" * 32]}
    answers = [edge.client(house).post("/v1/pseudonyms/convert", json=sent).json() for _ in range(2)]
    entries = [answer.pop("entry") for answer in answers]
    assert answers[0] == answers[1]
    assert entries[0] != entries[1]
    assert answers[0]["pseudonyms"] == [*(name(edge, house, n) for n in range(1, PEOPLE + 1)), None]
    assert (answers[0]["epoch"], answers[0]["converted"], answers[0]["refused"]) == (2, PEOPLE, 1)
    assert answers[0]["refusal"]["code"] == "unknown_pseudonym"
    (item,) = [i for i in edge.admin.get("/v1/recipients").json()["items"] if i["id"] == "house"]
    assert item["epoch"] == 2


def test_an_epoch_that_ended_answers_like_one_that_never_was(edge: Edge) -> None:
    """Erased, ended, foreign, forged and malformed: the same bytes but for the entry's number."""
    house = edge.issue("house_key", "decide", "audience", recipient="house")
    rival = edge.issue("rival_key", "decide", "audience", recipient="rival")
    ended = name(edge, house)
    assert roll(edge, overlap_seconds=0)["former"] == []
    erased = name(edge, house, 2)
    own = edge.admin.post("/v1/subjects/lookup", json={"identifier": {"member_no": "M-2"}}).json()["pseudonym"]
    assert edge.admin.post(f"/v1/subjects/{own}/erase", json={}).is_success
    nobodies = [ended, erased, name(edge, rival), "p2-" + "0" * 32, "p2-", "p2-" + "0" * 4000, "P2"]
    use = {"purpose": "direct_marketing", "channel": "email", "recipient": "house"}
    decisions, moves = [], []
    for text in nobodies:
        decided = edge.client(house).post("/v1/decisions/batch", json=use | {"subjects": [{"pseudonym": text}]})
        moved = edge.client(house).post("/v1/pseudonyms/convert", json={"pseudonyms": [text]})
        decisions.append(decided.json())
        moves.append(moved.json())
    # What cannot be a pseudonym by its length is refused with its field, before anybody is looked for.
    assert decisions.pop(5)["errors"][0]["path"] == "$.subjects[0].pseudonym"
    for answers in (decisions, moves):
        for answer in answers:
            answer.pop("entry"), answer.pop("at", None)
        assert all(answer == answers[0] for answer in answers), answers
    assert moves[0]["pseudonyms"] == [None]


def test_only_an_administrator_rolls(edge: Edge) -> None:
    house = edge.issue("house_key", "decide", "audience", recipient="house")
    assert edge.client(house).post("/v1/recipients/house/epochs", json={}).status_code == 403
    assert edge.admin.post("/v1/recipients/nobody/epochs", json={}).status_code == 404
    refused = edge.admin.post("/v1/recipients/house/epochs", json={"overlap_seconds": -1})
    assert refused.json()["errors"][0]["path"] == "$.overlap_seconds"


def test_a_repeated_roll_with_its_key_is_one_epoch(edge: Edge) -> None:
    key = {"idempotency-key": "roll-1"}
    replies = [edge.admin.post("/v1/recipients/house/epochs", json={}, headers=key) for _ in range(2)]
    assert replies[0].content == replies[1].content
    assert replies[1].json()["epoch"] == 2


def test_a_hundred_thousand_names_are_one_call_and_more_are_refused(edge: Edge) -> None:
    house = edge.issue("house_key", "decide", "audience", recipient="house")
    some = name(edge, house)
    limit = edge.client(house).post("/v1/pseudonyms/convert", json={"pseudonyms": [some] * 100_000})
    assert (limit.status_code, limit.json()["converted"]) == (200, 100_000)
    beyond = edge.client(house).post("/v1/pseudonyms/convert", json={"pseudonyms": ["x"] * 100_001})
    assert (beyond.status_code, beyond.json()["code"]) == (413, "too_large")
    assert edge.client(house).post("/v1/pseudonyms/convert", json={"pseudonyms": []}).status_code == 400
