"""Vectors of notes, checkpoints and cosignatures.

Formats: a list of objects with `vkey` and `note` (each must open), an ML-DSA-44 cosignature with its key and message,
and `consent-gateway/note-vectors@v1`: a log's vkey, and cases with a `note` (or `note_base64`), the `witnesses` that
must have cosigned or the text of a `policy`, and what is wanted: `accept`, or `refuse` with the `code`.
"""

from __future__ import annotations

from base64 import b64decode
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from consent_gateway.audit.checkpoints import Checkpoint, open_checkpoint, open_note, subtree_message
from consent_gateway.audit.notes import COSIGNATURE_MLDSA44, VerifierKey, parse_note, parse_vkey
from consent_gateway.audit.vectors.cases import ACCEPT, REFUSE, Case, answer, equal
from consent_gateway.audit.verifier import verify_checkpoint

NOTE_FORMAT = "consent-gateway/note-vectors@v1"


def third_party_cases(document: Sequence[Mapping[str, Any]]) -> Iterator[Case]:
    """Answer notes of other programs: each is signed by its key, and is written again to the byte."""
    for case in document:
        data = case["note"].encode()
        yield answer(case["source"], wanted=True, got=note_opens(data, case["vkey"]))
        yield equal(f"{case['source']}, written again", data, parse_note(data).to_bytes())


def note_opens(data: bytes, *vkeys: str) -> bool:
    """Tell whether the note holds a signature by one of the keys, and none by them that fails."""
    try:
        open_note(data, [parse_vkey(vkey) for vkey in vkeys])
    except ValueError:
        return False
    return True


def own_note_cases(document: Mapping[str, Any]) -> Iterator[Case]:
    """Answer checkpoints by `verify_checkpoint`; a refusal has the wanted code."""
    for case in document["cases"]:
        data = b64decode(case["note_base64"]) if "note_base64" in case else case["note"].encode()
        policy = case["policy"].encode() if "policy" in case else None
        vkey, witnesses = case.get("vkey", document["log_vkey"]), case.get("witnesses", [])
        finding = verify_checkpoint(vkey, data, witnesses=witnesses, policy=policy)
        wanted = ACCEPT if case["want"] == ACCEPT else f"{REFUSE} ({case['code']})"
        got = ACCEPT if finding.ok else f"{REFUSE} ({finding.code})"
        yield Case(case["name"], wanted, got, _allowed(data) if case["want"] == ACCEPT else "")


def _allowed(data: bytes) -> str:
    """Return why a note that another reader accepts may be refused."""
    lines = data.split(b"\n")
    twice = len(set(filter(None, lines))) < len(list(filter(None, lines)))
    return "a line stands there twice: whoever counts lines would count one witness twice" if twice else ""


def mldsa_cases(document: Mapping[str, Any]) -> Iterator[Case]:
    """Answer one ML-DSA-44 cosignature: key id, signed message, signature."""
    key = VerifierKey(document["name"], COSIGNATURE_MLDSA44, bytes.fromhex(document["public_key_hex"]))
    head = Checkpoint(document["origin"], document["end"], bytes.fromhex(document["root_hex"]))
    yield equal("key id", document["key_id_hex"], key.key_id)
    yield equal("message", document["message_hex"], subtree_message(key.name, document["timestamp"], head))
    line = document["note_line"].rstrip("\n") + "\n"
    yield answer("signature", wanted=True, got=note_opens(f"{head.text}\n{line}".encode(), key.vkey))
    other = Checkpoint(head.origin, head.size + 1, head.root)
    yield answer("signature of another size", wanted=False, got=note_opens(f"{other.text}\n{line}".encode(), key.vkey))


def checkpoint_case(name: str, note: bytes, vkey: str, wanted: Checkpoint) -> Case:
    """Answer a checkpoint of a log whose head is known."""
    try:
        head = open_checkpoint(note, parse_vkey(vkey)).checkpoint
    except ValueError:
        return answer(name, wanted=True, got=False)
    return equal(name, wanted.text, head.text)
