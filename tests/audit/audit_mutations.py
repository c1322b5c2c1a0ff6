"""Random changes to what an auditor is given, and what counts as one.

A change *counts* when it changes anything that the check must answer for. Four kinds of change do not, and each of
them must be accepted, not refused:

- the order of the signature lines of a note, and lines by keys that nobody pinned: they sign nothing for us;
- the newline at the end of a proof file of base64 lines;
- the order of the chains of a bundle;
- what tlog-tiles lets a growing log do: a partial tile or bundle replaced by the full one with the same beginning;
  files that a log of this size does not have; and the `extra` line of a receipt, which nothing authenticates.

Everything else has to be found, by a finding and not by a crash. Material is chosen so that no byte is free: witnesses
are pinned and must have signed, every file of the log is one that its size asks for.
"""

from __future__ import annotations

import json
import random  # noqa: TID251 - seeded: which changes a campaign tries
import shutil
from base64 import b64encode
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from audit_fakes import ORIGIN, SEED, Witness, filled
from test_audit_bundles import ANNA, ANNA_BEFORE, shown
from test_audit_bundles import VKEY as BUNDLE_VKEY

from consent_gateway.audit.bundle_files import bundle_bytes
from consent_gateway.audit.bundles import verify_bundle
from consent_gateway.audit.canonical import canonical_json
from consent_gateway.audit.checkpoints import Signer
from consent_gateway.audit.commitments import commit, opening_salt
from consent_gateway.audit.consent_receipts import sign_receipt, verify_document
from consent_gateway.audit.entries import Entry, EntryKind, entry_bytes
from consent_gateway.audit.jws import JwsSigner
from consent_gateway.audit.log import make_receipt
from consent_gateway.audit.proofs import consistency_proof
from consent_gateway.audit.tiles import decode_bundle, encode_bundle
from consent_gateway.audit.verifier import (
    Finding,
    verify_checkpoint,
    verify_directory,
    verify_payload,
    verify_prefix,
    verify_receipt,
)

Random = random.Random
Contents = Mapping[str, bytes | None]
SIZE = 300
VKEY = Signer(ORIGIN, SEED).vkey
WITNESSES = (Witness("auditor.example/w1", 1), Witness("auditor.example/pq", 2, post_quantum=True))
PINNED = [witness.vkey for witness in WITNESSES]
STRANGER = Witness("stranger.example/w", 9)
ENTRIES = [
    entry_bytes(Entry(EntryKind.ADMIN_ACTION, at, "key:ops", at.to_bytes(16, "big"), {"n": at})) for at in range(SIZE)
]


@dataclass
class Subject:
    """What is changed (contents by name), how it is checked, and which changes are none."""

    contents: Contents
    check: Callable[[Contents], Finding]
    same: Callable[[Contents, Contents], bool] = lambda before, after: before == after
    harmless: Callable[[Random, Contents], Contents] | None = None


@dataclass
class Tally:
    """What became of the changes; `missed` and `crashed` tell which ones."""

    counts: Counter[str] = field(default_factory=Counter)
    missed: list[str] = field(default_factory=list)


# --- changes of bytes


def _cut(rng: Random, data: bytes) -> tuple[int, int]:
    start = rng.randrange(len(data))
    return start, min(len(data), start + 1 + int(rng.expovariate(1 / 12)))


def flip_a_bit(rng: Random, data: bytes) -> bytes:
    at = rng.randrange(len(data))
    return data[:at] + bytes([data[at] ^ 1 << rng.randrange(8)]) + data[at + 1 :]


def set_a_byte(rng: Random, data: bytes) -> bytes:
    at = rng.randrange(len(data))
    return data[:at] + rng.choice([bytes([rng.randrange(256)]), b"\n", b"0", b"A", b"=", b" "]) + data[at + 1 :]


def delete_some(rng: Random, data: bytes) -> bytes:
    start, end = _cut(rng, data)
    return data[:start] + data[end:]


def insert_some(rng: Random, data: bytes) -> bytes:
    at = rng.randrange(len(data) + 1)
    return data[:at] + rng.randbytes(1 + int(rng.expovariate(0.5))) + data[at:]


