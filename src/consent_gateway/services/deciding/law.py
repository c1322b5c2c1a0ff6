"""The law as it stands: from activations and texts to pack sets, by instant.

A `Law` belongs to one version of what is in force (`domain.policies.Policies`); the registers carry it, so that every
replica reads the same one inside the transaction that records its answer, with no query of its own. Without any
activation the shipped packs are the law.

A text that the store lost or altered, that this software cannot read, or that speaks of facts it does not know, is
replaced by a pack that permits no marketing and says why (promise P1); what serves a person's rights goes on. A
catalogue that cannot be read takes every pack with it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from functools import lru_cache

from consent_gateway.audit.canonical import canonical_json
from consent_gateway.db.policies import digest
from consent_gateway.domain.policies import CATALOGUE, Candidate, Policies
from consent_gateway.domain.purposes import PurposeKind
from consent_gateway.errors import PolicyError
from consent_gateway.policies import packs
from consent_gateway.policies.choices import Choices
from consent_gateway.policies.engine import RIGHTS
from consent_gateway.policies.rules import Condition, Pack, PackSet, broken_pack

Chosen = tuple[tuple[str, str, str, int], ...]
_DAY = 86_400
_CHOICES = "the operator's choices"
_SET_DIGITS = 32
_OPEN = RIGHTS | {PurposeKind.OPT_OUT_CONFIRMATION}


@dataclass(frozen=True, slots=True, eq=False)
class Standing:
    """The packs of one period `[since, until)`, at most a day: review dates and dates of force are applied.

    `digest` names the texts they were read from (`members`), as entries of the log cite it; `names` are "id@version"
    in order.
    """

    packs: PackSet
    digest: str
    members: bytes
    names: str
    since: int
    until: int


@dataclass(frozen=True, slots=True, eq=False)
class Shadow:
    """What the law would be with one candidate in force."""

    candidate: Candidate
    packs: PackSet


class Law:
    """What is in force at any instant, for one version of the activations. Thread-safe: values are only repeated."""

    def __init__(self, policies: Policies, shipped: PackSet) -> None:
        self._policies = policies
        self._shipped = shipped
        self.watched = bool(policies.shadows)  # whether any candidate is in shadow
        self._standing: Standing | None = None
        self._shadows: tuple[Standing, tuple[Shadow, ...]] | None = None

    def standing(self, now: int) -> Standing:
        """Return the packs at `now` (seconds)."""
        held = self._standing
        if held is None or not held.since <= now < held.until:
            held = self._standing = self._at(now)
        return held

    def shadows(self, now: int) -> tuple[Shadow, ...]:
        """Return what the law would be at `now` with each candidate that is in shadow."""
        standing = self.standing(now)
        held = self._shadows
        if held is None or held[0] is not standing:
            held = self._shadows = (standing, tuple(self._with(c, now) for c in self._policies.shadows))
        return held[1]

    def texts(self, now: int) -> Mapping[str, str]:
        """Return the texts in force at `now` by name; a text that was lost or altered is "" and cannot be read."""
        found = {a.name: checked(self._policies.texts, a.sha256) for a in self._policies.in_force(now).values()}
        return found or self._shipped.texts

    def _with(self, candidate: Candidate, now: int) -> Shadow:
        text = checked(self._policies.texts, candidate.sha256)
        return Shadow(candidate, with_text(self.texts(now), candidate.name, text, self._shipped, day_of(now)))

    def _at(self, now: int) -> Standing:
        in_force = self._policies.in_force(now)
        found = read(self.texts(now), self._shipped) if in_force else self._shipped
        switches = self._policies.switches()
        midnight = now - now % _DAY
        as_of = found.as_of(day_of(now))
        made_of = members({a.name: a.sha256 for a in in_force.values()} or digests_of(found.texts), found.chosen)
        return Standing(
            as_of,
            set_digest(made_of),
            made_of,
            " ".join(pack.name for pack in as_of.packs),
            max([midnight, *(at for at in switches if at <= now)]),
            min([midnight + _DAY, *(at for at in switches if at > now)]),
        )


def read(texts: Mapping[str, str], shipped: PackSet) -> PackSet:
    """Return the packs of `texts` under the choices of `shipped`; never raises: what cannot be read permits nothing."""
    return _read(tuple(sorted(texts.items())), shipped)


def with_text(texts: Mapping[str, str], name: str, text: str, shipped: PackSet, day: date) -> PackSet:
    """Return the packs of `texts` with one in the place `name`, as they would stand on `day` if it were in force."""
    found = read({**texts, name: text}, shipped)
    begun = tuple(replace(p, effective_from=min(p.effective_from, day)) if p.id == name else p for p in found.packs)
    return replace(found, packs=begun).as_of(day)


def checked(texts: Mapping[str, str], sha256: str) -> str:
    """Return the text that a digest names, or "" (which no pack is) if it is missing or was altered."""
    text = texts.get(sha256, "")
    return text if digest(text) == sha256 else ""


def digests_of(texts: Mapping[str, str]) -> dict[str, str]:
    """Return the digest of each text by name."""
    return {name: digest(text) for name, text in texts.items()}


def members(digests: Mapping[str, str], chosen: Chosen) -> bytes:
    """Return what a set of packs is made of, as canonical JSON: name to digest, and the operator's choices."""
    return canonical_json({"choices": [list(choice[:3]) for choice in chosen], "texts": dict(digests)})


def set_digest(made_of: bytes) -> str:
    """Return what names a set of packs: half of the SHA-256 over its `members`, 32 hex digits."""
    return hashlib.sha256(made_of).hexdigest()[:_SET_DIGITS]


def day_of(now: int) -> date:
    """Return the day of an instant, UTC."""
    return datetime.fromtimestamp(now, UTC).date()


@lru_cache(maxsize=16)  # so that the same texts are the same pack set, and caches follow it
def _read(texts: tuple[tuple[str, str], ...], shipped: PackSet) -> PackSet:
    wanted = dict(texts)
    if wanted == shipped.texts:
        return shipped
    try:
        return packs.load(wanted, Choices(_CHOICES, shipped.chosen))
    except PolicyError as error:
        return replace(shipped, packs=(*shipped.packs, _closed(error.detail)), faults=(error.detail,), texts=wanted)


def _closed(problem: str) -> Pack:
    """Return the pack of a law that cannot be read at all: closed for every use, open for rights (LAW part 2.6)."""
    closed = Condition.of({"purpose": [kind for kind in PurposeKind if kind not in _OPEN]})
    broken = broken_pack(CATALOGUE, problem)
    return replace(broken, rules=tuple(replace(rule, when=closed) for rule in broken.rules))
