"""Notes, verifier keys, checkpoints and cosignatures."""

from __future__ import annotations

import base64
import contextlib
import sys
import types
from collections.abc import Callable
from pathlib import Path

import pytest
from audit_fakes import ORIGIN, SEED, Witness, flip, need, vector
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given, settings
from hypothesis import strategies as st

from consent_gateway.audit import checkpoints
from consent_gateway.audit.checkpoints import (
    Checkpoint,
    Signer,
    open_checkpoint,
    open_note,
    parse_checkpoint,
    pinned_key,
    subtree_message,
    witness_key,
)
from consent_gateway.audit.merkle import EMPTY_ROOT
from consent_gateway.audit.notes import (
    COSIGNATURE_MLDSA44,
    NoteSignature,
    VerifierKey,
    from_base64,
    parse_decimal,
    parse_note,
    parse_vkey,
)

SIGNER = Signer(ORIGIN, SEED)
ROOT = bytes(range(32))
NOTE = SIGNER.sign_checkpoint(7, ROOT)
WITNESS_SEED = bytes(range(0x20, 0x40))


def cosign(note: bytes, name: str = "auditor.example/w1", time: int = 1_700_000_007) -> tuple[bytes, VerifierKey]:
    """Add a 0x04 cosignature as a witness would."""
    private = Ed25519PrivateKey.from_private_bytes(WITNESS_SEED)
    key = VerifierKey(name, 0x04, private.public_key().public_bytes_raw())
    parsed = parse_note(note)
    signature = private.sign(f"cosignature/v1\ntime {time}\n{parsed.text}".encode())
    blob = NoteSignature(name, key.key_id, time.to_bytes(8, "big") + signature)
    return note + blob.line.encode(), key


def test_worked_checkpoints_are_reproduced_to_the_byte() -> None:
    small = vector("worked/small.json")
    assert SIGNER.vkey == small["log_vkey"]
    witness = parse_vkey(small["witness_vkey"])
    assert witness.key_id.hex() == small["witness_key_id_hex"]
    for size, note in small["checkpoints"].items():
        mine = SIGNER.sign_checkpoint(int(size), bytes.fromhex(small["roots"][size]))
        assert note.encode().startswith(mine)
        opened = open_checkpoint(note.encode(), SIGNER.key, [witness])
        assert opened.checkpoint == Checkpoint(ORIGIN, int(size), bytes.fromhex(small["roots"][size]))
        if opened.signed_by(witness):
            time = opened.signatures[1].time
            assert time is not None
            assert cosign(mine, time=time)[0] == note.encode()
    assert opened.signed_by(witness)
    assert opened.signatures[1].time == 1_700_000_007


def test_third_party_notes_open() -> None:
    for case in vector("notes.json"):
        note, signatures = open_note(case["note"].encode(), [parse_vkey(case["vkey"])])
        assert note.to_bytes() == case["note"].encode()
        assert [signature.key.vkey for signature in signatures] == [case["vkey"]]


def test_checkpoints_of_another_log_program_open() -> None:
    vkey = vector("tessera-testlog/ABOUT.json")["log_vkey"]
    for size in range(16):
        note = need(f"vectors/audit/tessera-testlog/checkpoint.{size}").read_bytes()
        assert open_checkpoint(note, pinned_key(vkey)).checkpoint.size == size


def test_post_quantum_cosignature() -> None:
    case = vector("worked/mldsa44-cosignature.json")
    key = VerifierKey(case["name"], COSIGNATURE_MLDSA44, bytes.fromhex(case["public_key_hex"]))
    assert key.key_id.hex() == case["key_id_hex"]
    assert parse_vkey(key.vkey) == key
    checkpoint = Checkpoint(case["origin"], case["end"], bytes.fromhex(case["root_hex"]))
    assert subtree_message(key.name, case["timestamp"], checkpoint).hex() == case["message_hex"]
    line = case["note_line"].rstrip("\n") + "\n"
    note = SIGNER.sign_checkpoint(checkpoint.size, checkpoint.root) + line.encode()
    opened = open_checkpoint(note, SIGNER.key, [key])
    assert opened.signed_by(key)
    assert opened.signatures[1].time == case["timestamp"]
    other = SIGNER.sign_checkpoint(8, checkpoint.root) + line.encode()
    with pytest.raises(ValueError, match="does not verify"):
        open_checkpoint(other, SIGNER.key, [key])


