"""The short way to a decision and the documented one are one: whatever is asked, both answer the same, byte for byte.

The path with a slash at its end reaches the documented handler alone, so that each question can be put to both.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from consent_gateway.clock import FixedClock
from edge import JSON, Edge, running

NOON = datetime(2026, 11, 18, 12, 0, tzinfo=UTC)
LAWS = settings(
    derandomize=True, deadline=None, max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
SHORT, DOCUMENTED = "/v1/decisions", "/v1/decisions/"


@pytest.fixture(scope="module")
def edge(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Edge]:
    with running(tmp_path_factory.mktemp("short"), clock=FixedClock(NOON)) as made:
        post = made.admin.post
        assert post("/v1/sources", json={"id": "crm", "name": "CRM", "channel": "web", "party": "first"}).is_success
        people = [
            {"member_no": "M-1", "email": "anna@example.org", "country": "DE"},
            {"member_no": "M-2", "country": "US-CA"},
        ]
        assert post("/v1/subjects", json={"source": "crm", "items": people}).is_success
        yield made


@pytest.fixture(scope="module")
def names(edge: Edge) -> list[str]:
    ask = edge.admin.post
    found = [ask("/v1/subjects/lookup", json={"identifier": {"member_no": f"M-{n}"}}).json() for n in (1, 2)]
    return [*(answer["pseudonym"] for answer in found), "p1-" + "0" * 32, "", "x", "p1-" + "0" * 400]


def lasting(reply: httpx.Response) -> tuple[int, str, Any]:
    """An answer without what is new every time."""
    body = {k: v for k, v in reply.json().items() if k not in ("entry", "request_id", "instance")}
    return reply.status_code, reply.headers["content-type"], body


def agree(edge: Edge, content: bytes, key: str | None = None) -> tuple[int, str, Any]:
    client = edge.admin if key is None else edge.client(key)
    short, documented = (client.post(path, content=content, headers=JSON) for path in (SHORT, DOCUMENTED))
    assert lasting(short) == lasting(documented), content
    assert set(short.headers) == set(documented.headers)
    return lasting(short)


PURPOSES = st.sampled_from(
    ["direct_marketing", "marketing", "nothing", "Direct_marketing", "", "direct_marketing\n", 7, None]
)
CHANNELS = st.sampled_from(["email", "sms", "none", "online_ads", "pigeon", "EMAIL", "", 1, None])
RECIPIENTS = st.sampled_from(["self", "nobody", "Self", "self\n", None, 1])
SWITCHES = st.sampled_from([True, False, "true", 1, None])
EXTRAS = st.dictionaries(
    st.sampled_from(["basis", "message", "nick", "Purpose", ""]), st.none() | st.just({}), max_size=1
)


@LAWS
@given(st.data())
def test_both_ways_answer_alike(edge: Edge, names: list[str], data: st.DataObject) -> None:
    subject = st.fixed_dictionaries(
        {}, optional={"pseudonym": st.sampled_from([*names, None, 1]), "member_no": st.just("M-1")}
    )
    question = data.draw(
        st.fixed_dictionaries(
            {"purpose": PURPOSES, "channel": CHANNELS, "subject": subject},
            optional={"recipient": RECIPIENTS, "explain": SWITCHES},
        )
    )
    body = question | data.draw(EXTRAS)
    if data.draw(st.booleans()):
        body.pop(data.draw(st.sampled_from(sorted(body))))
    status, _, _ = agree(edge, json.dumps(body).encode())
    assert status in (200, 400)


def test_plain_questions_are_answered(edge: Edge, names: list[str]) -> None:
    """The law above is not empty: known and unknown people, with and without explanation."""
    for name in names[:3]:
        for explain in (True, False):
            question = {
                "purpose": "direct_marketing",
                "channel": "email",
                "explain": explain,
                "subject": {"pseudonym": name},
            }
            status, _, body = agree(edge, json.dumps(question).encode())
            assert status == 200
            assert ("changes" in body) == explain


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"null", b'{"a":1,"a":2}', b"\xff", b'"\\ud800"', b"{}"])
def test_what_is_no_question_is_refused_alike(edge: Edge, content: bytes) -> None:
    assert agree(edge, content)[0] == 400


def test_keys_count_alike_on_both_ways(edge: Edge, names: list[str]) -> None:
    question = {"purpose": "direct_marketing", "channel": "email", "subject": {"pseudonym": names[0]}}
    content = json.dumps(question).encode()
    asking, other = edge.issue("asking", "decide"), edge.issue("other", "ingest")
    assert agree(edge, content, asking)[0] == 200
    assert agree(edge, content, other)[0] == 403
    assert agree(edge, content, "cg_unknown_" + "A" * 43)[0] == 401
    edge.revoke("asking")
    assert agree(edge, content, asking)[0] == 401


def test_a_difference_would_be_seen(edge: Edge, names: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    plain = {"purpose": "direct_marketing", "channel": "email", "subject": {"pseudonym": names[0]}}
    monkeypatch.setattr("test_api_short_way.DOCUMENTED", "/v1/decisions/batch")
    with pytest.raises(AssertionError):
        agree(edge, json.dumps(plain).encode())