def repeat_some(rng: Random, data: bytes) -> bytes:
    start, end = _cut(rng, data)
    return data[:end] + data[start:end] + data[end:]


def move_some(rng: Random, data: bytes) -> bytes:
    start, end = _cut(rng, data)
    rest = data[:start] + data[end:]
    at = rng.randrange(len(rest) + 1)
    return rest[:at] + data[start:end] + rest[at:]


def truncate(rng: Random, data: bytes) -> bytes:
    return data[: rng.randrange(len(data))]


def append_junk(rng: Random, data: bytes) -> bytes:
    return data + rng.choice([b"\n", b"\0", b" ", rng.randbytes(32), data[-64:]])


def change_lines(rng: Random, data: bytes) -> bytes:
    lines = data.split(b"\n")
    one, other = rng.randrange(len(lines)), rng.randrange(len(lines))
    match rng.randrange(4):
        case 0:
            lines[one], lines[other] = lines[other], lines[one]
        case 1:
            lines.insert(one, lines[other])
        case 2:
            del lines[one]
        case _:
            lines[one] = lines[one].swapcase()
    return b"\n".join(lines)


def change_a_number(rng: Random, data: bytes) -> bytes:
    digits = [at for at in range(len(data)) if data[at : at + 1].isdigit()]
    if not digits:
        return flip_a_bit(rng, data)
    at = rng.choice(digits)
    return data[:at] + b"%d" % rng.choice([int(data[at : at + 1]) + 1, 0, 2**63, 10**30]) + data[at + 1 :]


BYTES = (
    flip_a_bit,
    set_a_byte,
    delete_some,
    insert_some,
    repeat_some,
    move_some,
    truncate,
    append_junk,
    change_lines,
    change_a_number,
)


# --- changes of a whole log


def change_entries(rng: Random, contents: Contents) -> Contents:
    """Do to entries what an attacker would: the bundle stays well-formed."""
    name = rng.choice([name for name in contents if "entries" in name])
    entries = decode_bundle(contents[name] or b"")
    one, other = rng.randrange(len(entries)), rng.randrange(len(entries))
    match rng.randrange(5):
        case 0:
            entries[one], entries[other] = entries[other], entries[one]
        case 1:
            del entries[one]
        case 2:
            entries.insert(one, entries[other])
        case 3:
            entries[one] = flip_a_bit(rng, entries[one])
        case _:
            entries[one] = entries[one].replace(b'"n":', b'"n":1', 1)
    return {**contents, name: encode_bundle(entries)}


def change_files(rng: Random, contents: Contents) -> Contents:
    """Lose, swap or rename whole files."""
    one, other = rng.sample(sorted(contents), 2)
    match rng.randrange(3):
        case 0:
            return {**contents, one: None}
        case 1:
            return {**contents, one: contents[other], other: contents[one]}
        case _:
            return {**contents, one: None, one.partition(".p/")[0] + ".p/7": contents[one]}


def grow_a_file(rng: Random, contents: Contents) -> Contents:
    """Let the log grow while it is read: partial files give way to full ones. Nothing is wrong with that."""
    partial = sorted(name for name in contents if ".p/" in name)
    name = rng.choice(partial)
    data = contents[name] or b""
    if "entries" in name:
        full = data + encode_bundle([b"later"] * (256 - SIZE % 256))
    else:
        full = data + rng.randbytes(8192 - len(data))
    return {**contents, name: None, name.partition(".p/")[0]: full, f"tile/0/{rng.randrange(2, 900):03d}": b"more"}


# --- what is changed


def _note_parts(data: bytes | None) -> tuple[bytes, list[bytes]]:
    text, _, lines = (data or b"").rpartition(b"\n\n")
    return text, sorted(lines.split(b"\n"))


def same_notes(before: Contents, after: Contents) -> bool:
    return all(_note_parts(before[name]) == _note_parts(after.get(name)) for name in before)


def _stranger_signs(rng: Random, note: bytes) -> bytes:
    """Put a line of a key that nobody pinned among the signature lines."""
    text, lines = note[: note.rindex(b"\n\n") + 2], note[note.rindex(b"\n\n") + 2 :].splitlines(keepends=True)
    lines.insert(rng.randrange(len(lines) + 1), STRANGER.line(note))
    rng.shuffle(lines)
    return text + b"".join(lines)


