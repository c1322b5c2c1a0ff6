"""The commands as an operator and a program meet them: exit status, output for people, `--json`, and errors."""

from __future__ import annotations

import json
import os
import re
import sqlite3
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from consent_gateway import __version__
from consent_gateway.cli.main import main
from edge import ROOT, SHARED, Edge, running

CASES = SHARED / "cases" / "law_cases.json"


@dataclass(frozen=True)
class Done:
    """A command that has ended."""

    status: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


Command = Callable[..., Done]


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    """Run `consent-gateway ARGUMENTS` in this process, with a clean environment and a wide screen."""
    for name in list(os.environ):
        if name.startswith("CONSENT_GATEWAY_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setenv("NO_COLOR", "1")

    def run(*arguments: object, **settings: str) -> Done:
        capsys.readouterr()
        with monkeypatch.context() as patch:
            patch.setattr("sys.argv", ["consent-gateway", *map(str, arguments)])
            for name, value in settings.items():
                patch.setenv(name, value)
            with pytest.raises(SystemExit) as ended:
                main()
        read = capsys.readouterr()
        code = ended.value.code
        return Done(code if isinstance(code, int) else 0, read.out, read.err)

    return run


@pytest.fixture
def store(tmp_path: Path, command: Command) -> Path:
    assert command("init", "--store", tmp_path / "store").status == 0
    return tmp_path / "store"


# -- a store -----------------------------------------------------------------------------------------------------


def test_init_makes_a_store_that_only_its_owner_can_read(tmp_path: Path, command: Command) -> None:
    done = command("init", "--store", tmp_path / "store", "--json")
    assert done.status == 0
    assert set(done.json) == {"store", "api_key", "log_vkey"}
    assert re.fullmatch(r"cg_operator_[\w-]{43}", done.json["api_key"])
    held = {file.name: stat.S_IMODE(file.stat().st_mode) for file in (tmp_path / "store").iterdir()}
    assert {"gateway.sqlite3", "keyring.json", "keyring.secret"} <= set(held)
    assert held["keyring.json"] == held["keyring.secret"] == 0o600
    assert command("audit", "vkey", "--store", tmp_path / "store").out.strip() == done.json["log_vkey"]


def test_init_twice_changes_nothing(store: Path, command: Command) -> None:
    before = {file.name: file.read_bytes() for file in store.iterdir() if file.name.startswith("keyring")}
    done = command("init", "--store", store)
    assert (done.status, done.out) == (2, "")
    assert "conflict" in done.err
    assert "migrate" in done.err
    assert before == {file.name: file.read_bytes() for file in store.iterdir() if file.name.startswith("keyring")}


def test_the_key_is_shown_to_people_once(tmp_path: Path, command: Command) -> None:
    done = command("init", "--store", tmp_path / "store")
    assert len(re.findall(r"cg_operator_[\w-]{43}", done.out)) == 1
    assert "shown once" in done.out
    assert "cg_operator_" not in command("keys", "list", "--store", tmp_path / "store").out


def test_migrate_goes_down_and_up(store: Path, command: Command) -> None:
    assert "-> nothing" in command("migrate", "--store", store, "--to", "base").out
    failing = command("doctor", "--store", store)
    assert failing.status == 1
    assert "migrate" in failing.out
    assert "nothing ->" in command("migrate", "--store", store).out
    again = command("migrate", "--store", store)
    assert again.status == 0
    first, _, second = again.out.removeprefix("schema: ").strip().partition(" -> ")
    assert first == second


def test_doctor_finds_what_is_wrong(store: Path, command: Command) -> None:
    well = command("doctor", "--store", store, "--json")
    assert well.status == 0
    assert [f["check"] for f in well.json] == [
        "settings",
        "keyring",
        "key service",
        "store",
        "schema",
        "policies",
        "audit log",
        "checkpoint copies",
        "data keys",
        "tombstones",
    ]
    assert all(finding["ok"] for finding in well.json)
    assert "FAIL" not in command("doctor", "--store", store).out
    (store / "keyring.json").chmod(0o644)
    ill = command("doctor", "--store", store, "--json")
    assert ill.status == 1
    assert ill.json[-1]["check"] == "keyring_unavailable"
    assert "0600" in ill.json[-1]["detail"]
    (store / "keyring.json").unlink()
    assert command("doctor", "--store", store).status == 1


def test_doctor_sees_a_schema_that_drifted(store: Path, command: Command) -> None:
    with sqlite3.connect(store / "gateway.sqlite3") as connection:
        connection.execute("ALTER TABLE subjects ADD COLUMN planted TEXT")
    connection.close()
    done = command("doctor", "--store", store, "--json")
    assert done.status == 1
    assert {"check": "schema", "ok": False, "detail": "1"} in done.json


# -- keys --------------------------------------------------------------------------------------------------------


def test_keys_are_made_listed_and_revoked(store: Path, command: Command) -> None:
    made = command("keys", "issue", "crm", "--scope", "ingest", "--scope", "decide", "--store", store, "--json").json
    assert made["principal"] == "crm"
    assert made["api_key"].startswith("cg_crm_")
    listed = {row["id"]: row for row in command("keys", "list", "--store", store, "--json").json}
    assert listed["crm"]["scopes"] == ["decide", "ingest"]
    assert listed["crm"]["revoked_at"] is None
    assert made["api_key"] not in json.dumps(listed)
    assert command("keys", "revoke", "crm", "--store", store).out == "revoked crm\n"
    assert "revoked" in command("keys", "list", "--store", store).out
    twice = command("keys", "revoke", "crm", "--store", store)
    assert (twice.status, twice.out) == (2, "")
    assert "not_found" in twice.err


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["issue", "CRM system", "--scope", "ingest"], "$.id"),
        (["issue", "operator", "--scope", "ingest"], "conflict"),
        (["issue", "crm", "--scope", "ingest", "--recipient", "nobody"], "$.recipient"),
        (["issue", "crm", "--scope", "everything"], "everything"),
        (["issue", "crm"], "--scope"),
        (["issue"], "NAME"),
        (["revoke", "nobody"], "not_found"),
    ],
)
def test_keys_that_cannot_be(store: Path, command: Command, arguments: list[str], says: str) -> None:
    done = command("keys", *arguments, "--store", store)
    assert done.status == 2
    assert says in done.err
    assert len(command("keys", "list", "--store", store, "--json").json) == 1