def test_a_signer_does_not_show_its_seed() -> None:
    assert SEED.hex() not in repr(SIGNER)
    assert not hasattr(SIGNER, "__dict__")


def test_a_signer_signs_only_what_is_a_checkpoint() -> None:
    for size, root in [(0, ROOT), (-1, ROOT), (2**63, ROOT), (7, ROOT[:31])]:
        with pytest.raises(ValueError):
            SIGNER.sign_checkpoint(size, root)
    assert parse_note(SIGNER.sign_checkpoint(0, EMPTY_ROOT)).text.startswith(f"{ORIGIN}\n0\n")
    for name in ("", "a b", "a+b", "a\nb"):
        with pytest.raises(ValueError):
            Signer(name, SEED)


def test_unknown_signatures_are_ignored_and_known_ones_must_hold() -> None:
    cosigned, witness = cosign(NOTE)
    assert not open_checkpoint(cosigned, SIGNER.key).signed_by(witness)
    assert open_checkpoint(cosigned, SIGNER.key, [witness]).signed_by(witness)
    moved, _ = cosign(SIGNER.sign_checkpoint(8, ROOT))
    foreign_line = moved.rsplit(b"\n", 2)[1] + b"\n"
    open_checkpoint(NOTE + foreign_line, SIGNER.key)
    with pytest.raises(ValueError, match="does not verify"):
        open_checkpoint(NOTE + foreign_line, SIGNER.key, [witness])


def test_a_witness_alone_does_not_make_a_checkpoint() -> None:
    text = Checkpoint(ORIGIN, 7, ROOT).text
    cosigned, witness = cosign(Signer("other.example", SEED).sign_text(text))
    with pytest.raises(ValueError, match="log's key"):
        open_checkpoint(cosigned, SIGNER.key, [witness])


def test_the_origin_is_the_name_of_the_key() -> None:
    with pytest.raises(ValueError, match="origin"):
        open_checkpoint(SIGNER.sign_text(Checkpoint("other.example/log", 7, ROOT).text), SIGNER.key)


def test_extension_lines_are_kept() -> None:
    checkpoint = Checkpoint(ORIGIN, 7, ROOT, ("ext one", "ext two"))
    assert open_checkpoint(SIGNER.sign_text(checkpoint.text), SIGNER.key).checkpoint == checkpoint


def test_a_note_is_split_at_the_last_blank_line() -> None:
    text = "first\n\nsecond\n"
    note, _ = open_note(SIGNER.sign_text(text), [SIGNER.key])
    assert note.text == text


def test_sixteen_and_more_signatures_are_accepted_but_not_any_number() -> None:
    line = cosign(NOTE)[0].removeprefix(NOTE)
    assert len(parse_note(NOTE + line * 99).signatures) == 100
    with pytest.raises(ValueError, match="too many"):
        parse_note(NOTE + line * 100)


MUTATIONS: dict[str, Callable[[bytes], bytes]] = {
    "no newline at the end": lambda note: note[:-1],
    "blank line at the end": lambda note: note + b"\n",
    "no signatures": lambda note: note[: note.index(b"\n\n") + 2],
    "no blank line": lambda note: note.replace(b"\n\n", b"\n"),
    "hyphen for the dash": lambda note: note.replace("—".encode(), b"-"),
    "two blanks": lambda note: note.replace("— ".encode(), "—  ".encode()),
    "tab": lambda note: note.replace("— ".encode(), "—\t".encode()),
    "no blank after the name": lambda note: note.replace(ORIGIN.encode() + b" ", ORIGIN.encode()),
    "plus in the name": lambda note: note.replace("— gateway".encode(), "— gate+way".encode()),
    "carriage returns": lambda note: note.replace(b"\n", b"\r\n"),
    "control byte": lambda note: b"\x01" + note,
    "not UTF-8": lambda note: b"\xff" + note,
    "key id only": lambda note: note.rsplit(b" ", 1)[0] + b" " + base64.b64encode(SIGNER.key.key_id) + b"\n",
    "base64 without padding": lambda note: note.replace(b"=\n", b"\n"),
    "base64 with a blank": lambda note: note[:-10] + b" " + note[-10:],
    "too long": lambda note: b"x" * 1_000_000 + note,
    "empty text": lambda note: note[note.index(b"\n\n") :],
}


