"""Every fact has a source: the table is complete, and every field of a question and a situation is given in service."""

from __future__ import annotations

import ast
import inspect
from dataclasses import fields
from pathlib import Path
from types import ModuleType

import pytest

from consent_gateway.cli.docs import write_docs
from consent_gateway.cli.facts import SOURCES, UNFED
from consent_gateway.policies.facts import Question, Situation
from consent_gateway.policies.vocabulary import BY_NAME
from consent_gateway.services.deciding import questions, situations

DOC = Path(__file__).resolve().parents[2] / "docs" / "facts.md"
ROOMS = {Question: questions, Situation: situations}


def given(source: str, name: str) -> set[str]:
    """The fields that the code gives wherever it makes a `name`."""
    calls = (node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Call))
    made = [c for c in calls if isinstance(c.func, ast.Name) and c.func.id == name]
    assert made, f"nothing makes a {name}"
    return set.intersection(*({str(k.arg) for k in call.keywords} for call in made))


def test_the_table_names_every_fact_and_no_other() -> None:
    assert SOURCES.keys() == BY_NAME.keys()


def test_the_document_is_that_of_the_table(tmp_path: Path) -> None:
    write_docs(tmp_path)
    assert DOC.read_text(encoding="utf-8") == (tmp_path / "facts.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("made", ROOMS)
def test_every_field_is_given_in_service_or_listed_with_a_reason(made: type) -> None:
    room: ModuleType = ROOMS[made]
    missing = {f.name for f in fields(made)} - given(inspect.getsource(room), made.__name__)
    assert missing == {name for name in UNFED if name in {f.name for f in fields(made)}}


def test_a_field_that_is_not_given_is_seen() -> None:
    source = inspect.getsource(situations).replace("corporate=", "nothing=")
    assert "corporate" not in given(source, "Situation")