def test_the_state_of_the_keyring_shows_no_key(store: Path, command: Command) -> None:
    value = command("keys", "status", "--store", store, "--json").json
    assert value["sealed"] is True
    assert value["current_kek_epoch"] in value["kek_epochs"]
    secrets = json.dumps(json.loads((store / "keyring.json").read_text()))
    for text in re.findall(r"[A-Za-z0-9+/_-]{40,}", json.dumps(value)):
        assert text not in secrets


# -- import ------------------------------------------------------------------------------------------------------


@pytest.fixture
def edge(tmp_path: Path) -> Iterator[Edge]:
    with running(tmp_path / "served") as made:
        source = {"id": "crm", "name": "CRM", "channel": "web", "party": "first"}
        assert made.admin.post("/v1/sources", json=source).is_success
        yield made


def bring(command: Command, edge: Edge, path: Path, *more: object, key: str | None = None) -> Done:
    return command(
        "import", path, "--source", "crm", "--url", edge.url, *more, CONSENT_GATEWAY_CLIENT_KEY=key or edge.key
    )


def write(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def test_an_import_with_refused_rows_ends_with_1_and_shows_them(tmp_path: Path, command: Command, edge: Edge) -> None:
    rows = [f"M-{n},p{n}@example.org,DE" for n in range(1, 2101)]
    rows[4], rows[1503] = "M-5,not an address,DE", "M-1504,p1504@example.org,Atlantis"
    path = write(tmp_path / "people.csv", "member_no,email,country\n" + "\n".join(rows) + "\n")
    done = bring(command, edge, path)
    assert done.status == 1
    assert "received 2100: accepted 2098" in done.out
    assert "refused 2" in done.out
    assert re.search(r"row 5: \$\.email", done.out)
    assert re.search(r"row 1504: \$\.country", done.out)
    assert "not an address" not in done.out + done.err
    value = bring(command, edge, path, "--json")
    assert value.status == 1
    assert [(r["row"], r["reasons"][0]["path"]) for r in value.json["rejections"]] == [
        (5, "$.email"),
        (1504, "$.country"),
    ]


def test_the_same_file_twice_changes_nothing(tmp_path: Path, command: Command, edge: Edge) -> None:
    path = write(tmp_path / "people.csv", 'member_no,given_name\nM-1,"Anna ""A"""\nM-2,Bert\n')
    assert bring(command, edge, path).status == 0
    edge.settle()
    before = edge.admin.get("/checkpoint").content
    again = bring(command, edge, path)
    edge.settle()
    assert again.status == 0
    assert "1 batches had been sent before and changed nothing" in again.out
    assert edge.admin.get("/checkpoint").content == before
    renamed = bring(command, edge, write(tmp_path / "other.csv", path.read_text()), "--json")
    assert (renamed.json["duplicates"], renamed.json["created"]) == (2, 0)


def test_ndjson_of_every_kind(tmp_path: Path, command: Command, edge: Edge) -> None:
    bring(command, edge, write(tmp_path / "people.ndjson", '{"member_no":"M-1"}\n'))
    who, at = {"subject": {"member_no": "M-1"}}, {"at": "2026-01-31T12:00:00Z"}
    items = {
        "consents": who | at | {"purpose": "direct_marketing", "kind": "given"},
        "choices": who | at | {"choice": "objection", "active": True},
        "events": who | at | {"type": "visit", "key": "1"},
        "contacts": who | at | {"channel": "email", "campaign": "spring", "key": "1"},
    }
    for kind, item in items.items():
        done = bring(
            command, edge, write(tmp_path / f"{kind}.ndjson", json.dumps(item) + "\n"), "--kind", kind, "--json"
        )
        assert (done.status, done.json["accepted"]) == (0, 1)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("shoe\n44\n", "unknown_column"), ("given_name\nAnna\n", "one of member_no"), ('member_no\n"M-1\n', "RFC 4180"),
        ("member_no\n" + "9" * 1_100_000 + "\n", "line is longer"),
    ],
)  # fmt: skip
def test_a_file_that_is_none_is_one_readable_line(
    tmp_path: Path, command: Command, edge: Edge, text: str, says: str
) -> None:
    done = bring(command, edge, write(tmp_path / "people.csv", text))
    assert (done.status, done.out) == (2, "")
    assert says in done.err or "known:" in done.err
    assert "Traceback" not in done.err