def subjects(folder: Path) -> dict[str, Subject]:
    """Return each kind of thing, honest, with its check; every check holds before anything is changed."""
    store, _ = filled(ENTRIES)
    assert store.checkpoint is not None
    note = store.checkpoint + b"".join(witness.line(store.checkpoint) for witness in WITNESSES)
    old = filled(ENTRIES[:200])[0].checkpoint
    assert old is not None
    exported = store.export(folder / "honest")
    files = {str(path.relative_to(exported)): path.read_bytes() for path in exported.rglob("*") if path.is_file()}
    files["checkpoint"] = note
    receipt = make_receipt(77, SIZE, note, store.read_tile)
    proof = b"".join(b64encode(node) + b"\n" for node in consistency_proof(200, SIZE, store.read_tile))
    key, uid = bytes(32), bytes(16)
    committed = {"payload": commit(key, uid, "payload", b'{"purpose":"ads"}')}
    logged = entry_bytes(Entry(EntryKind.CONSENT_RECORDED, 1, "a", uid, {}, committed))
    opening = {"salt": opening_salt(key, uid, "payload"), "payload": b'{"purpose":"ads"}'}
    jws = JwsSigner(SEED)
    document = sign_receipt(jws, _a_consent_receipt())
    jwks = b'{"keys":[%b]}' % canonical_json(jws.key.members)
    place = folder / "log"

    def check_log(contents: Contents) -> Finding:
        _write(place, contents)
        return verify_directory(VKEY, place, witnesses=PINNED, earlier=[old])

    return {
        "log": Subject(files, check_log, same_logs, grow_a_file),
        "note": Subject(
            {"note": note},
            lambda c: verify_checkpoint(VKEY, c["note"] or b"", witnesses=PINNED),
            same_notes,
            lambda rng, c: {"note": _stranger_signs(rng, c["note"] or b"")},
        ),
        "receipt": Subject(
            {"receipt": receipt, "entry": ENTRIES[77]},
            lambda c: verify_receipt(VKEY, c["receipt"] or b"", c["entry"] or b"", witnesses=PINNED),
            lambda before, after: before["entry"] == after["entry"] and same_notes(before, after),
            lambda _rng, c: {**c, "receipt": (c["receipt"] or b"").replace(b"\nindex", b"\nextra aGVsbG8=\nindex")},
        ),
        "prefix": Subject(
            {"old": old, "new": note, "proof": proof},
            lambda c: verify_prefix(VKEY, c["old"] or b"", c["new"] or b"", c["proof"] or b"", witnesses=PINNED),
            lambda before, after: (
                all(_note_parts(before[name]) == _note_parts(after[name]) for name in ("old", "new"))
                and (before["proof"] or b"").removesuffix(b"\n") == (after["proof"] or b"").removesuffix(b"\n")
            ),
        ),
        "opening": Subject(opening, lambda c: verify_payload(logged, "payload", c["salt"] or b"", c["payload"] or b"")),
        "bundle": Subject(
            {"bundle": bundle_bytes(shown()[0].bundle(ANNA_BEFORE, ANNA))},
            lambda c: verify_bundle(BUNDLE_VKEY, c["bundle"] or b""),
            same_files,
        ),
        "consent receipt": Subject({"document": document}, lambda c: verify_document(c["document"] or b"", jwks)),
    }


def same_logs(before: Contents, after: Contents) -> bool:
    """Tell whether the files that a log of this size has are the same; the checkpoint as a note."""
    files = all(before[name] == after.get(name) for name in before if name != "checkpoint")
    return files and same_notes({"checkpoint": before["checkpoint"]}, after)


def _write(place: Path, contents: Contents) -> None:
    shutil.rmtree(place, ignore_errors=True)
    for name, data in contents.items():
        if data is not None:
            (place / name).parent.mkdir(parents=True, exist_ok=True)
            (place / name).write_bytes(data)


def _a_consent_receipt() -> dict[str, object]:
    members = ["version", "jurisdiction", "consentTimestamp", "collectionMethod", "consentReceiptID"]
    more = ["piiPrincipalId", "piiControllers", "services", "policyUrl"]
    return dict.fromkeys([*members, *more], "x")


