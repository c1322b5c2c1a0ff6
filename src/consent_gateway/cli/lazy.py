"""A group whose commands are loaded when they are run: `--help` and `--version` load none, each command its own parts.

Each command is named by its module and variable, and by the sentence that help shows of it (that it is the command's
own sentence is tested). The named modules are this package's: nothing that a caller types is imported.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, MutableMapping
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import click

_SHORT = 200


@dataclass(frozen=True, slots=True)
class Place:
    """Where a command is: module below `consent_gateway.cli`, variable in it, and its sentence for help."""

    module: str
    variable: str
    help: str

    def load(self) -> click.Command:
        """Import the command."""
        found = getattr(import_module(f"consent_gateway.cli.{self.module}"), self.variable)
        if not isinstance(found, click.Command):
            raise TypeError(f"{self.module}.{self.variable} is no command")
        return found


class LazyCommands(MutableMapping[str, click.Command]):
    """Commands by name, imported at the first look at each; commands that are loaded already can be added."""

    def __init__(self, places: Mapping[str, Place]) -> None:
        self.places = places
        self._loaded: dict[str, click.Command] = {}

    def __getitem__(self, name: str) -> click.Command:
        if name not in self._loaded:
            self._loaded[name] = self.places[name].load()
        return self._loaded[name]

    def __setitem__(self, name: str, command: click.Command) -> None:
        self._loaded[name] = command

    def __delitem__(self, name: str) -> None:
        del self._loaded[name]

    def __iter__(self) -> Iterator[str]:
        return iter({**self.places, **self._loaded})

    def __len__(self) -> int:
        return len({**self.places, **self._loaded})

    def sentence(self, name: str) -> str:
        """Return what help says of a command, without loading it if its place says so."""
        place = self.places.get(name)
        return self._loaded[name].get_short_help_str(_SHORT) if place is None else place.help


class LazyGroup(click.Group):
    """A group over `LazyCommands`."""

    def __init__(self, name: str, places: Mapping[str, Place], **more: Any) -> None:
        self.lazy = LazyCommands(places)
        super().__init__(name, commands=self.lazy, **more)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the commands with their sentences."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, self.lazy.sentence(name)) for name in self.list_commands(ctx)])
