"""Reference documents that are generated from the code, so that they cannot say anything else.

`docs/errors.md` comes from the error catalogue, `docs/settings.md` from the settings, `docs/facts.md` from the
table of sources, `docs/log-kinds.md` from the catalogue of entries; tests compare the committed files with these
functions.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from consent_gateway.audit.catalogue import CATALOGUE, TYPES, KindRule
from consent_gateway.cli.facts import facts_markdown
from consent_gateway.errors import GatewayError, catalogue
from consent_gateway.policies import choices, vocabulary
from consent_gateway.settings import CONCERNS, PREFIX, variable
from consent_gateway.vault import failures

# Fixed, so that the text does not depend on what else was imported.
_CATALOGUES = (GatewayError.__module__, failures.__name__, vocabulary.__name__, choices.__name__)
_NOTE = "Generated from the code; edit the code, not this file."
_ERRORS = """\
Every error is an RFC 9457 problem (`application/problem+json`) with the members `type`, `title`, `status`, `detail`,
`instance`, `code`, `hint`, `errors` (a list of `path`, `code`, `message`) and `request_id`. Programs should branch on
`code`; the other texts may change. No member repeats a value of the request."""
_KINDS = """\
The kinds of entries are a closed list, and so are the fields of each. A kind is about nobody, about somebody (then the
entry commits to whom, and to its place in their chain), or perhaps, where the person may be a stranger. A question
mark: the field may be absent. How to read an entry: [audit-log.md](audit-log.md)."""
_SETTINGS = f"""\
The gateway reads these environment variables once, at start. A variable that begins with `{PREFIX}` and is
not listed refuses the start. Switches are `true` or `false`. Secrets are read from files, never from variables."""


def errors_markdown() -> str:
    """Return the error catalogue as Markdown: one section a code, in the order of the error tree."""
    kinds = [kind for kind in catalogue() if "code" in vars(kind) and kind.__module__ in _CATALOGUES]
    rows = [(f"[`{kind.code}`](#{kind.code})", str(kind.status), kind.title) for kind in kinds]
    parts = ["# Errors", _NOTE, _ERRORS, _table(("Code", "Status", "Title"), rows), *map(_error, kinds)]
    return "\n\n".join(parts) + "\n"


def _error(kind: type[GatewayError]) -> str:
    meaning = " ".join((kind.__doc__ or "").split())
    return f"## {kind.code}\n\n{kind.status} – {kind.title}. {meaning}\n\nWhat to do: {kind.hint}"


def settings_markdown() -> str:
    """Return the settings as Markdown, a table a concern: variable, default, meaning, what an attacker gains."""
    parts = ["# Settings", _NOTE, _SETTINGS]
    for concern in CONCERNS:
        parts += [f"## {concern.model_config['title']}", _concern(concern)]
    return "\n\n".join(parts) + "\n"


def _concern(concern: type[BaseModel]) -> str:
    rows = [
        (f"`{variable(name)}`", _default(field), field.description or "", _attacker(field))
        for name, field in concern.model_fields.items()
    ]
    return _table(("Variable", "Default", "Meaning", "If an attacker controls it"), rows)


def kinds_markdown() -> str:
    """Return what each kind of log entry may say as Markdown: a chapter a table, and the types."""
    parts = ["# What the log can say", _NOTE, _KINDS]
    for chapter in dict.fromkeys(rule.chapter for rule in CATALOGUE.values()):
        rows = [(f"`{k}`", r.about, _kind_fields(r)) for k, r in CATALOGUE.items() if r.chapter == chapter]
        parts += [f"## {chapter.capitalize()}", _table(("Kind", "About", "Fields"), rows)]
    types = _table(("Type", "Is"), [(f"`{name}`", meaning) for name, (meaning, _) in TYPES.items()])
    return "\n\n".join([*parts, "## Types", types]) + "\n"


def _kind_fields(rule: KindRule) -> str:
    told = [
        f"`{name}`{'' if field.required else '?'} {' or '.join(field.types)}" for name, field in rule.fields.items()
    ]
    return ", ".join([*told, *([] if rule.more is None else [f"any other: {' or '.join(rule.more.types)}"])])


def _default(field: FieldInfo) -> str:
    """Return the default as an operator would write it."""
    if field.default is None or field.default == ():
        return "–"
    value = str(field.default).lower() if isinstance(field.default, bool) else str(field.default)
    return f"`{value}`"


def _attacker(field: FieldInfo) -> str:
    extra = field.json_schema_extra
    return str(extra["attacker"]) if isinstance(extra, dict) else ""


def _table(head: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    lines = [head, tuple("---" for _ in head), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


def write_docs(directory: Path) -> list[Path]:
    """Write the documents into `directory` (the repository's `docs`); return their paths."""
    texts = {
        "errors.md": errors_markdown(),
        "settings.md": settings_markdown(),
        "facts.md": facts_markdown(_NOTE),
        "log-kinds.md": kinds_markdown(),
    }
    for name, text in texts.items():
        (directory / name).write_text(text, encoding="utf-8")
    return [directory / name for name in texts]
