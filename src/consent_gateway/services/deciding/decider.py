"""Answers for classes of people: from a question and a `ClassKey` to facts, to the engine, and remembered.

This is the one place where rows become facts; what is asked comes from `services.deciding.questions`. An answer depends
on nothing but the question, the class, the minute and the packs, so it may be remembered by them; nothing about a
person is.
"""

from __future__ import annotations

from consent_gateway.domain.audiences import ClassKey
from consent_gateway.domain.decisions import Answer, deny_by_default
from consent_gateway.domain.policies import Policies
from consent_gateway.domain.registers import Registers
from consent_gateway.errors import NoesFirstError
from consent_gateway.policies import engine
from consent_gateway.policies.diff import change_of
from consent_gateway.policies.facts import Facts, Situation, UnknownFactError, build
from consent_gateway.policies.rules import PackSet
from consent_gateway.services.deciding.law import Law, Shadow, Standing
from consent_gateway.services.deciding.questions import Asked, Use, put_question, year_in_china
from consent_gateway.services.deciding.rules import Rules
from consent_gateway.services.deciding.shadows import ERROR, Seen
from consent_gateway.services.deciding.situations import situation

_MEMORY = 65_536
_LAWS = 16
_MINUTE = 60
NOT_ENABLED = deny_by_default(
    "channel_not_enabled",
    "This purpose is not enabled on this channel: nothing remembers what people said about it, so it is not permitted.",
    "该目的未在此渠道启用,系统未记录个人的相关意愿,因此不予许可。",
)


class Decider:
    """Decides classes by the law of the registers' version. Thread-safe: memory only ever repeats the same answers."""

    def __init__(self, shipped: PackSet) -> None:
        self.shipped = shipped
        self._laws: dict[Policies, Law] = {}
        self._newest: tuple[Policies, Law] | None = None  # by identity, to hash nothing on the way of a decision
        self._answers: dict[tuple[Asked, ClassKey, int], Answer] = {}
        self._watched: dict[tuple[Asked, ClassKey, int], tuple[Seen, ...]] = {}
        # With the snapshot it was put by: a version's number can be given twice, once by a transaction that failed.
        self._asked: dict[tuple[int, Use], tuple[Registers, Asked]] = {}

    def answer(self, asked: Asked, key: ClassKey, now: int) -> Answer:
        """Return the answer for everyone in a class at `now` (seconds)."""
        if asked.closed:
            return NOT_ENABLED
        memo = (asked, key, now // _MINUTE)  # the law changes on whole minutes only
        found = self._answers.get(memo)
        if found is None:
            if len(self._answers) >= _MEMORY:
                self._answers.clear()
            found = self._answers[memo] = self._decide(asked, key, now)
        return found

    def _decide(self, asked: Asked, key: ClassKey, now: int) -> Answer:
        packs = asked.law.standing(now).packs
        try:
            return engine.decide(packs, self.facts(asked, key, now))
        except UnknownFactError as error:
            return engine.deny_unknown(packs, error.detail)

    def watched(self, asked: Asked, key: ClassKey, now: int) -> tuple[Seen, ...]:
        """Return how the answer to a class would differ under each candidate in shadow; never raises."""
        if asked.closed:
            return ()
        memo = (asked, key, now // _MINUTE)
        found = self._watched.get(memo)
        if found is None:
            if len(self._watched) >= _MEMORY:
                self._watched.clear()
            answer = self.answer(asked, key, now)
            found = self._watched[memo] = tuple(self._watch(asked, key, now, answer, s) for s in _shadows(asked, now))
        return found

    def _watch(self, asked: Asked, key: ClassKey, now: int, answer: Answer, shadow: Shadow) -> Seen:
        use = (shadow.candidate.sha256, asked.use.purpose, asked.use.channel.value, asked.use.recipient)
        try:
            other = engine.decide(shadow.packs, self.facts(asked, key, now))
            change = change_of(answer, other)
        except Exception:  # noqa: BLE001 - a candidate is only watched: whatever goes wrong in it is counted, not felt
            return Seen(*use, ERROR, answer.reason_code, "")
        return Seen(*use, change.value, answer.reason_code, other.reason_code)

    def facts(self, asked: Asked, key: ClassKey, now: int) -> Facts:
        """Return the facts of a class at `now`; raises `UnknownFactError` for a value outside of its domain."""
        return build(asked.question, _situation(asked, key, now))

    def explain(self, asked: Asked, key: ClassKey, now: int) -> Answer:
        """Return the answer with the smallest change of facts that would permit."""
        if asked.closed:
            return NOT_ENABLED
        packs = asked.law.standing(now).packs
        try:
            return engine.explain(packs, self.facts(asked, key, now))
        except UnknownFactError as error:
            return engine.deny_unknown(packs, error.detail)

    def law(self, registers: Registers) -> Law:
        """Return the law of a version of the registers."""
        policies, newest = registers.policies, self._newest
        if newest is not None and newest[0] is policies:
            return newest[1]
        found = self._laws.get(policies)
        if found is None:
            if len(self._laws) >= _LAWS:
                self._laws.clear()
            found = self._laws[policies] = Law(policies, self.shipped)
        self._newest = (policies, found)
        return found

    def standing(self, registers: Registers, now: int) -> Standing:
        """Return the packs as they stand at `now`: past its review date, a pack permits no marketing."""
        return self.law(registers).standing(now)

    def ask(self, use: Use, registers: Registers, rules: Rules, now: int) -> Asked:
        """Return the question that a use puts at `now`; InputError names the field that is not registered.

        NoesFirstError while a no that was put off is not carried out: until then nobody knows whose it is (P2).
        """
        year = year_in_china(now)
        memo = (year, use)
        held = self._asked.get(memo)
        if held is None or held[0] is not registers:
            if registers.deferred:
                raise NoesFirstError(retry_after=1)
            if len(self._asked) >= _MEMORY:
                self._asked.clear()
            held = self._asked[memo] = registers, put_question(use, registers, rules, self.law(registers), year)
        return held[1]


def _shadows(asked: Asked, now: int) -> tuple[Shadow, ...]:
    try:
        return asked.law.shadows(now)
    except Exception:  # noqa: BLE001 - as in `_watch`: a candidate that cannot even be read is not watched
        return ()


def _situation(asked: Asked, key: ClassKey, now: int) -> Situation:
    return situation(key, asked.reading.recency, asked.sensitive, now)