# --- the campaign


def change_values(rng: Random, data: bytes) -> bytes:
    """Change what a bundle says, and spell it as it has to be: one value by another of the file, or a list."""
    whole = json.loads(data)
    texts, places = list[str](), list[tuple[Any, Any]]()

    def walk(value: Any) -> None:
        for key, item in value.items() if isinstance(value, dict) else enumerate(value):
            places.append((value, key))
            if isinstance(item, (dict, list)):
                walk(item)
            elif isinstance(item, str):
                texts.append(item)

    walk(whole)
    where, key = rng.choice(places)
    held = where[key]
    if isinstance(held, list):
        change = rng.choice((list.reverse, list.clear, rng.shuffle, lambda v: v.pop(), lambda v: v.extend(v[:1])))
        held and change(held)  # type: ignore[func-returns-value]
    elif isinstance(held, bool):
        where[key] = not held
    elif isinstance(held, int):
        where[key] = max(0, held + rng.choice((-1, 1, 256)))
    else:
        where[key] = rng.choice(texts)
    return canonical_json(whole)


def same_bundles(before: Contents, after: Contents) -> bool:
    """Tell whether two bundles say the same: nothing depends on which chain of the person comes first."""
    try:
        one, two = (json.loads((found["bundle"] or b"").decode()) for found in (before, after))
        return all(
            sorted(one[n], key=str) == sorted(two[n], key=str) if n == "chains" else one[n] == two[n] for n in one
        )
    except (ValueError, LookupError, TypeError, RecursionError):
        return False


def same_files(before: Contents, after: Contents) -> bool:
    """Tell whether two bundles are the same to the byte, or differ in the order of their chains alone."""
    data = after["bundle"] or b""
    return before == after or (same_bundles(before, after) and canonical_json(json.loads(data)) == data)


def mutate(rng: Random, kind: str, contents: Contents) -> tuple[str, Contents]:
    """Return the name of a change and the changed contents."""
    if kind == "bundle" and rng.random() < 0.5:
        return "change_values bundle", {"bundle": change_values(rng, contents["bundle"] or b"")}
    if kind == "log" and rng.random() < 0.4:
        change = rng.choice((change_entries, change_files))
        return change.__name__, change(rng, contents)
    name = rng.choice(sorted(contents))
    operator = rng.choice(BYTES)
    data = operator(rng, contents[name] or b"")
    for _ in range(int(rng.expovariate(1))):  # now and then more than one change
        if data:
            data = rng.choice(BYTES)(rng, data)
    return f"{operator.__name__} {name}", {**contents, name: data}


def campaign(folder: Path, count: int, seed: int) -> Tally:
    """Change things `count` times and have each checked; the same seed changes the same."""
    rng = random.Random(seed)  # noqa: S311
    things, tally = subjects(folder), Tally()
    assert all(thing.check(thing.contents).ok for thing in things.values())
    kinds = ["log"] * 4 + [kind for kind in things if kind != "log"]
    while tally.counts["changed"] + tally.counts["harmless"] < count:
        kind = rng.choice(kinds)
        thing = things[kind]
        if thing.harmless is not None and rng.random() < 0.05:
            _judge(tally, thing, kind, "harmless", thing.harmless(rng, thing.contents))
            continue
        name, changed = mutate(rng, kind, thing.contents)
        if thing.same(thing.contents, changed):
            tally.counts["nothing changed"] += 1
            if not thing.check(changed).ok:
                tally.missed.append(f"{kind}: {name} changed nothing and was refused")
            continue
        _judge(tally, thing, kind, name, changed)
    return tally


def _judge(tally: Tally, thing: Subject, kind: str, name: str, changed: Contents) -> None:
    harmless = name == "harmless"
    tally.counts["harmless" if harmless else "changed"] += 1
    try:
        finding = thing.check(changed)
    except Exception as error:  # noqa: BLE001 - a crash is a result here
        tally.counts["crashed"] += 1
        tally.missed.append(f"{kind}: {name}: {type(error).__name__}: {error}")
        return
    tally.counts[f"{kind}: {finding.code}"] += 1
    if finding.ok != harmless:
        tally.missed.append(f"{kind}: {name}: {finding}")
