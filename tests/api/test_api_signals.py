"""Signals over HTTP: taken in, mapped, shown, refused; and what the gateway says of itself."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from consent_gateway.policies.signals.gpc import Support, read_well_known
from edge import NDJSON, Edge, running
from signals_encoder import Tc, gpp, us

NOW = "2026-11-01T10:00:00Z"
SOURCE = {"id": "crm", "name": "CRM", "channel": "web", "party": "first"}
ADNET = {"id": "adnet", "name": "Ad network", "kind": "ad_platform", "country": "DE", "contract": True}
MAPPING = {
    "purposes": [{"tcf_purposes": [3, 1], "purpose": "direct_marketing", "channel": "online_ads"}],
    "vendors": [{"tcf_vendor": 8, "recipient": "adnet"}, {"tcf_vendor": 20, "recipient": "self"}],
}


@pytest.fixture(scope="module")
def edge(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Edge]:
    with running(tmp_path_factory.mktemp("signals")) as made:
        for path, body in (("/v1/sources", SOURCE), ("/v1/recipients", ADNET)):
            assert made.admin.post(path, json=body).status_code == 200
        rows = [{"member_no": f"S{n}", "email": f"s{n}@example.org", "country": "DE"} for n in range(5)]
        assert made.admin.post("/v1/subjects", json={"source": "crm", "items": rows}).json()["accepted"] == 5
        yield made


def send(edge: Edge, *rows: dict[str, Any]) -> Any:
    items = [{"at": NOW} | row for row in rows]
    reply = edge.admin.post("/v1/signals", json={"source": "crm", "items": items})
    assert reply.status_code == 200, reply.text
    return reply.json()


def pseudonym(edge: Edge, number: int) -> str:
    reply = edge.admin.post("/v1/subjects/lookup", json={"identifier": {"member_no": f"S{number}"}})
    found: str = reply.json()["pseudonym"]
    return found


def test_the_gateway_says_that_it_honours_gpc(edge: Edge) -> None:
    reply = edge.client(None).get("/.well-known/gpc.json")
    found = read_well_known(reply.headers["content-type"], reply.json())
    assert (reply.status_code, found.support) == (200, Support.YES)
    assert found.last_update is not None


def test_a_mapping_is_shown_as_it_was_set(edge: Edge) -> None:
    reply = edge.admin.post("/v1/signal-mappings", json=MAPPING)
    assert reply.status_code == 200
    expected = {**MAPPING, "purposes": [MAPPING["purposes"][0] | {"tcf_purposes": [1, 3]}]}
    assert reply.json() == edge.admin.get("/v1/signal-mappings").json() == expected


@pytest.mark.parametrize(
    ("changes", "path"),
    [
        ({"purposes": [{"tcf_purposes": [], "purpose": "direct_marketing"}]}, "$.purposes[0].tcf_purposes"),
        ({"purposes": [{"tcf_purposes": [25], "purpose": "direct_marketing"}]}, "$.purposes[0].tcf_purposes[0]"),
        ({"purposes": [{"tcf_purposes": [1, 1], "purpose": "direct_marketing"}]}, "$"),
        ({"purposes": [{"tcf_purposes": [1], "purpose": "nowhere"}]}, "$.purposes[0].purpose"),
        ({"purposes": [{"tcf_purposes": [1], "purpose": "direct_marketing", "channel": "smoke"}]}, "$.purposes[0].channel"),
        ({"vendors": [{"tcf_vendor": 0, "recipient": "adnet"}]}, "$.vendors[0].tcf_vendor"),
        ({"vendors": [{"tcf_vendor": 1, "recipient": "nobody"}]}, "$.vendors[0].recipient"),
        ({"vendors": [{"tcf_vendor": 1, "recipient": "adnet"}] * 2}, "$"),
    ],
)  # fmt: skip
def test_a_mapping_that_cannot_be_is_refused(edge: Edge, changes: dict[str, Any], path: str) -> None:
    before = edge.admin.get("/v1/signal-mappings").json()
    reply = edge.admin.post("/v1/signal-mappings", json={"purposes": [], "vendors": []} | changes)
    assert reply.status_code == 400
    assert [e["path"] for e in reply.json()["errors"]] == [path]
    assert edge.admin.get("/v1/signal-mappings").json() == before


def test_signals_are_answered_one_by_one_and_shown_without_the_string(edge: Edge) -> None:
    raw = gpp({8: us([0, 0, 0, 1] + [0] * 16)})
    who = {"subject": {"member_no": "S1"}}
    done = send(
        edge,
        who | {"raw": "1", "displayed": True},
        who | {"raw": raw, "kind": "gpp"},
        who | {"raw": "nonsense"},
        who | {"raw": "0"},
        who | {"raw": "1", "kind": "smoke"},
        {"subject": {"device_id": "dev-unknown-0001"}, "raw": "1YYN"},
    )
    counts = {n: done[n] for n in ("received", "accepted", "created", "suppressed", "rejected")}
    assert counts == {"received": 6, "accepted": 3, "created": 2, "suppressed": 1, "rejected": 3}
    reasons = [(r["row"], r["reasons"][0]["path"], r["reasons"][0]["code"]) for r in done["rejections"]]
    assert [r[:2] for r in reasons] == [(3, "$.raw"), (4, "$.raw"), (5, "$.kind")]
    assert [r[2] for r in reasons[:2]] == ["undecodable_signal", "no_signal"]
    reply = edge.admin.get(f"/v1/subjects/{pseudonym(edge, 1)}/signals")
    assert reply.status_code == 200
    gpp_row, gpc_row = reply.json()["items"]
    assert (gpc_row["kind"], gpc_row["displayed"], gpc_row["at"]) == ("gpc", True, NOW)
    assert gpp_row["effects"] == {"choices": ["sale_share_opt_out"]}
    assert raw not in reply.text


def test_signals_come_as_lines_too(edge: Edge) -> None:
    row = {"subject": {"member_no": "S2"}, "raw": "1YYN", "at": NOW}
    lines = (json.dumps(row) + "\n{nonsense\n").encode()
    reply = edge.admin.post("/v1/imports/signals?source=crm", content=lines, headers=NDJSON)
    assert reply.status_code == 200
    assert (reply.json()["accepted"], reply.json()["rejected"]) == (1, 1)


def test_a_signal_restricts_a_decision(edge: Edge) -> None:
    rules = [{"tcf_purposes": [1], "purpose": "direct_marketing", "channel": "email"}]
    edge.admin.post("/v1/signal-mappings", json=MAPPING | {"purposes": rules})
    ask = {"subject": {"member_no": "S3"}, "purpose": "direct_marketing", "channel": "email"}
    given = {
        "purpose": "direct_marketing",
        "kind": "given",
        "at": "2026-10-01T10:00:00Z",
        "properties": ["affirmative", "evidence"],
    }
    given |= {"evidence": {"form": "newsletter"}}
    consent = edge.admin.post("/v1/consents", json={"source": "crm", "items": [given | {"subject": ask["subject"]}]})
    assert consent.json()["accepted"] == 1, consent.text
    before = edge.admin.post("/v1/decisions", json=ask).json()
    no = Tc(consents=set(), vendors={20}, disclosed={20}, created=17_900_000_000, updated=17_900_000_000)
    send(edge, {"subject": ask["subject"], "raw": no.text()})
    after = edge.admin.post("/v1/decisions", json=ask).json()
    assert before["reason_code"] != "consent_withdrawn"
    assert (after["outcome"], after["reason_code"]) == ("deny", "consent_withdrawn")


def test_nobody_else_sees_the_signals_of_a_person(edge: Edge) -> None:
    own = pseudonym(edge, 1)
    foreign = edge.issue("foreign", "decide", recipient="adnet")
    for name in (own, "p1-" + "0" * 32):
        assert edge.client(foreign).get(f"/v1/subjects/{name}/signals").status_code == 403
    # Not even under the pseudonym that it was given itself: what somebody signalled elsewhere is no answer to it.
    known = edge.client(foreign).post("/v1/subjects/lookup", json={"identifier": {"member_no": "S1"}}).json()
    assert edge.client(foreign).get(f"/v1/subjects/{known['pseudonym']}/signals").status_code == 403
    assert edge.admin.get("/v1/subjects/nonsense/signals").status_code == 404
