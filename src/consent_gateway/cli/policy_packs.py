"""Which packs a command of the officers works on: the shipped ones or a folder, under the operator's choices."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from consent_gateway.clock import system_clock
from consent_gateway.errors import InputError
from consent_gateway.policies.choices import AS_SHIPPED, Choices, read_choices
from consent_gateway.policies.packs import builtin_texts, load, load_builtin
from consent_gateway.policies.rules import PackSet

Command = TypeVar("Command", bound=Callable[..., Any])
_REASONS = "reasons"


def packs_option(command: Command) -> Command:
    """Add `--packs DIR`, the packs of a folder instead of the shipped ones, and `--choices FILE`."""
    folder = click.option(
        "--packs",
        "folder",
        type=click.Path(exists=True, file_okay=False, path_type=Path),
        help="Folder of packs (*.yaml) to use instead of the shipped ones; reasons.yaml there replaces the catalogue.",
    )
    choices = click.option(
        "--choices",
        type=click.Path(exists=True, dir_okay=False, path_type=Path),
        envvar="CONSENT_GATEWAY_LAW_CHOICES_PATH",
        help="File with the operator's choices where the law is open.",
    )
    return folder(choices(command))


def written_packs(folder: Path | None, choices: Path | None, named: Choices = AS_SHIPPED) -> PackSet:
    """Return the packs as they are written, whatever the day; raises `InputError` if the folder holds none.

    `named` are the choices that count where no file of choices is given.
    """
    chosen = named if choices is None else read_choices(choices)
    return load_builtin(choices=chosen) if folder is None else load(texts_of(folder), chosen)


def packs_today(folder: Path | None, choices: Path | None) -> PackSet:
    """Return the packs as they stand today."""
    return written_packs(folder, choices).as_of(system_clock().date())


def texts_of(folder: Path) -> dict[str, str]:
    """Return the files of a folder of packs by name; the shipped catalogue of reasons if it has none of its own."""
    texts = {path.stem: path.read_text(encoding="utf-8") for path in sorted(folder.glob("*.yaml"))}
    if not texts.keys() - {_REASONS}:
        raise InputError(f"{folder}: there is no pack (*.yaml)")
    return {_REASONS: builtin_texts()[_REASONS], **texts}
