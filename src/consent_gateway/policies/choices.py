"""What an operator may choose: the rows of the matrix that are unverified, or the product's own default.

A pack lists such rows as `settings`, each with its choices, the shipped one and its source. A rule that carries
`setting: {id: choice}` exists only while that choice is in force. An operator names other choices in one YAML or
JSON file:

    gdpr: {live_calls: opt_out}
    pipl: {reask_months: 12}

Invariants: nothing is chosen in silence. An unknown pack, setting or choice raises `ChoiceError` with file and line,
and a pack under other than shipped choices carries them in its name, so that a past answer stays explained.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Self

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from consent_gateway.errors import PolicyError
from consent_gateway.policies.documents import document, line
from consent_gateway.policies.rules import Mark, Setting


class ChoiceError(PolicyError):
    """A choice that no pack offers; the gateway does not start with it."""

    code = "choice_unknown"
    title = "A choice of the operator is not offered by any pack"


def word(value: object) -> object:
    """YAML 1.1 reads yes and no as booleans and 13 as a number; in a pack they are words."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    return str(value) if isinstance(value, int) else value


def words_of(value: object) -> object:
    """Read the values of a mapping, or the items of a list, as words."""
    if isinstance(value, dict):
        return {key: word(item) for key, item in value.items()}
    return [word(item) for item in value] if isinstance(value, list) else value


class SettingFile(BaseModel):
    """A setting as a pack writes it; `value` is the shipped choice."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    id: str = Field(pattern=r"^[a-z][a-z0-9_]*$")
    value: Annotated[str, BeforeValidator(word)]
    choices: Annotated[list[str], BeforeValidator(words_of)] = Field(min_length=2)
    cites: str = Field(min_length=1)
    mark: Mark
    en: str = Field(min_length=1)
    zh: str = Field(min_length=1)

    @model_validator(mode="after")
    def _offered(self) -> Self:
        if self.value not in self.choices:
            raise ValueError("the shipped value is not one of the choices")
        return self


@dataclass(frozen=True, slots=True)
class Choices:
    """What an operator chose: file name, and (pack, setting, value, line) in the order of the file. Hashable."""

    name: str = ""
    values: tuple[tuple[str, str, str, int], ...] = ()

    def require_packs(self, packs: Iterable[str]) -> None:
        """Raise `ChoiceError` if a choice is for none of `packs`."""
        known = set(packs)
        for pack, _, _, at in self.values:
            if pack not in known:
                raise ChoiceError(f"{self.name}, line {at}: there is no pack {pack!r}; packs are {_listed(known)}")

    def of(self, pack: str, offered: Mapping[str, Sequence[str]]) -> dict[str, str]:
        """Return the choices for one pack; raises `ChoiceError` for a setting or value that is not offered."""
        found = {}
        for name, setting, value, at in self.values:
            if name != pack:
                continue
            where = f"{self.name}, line {at}: {pack}"
            if setting not in offered:
                raise ChoiceError(f"{where} has no setting {setting!r}; settings are {_listed(offered)}")
            if value not in offered[setting]:
                raise ChoiceError(f"{where}.{setting} is one of {_listed(offered[setting])}")
            found[setting] = value
        return found


AS_SHIPPED = Choices()


def parse_choices(name: str, text: str) -> Choices:
    """Read an operator's file (YAML, of which JSON is a part); raises `ChoiceError` that names file and line.

    Whether packs, settings and values exist is checked when the packs are loaded.
    """
    try:
        node, data = document(name, text)
    except PolicyError as error:
        raise ChoiceError(error.detail) from None
    if not isinstance(data, dict):
        raise ChoiceError(f"{name}, line 1: expected packs with their settings")
    return Choices(name, tuple(_chosen(name, node, data)))


def read_choices(path: Path) -> Choices:
    """Read an operator's file; raises `ChoiceError` if it cannot be read or is not of the form."""
    try:
        text = path.read_bytes().decode()
    except (OSError, UnicodeDecodeError) as error:
        raise ChoiceError(f"{path.name}: cannot be read ({type(error).__name__})") from None
    return parse_choices(path.name, text)


def _chosen(name: str, node: yaml.Node, data: Mapping[object, object]) -> Iterable[tuple[str, str, str, int]]:
    for pack, settings in data.items():
        at = line(node, (str(pack),))
        if not isinstance(settings, dict):
            raise ChoiceError(f"{name}, line {at}: {str(pack)!r} is not a mapping of settings to choices")
        for setting, value in settings.items():
            place, text = line(node, (str(pack), str(setting))), word(value)
            if not isinstance(text, str):
                raise ChoiceError(f"{name}, line {place}: the choice of {setting!r} is not one word")
            yield str(pack), str(setting), text, place


def settled(pack: str, listed: Sequence[SettingFile], choices: Choices) -> tuple[Setting, ...]:
    """Return a pack's settings with the values in force."""
    values = choices.of(pack, {setting.id: setting.choices for setting in listed})
    return tuple(
        Setting(s.id, values.get(s.id, s.value), s.value, tuple(s.choices), s.cites, s.mark, s.en, s.zh) for s in listed
    )


def _listed(names: Iterable[str]) -> str:
    return ", ".join(sorted(names)) or "none"
