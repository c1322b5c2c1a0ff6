"""The documents tell the truth: what they name exists, and the README's tour runs as it is printed."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from consent_gateway.cli.main import cli
from consent_gateway.settings import PREFIX, Settings
from edge import free_port

ROOT = Path(__file__).resolve().parents[1]
TOUR = re.compile(r"<!-- tour:begin -->(.*?)<!-- tour:end -->", re.DOTALL)
BLOCK = re.compile(r"^```bash\n(.*?)^```", re.DOTALL | re.MULTILINE)
FENCED = re.compile(r"^```.*?^```", re.DOTALL | re.MULTILINE)
QUOTED = re.compile(r"`([^`\n]+)`")
LINK = re.compile(r"\]\(([^)\s]+)\)")
FOLDERS = ("src/", "tests/", "docs/", "deploy/", "migrations/", "requirements/", "consent_gateway/")
# Files that only a store or a demo has.
MADE = ("var/", "store/", "gateway.sqlite3", "keyring.json")


def documents() -> list[Path]:
    return sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "deploy").rglob("*.md")])


def named_paths(text: str) -> set[str]:
    """What stands in backticks and claims to be a file or folder of this project."""
    found = set()
    for quoted in QUOTED.findall(FENCED.sub("", text)):
        if quoted.startswith(FOLDERS) and not re.search(r"[\s<>{}$*|]", quoted):
            found.add(quoted.split(":")[0].split("#")[0])
        elif re.fullmatch(r"[A-Za-z][\w-]*\.(?:md|toml|ini)|Makefile|LICENSE", quoted):
            found.add(quoted)
    return found


def exists(name: str, beside: Path) -> bool:
    places = (ROOT / name, beside.parent / name, ROOT / "src" / name, ROOT / "docs" / name)
    return any(place.exists() for place in places) or name.startswith(MADE)


@pytest.mark.parametrize("document", documents(), ids=lambda path: path.relative_to(ROOT).as_posix())
def test_every_path_in_backticks_exists(document: Path) -> None:
    assert {name for name in named_paths(document.read_text()) if not exists(name, document)} == set()


@pytest.mark.parametrize("document", documents(), ids=lambda path: path.relative_to(ROOT).as_posix())
def test_every_link_leads_somewhere(document: Path) -> None:
    text = document.read_text()
    headings = {anchor(line) for line in re.findall(r"^#+ (.+)$", text, re.MULTILINE)}
    for target in LINK.findall(FENCED.sub("", text)):
        name, _, fragment = target.partition("#")
        if name.startswith(("http://", "https://", "mailto:")):
            continue
        assert not name or (document.parent / name).exists(), target
        assert name or fragment in headings, target


def anchor(heading: str) -> str:
    """The anchor of a heading, as forges make it."""
    plain = re.sub(r"[^\w\- ]", "", heading.strip().lower())
    return plain.replace(" ", "-")


def test_every_command_that_is_named_exists() -> None:
    groups = {"": cli.commands} | {n: c.commands for n, c in cli.commands.items() if hasattr(c, "commands")}
    for document in documents():
        for words in re.findall(r"`consent-gateway ([a-z][a-z -]*)", document.read_text()):
            first, *rest = words.split()
            assert first in groups[""], (document.name, words)
            if first in groups and rest:
                assert rest[0] in groups[first], (document.name, words)


def test_every_setting_that_is_named_exists() -> None:
    known = {PREFIX + name.upper() for name in Settings.model_fields}
    known |= {PREFIX + name for name in ("CLIENT_URL", "CLIENT_KEY", "TEST_POSTGRES")}
    for document in documents():
        named = set(re.findall(rf"{PREFIX}[A-Z_]+[A-Z]", document.read_text()))
        assert named <= known, (document.name, named - known)


def test_the_readme_s_tour_runs_as_it_is_printed(tmp_path: Path) -> None:
    """Every block of the five minutes, in order, in one shell, against a real server on a free port."""
    readme = (ROOT / "README.md").read_text()
    tour = TOUR.search(readme)
    assert tour is not None, "README.md has no tour between its markers"
    blocks = BLOCK.findall(tour.group(1))
    assert len(blocks) >= 5
    done = run_tour(blocks, tmp_path)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert "ok entry" in done.stdout


def run_tour(blocks: list[str], directory: Path) -> subprocess.CompletedProcess[str]:
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    outer = {name: value for name, value in os.environ.items() if not name.startswith(PREFIX)}
    return subprocess.run(
        ["bash", "-euo", "pipefail", "-c", "\n".join(blocks)],
        capture_output=True,
        text=True,
        check=False,
        cwd=directory,
        env=outer | {"PATH": path, "PORT": str(free_port())},
        timeout=400,
    )


def test_a_tour_that_fails_is_seen(tmp_path: Path) -> None:
    assert run_tour(["true\n", "false | cat\n", "echo ok entry\n"], tmp_path).returncode != 0


def test_a_path_that_is_not_there_is_seen(tmp_path: Path) -> None:
    assert named_paths("see `src/consent_gateway/nothing.py` and `GET /v1/sources`") == {
        "src/consent_gateway/nothing.py"
    }
    assert not exists("src/consent_gateway/nothing.py", tmp_path / "x.md")
