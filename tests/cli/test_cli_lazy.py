"""Commands are loaded when they are run: help and version load none, and what help says is what the commands say."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from consent_gateway.cli.lazy import LazyGroup, Place
from consent_gateway.cli.main import cli
from consent_gateway.setup import create_store
from edge import environment, store_settings

# A store, the web framework and the law's reader: what a look at the help needs none of.
HEAVY = ("sqlalchemy", "litestar", "pydantic", "consent_gateway.services", "consent_gateway.policies")


def loaded(*arguments: str) -> tuple[str, list[str]]:
    """What the command line writes in a process of its own, and which of the heavy modules it loaded."""
    script = (
        "import json, sys\nfrom consent_gateway.cli.main import cli\n"
        f"cli({list(arguments)!r}, standalone_mode=False)\n"
        f"print(json.dumps([name for name in {HEAVY!r} if name in sys.modules]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, env=environment()
    ).stdout
    text, _, modules = done.rstrip("\n").rpartition("\n")
    return text, json.loads(modules)


@pytest.mark.parametrize("option", ["--help", "--version"])
def test_help_and_version_load_no_command(option: str) -> None:
    text, heavy = loaded(option)
    assert text
    assert heavy == []


def test_a_command_that_needs_the_law_loads_it() -> None:
    """The measure can go red: the list of a command's packs does load what the help does not."""
    assert "consent_gateway.policies" in loaded("policy", "list", "--json")[1]


@pytest.mark.parametrize("words", [("audit", "vkey"), ("worker", "--help"), ("migrate",)], ids=" ".join)
def test_a_command_that_needs_the_store_alone_loads_no_web_framework(words: tuple[str, ...], tmp_path: Path) -> None:
    create_store(store_settings(tmp_path))[0].store.dispose()
    store = () if "--help" in words else ("--store", str(tmp_path))
    found = loaded(*words, *store)[1]
    assert "sqlalchemy" in found
    assert "litestar" not in found


@pytest.mark.parametrize(
    "words",
    [
        ("audit", "verifier"),
        ("audit", "verify", "--version"),
        ("policy", "list"),
        ("pseudonyms", "decoder"),
        ("signals", "decode", "1YNN"),
        ("receipts", "verify", "--help"),
        ("import", "--help"),
        ("keys", "destroy", "--help"),
        ("keys", "lint-index", "--help"),
    ],
    ids=" ".join,
)
def test_a_command_that_needs_no_store_loads_none(words: tuple[str, ...]) -> None:
    assert not {"sqlalchemy", "litestar", "consent_gateway.services"} & set(loaded(*words)[1])


def lazies(group: click.Command, *way: str) -> Iterator[tuple[str, ...]]:
    """The ways to all commands that are loaded at the first look."""
    if isinstance(group, LazyGroup):
        yield from ((*way, name) for name in group.lazy.places)
        for name, command in group.commands.items():
            yield from lazies(command, *way, name)


@pytest.mark.parametrize("way", sorted(lazies(cli)), ids=" ".join)
def test_help_says_of_a_command_what_it_says_itself(way: tuple[str, ...]) -> None:
    group: click.Command = cli
    for name in way[:-1]:
        assert isinstance(group, LazyGroup)
        group = group.commands[name]
    assert isinstance(group, LazyGroup)
    command = group.commands[way[-1]]
    assert command.name == way[-1]
    assert group.lazy.places[way[-1]].help.rstrip(".") == command.get_short_help_str(1000).rstrip(".")


def test_help_lists_every_command() -> None:
    for group, way in [(cli, ()), *((cli.commands[name], (name,)) for name in ("audit", "policy", "keys"))]:
        text = CliRunner().invoke(cli, [*way, "--help"], terminal_width=200).output
        for name in group.commands:
            assert f"\n  {name} " in text


def test_what_is_mistyped_is_put_right() -> None:
    done = CliRunner().invoke(cli, ["polcy"])
    assert done.exit_code == 2
    assert "policy" in done.output


def test_commands_can_be_added_and_what_is_no_command_is_not_run() -> None:
    group = LazyGroup("g", {"wrong": Place("main", "main", "Not a command.")})
    group.add_command(click.Command("more", help="One more."))
    assert sorted(group.commands) == ["more", "wrong"]
    assert len(group.commands) == 2
    assert "One more" in CliRunner().invoke(group, ["--help"]).output
    assert isinstance(CliRunner().invoke(group, ["wrong"]).exception, TypeError)
    del group.commands["more"]
    assert list(group.commands) == ["wrong"]
