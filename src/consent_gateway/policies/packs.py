"""Read packs and the catalogue of reasons from YAML, strictly, and say at which line something is wrong.

The files lie beside this module in `packs/`. YAML is composed by the safe loader (no tags, no objects), repeated
keys are refused, the shape is checked by pydantic, every fact, value and reason code against the closed
vocabularies, every rule for a condition that can never hold (`soundness`). `parse_pack` raises `PolicyError` that
names file, line and rule; `load` never does: a pack that cannot be read is replaced by one that permits no marketing
and carries the error as its citation, because a typing error must not open the gate.

Several versions of a pack may be loaded together, from files of any name; on each day the one in force counts. Two
of the same number, or two that are in force on one day, are an error of the later file.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import date
from functools import lru_cache
from importlib import resources
from typing import Annotated

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from consent_gateway.domain.consents import ConsentProperty
from consent_gateway.domain.decisions import Effect, Stage
from consent_gateway.errors import PolicyError
from consent_gateway.policies.choices import AS_SHIPPED, ChoiceError, Choices, SettingFile, settled, word, words_of
from consent_gateway.policies.documents import Path, document, line, located
from consent_gateway.policies.rules import (
    Condition,
    Mark,
    Pack,
    PackSet,
    ReasonText,
    Rule,
    broken_pack,
    key_of,
)
from consent_gateway.policies.soundness import clash, rule_problem
from consent_gateway.policies.vocabulary import BY_NAME, UnknownFactError

_REASONS = "reasons"
_PROPERTIES = frozenset(str(flag.name).lower() for flag in ConsentProperty)


def _words(value: object) -> object:
    if isinstance(value, dict) and set(value) == {"not"}:
        return {"not": _words(value["not"])}
    if isinstance(value, list):
        return [word(item) for item in value]
    return [word(value)]


def _listed(value: object) -> object:
    return value if isinstance(value, list) else [value]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=False)


class _Not(_Strict):
    excluded: list[str] = Field(alias="not", min_length=1)


_Values = Annotated[list[str] | _Not, BeforeValidator(_words)]
_When = dict[str, _Values]


class _RuleFile(_Strict):
    id: str = Field(pattern=r"^[a-z0-9_]+(\.[a-z0-9_]+)+$")
    law: str = Field(min_length=1)
    cites: str = Field(min_length=1)
    mark: Mark
    effect: Effect
    when: _When = {}
    unless: Annotated[list[_When], BeforeValidator(_listed)] = []
    needs: list[str] = []
    reason: str
    obligations: list[str] = []
    setting: Annotated[dict[str, str], BeforeValidator(words_of)] = {}
    effective_from: date | None = None
    effective_until: date | None = None
    when_permitted: bool = False


class _PackFile(_Strict):
    id: str = Field(pattern=r"^[a-z][a-z0-9_]{0,62}$")
    version: int = Field(ge=1, le=1_000_000)
    title: str
    title_zh: str
    jurisdiction: str
    effective_from: date
    effective_until: date | None = None
    review_by: date
    reviewer: str
    territory: list[_When] = Field(min_length=1)
    default_reason: str | None
    settings: list[SettingFile] = []
    lists: dict[str, list[str]] = {}  # anchors for the rules below, nothing else
    conditions: dict[str, _When] = {}
    rules: list[_RuleFile] = Field(min_length=1)


class _ReasonFile(_Strict):
    code: str = Field(pattern=r"^[a-z][a-z0-9_]*$")
    stage: Stage | None = None
    en: str = Field(min_length=1)
    zh: str = Field(min_length=1)


class _CatalogueFile(_Strict):
    deny: list[_ReasonFile]
    permit: list[_ReasonFile]
    oblige: list[_ReasonFile]


def parse_pack(name: str, text: str, reasons: Mapping[str, ReasonText], choices: Choices = AS_SHIPPED) -> Pack:
    """Read one pack under the operator's choices; raises `PolicyError` that names file, line and what is wrong."""
    node, data = document(name, text)
    try:
        raw = _PackFile.model_validate(data)
    except ValidationError as error:
        raise PolicyError("; ".join(located(name, node, error))) from None
    territory = tuple(_condition(name, node, ("territory", n), w) for n, w in enumerate(raw.territory))
    rules = tuple(_rule(name, node, place, rule, territory) for place, rule in enumerate(raw.rules))
    _check_dates(name, node, raw)
    _check(name, node, raw, reasons)
    settings = settled(raw.id, raw.settings, choices)
    chosen = {setting.id: setting.value for setting in settings}
    active = tuple(rule for rule in rules if rule.chosen(chosen))
    return Pack(
        id=raw.id,
        version=raw.version,
        title=raw.title,
        title_zh=raw.title_zh,
        jurisdiction=raw.jurisdiction,
        effective_from=raw.effective_from,
        effective_until=raw.effective_until,
        review_by=raw.review_by,
        reviewer=raw.reviewer,
        territory=territory,
        default_reason=raw.default_reason,
        rules=active,
        settings=settings,
        unchosen=tuple(rule for rule in rules if rule not in active),
    )