@pytest.mark.parametrize("name", MUTATIONS)
def test_malformed_notes_are_refused(name: str) -> None:
    changed = MUTATIONS[name](NOTE)
    assert changed != NOTE
    with pytest.raises(ValueError):
        parse_note(changed)


@pytest.mark.parametrize(
    "text",
    [
        "o\n7\n",
        "o\n7\nAAAA\n",
        "o\n07\n{root}\n",
        "o\n+7\n{root}\n",
        "o\n-7\n{root}\n",
        "o\n٧\n{root}\n",
        "o\n9223372036854775808\n{root}\n",
        "o\n" + "9" * 5000 + "\n{root}\n",
        "o\n0\n{root}\n",
        "\n7\n{root}\n",
        "o\n7\n{root}",
        "o\n7\n{root}\n\n",
        "o\n7\n{root}\n\next\n",
        "o\n7\n {root}\n",
    ],
)
def test_malformed_checkpoints_are_refused(text: str) -> None:
    with pytest.raises(ValueError):
        parse_checkpoint(text.replace("{root}", base64.b64encode(ROOT).decode()))


def test_every_changed_bit_of_a_checkpoint_is_found() -> None:
    for bit in range(8 * len(NOTE)):
        with pytest.raises(ValueError):
            open_checkpoint(flip(NOTE, bit), SIGNER.key)


def test_every_changed_bit_of_a_vkey_is_found() -> None:
    for bit in range(8 * len(SIGNER.vkey)):
        changed = flip(SIGNER.vkey.encode(), bit).decode("latin-1")
        try:
            assert pinned_key(changed) != SIGNER.key
        except ValueError:
            continue
        pytest.fail(f"another key was read from {changed}")


@pytest.mark.parametrize(
    "vkey",
    [
        "",
        "a",
        "a+b",
        "a+b+c",
        "+e7b99c16+AQOhB7/zzhC+HXDdGOdLwJln5NYwm6UNXx3chmQSVTG4",
        f"{SIGNER.vkey}+x",
        f" {SIGNER.vkey}",
        SIGNER.vkey.replace("e7b99c16", "E7B99C16"),
        VerifierKey(ORIGIN, 1, bytes(31)).vkey,
    ],
)
def test_malformed_vkeys_are_refused(vkey: str) -> None:
    with pytest.raises(ValueError):
        parse_vkey(vkey)


def test_a_log_is_pinned_by_a_log_key_only() -> None:
    with pytest.raises(ValueError, match="0x01"):
        pinned_key(VerifierKey(ORIGIN, 0x04, SIGNER.key.public_key).vkey)


def test_a_known_key_of_an_unknown_type_is_no_licence() -> None:
    key = VerifierKey(ORIGIN, 0xFF, b"whatever")
    line = NoteSignature(ORIGIN, key.key_id, b"anything").line
    assert parse_vkey(key.vkey) == key
    with pytest.raises(ValueError, match="type"):
        open_note(NOTE + line.encode(), [SIGNER.key, key])


@settings(derandomize=True, deadline=None, max_examples=300)
@given(st.one_of(st.binary(max_size=200), st.text(max_size=100).map(lambda text: text.encode("utf-8", "replace"))))
def test_junk_is_a_value_error_and_nothing_else(data: bytes) -> None:
    text = data.decode("utf-8", "replace")
    for read in (
        lambda: parse_note(data),
        lambda: parse_note(NOTE + data),
        lambda: parse_vkey(text),
        lambda: parse_checkpoint(text),
        lambda: from_base64(text),
        lambda: parse_decimal(text),
    ):
        with contextlib.suppress(ValueError):
            read()


