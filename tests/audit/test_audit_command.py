"""The auditor's command line: each check is given what was typed, says what it finds, and explains itself."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from consent_gateway.audit import command
from consent_gateway.audit.verifier import Finding

FILES = ("a", "b", "c", "p")
A, B, C, POLICY = (name.encode() for name in FILES)
NOTHING: dict[str, Any] = {"witnesses": [], "policy": None}
TRUST: dict[str, Any] = {"witnesses": ["W1", "W2"], "policy": POLICY}
TRUSTING = ("--witness", "W1", "--policy", "p", "--witness", "W2")
TREE: dict[str, Any] = NOTHING | {
    "progress": None, "checkpoint": None, "earlier": [], "exports": [], "statements": [], "strict": False, "maps": [], "jobs": 1,
}  # fmt: skip


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a file for each letter that holds its name, and a folder `d`."""
    monkeypatch.chdir(tmp_path)
    for name in FILES:
        Path(name).write_text(name)
    Path("d").mkdir()
    return tmp_path


def asked(
    monkeypatch: pytest.MonkeyPatch, check: str, finding: Finding
) -> list[tuple[tuple[Any, ...], dict[str, Any]]]:
    """Answer in the place of a check; return what it is called with."""
    calls = list[tuple[tuple[Any, ...], dict[str, Any]]]()

    def answer(*given: Any, **named: Any) -> Finding:
        calls.append((given, named))
        return finding

    monkeypatch.setattr(command, check, answer)
    return calls


@pytest.mark.parametrize(("typed", "check", "given", "named"), [
    ("receipt V a b", "verify_receipt", ("V", A, B), NOTHING),
    ("receipt V a b W3", "verify_receipt", ("V", A, B), NOTHING | {"witnesses": ["W3"]}),
    (("receipt", "V", "a", "b", "W3", *TRUSTING), "verify_receipt", ("V", A, B), TRUST | {"witnesses": ["W1", "W2", "W3"]}),
    ("tree V d", "verify_directory", ("V", Path("d")), TREE),
    (("tree", "V", "d", "a", "d", *TRUSTING, "--checkpoint", "b", "--epoch", "c", "--epoch", "a", "--strict", "--jobs", "3", "--map", "b"),
     "verify_directory", ("V", Path("d")),
     TREE | TRUST | {"checkpoint": B, "earlier": [A], "exports": [Path("d")], "statements": [C, A], "strict": True, "maps": [B], "jobs": 3}),
    ("prefix V a b c", "verify_prefix", ("V", A, B, C), NOTHING),
    (("prefix", "V", "a", "b", "c", *TRUSTING), "verify_prefix", ("V", A, B, C), TRUST),
    ("checkpoint V a", "verify_checkpoint", ("V", A), NOTHING),
    (("checkpoint", "V", "a", *TRUSTING), "verify_checkpoint", ("V", A), TRUST),
    ("bundle V a", "verify_bundle", ("V", A), NOTHING | {"erasures": []}),
    (("bundle", "V", "a", *TRUSTING, "--erasure", "a", "b", "--erasure", "c", "a"), "verify_bundle", ("V", A),
     TRUST | {"erasures": [(A, B), (C, A)]}),
    ("membership V a", "verify_membership", ("V", A), NOTHING),
    (("membership", "V", "a", *TRUSTING), "verify_membership", ("V", A), TRUST),
    ("payload a name 00ff b", "verify_payload", (A, "name", b"\x00\xff", B), {}),
    ("consent a b", "verify_document", (A, B, None), {}),
    ("consent a b c", "verify_document", (A, B, C), {}),
    ("epochs V a b", "verify_epochs", ("V", [A, B]), {}),
    ("map a b", "verify_published_map", (A, B, []), {}),
    ("map a b c a", "verify_published_map", (A, B, [C, A]), {}),
])  # fmt: skip
def test_each_check_is_given_what_was_typed(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
    typed: str | tuple[str, ...], check: str, given: tuple[Any, ...], named: dict[str, Any],
) -> None:  # fmt: skip
    arguments = typed.split() if isinstance(typed, str) else typed
    calls = asked(monkeypatch, check, Finding(ok=True, code="ok", message="as it should be", index=3))
    assert command.main(arguments) == 0
    assert capsys.readouterr() == ("ok as it should be\n", "")
    assert command.main([*arguments, "--json"]) == 0
    told = {"check": arguments[0], "ok": True, "code": "ok", "message": "as it should be", "index": 3}
    out = capsys.readouterr().out
    assert (json.loads(out), out[-2:]) == (told, "}\n")
    assert calls == [(given, named)] * 2