def test_imports_that_cannot_begin(tmp_path: Path, command: Command, edge: Edge) -> None:
    path = write(tmp_path / "people.csv", "member_no\nM-1\n")
    refused = bring(command, edge, path, key="cg_crm_wrong")
    assert refused.status == 2
    assert "API key" in refused.err
    assert "cg_crm_wrong" not in refused.err + refused.out
    assert command("import", path, "--source", "crm").status == 2
    assert command("import", tmp_path / "nothing.csv", "--source", "crm").status == 2
    nobody = command("import", path, "--source", "crm", "--url", "http://127.0.0.1:9", CONSENT_GATEWAY_CLIENT_KEY="x")
    assert nobody.status == 2
    assert "is it running?" in nobody.err
    unknown = command("import", path, "--source", "nobody", "--url", edge.url, CONSENT_GATEWAY_CLIENT_KEY=edge.key)
    assert unknown.status == 2
    assert "$.source" in unknown.err


def test_a_key_comes_from_a_file(tmp_path: Path, command: Command, edge: Edge) -> None:
    path, key = write(tmp_path / "people.csv", "member_no\nM-1\n"), write(tmp_path / "key", edge.key + "\n")
    assert command("import", path, "--source", "crm", "--url", edge.url, "--key-file", key).status == 0


def test_the_client_s_variables_do_not_stop_the_other_commands(store: Path, command: Command) -> None:
    """Who exported the key for imports can still look after the store from the same shell."""
    more = {"CONSENT_GATEWAY_CLIENT_KEY": "x", "CONSENT_GATEWAY_CLIENT_URL": "http://127.0.0.1:8080"}
    assert command("doctor", "--store", store, **more).status == 0
    misspelt = command("keys", "list", "--store", store, CONSENT_GATEWAY_K_FLOR="2")
    assert misspelt.status == 2
    assert "CONSENT_GATEWAY_K_FLOR" in misspelt.err
    found = command("doctor", "--store", store, CONSENT_GATEWAY_K_FLOR="2")
    assert found.status == 1
    assert "CONSENT_GATEWAY_K_FLOR" in found.out


# -- upkeep, log and law -------------------------------------------------------------------------------------------


