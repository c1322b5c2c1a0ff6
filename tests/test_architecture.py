"""The rules that hold the code together: rings, one clock, one committer, classified columns, a clean tree."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from consent_gateway.db.tables import CLASSIFICATION, metadata

ROOT = Path(__file__).resolve().parents[1]
SOURCE = ROOT / "src" / "consent_gateway"
STYLE = ROOT.parent / "shared" / "tools" / "style_metrics.py"
CLASSES = {
    "operator", "pseudonymous", "identifier-hash", "credential-hash", "ciphertext", "log", "operational", "time",
}  # fmt: skip
CLOCKS = {("datetime", "now"), ("datetime", "utcnow"), ("datetime", "today"), ("date", "today"), ("time", "time")}
# Spelt in two parts, so that this file does not name what it forbids.
HOSTS = re.compile(r"(?:pypi" r"\.org|python" r"hosted\.org|index" r"-url\s*=?\s*http|://[a-z0-9.-]*(?:artifactory|nexus)\b)", re.IGNORECASE)  # fmt: skip
PLACES = re.compile(r"(?<![\w.~-])/(?:ro" r"ot|ho" r"me|wo" r"rk|Use" r"rs)/[A-Za-z0-9_.-]+")
MOST_PACKAGES = 47


def run(*command: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run([str(part) for part in command], capture_output=True, text=True, check=False, cwd=ROOT)


# -- rings -------------------------------------------------------------------------------------------------------


def lint_imports(*arguments: object) -> subprocess.CompletedProcess[str]:
    return run(Path(sys.executable).with_name("lint-imports"), "--no-cache", *arguments)


def test_imports_run_inwards_only() -> None:
    done = lint_imports()
    assert done.returncode == 0, done.stdout


def test_a_broken_contract_would_be_seen(tmp_path: Path) -> None:
    config = tmp_path / "contracts.toml"
    config.write_text(
        '[tool.importlinter]\nroot_package = "consent_gateway"\n[[tool.importlinter.contracts]]\nname = "planted"\n'
        'type = "forbidden"\nsource_modules = ["consent_gateway.services"]\nforbidden_modules = ["consent_gateway.db"]\n'
    )
    assert lint_imports("--config", config).returncode == 1


# -- style -------------------------------------------------------------------------------------------------------


def test_no_lazy_imports_no_tangles_all_typed() -> None:
    if not STYLE.is_file():
        pytest.skip("the style ruler ../shared/tools/style_metrics.py is not beside the project")
    bounds = ["--at-most", "lazy=0", "tangled=0", "--at-least", "typed=100"]
    done = run(sys.executable, STYLE, ".:src/consent_gateway:tests", *bounds)
    assert done.returncode == 0, done.stdout + done.stderr


# -- bans --------------------------------------------------------------------------------------------------------


def calls(tree: ast.AST) -> Iterator[tuple[str, str]]:
    """Every call of an attribute, as the last name of its owner and its own name."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            owner = node.func.value
            name = owner.attr if isinstance(owner, ast.Attribute) else owner.id if isinstance(owner, ast.Name) else ""
            yield name, node.func.attr