def test_a_line_that_stands_twice_is_no_second_signature() -> None:
    witness = Witness("w.example")
    line = witness.line(NOTE)
    assert open_checkpoint(NOTE + line + line, SIGNER.key).signed_by(SIGNER.key)  # an unknown key: ignored
    for twice, keys in ((NOTE + line + line, [witness.key]), (NOTE + NOTE.rsplit(b"\n", 2)[1] + b"\n", [])):
        with pytest.raises(ValueError, match="twice"):
            open_checkpoint(twice, SIGNER.key, keys)
    later = open_checkpoint(NOTE + line + witness.line(NOTE, 1_700_000_008), SIGNER.key, [witness.key])
    assert [signature.time for signature in later.signatures] == [None, 1_700_000_007, 1_700_000_008]


@pytest.mark.parametrize("post_quantum", [False, True])
def test_cosignatures_end_where_their_time_does(*, post_quantum: bool) -> None:
    witness = Witness("w.example", post_quantum=post_quantum)
    last = open_checkpoint(NOTE + witness.line(NOTE, 2**63 - 1), SIGNER.key, [witness.key])
    assert last.signatures[1].time == 2**63 - 1
    with pytest.raises(ValueError, match="beyond"):
        open_checkpoint(NOTE + witness.line(NOTE, 2**63), SIGNER.key, [witness.key])
    for length in (4, 8, 9, 71, 2427):
        blob = from_base64(witness.line(NOTE).decode().split()[-1])[: 4 + length]
        short = NoteSignature(witness.key.name, blob[:4], blob[4:]).line.encode()
        if short != witness.line(NOTE):
            with pytest.raises(ValueError, match="does not verify"):
                open_checkpoint(NOTE + short, SIGNER.key, [witness.key])


def test_a_known_key_of_another_type_verifies_nothing() -> None:
    key = VerifierKey("old.example", 0x05, bytes(32))
    line = NoteSignature(key.name, key.key_id, bytes(64)).line.encode()
    with pytest.raises(ValueError, match="type of a known key"):
        open_checkpoint(NOTE + line, SIGNER.key, [key])


def test_an_older_cryptography_says_what_it_lacks(monkeypatch: pytest.MonkeyPatch) -> None:
    quantum, classic = Witness("q.example", post_quantum=True), Witness("w.example")
    cosigned = NOTE + quantum.line(NOTE) + classic.line(NOTE)
    monkeypatch.setitem(sys.modules, "cryptography.hazmat.primitives.asymmetric.mldsa", None)
    older = types.ModuleType("older_checkpoints")
    monkeypatch.setitem(sys.modules, older.__name__, older)
    exec(compile(Path(checkpoints.__file__).read_text(encoding="utf-8"), checkpoints.__file__, "exec"), older.__dict__)  # noqa: S102
    assert older.open_checkpoint(cosigned, SIGNER.key, [classic.key]).checkpoint.size == 7
    with pytest.raises(ValueError, match="no ML-DSA-44"):
        older.open_checkpoint(cosigned, SIGNER.key, [quantum.key])


def test_names_in_a_post_quantum_cosignature_have_255_bytes() -> None:
    head = Checkpoint(ORIGIN, 7, ROOT)
    assert len(subtree_message("w" * 255, 0, head)) == len(subtree_message("w", 0, head)) + 254
    with pytest.raises(ValueError, match="255"):
        subtree_message("é" * 128, 0, head)


def test_witness_keys_are_of_the_type_of_a_witness() -> None:
    for witness in (Witness("w.example"), Witness("w.example", post_quantum=True)):
        assert witness_key(witness.vkey) == witness.key
    for vkey in (SIGNER.vkey, VerifierKey("w", 0x05, b"x").vkey, "w"):
        with pytest.raises(ValueError):
            witness_key(vkey)


def test_a_note_needs_a_known_key() -> None:
    for keys in ([], [Witness("w.example").key]):
        with pytest.raises(ValueError, match="no signature by a known key"):
            open_note(NOTE, keys)