def test_reconcile_finds_and_repairs_what_was_planted(tmp_path: Path, command: Command) -> None:
    with running(tmp_path / "served") as edge:
        edge.admin.post("/v1/sources", json={"id": "crm", "name": "CRM", "channel": "web", "party": "first"})
        edge.admin.post("/v1/subjects", json={"source": "crm", "items": [{"email": "a@example.org", "country": "DE"}]})
        directory = edge.settings.store_directory
        well = command("reconcile", "--store", directory, "--json")
        assert (well.status, well.json["clean"], well.json["compared"]) == (0, True, 1)
        with edge.gateway.work() as work:
            work.session.exec_driver_sql("UPDATE audience_rows SET regions = 'US', c0 = 4")
        ill = command("reconcile", "--store", directory, "--json")
        assert (ill.status, ill.json["differing"]) == (1, 1)
        assert set(ill.json["columns"]) == {"regions", "c0"}
        assert "repaired" in command("reconcile", "--store", directory, "--repair").out
        assert command("reconcile", "--store", directory).status == 0


def test_the_log_is_exported_and_verified_without_the_store(tmp_path: Path, store: Path, command: Command) -> None:
    vkey = command("audit", "vkey", "--store", store).out.strip()
    done = command("audit", "export", tmp_path / "log", "--store", store)
    assert done.status == 0
    assert "new entries" in done.out
    again = command("audit", "export", tmp_path / "log", "--store", store, "--json").json
    assert again["files"] == 0
    assert again["size"] == again["before"] > 10
    assert command("audit", "export", tmp_path / "log", "--append-only", "--store", store).status == 2
    well = command("audit", "verify", "tree", vkey, tmp_path / "log")
    assert (well.status, well.out[:3]) == (0, "ok ")
    bundle = next((tmp_path / "log" / "tile" / "entries").rglob("*.p/*"))
    bundle.write_bytes(bundle.read_bytes().replace(b"operator", b"operatos", 1))
    ill = command("audit", "verify", "tree", vkey, tmp_path / "log")
    assert ill.status == 1
    assert ill.out.startswith("FAIL")
    assert command("audit", "verify", "nothing").status == 2


def test_the_verifier_is_one_file_that_runs(tmp_path: Path, command: Command) -> None:
    text = command("audit", "verifier").out
    assert "consent_gateway" not in re.sub(r'""".*?"""|#.*', "", text, flags=re.DOTALL)
    compile(text, "verify.py", "exec")


def test_the_policy_cases_of_the_officers_hold(command: Command) -> None:
    if not CASES.is_file():
        pytest.skip("the case file ../shared/cases/law_cases.json is not beside the project")
    done = command("policy", "test", CASES, "--json")
    assert done.status == 0
    assert len(done.json) == len(json.loads(CASES.read_text())["cases"])
    binding = [row for row in done.json if row["basis_kind"] in ("statute", "regulation")]
    assert binding
    assert all(row["holds"] for row in binding)
    assert f"of {len(done.json)} cases hold" in command("policy", "test", CASES).out


def test_a_case_that_does_not_hold_ends_with_1(tmp_path: Path, command: Command) -> None:
    if not CASES.is_file():
        pytest.skip("the case file ../shared/cases/law_cases.json is not beside the project")
    cases = json.loads(CASES.read_text())
    case = next(c for c in cases["cases"] if c["basis_kind"] == "statute")
    key = next(name for name in ("expected", "outcome", "expect", "decision") if name in case)
    case[key] = _turned(case[key])
    cases["cases"] = [case]
    done = command("policy", "test", write(tmp_path / "cases.json", json.dumps(cases)), "--json")
    assert done.status == 1
    assert [row["holds"] for row in done.json] == [False]


def _turned(expected: Any) -> Any:
    if isinstance(expected, dict):
        return {name: _turned(value) for name, value in expected.items()}
    swap = {"permit": "deny", "deny": "permit", "allow": "deny", "permitted": "denied", "denied": "permitted"}
    return swap.get(expected, expected)


def test_packs_are_listed_and_shown_as_a_lawyer_reads_them(command: Command) -> None:
    listed = command("policy", "list", "--json").json
    assert {"gdpr", "uk", "ccpa", "pipl"} <= {pack["id"] for pack in listed}
    assert "GDPR Art 6(1)(a)" in command("policy", "show", "gdpr").out
    assert "同意" in command("policy", "show", "pipl", "--language", "zh").out
    unknown = command("policy", "show", "atlantis")
    assert unknown.status == 2
    assert "packs are:" in unknown.err


