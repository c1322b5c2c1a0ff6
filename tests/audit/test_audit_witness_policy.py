"""Policy files: read to the letter, refused with the line, and quorums that count each witness once."""

from __future__ import annotations

from itertools import combinations
from pathlib import Path

import pytest
from audit_fakes import ORIGIN, SEED, Witness, filled, worked_entries
from hypothesis import given, settings
from hypothesis import strategies as st

from consent_gateway.audit.checkpoints import Signer
from consent_gateway.audit.notes import VerifierKey
from consent_gateway.audit.verifier import verify_checkpoint, verify_directory, verify_prefix
from consent_gateway.audit.witness_policy import WitnessPolicy, parse_policy, require_all

LOG = Signer(ORIGIN, SEED)
X = [Witness(f"x{number}.example", number) for number in (1, 2, 3)]
Y = [Witness(f"y{number}.example", 10 + number) for number in (1, 2, 3)]
TWO_LEVELS = f"""# the example of the specification
log {LOG.vkey} https://gateway.example/audit

witness X1 {X[0].vkey}
  witness\tX2  {X[1].vkey}   https://x2.example/
witness X3 {X[2].vkey}
group X-witnesses 2 X1 X2 X3

witness Y1 {Y[0].vkey}
witness Y2 {Y[1].vkey}
witness Y3 {Y[2].vkey}
group Y-witnesses any Y1 Y2 Y3

\t# both
group X-and-Y all X-witnesses Y-witnesses
quorum X-and-Y
""".encode()


def test_the_example_of_the_specification() -> None:
    policy = parse_policy(TWO_LEVELS)
    assert [(party.key, party.url) for party in policy.logs] == [(LOG.key, "https://gateway.example/audit")]
    assert policy.witnesses["X2"].url == "https://x2.example/"
    assert policy.witness_keys == tuple(witness.key for witness in (*X, *Y))
    for count in range(7):
        for signed in combinations([*X, *Y], count):
            enough = len(set(signed).intersection(X)) >= 2 and len(set(signed).intersection(Y)) >= 1
            assert (policy.lacking({witness.key for witness in signed}) == "") == enough


def test_what_lacks_is_said() -> None:
    policy = parse_policy(TWO_LEVELS)
    assert policy.lacking({X[0].key, Y[0].key}) == (
        "not cosigned by x2.example, x3.example, y2.example, y3.example; "
        "group X-and-Y has 1 of 2; group X-witnesses has 1 of 2"
    )
    single = parse_policy(f"witness w {X[0].vkey}\nquorum w".encode())
    assert single.lacking(()) == "not cosigned by x1.example"
    assert parse_policy(b"quorum none").lacking(()) == ""


def test_a_witness_counts_by_its_key_not_by_its_lines() -> None:
    policy = parse_policy(f"witness a {X[0].vkey}\nwitness b {X[1].vkey}\ngroup g 2 a b\nquorum g\n".encode())
    assert policy.lacking([X[0].key, X[0].key]) != ""
    assert policy.lacking([X[0].key, X[1].key]) == ""