def imports_of(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        if isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def asks_for_the_time(tree: ast.AST) -> bool:
    return any(call in CLOCKS for call in calls(tree)) or "time.time" in set(imports_of(tree))


def commits(tree: ast.AST) -> bool:
    """Commit or roll back: the engine alone does so (promise P5)."""
    return any(name in {"commit", "rollback"} for _, name in calls(tree))


def leaves_the_standard(tree: ast.AST) -> bool:
    """Code out of data: `pickle`, `marshal`, `eval`, `exec`, and YAML that builds objects."""
    names = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
    unsafe = any(owner == "yaml" and name in {"load", "full_load", "unsafe_load"} for owner, name in calls(tree))
    return unsafe or bool(names & {"eval", "exec"}) or bool({"pickle", "marshal", "shelve"} & set(imports_of(tree)))


def modules() -> dict[str, ast.Module]:
    return {path.relative_to(SOURCE).as_posix(): ast.parse(path.read_text()) for path in sorted(SOURCE.rglob("*.py"))}


def test_one_module_asks_for_the_time() -> None:
    assert {name for name, tree in modules().items() if asks_for_the_time(tree)} == {"clock.py"}


def test_one_module_commits() -> None:
    """Apart from the command line: its benchmark measures bare drivers, its demo falsifies a copy of the store."""
    held = {name for name, tree in modules().items() if commits(tree) and not name.startswith("cli/")}
    assert held <= {"db/engine.py"}


def test_no_code_comes_out_of_data() -> None:
    assert [name for name, tree in modules().items() if leaves_the_standard(tree)] == []


def test_no_assertion_guards_anything() -> None:
    """`python -O` takes assertions away."""
    held = {name for name, tree in modules().items() if any(isinstance(n, ast.Assert) for n in ast.walk(tree))}
    assert held == set()


@pytest.mark.parametrize(
    ("planted", "check"),
    [
        ("at = datetime.now(UTC)", asks_for_the_time),
        ("at = datetime.datetime.utcnow()", asks_for_the_time),
        ("from time import time", asks_for_the_time),
        ("def f(session): session.commit()", commits),
        ("def f(work): work.session.rollback()", commits),
        ("x = eval('1')", leaves_the_standard),
        ("x = yaml.load(text)", leaves_the_standard),
        ("import pickle", leaves_the_standard),
    ],
)
def test_the_bans_see_what_is_planted(planted: str, check: object) -> None:
    assert callable(check)
    assert check(ast.parse(planted))
    assert not check(ast.parse("from audit import commit\nx = commit(1)\ny = yaml.safe_load('')\nz = time.monotonic()"))


# -- the store ---------------------------------------------------------------------------------------------------


def columns() -> set[str]:
    return {f"{table.name}.{column.name}" for table in metadata.tables.values() for column in table.columns}


def test_every_column_is_classified() -> None:
    assert columns() - set(CLASSIFICATION) == set()
    assert set(CLASSIFICATION) - columns() == set()
    assert set(CLASSIFICATION.values()) == CLASSES


def test_classes_fit_their_columns() -> None:
    """Hashes and ciphertexts are bytes, instants are integers; whoever names a person in a column says so."""
    for table in metadata.tables.values():
        for column in table.columns:
            kind = CLASSIFICATION[f"{table.name}.{column.name}"]
            if kind in {"identifier-hash", "credential-hash", "ciphertext"}:
                assert column.type.python_type is bytes, column
            if kind == "time":
                assert column.type.python_type is int, column
            if column.name == "subject_id":
                assert kind == "pseudonymous", column
            if column.name in {"sealed", "wrapped_dek", "evidence"}:
                assert kind == "ciphertext", column


def test_tables_of_one_person_carry_the_person() -> None:
    """An erasure deletes by `subject_id`: a table about people that lacks it would be forgotten by it."""
    about = {name.partition(".")[0] for name, kind in CLASSIFICATION.items() if kind == "pseudonymous"}
    without = {name for name in about if "subject_id" not in metadata.tables[name].columns}
    # the person itself; members expire, and are decided again; an opt-out of nobody known waits for somebody
    assert without == {"subjects", "audience_members", "waiting_opt_outs"}


# -- the tree ----------------------------------------------------------------------------------------------------


def tracked() -> dict[str, str]:
    done = run("git", "ls-files", "-z")
    if done.returncode != 0:
        pytest.skip("this is not a git checkout, so nobody knows which files belong to the project")
    found = {}
    for name in filter(None, done.stdout.split("\0")):
        if (ROOT / name).is_file():
            found[name] = (ROOT / name).read_bytes().decode("utf-8", "replace")
    return found


def test_no_file_names_a_package_index() -> None:
    assert [name for name, text in tracked().items() if HOSTS.search(text)] == []


def test_no_file_names_a_place_of_one_machine() -> None:
    assert {name: PLACES.findall(text) for name, text in tracked().items() if PLACES.search(text)} == {}


def test_a_planted_host_or_place_is_seen() -> None:
    assert HOSTS.search("https://" + "pypi" + ".org/simple")
    assert HOSTS.search("--index" + "-url http://x")
    assert PLACES.search("see /" + "root/x")
    assert PLACES.search('"/' + "home/someone" + '"')
    assert not PLACES.search("https://example.org/" + "home/x")
    assert not PLACES.search("docs/work/x")


def test_no_secret_or_build_product_is_tracked() -> None:
    bad = re.compile(r"(\.sqlite3(-wal|-shm)?|\.secret|keyring\.json|\.pyc|\.egg-info|/var/)")
    assert [name for name in tracked() if bad.search("/" + name)] == []


def test_the_runtime_stays_small() -> None:
    text = (ROOT / "requirements" / "runtime.txt").read_text()
    pins = re.findall(r"^([a-z0-9_.-]+)==\S+(?: ; (.*?))? \\$", text, re.MULTILINE)
    ours = [name for name, marker in pins if marker != "sys_platform == 'win32'"]
    assert 30 < len(ours) <= MOST_PACKAGES
    assert text.count("--hash=sha256:") >= len(pins)


def test_every_package_is_pinned_by_hash() -> None:
    for name in ("runtime", "dev", "demo", "uv"):
        text = (ROOT / "requirements" / f"{name}.txt").read_text()
        blocks = re.split(r"\n(?=[a-z0-9])", text.strip())
        assert all("==" in block and "--hash=sha256:" in block for block in blocks), name


def test_test_files_have_names_of_their_own() -> None:
    """Without packages under `tests`, two files of one name would hide each other."""
    names = [path.name for path in (ROOT / "tests").rglob("*.py") if path.name != "conftest.py"]
    assert len(names) == len(set(names))
