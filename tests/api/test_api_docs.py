"""The table of paths in docs/api.md names every operation that is served, with its scope, and nothing else."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest
from litestar import post
from litestar.handlers import HTTPRouteHandler
from test_api_matrix import NEEDED

from consent_gateway.api.routes import HANDLERS

DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "api.md"
SECTION = re.compile(r"^## Paths\n(.*?)^## ", re.DOTALL | re.MULTILINE)
QUOTED = re.compile(r"`([^`]+)`")
OVERRIDE = re.compile(r"`([A-Z]+)`: `([a-z]+)`")

Operations = dict[tuple[str, str], str | None]


def served(handlers: Iterable[HTTPRouteHandler]) -> set[tuple[str, str]]:
    """Method and path of every handler, with `{name}` for a parameter of any type."""
    return {
        (str(method), re.sub(r":\w+}", "}", path))
        for handler in handlers
        for path in handler.paths
        for method in handler.http_methods
    }


def documented(text: str) -> Operations:
    """Method and path of every line of the table, with the scope; a line that repeats another fails."""
    section = SECTION.search(text)
    assert section is not None, "docs/api.md has no section Paths"
    found: Operations = {}
    for line in section.group(1).splitlines():
        if not line.startswith("| `"):
            continue
        paths, _, scopes = (cell.strip() for cell in line.strip("| ").split(" | "))
        for method, path in operations(paths):
            assert (method, path) not in found, (method, path)
            found[method, path] = scope(scopes, method)
    return found


def operations(cell: str) -> Iterator[tuple[str, str]]:
    methods: list[str] = []
    for quoted in QUOTED.findall(cell):
        named, _, path = quoted.rpartition(" ")
        methods = named.split(", ") if named else methods
        assert methods, f"{quoted}: no method before it"
        yield from ((method, path.partition("?")[0]) for method in methods)


def scope(cell: str, method: str) -> str | None:
    if cell.startswith("none"):
        return None
    overridden = dict(OVERRIDE.findall(cell))
    return str(overridden.get(method, QUOTED.findall(cell)[0]))


def test_the_table_names_every_operation_that_is_served_and_no_other() -> None:
    assert set(documented(DOCUMENT.read_text(encoding="utf-8"))) == served(HANDLERS)


def test_the_table_names_the_scope_that_is_needed() -> None:
    told = documented(DOCUMENT.read_text(encoding="utf-8"))
    assert {operation: scope for operation, scope in told.items() if scope is not None} == NEEDED


@post("/v1/planted/{thing:str}")
async def planted(thing: str) -> str:
    return thing


def test_a_route_that_the_table_lacks_is_seen() -> None:
    missing = served([*HANDLERS, planted]) - set(documented(DOCUMENT.read_text(encoding="utf-8")))
    assert missing == {("POST", "/v1/planted/{thing}")}


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("| `POST, GET /a`, `/b` | x | `admin`; `GET`: `ingest` |",
         {("POST", "/a"): "admin", ("GET", "/a"): "ingest", ("POST", "/b"): "admin", ("GET", "/b"): "ingest"}),
        ("| `GET /a?x=1`, `POST /c/{id}` | x | none: the token |", {("GET", "/a"): None, ("POST", "/c/{id}"): None}),
    ],
)  # fmt: skip
def test_a_line_of_the_table_is_read(line: str, found: Operations) -> None:
    assert documented(f"## Paths\n\n| Path | What | Scope |\n| --- | --- | --- |\n{line}\n\n## Next\n") == found
