"""Rules, packs and pack sets: the law as values.

A *condition* is a conjunction of memberships over finite facts, so it is total: it holds or it does not, for
every point. A *rule* has a stable id, a citation, a mark that says how far the citation was checked, an effect
and a condition; `unless` are conditions of which any one lifts it. A *pack* is the rules of one law, versioned and
dated; it binds where one of its territory conditions holds. Packs of one jurisdiction are one voice: federal
message law and state privacy law do not disagree, they add up.

A *reason* is named by a code; the catalogue gives each code its texts, its stage and its rank. The rank decides
which fired reason leads an answer, the same in every pack.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import date
from enum import StrEnum
from types import MappingProxyType

from consent_gateway.domain.decisions import Effect, Stage
from consent_gateway.domain.purposes import PurposeKind
from consent_gateway.policies.vocabulary import BITS, FIELD, Facts, bit

POLICY = "policy"  # the jurisdiction of product policy: it may deny, and it never stands in for a law

MARKETING: frozenset[PurposeKind] = frozenset(
    {
        PurposeKind.DIRECT_MARKETING,
        PurposeKind.PERSONALISED_MARKETING,
        PurposeKind.THIRD_PARTY_AUDIENCE_SHARING,
        PurposeKind.LOYALTY_PROGRAMME_SHARING,
        PurposeKind.SEGMENTATION_FOR_MARKETING,
        PurposeKind.ANALYTICS_SEGMENTATION,
        PurposeKind.AUTOMATED_INDIVIDUAL_DECISION,
        PurposeKind.CONSENT_REQUEST,
    }
)


class Mark(StrEnum):
    """How far a citation was checked: primary text, secondary source, settled knowledge, or not."""

    V1 = "V1"
    V2 = "V2"
    K = "K"
    UNVERIFIED = "UNVERIFIED"
    POLICY = "POLICY"  # the product's own choice where law is silent


@dataclass(frozen=True, slots=True)
class Condition:
    """A conjunction of memberships `fact in values`; the empty one always holds."""

    allowed: Mapping[str, frozenset[str]]

    @classmethod
    def of(cls, allowed: Mapping[str, Iterable[str]]) -> Condition:
        """Build a condition; raises `UnknownFactError` for a name or value outside of the vocabulary."""
        for name, values in allowed.items():
            for value in values:
                bit(name, value)
        return cls(MappingProxyType({name: frozenset(values) for name, values in allowed.items()}))

    def holds(self, facts: Facts) -> bool:
        """Tell whether it holds, by reading each fact: the reference that the compiled form is tested against."""
        return all(facts[name] in values for name, values in self.allowed.items())

    @property
    def blocked(self) -> int:
        """Return the bits of all excluded values: the condition holds exactly when none of them is set."""
        return sum(FIELD[name] & ~sum(BITS[name][v] for v in values) for name, values in self.allowed.items())


ALWAYS = Condition.of({})


@dataclass(frozen=True, slots=True)
class Setting:
    """A row that an operator may choose otherwise: the choice in force, the shipped one, its source and texts."""

    id: str
    value: str
    shipped: str
    choices: tuple[str, ...]
    cites: str
    mark: Mark
    en: str
    zh: str


@dataclass(frozen=True, slots=True)
class Rule:
    """One row of a table. `needs` are consent properties; they are part of `when` and kept for the reader.

    `settings` are the choices under which the rule exists; the dates are those of its own law, where they are
    narrower than the pack's (both days included). `when_permitted`: its duties concern what is then done, such as
    the message that is sent, and mean nothing where the answer is no.
    """

    id: str
    law: str
    cites: str
    mark: Mark
    effect: Effect
    when: Condition
    reason: str
    unless: tuple[Condition, ...] = ()
    needs: tuple[str, ...] = ()
    obligations: tuple[str, ...] = ()
    settings: tuple[tuple[str, str], ...] = ()
    effective_from: date | None = None
    effective_until: date | None = None
    when_permitted: bool = False

    def in_force(self, day: date) -> bool:
        """Tell whether the rule's own law is in force on `day`."""
        begun = self.effective_from is None or self.effective_from <= day
        return begun and (self.effective_until is None or day <= self.effective_until)

    def chosen(self, values: Mapping[str, str]) -> bool:
        """Tell whether the rule exists under these values of the pack's settings."""
        return all(values[name] == value for name, value in self.settings)

    def holds(self, facts: Facts) -> bool:
        """Tell whether the rule fires."""
        return self.when.holds(facts) and not any(lifted.holds(facts) for lifted in self.unless)