def parse_reasons(name: str, text: str) -> dict[str, ReasonText]:
    """Read the catalogue: the order of its entries is the rank; raises `PolicyError`."""
    node, data = document(name, text)
    try:
        raw = _CatalogueFile.model_validate(data)
    except ValidationError as error:
        raise PolicyError("; ".join(located(name, node, error))) from None
    entries = [*raw.deny, *raw.permit, *raw.oblige]
    table = {e.code: ReasonText(e.code, rank, e.stage, e.en, e.zh) for rank, e in enumerate(entries)}
    if len(table) != len(entries):
        raise PolicyError(f"{name}: a reason code is listed twice")
    unstaged = next((e.code for e in raw.deny if e.stage is None), None)
    if unstaged is not None:
        raise PolicyError(f"{name}: the denial {unstaged!r} has no stage")
    return table


def load(texts: Mapping[str, str], choices: Choices = AS_SHIPPED) -> PackSet:
    """Read a set of packs from file name to text; the catalogue under "reasons" is required (`PolicyError`).

    A pack that cannot be read becomes one that permits no marketing; its problem is listed in `faults`. A choice
    for no pack, or of no setting, raises `PolicyError`: what an operator decided is never dropped in silence.
    """
    if _REASONS not in texts:
        raise PolicyError("the catalogue of reasons is missing")
    reasons = parse_reasons(_REASONS, texts[_REASONS])
    packs: list[Pack] = []
    faults: list[str] = []
    for name in sorted(texts.keys() - {_REASONS}):
        try:
            packs.append(_joining(name, texts[name], parse_pack(name, texts[name], reasons, choices), packs))
        except ChoiceError:
            raise
        except PolicyError as error:
            faults.append(error.detail)
            packs.append(broken_pack(name, error.detail))
    choices.require_packs({pack.id for pack in packs})
    newest = {key_of(pack): pack for pack in sorted(packs, key=lambda pack: pack.effective_from)}
    others = tuple(pack for pack in packs if newest[key_of(pack)] is not pack)
    standing = tuple(pack for pack in packs if pack not in others)
    return PackSet(standing, reasons, tuple(faults), dict(texts), choices.values, others)


def _joining(name: str, text: str, pack: Pack, others: Iterable[Pack]) -> Pack:
    """Return a pack that may stand beside the others; raises `PolicyError` if it repeats or overlaps one of them."""
    for other in others:
        found = clash(pack, other)
        if found is not None:
            key, problem = found
            raise PolicyError(f"{name}, line {line(document(name, text)[0], (key,))}: {problem}")
    return pack


@lru_cache(maxsize=4)
def _builtin(choices: Choices) -> PackSet:
    return load(builtin_texts(), choices)


def load_builtin(today: date | None = None, choices: Choices = AS_SHIPPED) -> PackSet:
    """Return the shipped packs under the operator's choices, read once; with `today` as they stand on that day.

    A server passes the day: without it review dates and dates of force are not looked at.
    """
    packs = _builtin(choices)
    return packs if today is None else packs.as_of(today)


def builtin_texts() -> dict[str, str]:
    """Return the shipped files: name without suffix to text."""
    folder = resources.files("consent_gateway.policies") / "packs"
    files = [file for file in folder.iterdir() if file.name.endswith(".yaml")]
    return {file.name.removesuffix(".yaml"): file.read_bytes().decode() for file in files}