W = f"witness a {X[0].vkey}\nwitness b {X[1].vkey}\n"
RENAMED = VerifierKey("other.example", 4, X[0].key.public_key).vkey
REFUSED = {
    "no quorum": (W, "no quorum line"),
    "two quorums": (W + "quorum a\nquorum b", "line 4 .*second quorum"),
    "an unknown quorum": (W + "quorum c", "line 3 .*not defined above"),
    "a quorum of two": (W + "quorum a b", "line 3 .*not a log"),
    "a name before its line": ("quorum a\n" + W, "line 1 .*not defined above"),
    "an unknown member": (W + "group g any a c\nquorum g", "line 3 .*not defined above"),
    "none as a member": (W + "group g any none\nquorum g", "line 3 .*not defined above"),
    "none as a name": (f"witness none {X[0].vkey}\nquorum none", "line 1 .*taken"),
    "a name twice": (W + f"witness a {X[2].vkey}\nquorum a", "line 3 .*taken"),
    "a group named as a witness": (W + "group a any b\nquorum a", "line 3 .*taken"),
    "a member twice": (W + "group g 2 a a\nquorum g", "line 3 .*member already"),
    "a member of two groups": (W + "group g any a\ngroup h any a\nquorum h", "line 4 .*member already"),
    "a group of itself": (W + "group g any g\nquorum g", "line 3 .*not defined above"),
    "no members": (W + "group g all\nquorum g", "line 3 .*threshold"),
    "nobody needed": (W + "group g 0 a b\nquorum g", "line 3 .*threshold"),
    "too many needed": (W + "group g 3 a b\nquorum g", "line 3 .*threshold"),
    "a threshold in words": (W + "group g both a b\nquorum g", "line 3 .*decimal"),
    "a threshold padded": (W + "group g 02 a b\nquorum g", "line 3 .*decimal"),
    "one key, two names": (W + f"witness c {RENAMED}\nquorum a", "line 3 .*before"),
    "a log twice": (f"log {LOG.vkey}\nlog {LOG.vkey}\nquorum none", "line 2 .*before"),
    "the log as its own witness": (
        f"log {LOG.vkey}\nwitness w {VerifierKey('w', 4, LOG.key.public_key).vkey}\nquorum w",
        "line 2 .*before",
    ),
    "a log with a witness key": (f"log {X[0].vkey}\nquorum none", "line 1 .*0x01"),
    "a witness with a log key": (f"witness w {LOG.vkey}\nquorum w", "line 1 .*0x04"),
    "a broken key": ("witness w x+y+z\nquorum w", "line 1 .*base64"),
    "two URLs": (f"log {LOG.vkey} a b\nquorum none", "line 1 .*URL"),
    "an unknown line": ("wait 5\nquorum none", "line 1 .*not a log"),
    "another case": ("Quorum none", "line 1 .*not a log"),
    "a carriage return": ("quorum none\r\n", "control character"),
    "a form feed": ("\fquorum none", "control character"),
    "a delete": ("quorum none\x7f", "control character"),
    "too long": ("#" * 1_000_001, "too long"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_no_policy_is_refused_with_its_line(name: str) -> None:
    text, message = REFUSED[name]
    with pytest.raises(ValueError, match=message):
        parse_policy(text.encode())


def test_names_are_octets() -> None:
    data = b"witness \xff " + X[0].vkey.encode() + b"\nwitness \xe2\x84\xaa " + X[1].vkey.encode() + b"\nquorum \xff"
    policy = parse_policy(data)
    assert policy.lacking({X[0].key}) == ""
    with pytest.raises(ValueError, match="not defined"):
        parse_policy(b"witness \xe2\x84\xaa " + X[0].vkey.encode() + b"\nquorum K")


def test_a_deep_policy_is_answered() -> None:
    lines = [f"witness w {X[0].vkey}", "group g0 any w"]
    lines += [f"group g{n} all g{n - 1}" for n in range(1, 20_000)]
    policy = parse_policy("\n".join([*lines, "quorum g19999"]).encode())
    assert policy.lacking({X[0].key}) == ""
    assert policy.lacking(()).startswith("not cosigned by x1.example; group g19999 has 0 of 1; ")


@settings(derandomize=True, deadline=None, max_examples=200)
@given(st.binary(max_size=200) | st.text("abglnqruowtisy+1 \n\t#", max_size=80).map(str.encode))
def test_junk_is_a_policy_or_a_value_error(junk: bytes) -> None:
    for data in (junk, TWO_LEVELS + junk, junk + TWO_LEVELS):
        try:
            assert isinstance(parse_policy(data), WitnessPolicy)
        except ValueError:
            continue


def test_all_of_some_witnesses() -> None:
    keys = [witness.key for witness in X]
    assert require_all([]).lacking(()) == ""
    assert require_all(keys).lacking(keys) == ""
    assert require_all(keys).lacking(keys[:2]) == "not cosigned by x3.example; group all has 2 of 3"
    with pytest.raises(ValueError, match="twice"):
        require_all([X[0].key, VerifierKey("other.example", 4, X[0].key.public_key)])


# --- what the checks make of it


def cosigned(*witnesses: Witness, size: int = 7) -> bytes:
    note = filled(worked_entries(size))[0].checkpoint
    assert note is not None
    return note + b"".join(witness.line(note, 1_700_000_000 + number) for number, witness in enumerate(witnesses))


def test_a_checkpoint_tells_who_cosigned_and_when() -> None:
    quantum = Witness("q.example", 40, post_quantum=True)
    finding = verify_checkpoint(LOG.vkey, cosigned(X[0], quantum), witnesses=[X[0].vkey, quantum.vkey])
    assert finding.ok
    assert finding.message == (
        f"7 entries signed by {ORIGIN}; cosigned by x1.example (1700000000), q.example (1700000001)"
    )
    assert finding.details["cosigned"] == [
        {"witness": "x1.example", "vkey": X[0].vkey, "time": 1_700_000_000},
        {"witness": "q.example", "vkey": quantum.vkey, "time": 1_700_000_001},
    ]
    assert finding.details["size"] == 7


def test_a_quorum_decides() -> None:
    enough = cosigned(X[0], X[2], Y[1])
    assert verify_checkpoint(LOG.vkey, enough, policy=TWO_LEVELS).ok
    assert verify_checkpoint("-", enough, policy=TWO_LEVELS).ok
    finding = verify_checkpoint(LOG.vkey, cosigned(X[0], Y[1]), policy=TWO_LEVELS)
    assert (finding.code, "group X-witnesses has 1 of 2" in finding.message) == ("witness", True)
    both = verify_checkpoint(LOG.vkey, enough, witnesses=[X[1].vkey], policy=TWO_LEVELS)
    assert (both.code, both.message) == ("witness", "not cosigned by x2.example; group all has 0 of 1")
    forged = Witness("x1.example", 77)
    line = forged.line(enough).replace(b"x1.example", b"x2.example")
    assert verify_checkpoint(LOG.vkey, enough + line, policy=TWO_LEVELS).ok  # an unknown key id is nobody's


def test_what_is_pinned_must_fit() -> None:
    note = cosigned(X[0])
    other = Signer("other.example/log", bytes(32))
    own = VerifierKey("w", 4, LOG.key.public_key).vkey
    for code, vkey, witnesses, policy in [
        ("policy", other.vkey, [], TWO_LEVELS),
        ("policy", "-", [], b"quorum none"),
        ("policy", "-", [], None),
        ("policy", LOG.vkey, [], b"junk"),
        ("vkey", X[0].vkey, [], None),
        ("vkey", LOG.vkey, [LOG.vkey], None),
        ("vkey", LOG.vkey, [own], None),
        ("vkey", LOG.vkey, [X[0].vkey, X[0].vkey], None),
        ("checkpoint", other.vkey, [], None),
    ]:
        finding = verify_checkpoint(vkey, note, witnesses=witnesses, policy=policy)
        assert (finding.ok, finding.code) == (False, code), str(finding)


def test_any_listed_log_may_speak_for_itself_alone(tmp_path: Path) -> None:
    other, again = Signer("other.example/log", bytes(32)), Signer(ORIGIN, bytes([9]) * 32)
    policy = f"log {other.vkey}\nlog {again.vkey}\nlog {LOG.vkey}\nquorum none\n".encode()
    mine, theirs = cosigned(size=7), other.sign_checkpoint(7, bytes(32))
    assert verify_checkpoint("-", mine, policy=policy).ok
    assert verify_checkpoint("-", again.sign_checkpoint(7, bytes(32)), policy=policy).ok
    assert verify_checkpoint("-", theirs, policy=policy).ok
    assert verify_prefix("-", theirs, mine, b"", policy=policy).code == "origin"
    root = filled(worked_entries())[0].export(tmp_path)
    assert verify_directory("-", root, policy=policy, earlier=[mine]).ok
    assert verify_directory("-", root, policy=policy, earlier=[mine, theirs]).code == "origin"