@dataclass(frozen=True, slots=True)
class Pack:
    """The rules of one law. `default_reason` None: the pack abstains where nothing fires, else it denies.

    `unchosen` are the rules of choices that were not made: kept for the reader, never evaluated.
    """

    id: str
    version: int
    title: str
    title_zh: str
    jurisdiction: str
    effective_from: date
    effective_until: date | None
    review_by: date
    reviewer: str
    territory: tuple[Condition, ...]
    default_reason: str | None
    rules: tuple[Rule, ...]
    settings: tuple[Setting, ...] = ()
    unchosen: tuple[Rule, ...] = ()

    @property
    def name(self) -> str:
        """Return "id@version", as answers cite it, with every choice that is not the shipped one."""
        chosen = sorted(f"{s.id}={s.value}" for s in self.settings if s.value != s.shipped)
        return f"{self.id}@{self.version}" + (f"+{','.join(chosen)}" if chosen else "")

    def binds(self, facts: Facts) -> bool:
        """Tell whether the law applies to these facts."""
        return any(condition.holds(facts) for condition in self.territory)


@dataclass(frozen=True, slots=True)
class ReasonText:
    """What a reason code means; `stage` is given for denials; a lower `rank` leads."""

    code: str
    rank: int
    stage: Stage | None
    en: str
    zh: str


@dataclass(frozen=True, slots=True, eq=False)
class PackSet:
    """The packs to decide by and the catalogue of reasons; compared by identity, so that caches follow it.

    `packs` holds one version of each pack, the newest as loaded; `others` their other versions.
    """

    packs: tuple[Pack, ...]
    reasons: Mapping[str, ReasonText]
    faults: tuple[str, ...] = ()
    # What it was read from: name to text, the catalogue included; and the operator's choices, as `choices.Choices`.
    texts: Mapping[str, str] = field(default_factory=dict)
    chosen: tuple[tuple[str, str, str, int], ...] = ()
    others: tuple[Pack, ...] = ()

    def as_of(self, today: date) -> PackSet:
        """Return the packs as they stand on `today`: past its review, or out of force, a pack permits no marketing.

        A pack or rule whose law is not in force yet, and a rule whose law has ended, are left out.
        """
        return self.standing(today).in_force(today)

    def standing(self, today: date) -> PackSet:
        """Return the packs that have begun, each silenced if it has ended or its review is overdue.

        Of several versions of a pack the one counts whose term began last.
        """
        begun = (pack for pack in (*self.packs, *self.others) if pack.effective_from <= today)
        counts = {key_of(pack): pack for pack in sorted(begun, key=lambda pack: pack.effective_from)}
        found = (counts[key] for key in map(key_of, self.packs) if key in counts)
        return replace(self, packs=tuple(_standing(pack, today) for pack in found), others=())

    def in_force(self, day: date) -> PackSet:
        """Return the packs with the rules whose own law is in force on `day`; the same set if that is all of them."""
        packs = tuple(_in_force(pack, day) for pack in self.packs)
        return self if packs == self.packs else replace(self, packs=packs)

    def pack(self, pack_id: str) -> Pack | None:
        """Return the pack of that id, or None."""
        return next((pack for pack in self.packs if pack.id == pack_id), None)


def key_of(pack: Pack) -> tuple[str, bool]:
    """Return what the versions of a pack share; one that could not be read is nobody's version and always counts."""
    return pack.id, pack.version == 0


def _in_force(pack: Pack, day: date) -> Pack:
    rules = tuple(rule for rule in pack.rules if rule.in_force(day))
    return pack if len(rules) == len(pack.rules) else replace(pack, rules=rules)


def _standing(pack: Pack, today: date) -> Pack:
    if pack.effective_until is not None and today > pack.effective_until:
        return _silenced(pack, "pack_not_in_force", f"in force until {pack.effective_until}")
    if today > pack.review_by:
        return _silenced(pack, "pack_review_overdue", f"to be reviewed by {pack.review_by}")
    return pack


def _silenced(pack: Pack, reason: str, cites: str) -> Pack:
    return replace(pack, rules=(*pack.rules, no_marketing(pack.id, reason, cites)))


def no_marketing(pack_id: str, reason: str, cites: str) -> Rule:
    """Return the rule that denies all marketing with `reason`; what a pack that may not be trusted still says."""
    when = Condition.of({"purpose": MARKETING})
    return Rule(f"{pack_id}.{reason}", POLICY, cites, Mark.POLICY, Effect.DENY, when, reason)


def broken_pack(pack_id: str, problem: str) -> Pack:
    """Return the stand-in for a pack that cannot be read: it binds everybody and permits no marketing (P1)."""
    rule = no_marketing(pack_id, "pack_invalid", problem)
    day = date(1970, 1, 1)
    return Pack(pack_id, 0, pack_id, pack_id, POLICY, day, None, date.max, "", (ALWAYS,), None, (rule,))