def _rule(name: str, node: yaml.Node, place: int, raw: _RuleFile, territory: Iterable[Condition]) -> Rule:
    path: Path = ("rules", place)
    about = f"rule {raw.id!r}: "
    when = _condition(name, node, (*path, "when"), raw.when, about)
    wrong = next((problem for need in raw.needs if (problem := _need_problem(need, when))), None)
    if wrong is not None:
        raise PolicyError(f"{name}, line {line(node, (*path, 'needs'))}: {about}{wrong}")
    rule = Rule(
        id=raw.id,
        law=raw.law,
        cites=raw.cites,
        mark=raw.mark,
        effect=raw.effect,
        when=Condition.of({**when.allowed, **{need: ["yes"] for need in raw.needs}}),
        reason=raw.reason,
        unless=tuple(_condition(name, node, (*path, "unless"), lifted, about) for lifted in raw.unless),
        needs=tuple(raw.needs),
        obligations=tuple(raw.obligations),
        settings=tuple(raw.setting.items()),
        effective_from=raw.effective_from,
        effective_until=raw.effective_until,
        when_permitted=raw.when_permitted,
    )
    problem = rule_problem(rule, territory)
    if problem is not None:
        raise PolicyError(f"{name}, line {line(node, path)}: {about}{problem}")
    return rule


def _need_problem(need: str, when: Condition) -> str | None:
    if need not in _PROPERTIES:
        return f"{need!r} is not a property of consent"
    return None if "yes" in when.allowed.get(need, {"yes"}) else f"it needs {need!r} and its `when` excludes it"


def _condition(name: str, node: yaml.Node, path: Path, when: _When, about: str = "") -> Condition:
    try:
        return Condition.of({fact: _allowed(fact, values) for fact, values in when.items()})
    except UnknownFactError as error:
        raise PolicyError(f"{name}, line {line(node, path)}: {about}{error.detail}") from None


def _allowed(fact: str, values: list[str] | _Not) -> list[str]:
    if isinstance(values, list):
        return values
    Condition.of({fact: values.excluded})  # an excluded value must exist too
    return [value for value in BY_NAME[fact].values if value not in values.excluded]


def _check_dates(name: str, node: yaml.Node, raw: _PackFile) -> None:
    """A pack, and a rule with dates of its own, ends and is reviewed after it begins."""
    terms = [
        ((key,), raw.effective_from, day)
        for key, day in (("effective_until", raw.effective_until), ("review_by", raw.review_by))
    ]
    places: list[tuple[Path, date | None, date | None]] = [*terms]
    places += [(("rules", n), rule.effective_from, rule.effective_until) for n, rule in enumerate(raw.rules)]
    for path, begins, ends in places:
        if begins is not None and ends is not None and ends < begins:
            about = f"rule {raw.rules[int(path[1])].id!r}: its end" if len(path) > 1 else str(path[0])
            raise PolicyError(f"{name}, line {line(node, path)}: {about} lies before effective_from")


def _check(name: str, node: yaml.Node, raw: _PackFile, reasons: Mapping[str, ReasonText]) -> None:
    """Ids are unique and belong to the pack; every reason is in the catalogue, and a denial's has a stage."""
    seen: set[str] = set()
    settings = {setting.id: setting.choices for setting in raw.settings}
    for place, rule in enumerate(raw.rules):
        at = f"{name}, line {line(node, ('rules', place))}: rule {rule.id!r}"
        if rule.id in seen or not rule.id.startswith(f"{raw.id}."):
            raise PolicyError(f"{at} is repeated, or does not start with the pack's id")
        seen.add(rule.id)
        if rule.reason not in reasons:
            raise PolicyError(f"{at} gives the reason {rule.reason!r}, which the catalogue does not list")
        offered = next((name for name, value in rule.setting.items() if value not in settings.get(name, ())), None)
        if offered is not None:
            raise PolicyError(f"{at} depends on a choice of {offered!r} that the pack does not offer")
        if rule.when_permitted and rule.effect is not Effect.OBLIGE:
            raise PolicyError(f"{at} is no duty, so that `when_permitted` says nothing")
        if (rule.effect is Effect.DENY) != (reasons[rule.reason].stage is not None):
            raise PolicyError(f"{at} gives the reason {rule.reason!r}, which is of the other effect")
    if raw.default_reason is not None and raw.default_reason not in reasons:
        raise PolicyError(f"{name}: the default reason {raw.default_reason!r} is not in the catalogue")
