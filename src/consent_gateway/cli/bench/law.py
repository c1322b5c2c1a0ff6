"""The law in process, without store or network: what one decision costs from facts that are known.

Every figure is a mean over distinct points of the fact space, in microseconds. *Cold* starts with nothing compiled for
the question and no answer kept, so that it pays for everything once; *by rules* has the tables ready but answers every
point anew, from its facts; *remembered* asks again what was asked. The limits are what Python does for a call that
does nothing and for a look-up of the same points in a dictionary.
"""

from __future__ import annotations

from collections.abc import Sequence

from consent_gateway.cli.bench.calls import microseconds, nothing
from consent_gateway.cli.bench.crowd import REGIONS
from consent_gateway.cli.bench.plan import Plan
from consent_gateway.cli.bench.stats import Figure, Limit
from consent_gateway.cli.demo.dice import Dice
from consent_gateway.domain.consents import ConsentProperty, ConsentState
from consent_gateway.domain.purposes import Channel, PurposeKind
from consent_gateway.policies.compile import Program, Specialised
from consent_gateway.policies.counterfactual import Ways, ways
from consent_gateway.policies.facts import Facts, Question, Situation, build
from consent_gateway.policies.packs import load_builtin
from consent_gateway.policies.rules import PackSet

AIM_KNOWN_US, AIM_EXPLAINED_US = 3.0, 25.0
_SEED = "consent-gateway/bench/law/1"
_POINTS = 4000
_QUESTION = Question(purpose_kind=PurposeKind.DIRECT_MARKETING, channel=Channel.EMAIL)
_STATES = ((ConsentState.GIVEN, 60), (ConsentState.NONE, 25), (ConsentState.WITHDRAWN, 10), (ConsentState.EXPIRED, 5))
_PROPERTIES = tuple(ConsentProperty)


def measure(plan: Plan) -> list[Figure]:
    """Measure decisions of one question, decisions of any question, and counterfactuals."""
    packs = load_builtin()
    points = list({person(n).bits: person(n) for n in range(_POINTS)}.values())
    return [*_known(plan, packs, points), *_explained(plan, packs, points)]


def person(number: int) -> Facts:
    """Return the facts of a made-up person, a function of the number alone."""
    dice = Dice(str(number), _SEED)
    properties = ConsentProperty.AFFIRMATIVE | ConsentProperty.EVIDENCE
    for flag in _PROPERTIES:
        properties |= flag if dice.chance(40) else ConsentProperty(0)
    situation = Situation(
        regions=tuple(dice.weighted(REGIONS) for _ in range(dice.between(1, 2))),
        age=dice.between(10, 80) if dice.chance(94) else None,
        consent=dice.weighted(_STATES),
        properties=properties,
        scope_channel=dice.chance(85),
        scope_purpose=dice.chance(90),
        objection=dice.chance(5),
        restriction=dice.chance(3),
        gpc=dice.chance(15),
        sale_share_opt_out=dice.chance(10),
        capped=dice.chance(10),
        corporate=dice.chance(10),
        local_minutes=(dice.between(0, 1439),),
    )
    return build(_QUESTION, situation)


def _known(plan: Plan, packs: PackSet, points: Sequence[Facts]) -> list[Figure]:
    """Measure a question that is fixed beforehand, against the cheapest things Python can do with a point."""
    special = Specialised(packs, _QUESTION)
    table = {facts.bits: special.rule_on(facts) for facts in points}
    bits = [facts.bits for facts in points]
    limits = (
        Limit("bare call", microseconds(plan, lambda: nothing, points)),
        Limit("look-up in a dictionary", microseconds(plan, lambda: table.__getitem__, bits)),
    )
    cold = microseconds(plan, lambda: Specialised(packs, _QUESTION).rule_on, points)
    ruled = microseconds(plan, lambda: special.rule_on, points)
    digested = microseconds(plan, lambda: special.decide, points)
    return [
        Figure("decision, question given, by rules", ruled, "µs", limits, AIM_KNOWN_US, _note(points)),
        Figure("decision, question given, by rules, digest of the facts", digested, "µs", limits),
        Figure("decision, question given, cold", cold, "µs", limits),
    ]


def _explained(plan: Plan, packs: PackSet, points: Sequence[Facts]) -> list[Figure]:
    program = Program(packs)
    bits = [facts.bits for facts in points]
    denied = [each for each in bits if not program.evaluate(each).permitted]
    search = Ways(program.sieve(bits[0])).search
    bare = (Limit("bare call", microseconds(plan, lambda: nothing, bits)),)
    whole = microseconds(plan, lambda: program.evaluate, bits)
    cold = microseconds(plan, lambda: Program(packs).evaluate, bits)
    again = microseconds(plan, lambda: program.decide, points)
    changed = microseconds(plan, lambda: search, denied)
    kept = microseconds(plan, lambda: ways(program.sieve(bits[0])).smallest, denied)
    note = f"{len(denied):,} denials; the search of what would permit comes on top of the decision"
    return [
        Figure("decision, every reason and duty, by rules", whole, "µs", bare, AIM_EXPLAINED_US),
        Figure("decision, every reason and duty, cold", cold, "µs", bare, AIM_EXPLAINED_US),
        Figure("decision, remembered", again, "µs", bare),
        Figure("what would permit, searched", changed, "µs", bare, note=note),
        Figure("what would permit, remembered", kept, "µs", bare),
    ]


def _note(points: Sequence[Facts]) -> str:
    return f"{len(points):,} distinct points of {_QUESTION.purpose_kind} by {_QUESTION.channel}"