def test_the_proof_vectors_hold(command: Command) -> None:
    vectors = SHARED / "vectors" / "audit" / "transparency-dev-merkle.json"
    if not vectors.is_file():
        pytest.skip("the vectors ../shared/vectors/audit are not beside the project")
    done = command("audit", "test", vectors)
    assert (done.status, done.out.splitlines()[-1]) == (0, "0 differences")


def test_vectors_are_told_case_by_case(command: Command, tmp_path: Path) -> None:
    own = ROOT / "tests" / "vectors"
    done = command("audit", "test", own)
    assert done.status == 0
    assert (
        "  allowed a witness line twice: wanted accept, got refuse (checkpoint): a line stands there twice" in done.out
    )
    assert "pseudonyms.json: skipped, of no known format" in done.out
    read = command("audit", "test", own, "--json").json
    assert [len(file["allowed"]) for file in read["files"] if file["file"] == "audit_notes.json"] == [2]
    assert "pseudonyms.json" in read["skipped"]
    spoilt = tmp_path / "spoilt.json"
    spoilt.write_text(
        (own / "audit_notes.json")
        .read_text(encoding="utf-8")
        .replace('"want": "accept"', '"want": "refuse", "code": "x"', 1)
    )
    wrong = command("audit", "test", spoilt)
    assert (wrong.status, wrong.out.splitlines()[-1]) == (1, "1 differences")
    assert "  DIFFERS the log alone: wanted refuse (x), got accept" in wrong.out
    unknown = command("audit", "test", own / "pseudonyms.json")
    assert (unknown.status, unknown.err.count("known format")) == (2, 1)
    assert command("audit", "test", tmp_path / "nowhere").status == 2
    (tmp_path / "empty").mkdir()
    assert command("audit", "test", tmp_path / "empty").status == 2


# -- the command line itself ---------------------------------------------------------------------------------------


def test_help_and_version(command: Command) -> None:
    assert command("--version").out.strip().endswith(__version__)
    text = command("--help").out
    for name in (
        "init",
        "serve",
        "doctor",
        "migrate",
        "import",
        "keys",
        "reconcile",
        "policy",
        "audit",
        "receipts",
        "demo",
    ):
        assert re.search(rf"^  {name} ", text, re.MULTILINE)
        assert command(name, "--help").status == 0


@pytest.mark.parametrize(
    "arguments", [["nothing"], ["serve", "--port", "x"], ["keys", "nothing"], ["policy", "test", "nothing"]]
)
def test_usage_errors_are_short(command: Command, arguments: list[str]) -> None:
    done = command(*arguments)
    assert done.status == 2
    assert "Traceback" not in done.err
    assert len(done.err.splitlines()) <= 6


@pytest.mark.parametrize(
    "arguments",
    [
        ["serve"],
        ["init"],
        ["migrate"],
        ["reconcile"],
        ["keys", "list"],
        ["audit", "vkey"],
        ["worker"],
        ["audit", "export", "x"],
    ],
)
def test_without_a_store_every_command_says_which_setting_is_missing(command: Command, arguments: list[str]) -> None:
    done = command(*arguments)
    assert (done.status, done.out) == (2, "")
    assert "CONSENT_GATEWAY_STORE_DIRECTORY" in done.err


@pytest.mark.parametrize(
    "settings",
    [
        {"CONSENT_GATEWAY_ENVIRONMENT": "production"},
        {"CONSENT_GATEWAY_ENVIRONMENT": "production", "CONSENT_GATEWAY_ALLOW_UNSEALED_KEYRING": "true"},
        {"CONSENT_GATEWAY_ALLOW_UNSEALED_KEYRING": "yes"},
        {"CONSENT_GATEWAY_PORT": "0"},
        {"CONSENT_GATEWAY_DATABASE_URL": "mysql://canary:secret@example.org/x"},
    ],
)
def test_serve_refuses_what_is_not_safe(store: Path, command: Command, settings: dict[str, str]) -> None:
    done = command("serve", "--store", store, **settings)
    assert (done.status, done.out) == (2, "")
    assert "CONSENT_GATEWAY_" in done.err
    assert "secret@" not in done.err


def test_serve_refuses_a_store_of_another_schema(store: Path, command: Command) -> None:
    command("migrate", "--store", store, "--to", "base")
    done = command("serve", "--store", store)
    assert done.status == 2
    assert "consent-gateway migrate" in done.err


def test_the_commands_of_the_makefile_exist() -> None:
    text = (ROOT / "Makefile").read_text()
    assert {"demo", "serve", "bench"} <= set(re.findall(r"consent-gateway (\w+)", text))
