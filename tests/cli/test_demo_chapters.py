"""The chapters of the demo go red when the gateway answers otherwise: every answer that they ask for is planted once."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest
from test_demo_story import a_tour, an_answer, failed

from consent_gateway.cli.demo import banner, law, merge, notices, receipt, reveal, second_step, signals
from consent_gateway.cli.demo.server import Commands, Finished
from consent_gateway.policies import packs
from consent_gateway.policies.signals.detect import decode
from consent_gateway.policies.signals.effects import PurposeRule, TcfMapping, effects_of

PERMIT, DENY, OUTDATED = ("permit", "why"), ("deny", "why"), ("deny", "consent_outdated")
OK: dict[str, Any] = {"accepted": 1, "rejected": 0}


@dataclass
class Scripted:
    """A gateway that gives single decisions in order, and to other requests the answer of their route."""

    decisions: list[tuple[str, str]] = field(default_factory=list)
    routes: dict[str, Any] = field(default_factory=dict)
    citation: str = "11 CCR 7025(c)(1)"

    def __post_init__(self) -> None:
        self._waiting = iter(self.decisions)

    def __call__(self, request: httpx.Request) -> httpx.Response:
        if request.url.path == "/v1/decisions":
            outcome, code = next(self._waiting)
            reason = {"code": code, "citation": self.citation, "text": "because", "text_zh": "因为"}
            more = {"reason_code": code, "reasons": [reason], "entry": {"uid": "00"}}
            return httpx.Response(200, json=an_answer(outcome) | more)
        for route, answer in self.routes.items():
            if re.fullmatch(route, f"{request.method} {request.url.path}"):
                found = answer(request) if callable(answer) else answer
                return found if isinstance(found, httpx.Response) else httpx.Response(200, json=found)
        return httpx.Response(200, json=OK)


def flips(decisions: list[tuple[str, str]]) -> list[list[tuple[str, str]]]:
    """The script with each outcome turned around, one at a time."""
    turned = {"permit": "deny", "deny": "permit"}
    return [
        [(turned[outcome] if n == index else outcome, code) for n, (outcome, code) in enumerate(decisions)]
        for index in range(len(decisions))
    ]


def played(tmp_path, chapter, gateway, commands=()):
    tour = a_tour(tmp_path, gateway)
    tour.api.http.headers["Authorization"] = "Bearer cg_test_key"
    tour.commands = Spoken(list(commands))
    chapter(tour)
    assert tour.checks
    return tour


class Spoken(Commands):
    """Commands that answer what they are told to, in order of the call."""

    def __init__(self, answers: list[Finished]) -> None:
        object.__setattr__(self, "answers", answers)

    def gateway(self, *arguments: str) -> Finished:
        wanted = next((a for a in self.answers if a.output.split(":")[0] in " ".join(arguments)), None)
        return wanted or self.answers[0]

    def run(self, *command: str) -> Finished:
        return self.gateway(*command)


# -- signals ---------------------------------------------------------------------------------------------------------


def test_the_strings_of_the_banner_say_what_they_are_for():
    rule = PurposeRule(signals.PURPOSES, "sharing", None)
    mapping = TcfMapping((rule,), {signals.VENDOR: "partner"})
    now = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)
    yes = effects_of(decode(banner.tc_string(now, signals.PURPOSES, signals.VENDOR)), mapping)
    no = effects_of(decode(banner.tc_string(now, (), signals.VENDOR)), mapping)
    assert ([s.given for s in yes.statements], yes.violations) == ([True], ())
    assert ([s.given for s in no.statements], no.violations) == ([False], ())
    assert effects_of(decode(banner.gpp_string(gpc=True)), mapping).choices == ("gpc",)
    assert effects_of(decode(banner.gpp_string(gpc=False)), mapping).choices == ()


HEARD = [DENY, PERMIT, DENY, DENY]
DID = {"items": [{"effects": {"choices": ["gpc"]}}]}
SIGNAL_ROUTES = {"POST /v1/subjects/lookup": {"pseudonym": "p1-0"}, "GET /v1/subjects/p1-0/signals": DID}
DECODED = [Finished(0, '{"Gpc": true}')]


def test_signals_are_judged(tmp_path):
    assert not played(tmp_path, signals.hear, Scripted(HEARD, SIGNAL_ROUTES), DECODED).failures


@pytest.mark.parametrize("planted", flips(HEARD))
def test_a_signal_that_is_not_heeded_is_found(tmp_path, planted):
    assert len(played(tmp_path, signals.hear, Scripted(planted, SIGNAL_ROUTES), DECODED).failures) == 1


def test_a_string_that_is_shown_or_not_decoded_or_not_cited_is_found(tmp_path):
    leak = {"items": [{"effects": {"choices": ["gpc"]}, "raw": banner.gpp_string(gpc=True)}]}
    for gateway, commands in (
        (Scripted(HEARD, SIGNAL_ROUTES | {"GET /v1/subjects/p1-0/signals": leak}), DECODED),
        (Scripted(HEARD, SIGNAL_ROUTES), [Finished(2, "")]),
        (Scripted(HEARD, SIGNAL_ROUTES, citation="GDPR Art 6"), DECODED),
    ):
        assert len(played(tmp_path, signals.hear, gateway, commands).failures) == 1


# -- second step -----------------------------------------------------------------------------------------------------

STEPS = [DENY, DENY, PERMIT]


def confirming(*, page="<button>", statuses=(200, 409)):
    waiting = iter(statuses)

    def visit(request: httpx.Request) -> httpx.Response:
        assert "authorization" not in request.headers
        return httpx.Response(200, text=page) if request.method == "GET" else httpx.Response(next(waiting))

    asked = OK | {"confirmations": [{"row": 0, "token": "t", "expires_at": ""}]}
    return {"POST /v1/consents": asked, r"(GET|POST) /v1/consents/confirmations/t": visit}


def test_a_second_step_is_judged_and_its_page_kept(tmp_path):
    tour = played(tmp_path, second_step.confirm, Scripted(STEPS, confirming()))
    assert not tour.failures
    assert tour.places.page.read_text(encoding="utf-8") == "<button>"


@pytest.mark.parametrize("planted", flips(STEPS))
def test_a_step_that_counts_too_early_or_not_at_all_is_found(tmp_path, planted):
    assert len(played(tmp_path, second_step.confirm, Scripted(planted, confirming())).failures) == 1


@pytest.mark.parametrize(
    "planted",
    [{"page": "nothing"}, {"page": f"<button>{second_step.NEWCOMER['email']}"}, {"statuses": (200, 200)}],
    ids=["no button", "names the person", "works twice"],
)
def test_a_page_or_token_that_misbehaves_is_found(tmp_path, planted):
    assert len(played(tmp_path, second_step.confirm, Scripted(STEPS, confirming(**planted))).failures) == 1


# -- merge -----------------------------------------------------------------------------------------------------------

APART, AS_ONE = [PERMIT, DENY], [DENY, DENY]
MERGED = [*APART, *APART, *AS_ONE, *APART]


def merging(*, changed=True):
    standing = {"purpose": "direct_marketing", "channel": "email", "before": ["given"], "after": ["withdrawn"]}
    standing |= {"reason": "the_no_holds"}

    def answer(request: httpx.Request) -> dict[str, Any]:
        dry = json.loads(request.content)["dry_run"]
        return {"changed": changed, "dry_run": dry, "merge": 1, "entries": [{}], "standings": [standing]}

    return {"POST /v1/subjects/merge": answer, "POST /v1/subjects/unmerge": {"changed": True}}


def test_a_merge_is_judged(tmp_path):
    assert not played(tmp_path, merge.unite, Scripted(MERGED, merging())).failures


@pytest.mark.parametrize("planted", flips(MERGED))
def test_a_merge_that_revives_or_does_not_restore_is_found(tmp_path, planted):
    assert len(played(tmp_path, merge.unite, Scripted(planted, merging())).failures) == 1


def test_a_merge_that_records_nothing_is_found(tmp_path):
    assert len(played(tmp_path, merge.unite, Scripted(MERGED, merging(changed=False))).failures) == 1


# -- notices ---------------------------------------------------------------------------------------------------------

ASKED = [PERMIT, PERMIT, PERMIT, OUTDATED, OUTDATED, PERMIT, PERMIT]


def resolving(before, after, reason="consent_outdated"):
    waiting = iter((before, after))
    streams = {}

    def resolved(_request: httpx.Request) -> dict[str, Any]:
        members, name = next(waiting), f"a{len(streams)}"
        streams[name] = members
        return {"id": name, "size": len(members), "waterfall": [{"stage": "consent", "reasons": {reason: 1}}]}

    def members(request: httpx.Request) -> httpx.Response:
        found = streams[request.url.path.split("/")[3]]
        return httpx.Response(200, text="\n".join(json.dumps({"pseudonym": m}) for m in found))

    return {"POST /v1/audiences": resolved, r"GET /v1/audiences/\w+/members": members}


def test_a_changed_notice_is_judged(tmp_path):
    assert not played(tmp_path, notices.change, Scripted(ASKED, resolving("abc", "a"))).failures


@pytest.mark.parametrize("planted", flips(ASKED))
def test_a_yes_that_is_outdated_too_much_or_too_little_is_found(tmp_path, planted):
    assert len(played(tmp_path, notices.change, Scripted(planted, resolving("abc", "a"))).failures) == 1


@pytest.mark.parametrize(
    "planted",
    [("abc", "abc"), ("ab", "ac"), ("abc", "a", "no_prior_consent")],
    ids=["loses nobody", "wins somebody", "does not say why"],
)
def test_an_audience_that_does_not_follow_the_notice_is_found(tmp_path, planted):
    assert len(played(tmp_path, notices.change, Scripted(ASKED, resolving(*planted))).failures) == 1


# -- law -------------------------------------------------------------------------------------------------------------


def test_the_candidate_can_be_read_and_has_one_rule_more():
    texts = packs.builtin_texts()
    text = law.candidate(texts[law.PACK], 77)
    before, pack = (
        next(p for p in packs.load(found).packs if p.id == law.PACK) for found in (texts, texts | {law.PACK: text})
    )
    assert pack.version == 77
    assert {r.id for r in pack.rules} - {r.id for r in before.rules} == {"gdpr.company_second_step"}


def changing(**planted: Any) -> dict[str, Any]:
    """A store in which the candidate refuses everybody from its activation to the roll back."""
    say = {"shadowed": None, "shadow_permits": 1.0, "active_permits": 0.0, "back_permits": 1.0, "may_alone": False,
           "state": "same", "against": law.MISSING, "more": 3, "rule": "gdpr.company_second_step"} | planted  # fmt: skip
    stages, active = iter((1.0, say["shadow_permits"], say["active_permits"], say["back_permits"])), []

    def batch(request: httpx.Request) -> dict[str, Any]:
        who = json.loads(request.content)["subjects"]
        say["asked"], permitted = len(who), int(len(who) * next(stages))
        outcomes = ["permit"] * permitted + ["deny"] * (len(who) - permitted)
        return {"results": [{"outcome": outcome} for outcome in outcomes]}

    def activate(_request: httpx.Request) -> httpx.Response:
        active.append(1)
        if len(active) == 1 and not say["may_alone"]:
            return httpx.Response(403, json={"code": "forbidden"})
        return httpx.Response(200, json={"state": "active", "proposed_by": "a", "approved_by": "b"})

    group = {"change": law.TO_DENY, "would_be": law.MISSING, "rules": [say["rule"]]}
    use = {"people": 9, "changes": {law.TO_DENY: say["more"]}, "groups": [group]}
    computed = {"outcome": "permit", "reason_code": "consent_valid"}
    today = {"outcome": "deny", "reason_code": say["against"]}
    return {
        "GET /v1/policies": {"items": [{"id": law.PACK, "state": "active", "version": 1}]},
        "GET /v1/policies/gdpr/1": {"text": "version: 1\nrules:\n"},
        "POST /v1/policies": {"id": law.PACK},
        "POST /v1/policies/diff": {"uses": [use], "rules": [{"id": say["rule"], "edit": "added"}]},
        "GET /v1/policies/gdpr/2/shadow": lambda _r: {
            "changes": {law.TO_DENY: say["asked"] if say["shadowed"] is None else say["shadowed"]}
        },
        r"POST /v1/policies/gdpr/\d/activate": activate,
        "POST /v1/decisions/00/replay": {"state": say["state"], "computed": computed, "against": today},
        "POST /v1/decisions/batch": batch,
    }


def lawful(tmp_path, monkeypatch, **planted):
    gateway = Scripted([PERMIT], changing(**planted))

    def second(tour):
        api = type(tour.api)(tour.api.url, "cg_second_key")
        api.http = httpx.Client(base_url=api.url, transport=httpx.MockTransport(gateway))
        return api

    monkeypatch.setattr(law, "_second_person", second)
    return played(tmp_path, law.change, gateway)


def test_a_change_of_the_law_is_judged(tmp_path, monkeypatch):
    assert not lawful(tmp_path, monkeypatch).failures


@pytest.mark.parametrize(
    "planted",
    [
        {"shadowed": 0},
        {"shadow_permits": 0.5},
        {"active_permits": 1.0},
        {"back_permits": 0.0},
        {"may_alone": True},
        {"state": "differs"},
        {"against": "consent_valid"},
        {"more": 0},
        {"rule": "gdpr.other"},
    ],
    ids=str,
)
def test_a_change_that_misbehaves_is_found(tmp_path, monkeypatch, planted):
    assert len(lawful(tmp_path, monkeypatch, **planted).failures) == 1


# -- reveal ----------------------------------------------------------------------------------------------------------


def revealing(tmp_path, monkeypatch, **planted):
    """A gateway that answers three reveals, refuses a field, and after a canary everything; with planted faults."""
    say = {"masked": "f***@example.org", "plain": None, "lists": True, "gone": "deny", "log": "canary.read",
           "told": "", "stops": True} | planted  # fmt: skip
    person = a_tour(tmp_path).crowd.parts["de_yes"]
    withdrawn = a_tour(tmp_path).crowd.parts["cn_yes"]
    asked = []

    def answer(request):
        body, canary, gone = json.loads(request.content), "p1-c" in request.url.path, "p1-g" in request.url.path
        if body["fields"] != ["email"] and say["lists"]:
            return httpx.Response(
                400, json={"code": "invalid_input", "detail": "the purpose does not list family_name"}
            )
        if canary:
            asked.append(canary)
            if len(asked) > 1 and say["stops"]:
                return httpx.Response(403, json={"code": "forbidden"})
            return {"outcome": "permit", "values": {}, "note": say["told"]}
        if gone:
            values = {} if say["gone"] == "deny" else {"email": ["x"]}
            return {"outcome": say["gone"], "reason_code": "why", "values": values}
        plain = say["plain"] or (person.email or "").lower()
        return {"outcome": "permit", "values": {"email": [plain if body.get("view") == "plain" else say["masked"]]}}

    def lookup(request):
        gone = withdrawn.member_no in request.content.decode()
        return {"pseudonym": "p1-g" if gone else "p1-0"}

    purpose = dict.fromkeys(reveal.DECLARED) | {"id": reveal.MARKETING}
    gateway = Scripted(
        [],
        {
            "GET /v1/purposes": {"items": [purpose]},
            "POST /v1/subjects/lookup": lookup,
            "POST /v1/canaries": {"pseudonym": "p1-c"},
            "POST /v1/subjects/.*/reveal": answer,
        },
    )

    def desk(tour):
        api = type(tour.api)(tour.api.url, "cg_desk_key")
        api.http = httpx.Client(base_url=api.url, transport=httpx.MockTransport(gateway))
        return api

    def chapter(tour):
        tour.withdrawn = withdrawn
        tour.places.server_log.parent.mkdir(parents=True, exist_ok=True)
        tour.places.server_log.write_text(say["log"], encoding="utf-8")
        reveal.look(tour)

    monkeypatch.setattr(reveal, "_desk", desk)
    return played(tmp_path, chapter, gateway)


def test_a_reveal_is_judged(tmp_path, monkeypatch):
    found = revealing(tmp_path, monkeypatch)
    assert not found.failures
    assert len(found.checks) == 6


@pytest.mark.parametrize(
    "planted",
    [
        {"masked": "felix@example.org"},
        {"plain": "somebody@example.org"},
        {"lists": False},
        {"gone": "permit"},
        {"log": ""},
        {"told": "a canary"},
        {"stops": False},
    ],
    ids=str,
)
def test_a_reveal_that_misbehaves_is_found(tmp_path, monkeypatch, planted):
    assert len(revealing(tmp_path, monkeypatch, **planted).failures) == 1


# -- receipt ---------------------------------------------------------------------------------------------------------

VERIFIED = [Finished(0, "consent-receipt.json: ok"), Finished(1, "consent-receipt-altered.json: FAIL altered")]


def issuing(*, content=b'"direct_marketing"', again=404):
    document = b'{"receipt": {"log": {"entry": "ab"}, "purpose": ' + content + b'}, "signature": "s"}'
    waiting = iter((httpx.Response(200, content=document), httpx.Response(again, json={"code": "not_found"})))
    purpose = dict.fromkeys(receipt.DECLARED, "x") | {"id": "direct_marketing"}
    return {
        "GET /v1/purposes": {"items": [purpose]},
        "POST /v1/consents/receipt": lambda _r: next(waiting),
        "POST /v1/subjects/lookup": {"pseudonym": "p1-0"},
        "POST /v1/subjects/p1-0/erase": {"erased": True},
    }


def test_a_receipt_is_judged_and_an_altered_copy_is_made(tmp_path):
    tour = played(tmp_path, receipt.keep, Scripted([], issuing()), VERIFIED)
    assert not tour.failures
    genuine, altered = (p.read_bytes() for p in (tour.places.consent_receipt, tour.places.altered_receipt))
    assert genuine.replace(b"direct_marketing", b"everything") == altered != genuine


@pytest.mark.parametrize(
    ("planted", "verified"),
    [
        ({"content": b'"nora.neumann@example.org direct_marketing"'}, VERIFIED),
        ({"again": 200}, VERIFIED),
        ({}, [Finished(1, VERIFIED[0].output), VERIFIED[1]]),
        ({}, [VERIFIED[0], Finished(0, VERIFIED[1].output)]),
    ],
    ids=["names the person", "outlives the erasure", "does not verify", "verifies although altered"],
)
def test_a_receipt_that_misbehaves_is_found(tmp_path, planted, verified):
    assert len(played(tmp_path, receipt.keep, Scripted([], issuing(**planted)), verified).failures) == 1


def test_failures_are_named_by_their_claim(tmp_path):
    tour = played(tmp_path, merge.unite, Scripted(flips(MERGED)[4], merging()))
    assert failed(tour) == ["as one person: the no is kept, whichever address is used"]