def test_what_does_not_hold_is_told_by_the_status_and_with_its_details(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked(
        monkeypatch, "verify_bundle", Finding(ok=False, code="map", message="not so", index=None, details={"size": 9})
    )
    assert command.main(["bundle", "V", "a"]) == 1
    assert capsys.readouterr().out == "FAIL map: not so\n"
    assert command.main(["bundle", "V", "a", "--json"]) == 1
    told = {"check": "bundle", "ok": False, "code": "map", "message": "not so", "index": None, "size": 9}
    assert json.loads(capsys.readouterr().out) == told


@pytest.mark.parametrize(("raised", "told"), [
    (ValueError("odd-length text"), "FAIL input: odd-length text\n"),
    (FileNotFoundError(2, "No such file or directory", "x\x1b[2J"), "FAIL input: x\\x1b[2J: No such file or directory\n"),
])  # fmt: skip
def test_what_cannot_be_read_is_a_finding_too(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], raised: Exception, told: str
) -> None:
    def fail(*_: object, **__: object) -> Finding:
        raise raised

    monkeypatch.setattr(command, "verify_bundle", fail)
    assert command.main(["bundle", "V", "a"]) == 1
    assert capsys.readouterr() == (told, "")


def test_a_file_is_read_up_to_its_limit(
    here: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """64 MiB, and a gibibyte for a map, whose limit is lowered here."""
    limit = 64 << 20
    calls = asked(monkeypatch, "verify_published_map", Finding(ok=True, code="ok", message=""))
    for name, size in (("a", limit), ("b", limit + 1)):
        with Path(name).open("wb") as file:
            file.truncate(size)
    assert command.main(["map", "a", "b", "b"]) == 0, "the file of a map may be longer"
    assert [len(content) for content in (calls[0][0][0], calls[0][0][1], *calls[0][0][2])] == [limit, *[limit + 1] * 2]
    capsys.readouterr()
    assert command.main(["map", "b", "a"]) == 1
    assert capsys.readouterr().out == f"FAIL input: b is larger than {limit} bytes\n"
    assert command._MAX_MAP == 1 << 30
    monkeypatch.setattr(command, "_MAX_MAP", 4)
    Path("c").write_bytes(b"1234")
    Path("p").write_bytes(b"12345")
    assert command.main(["map", "c", "c", "c"]) == 0
    capsys.readouterr()
    for arguments in (["map", "c", "p"], ["map", "c", "c", "p"]):
        assert command.main(arguments) == 1
        assert capsys.readouterr().out == "FAIL input: p is larger than 4 bytes\n"


def test_on_a_terminal_the_walk_is_shown(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = asked(monkeypatch, "verify_directory", Finding(ok=True, code="ok", message=""))
    for terminal, shown in ((True, command._progress), (False, None)):
        monkeypatch.setattr("sys.stderr.isatty", lambda terminal=terminal: terminal, raising=False)
        command.main(["tree", "V", "d"])
        assert calls.pop()[1]["progress"] is shown


def test_the_line_of_the_walk_is_written_over_and_empty_at_the_end(capsys: pytest.CaptureFixture[str]) -> None:
    for done in (0, 16_384, 19_999, 20_000):
        command._progress(done, 20_000)
    shown = [f"\r{done} of 20000 entries ({share} %)" for done, share in ((0, 0), (16_384, 81), (19_999, 99))]
    assert capsys.readouterr() == ("", "".join(shown) + "\r" + " " * len("20000 of 20000 entries (100 %)") + "\r")


@pytest.mark.parametrize("name", ["plain", "ünï", "a\nb", "\x1b[31m", "\u202e", "\ud800"])
def test_what_is_printed_is_printable(name: str) -> None:
    shown = command._printable(name)
    assert shown.isprintable()
    assert shown == name or ascii(name)[1:-1] == shown


# -- what it says about itself -------------------------------------------------------------------------------------

STATUS = "exit status: 0 holds, 1 does not, 2 usage"
AS_JSON = "--json print the finding as a JSON object"
TRUSTED = ["--witness VKEY must have cosigned", "--policy FILE a tlog-policy file, its quorum must be reached"]
HELP: dict[str, tuple[str, str, list[str]]] = {
    "receipt": (
        "is this entry in the log?", "VKEY PROOF ENTRY WITNESS_VKEY the same as --witness", [AS_JSON, *TRUSTED],
    ),
    "tree": (
        "re-hash a whole log in the tlog-tiles layout",
        "VKEY DIR OLD checkpoints or whole directories that you kept: it must extend them",
        [
            AS_JSON, *TRUSTED,
            "--checkpoint NOTE compare with this one, not with DIR/checkpoint",
            "--epoch STATEMENT of each epoch, in order",
            "--strict also the form of every entry, and doubled uids",
            "--map LEAVES a file of a map; --strict as well",
            "--jobs N processes that share the hashing (default 1)",
        ],
    ),
    "prefix": ("does the new checkpoint extend the old?", "VKEY OLD_NOTE NEW_NOTE PROOF", [AS_JSON, *TRUSTED]),
    "checkpoint": ("who signed this checkpoint, and when?", "VKEY NOTE", [AS_JSON, *TRUSTED]),
    "bundle": ("is this all that the log says about one person?", "VKEY BUNDLE", [
        AS_JSON, *TRUSTED,
        ("--erasure ENTRY PROOF the person's erasure and its receipt: how much came after the bundle? "
        "Once for each subject they were"),
    ]),
    "payload": ("is this what the entry committed to?", "ENTRY NAME SALT_HEX PAYLOAD", [AS_JSON]),
    "consent": (
        "is this consent receipt as it was issued?", "DOCUMENT JWKS ENTRY the bytes of its entry in the log", [AS_JSON],
    ),
    "epochs": (
        "follow the log through its epochs: what is its key now?",
        "VKEY STATEMENT the statement of each epoch, in order", [AS_JSON],
    ),
    "map": (
        "is this the map of chains that the entry published?", "ENTRY LEAVES OLD_LEAVES files of maps that you kept",
        [AS_JSON],
    ),
    "membership": ("was this person in the audience, or not?", "VKEY PROOF", [AS_JSON, *TRUSTED]),
}  # fmt: skip


def explained(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """What a call for help prints, in single blanks, since Python's releases break lines in their own ways."""
    assert command.main([*arguments, "--help"], "verify.py") == 0
    return " ".join(capsys.readouterr().out.split())


@pytest.mark.parametrize("name", HELP)
def test_each_check_explains_itself(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    what, positional, options = HELP[name]
    text = explained(capsys, name)
    assert text.startswith(f"usage: verify.py {name} [-h] ")
    assert f" {what} positional arguments: {positional} options: -h, --help show this help message and exit " in text
    assert text.endswith(f" exit {' '.join(options)} {STATUS}")


def test_the_command_lists_its_checks(capsys: pytest.CaptureFixture[str]) -> None:
    checks = " ".join(f"{name} {what}" for name, (what, *_) in HELP.items())
    about = "Verify an audit log and what it handed out, without trusting whoever runs it. VKEY is the log's public key, from a source that is not the log; `-` stands for the logs of the policy file."
    text = explained(capsys)
    assert text.startswith(f"usage: verify.py [-h] CHECK ... {about} positional arguments: CHECK {checks} options: ")
    assert text.endswith(STATUS)


@pytest.mark.parametrize(("arguments", "said"), [
    ([], "the following arguments are required: CHECK"),
    (["steal"], "argument CHECK: invalid choice: 'steal'"),
    (["tree", "V"], "the following arguments are required: DIR"),
    (["tree", "V", "d", "--jobs", "0"], "argument --jobs: at least 1"),
    (["tree", "V", "d", "--jobs", "x"], "argument --jobs: invalid _count value: 'x'"),
    (["epochs", "V"], "the following arguments are required: STATEMENT"),
])  # fmt: skip
def test_a_call_that_is_none_is_explained(arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main(arguments, "verify.py") == 2
    out, err = capsys.readouterr()
    assert (out, said in err, err.startswith("usage: verify.py")) == ("", True, True)


def test_one_process_is_enough() -> None:
    assert [command._count(text) for text in ("1", "2")] == [1, 2]
