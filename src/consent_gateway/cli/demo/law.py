"""The law changes: proposed by one person, compared, watched beside the law in force, activated by another, taken back.

The candidate is the pack of the GDPR with one rule more, a company's own: a yes to marketing e-mail needs a second step
(Art 7(1): who relies on consent has to show it). A decision of before is computed again afterwards: the same answer.
"""

from __future__ import annotations

import json
import re
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import Any

from consent_gateway.cli.demo.client import Api
from consent_gateway.cli.demo.decisions import DENY, PERMIT, decide
from consent_gateway.cli.demo.histories import MARKETING
from consent_gateway.cli.demo.people import Profile
from consent_gateway.cli.demo.setup import MAIL_HOUSE
from consent_gateway.cli.demo.tour import Tour, identifier

PACK, MISSING, TO_DENY = "gdpr", "two_step_missing", "permit_to_deny"
RULE = """
  - {id: gdpr.company_second_step, law: GDPR, cites: "GDPR Art 7(1); company policy", mark: POLICY, effect: deny,
     reason: two_step_missing,
     when: {purpose: [direct_marketing, personalised_marketing], channel: email, consent: given, two_step: no,
            guardian: no}}"""
_VERSION, _RULES = re.compile(r"^version: \d+$", re.MULTILINE), re.compile(r"^rules:$", re.MULTILINE)


def change(tour: Tour) -> None:
    """Take the candidate through its life with two keys, and hold each stage to what the ones before it said."""
    version = next(t["version"] for t in tour.api.get("/v1/policies")["items"] if _in_force(t))
    text = candidate(tour.api.get(f"/v1/policies/{PACK}/{version}")["text"], version + 1)
    tour.places.candidate.write_text(text, encoding="utf-8")
    name = f"/v1/policies/{PACK}/{version + 1}"
    with ThreadPoolExecutor(1) as beside:  # the second key is made meanwhile
        made = beside.submit(_second_person, tour)
        one_step = _one_step_permitted(tour)
        past = decide(tour, one_step[0], MARKETING, "email", MAIL_HOUSE)
        _compare(tour, text)
        tour.check("proposed: a candidate decides nothing", tour.api.post("/v1/policies", {"text": text})["id"] == PACK)
        _watch(tour, name, one_step)
        refused = tour.api.problem("POST", f"{name}/activate", {})
        tour.check("who proposed it can not activate it", refused is not None, "" if refused is None else refused.code)
    with closing(made.result()) as second:
        active = second.post(f"{name}/activate", {})
        whose = f"proposed by {active['proposed_by']}, activated by {active['approved_by']}"
        tour.check("a second person activates it", active["state"] == "active", whose)
        tour.check("now they are refused", _permitted(tour, one_step) == 0, f"0 of {len(one_step)}")
        _replay(tour, past["entry"]["uid"])
        second.post("/v1/policies", {"again": {"id": PACK, "version": version}})
        tour.api.post(f"/v1/policies/{PACK}/{version}/activate", {})
    tour.check("rolled back the same way: permitted as before", _permitted(tour, one_step) == len(one_step))


def candidate(text: str, version: int) -> str:
    """Return the text of the pack under another version, with the company's rule first."""
    return _RULES.sub(lambda found: found.group() + RULE, _VERSION.sub(f"version: {version}", text, count=1), count=1)


def _in_force(text: dict[str, Any]) -> bool:
    return bool(text["id"] == PACK and text["state"] == "active")


def _one_step_permitted(tour: Tour) -> list[dict[str, str]]:
    """Return everybody in Germany who agreed in one step and may be written to now."""
    asked = [identifier(p) for p in tour.crowd.members if p.country == "DE" and p.profile is Profile.GIVEN]
    results = _ask(tour, asked)
    return [who for who, result in zip(asked, results, strict=True) if result["outcome"] == PERMIT]


def _ask(tour: Tour, who: list[dict[str, str]]) -> list[dict[str, Any]]:
    question = {"purpose": MARKETING, "channel": "email", "recipient": MAIL_HOUSE, "subjects": who}
    results: list[dict[str, Any]] = tour.api.post("/v1/decisions/batch", question)["results"]
    return results


def _permitted(tour: Tour, who: list[dict[str, str]]) -> int:
    return sum(result["outcome"] == PERMIT for result in _ask(tour, who))


def _compare(tour: Tour, text: str) -> None:
    """Say before anything is proposed how many of today's people the candidate would refuse, and why."""
    question = {"old": {"name": "active"}, "new": {"text": text}, "purposes": [MARKETING], "channels": ["email"]}
    found = tour.api.post("/v1/policies/diff", question | {"recipients": [MAIL_HOUSE]})
    use = found["uses"][0]
    because = {(rule, group["would_be"]) for group in use["groups"] for rule in group["rules"]}
    added = [rule["id"] for rule in found["rules"] if rule["edit"] == "added"]
    more = use["changes"][TO_DENY]  # None: withheld, because it would give a small count away
    only = added == ["gdpr.company_second_step"] and (added[0], MISSING) in because
    opened = [group for group in use["groups"] if group["change"] == "deny_to_permit"]
    detail = f"would refuse {'some' if more is None else more} more of {use['people']}, because of {MISSING}"
    tour.check("compared with the law in force over today's people", only and more != 0 and not opened, detail)
    tour.facts["law"] = found


def _watch(tour: Tour, name: str, one_step: list[dict[str, str]]) -> None:
    tour.api.post(f"{name}/shadow", {"on": True})
    permitted, asked = _permitted(tour, one_step), len(one_step)
    claim = "in shadow: it is asked beside the law, and changes no answer"
    tour.check(claim, permitted == asked, f"{permitted} of {asked} permitted")
    seen = tour.api.get(f"{name}/shadow")["changes"][TO_DENY]
    tour.check("the report of the shadow counts whom it would have refused", seen == len(one_step), str(seen))


def _second_person(tour: Tour) -> Api:
    """Return the API under the key of a second person, who may change the law."""
    command = ("keys", "issue", "officer", "--scope", "policy", "--store", str(tour.places.store), "--json")
    done = tour.commands.gateway(*command)
    return Api(tour.api.url, json.loads(done.output)["api_key"])


def _replay(tour: Tour, uid: str) -> None:
    again = tour.api.post(f"/v1/decisions/{uid}/replay", {"against": "active"})
    same = again["state"] == "same" and again["computed"]["outcome"] == PERMIT
    tour.check("a decision of before, computed again: the same answer", same, f"{again['computed']['reason_code']}")
    today = again["against"]
    changed = (today["outcome"], today["reason_code"]) == (DENY, MISSING)
    tour.check("the same facts under the new law", changed, today["reason_code"])
