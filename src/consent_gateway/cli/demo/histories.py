"""What the demo's people agreed to and refused: consent events and choices of every kind, some of them unusable.

Each `Profile` is a short history of direct marketing by e-mail: given at once or in two steps, with an end that is
still to come or has passed, brought along from an older system, refused, withdrawn, granted again, never confirmed,
never asked. SMS, sharing with a named partner, and segmentation have histories of their own, so that someone may say
yes to e-mail and no to SMS. The unusable lines are at the end, with the flaw that must get them refused.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from consent_gateway.cli.demo.dice import Dice
from consent_gateway.cli.demo.people import AGREED, UNKNOWN, Choice, Crowd, Person, Profile

Item = dict[str, Any]

MARKETING, SHARING, SEGMENTING = "direct_marketing", "third_party_audience_sharing", "segmentation_for_marketing"
NOTICE, PARTNER = "welcome", "ads_partner"


class LineFlaw(StrEnum):
    """Why a line of consents or events must be refused."""

    STRANGER = "unknown person"
    UNKNOWN_PURPOSE = "unknown purpose"
    UNKNOWN_KIND = "unknown kind"
    NO_SUCH_DAY = "30 February"
    FUTURE = "an instant next year"
    NOT_JSON = "not JSON"
    NO_SUBJECT = "no person named"
    WRONG_TYPE = "a value that is not a number"


@dataclass(frozen=True, slots=True)
class JsonLine:
    """One line of an NDJSON file; `flaw` is None where the gateway must take it, `repeat` where it has it already."""

    text: str
    flaw: LineFlaw | None = None
    repeat: bool = False


def instant(moment: datetime) -> str:
    """Return an RFC 3339 instant in UTC, to the second."""
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


def json_line(item: Item, flaw: LineFlaw | None = None) -> JsonLine:
    """Return the line of an item."""
    return JsonLine(json.dumps(item, ensure_ascii=False, separators=(",", ":")), flaw)


def consents(crowd: Crowd, now: datetime) -> Iterator[JsonLine]:
    """Yield the consents of everybody, oldest person first, then the lines that must be refused."""
    for person in crowd.members:
        dice = Dice(f"{person.key}/consents")
        for item in (*_email(person, dice, now), *_sms(person, dice, now), *_sharing(person, dice, now)):
            yield json_line(item)
    yield from unusable_consents(crowd.members[0], now)


def choices(crowd: Crowd, now: datetime) -> Iterator[JsonLine]:
    """Yield the choices of everybody; a few objections were made and taken back, which leaves none."""
    for person in crowd.members:
        dice = Dice(f"{person.key}/choices")
        subject = {"member_no": person.member_no}
        taken_back = dice.chance(2) and Choice.OBJECTION not in person.choices
        for choice in (*person.choices, *((Choice.OBJECTION,) if taken_back else ())):
            at = now - timedelta(days=dice.between(20, 300))
            yield json_line({"subject": subject, "choice": choice, "active": True, "at": instant(at)})
        if taken_back:
            at = now - timedelta(days=dice.between(5, 19))
            yield json_line({"subject": subject, "choice": Choice.OBJECTION, "active": False, "at": instant(at)})


# -- one person ----------------------------------------------------------------------------------------------------


def _event(person: Person, purpose: str, channel: str | None, kind: str, at: datetime, **more: object) -> Item:
    item: Item = {"subject": {"member_no": person.member_no}, "purpose": purpose, "kind": kind, "at": instant(at)}
    return item | ({"channel": channel} if channel else {}) | more


def _properties(person: Person, *more: str) -> list[str]:
    """Return what is true of a well-made yes; forms in China ask for each use on its own (PIPL Art 23, 29)."""
    separate = ("separate",) if person.country in {"CN", UNKNOWN} else ()
    return ["affirmative", "evidence", *separate, *more]


_STEPS: dict[Profile, tuple[tuple[str, int], ...]] = {  # kind, and how long after the first step (days)
    Profile.GIVEN: (("given", 0),),
    Profile.TWO_STEP: (("pending", 0), ("given", 1)),
    Profile.EXPIRING: (("given", 0),),
    Profile.EXPIRED: (("given", 0),),
    Profile.IMPORTED: (("given", 0),),
    Profile.REGRANTED: (("given", 0), ("withdrawn", 60), ("given", 120)),
    Profile.WITHDRAWN: (("given", 0), ("withdrawn", 100)),
    Profile.REFUSED: (("refused", 0),),
    Profile.PENDING: (("pending", 0),),
    Profile.SILENT: (),
    Profile.GUARDIAN: (("given", 0),),
    Profile.NO_GUARDIAN: (("given", 0),),
}
_EXTRA: dict[Profile, tuple[str, ...]] = {Profile.TWO_STEP: ("two_step",), Profile.GUARDIAN: ("guardian",)}


def _email(person: Person, dice: Dice, now: datetime) -> Iterator[Item]:
    start = now - timedelta(days=dice.between(200, 640), minutes=dice.below(1440))
    for kind, days in _STEPS[person.profile]:
        more: Item = {}
        if kind == "given":
            more = _of_a_yes(person, dice, now)
        yield _event(person, MARKETING, "email", kind, start + timedelta(days=days), **more)


def _of_a_yes(person: Person, dice: Dice, now: datetime) -> Item:
    """Return what was recorded with a yes: its properties, the notice that was shown, its end, its evidence."""
    more: Item = {
        "properties": _properties(person, *_EXTRA.get(person.profile, ())),
        **_shown(person),
        "language": "zh" if person.country == "CN" else "en",
        "place": "/signup",
        "evidence": {
            "form": f"signup-{dice.below(900) + 100}",
            "ip": f"192.0.2.{dice.below(254) + 1}",
            **_seen_guardian(person),
        },
    }
    if person.profile is Profile.EXPIRING:
        more["valid_until"] = instant(now + timedelta(days=dice.between(60, 400)))
    if person.profile is Profile.EXPIRED:
        more["valid_until"] = instant(now - timedelta(days=dice.between(2, 90)))
    if person.profile is Profile.IMPORTED:
        more["imported"] = True
    if person.email and person.profile is Profile.GIVEN and dice.chance(8):
        more["contact_point"] = {"email": person.email}
    return more


def _shown(person: Person) -> Item:
    """Return what proves a yes: the text that was shown and how it was said; for a child, who spoke for it."""
    shown: Item = {"notice": NOTICE, "notice_version": 1, "method": "web_form"}
    seen = _seen_guardian(person)
    return shown | ({"evidence": seen} if seen else {})


def _seen_guardian(person: Person) -> Item:
    return {"guardian": "identity card seen in the shop"} if person.profile is Profile.GUARDIAN else {}


def _sms(person: Person, dice: Dice, now: datetime) -> Iterator[Item]:
    """Yield what was said about SMS; in the United States a yes is in writing (47 CFR 64.1200(f)(9))."""
    if person.phone is None or not dice.chance(45):
        return
    at = now - timedelta(days=dice.between(30, 500))
    if dice.chance(25):
        yield _event(person, MARKETING, "sms", "refused", at)
        return
    written = ("written",) if person.country.startswith("US") and dice.chance(70) else ()
    properties = _properties(person, *written, *_EXTRA.get(person.profile, ()))
    yield _event(person, MARKETING, "sms", "given", at, properties=properties, **_shown(person))


def _sharing(person: Person, dice: Dice, now: datetime) -> Iterator[Item]:
    """Yield a yes to segmentation of most who agreed, and to sharing with the named partner of some of them."""
    if person.profile not in AGREED:
        return
    at = now - timedelta(days=dice.between(30, 190))
    properties = _properties(person, *_EXTRA.get(person.profile, ()))
    if dice.chance(80):
        yield _event(person, SEGMENTING, None, "given", at, properties=properties, **_shown(person))
    for channel in ("email", "online_ads"):
        if dice.chance(30):
            yield _event(
                person, SHARING, channel, "given", at, properties=properties, recipient=PARTNER, **_shown(person)
            )


# -- lines that must be refused ------------------------------------------------------------------------------------


def unusable_consents(person: Person, now: datetime) -> Iterable[JsonLine]:
    """Return one line for each way in which a consent can be unusable; none of them may change anything."""
    at = now - timedelta(days=3)
    good = _event(person, MARKETING, "email", "given", at, properties=["affirmative"])
    return (
        json_line(good | {"subject": {"member_no": "HH-NOBODY"}}, LineFlaw.STRANGER),
        json_line(good | {"purpose": "unheard_of"}, LineFlaw.UNKNOWN_PURPOSE),
        json_line(good | {"kind": "perhaps"}, LineFlaw.UNKNOWN_KIND),
        json_line(good | {"at": "2023-02-30T10:00:00Z"}, LineFlaw.NO_SUCH_DAY),
        json_line(good | {"at": instant(now + timedelta(days=365))}, LineFlaw.FUTURE),
        json_line({key: value for key, value in good.items() if key != "subject"}, LineFlaw.NO_SUBJECT),
        JsonLine('{"subject":{"member_no":"HH0001"},"purpose":', LineFlaw.NOT_JSON),
    )
