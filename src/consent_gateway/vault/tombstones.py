"""What the tombstone file says: one line for each erasure, under the root of tombstones that outlives every other key.

A `Burial` is one erasure: the keyed hash of the subject's id, the tombstones of the identifiers, the index values of
the identifiers' lasting tokens, the instant, the reason's code and the uid of its entry in the log. It reveals nobody:
whoever lacks the tombstone root cannot tell whose line it is (EDPB Guidelines 01/2025 section 88).

A line with the reason `LIFTED` has the same form and is no erasure: it says that the tombstones it names keep nobody
away any more. Lines are read in their order, so that the last one about a hash counts. A release that does not know
the reason takes the line for an erasure of nobody, and its tombstones stand: that errs on the side of staying away.

A line is `<JSON, one spelling> <MAC, 64 hex digits>`, and MAC = HMAC-SHA256(key, frame(domain, MAC of the line before,
JSON)). So a line that is altered, inserted, moved, or taken out of the middle breaks every MAC after it; the first line
names the format and its version. Lines that are missing at the end break nothing: whoever reads a file compares it with
what the database says was written to it (`services.erasing.tombstones`).
"""

from __future__ import annotations

import hmac
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from consent_gateway.errors import TombstoneError
from consent_gateway.vault.derivation import frame
from consent_gateway.vault.keyring import Keyring

FORMAT = "consent-gateway-tombstones"
VERSION = 1
MAC_BYTES = 32
START = bytes(MAC_BYTES)  # what the first line is chained to
LASTING = 0  # where a generation of the index would stand: the token is of none
LIFTED = "lifted"  # the reason of a line that ends tombstones: its points may come back, by an act of the person
BEGUN = "begun"  # the reason of the first burial of a store: nobody's, so that the store knows its file from the start
_LINE_DOMAIN, _SUBJECT_DOMAIN = b"consent-gateway/tombstone-line", b"consent-gateway/tombstone-subject"
_SEPARATOR = b" "


@dataclass(frozen=True, slots=True)
class Burial:
    """One erasure as the file keeps it.

    `uid`: 16 bytes, the entry in the log. `at`: seconds. `subject`: 32 bytes of `SubjectHasher`; None where the line is
    about no subject that could come back. `points`: kind and 32-byte tombstone. `suppressed`: kind, `LASTING` and
    16-byte lasting token, by which rows in quarantine are tied and addresses suppressed. `last_id`: the highest subject
    id at that instant, so that a restored store gives no id of that time to somebody else.
    """

    uid: bytes
    at: int
    subject: bytes | None
    reason: str
    points: tuple[tuple[str, bytes], ...] = ()
    suppressed: tuple[tuple[str, int, bytes], ...] = ()
    last_id: int = 0


class SubjectHasher:
    """Hashes subject ids under the tombstone root; about a million a second."""

    def __init__(self, keyring: Keyring) -> None:
        self._key = keyring.tombstone_key("subject")

    def hash(self, subject_id: int) -> bytes:
        """Return the 32-byte keyed hash of a subject id (0 to 2^63-1)."""
        return hmac.digest(self._key, _SUBJECT_DOMAIN + subject_id.to_bytes(8, "big"), "sha256")


def line_key(keyring: Keyring) -> bytes:
    """Return the 32-byte key of the MACs of one keyring's tombstone file."""
    return keyring.tombstone_key("file")


def encode(burial: Burial) -> str:
    """Return the one spelling of a burial: JSON in ASCII, without blanks, members in alphabetical order."""
    return _json(
        {
            "at": burial.at,
            "last_id": burial.last_id,
            "points": [[kind, token.hex()] for kind, token in burial.points],
            "reason": burial.reason,
            "subject": None if burial.subject is None else burial.subject.hex(),
            "suppressed": [[kind, generation, token.hex()] for kind, generation, token in burial.suppressed],
            "uid": burial.uid.hex(),
        }
    )


def decode(text: str) -> Burial:
    """Return the burial that `encode` spelt; TombstoneError for anything else."""
    try:
        held = json.loads(text)
        found = Burial(
            bytes.fromhex(held["uid"]),
            int(held["at"]),
            None if held["subject"] is None else bytes.fromhex(held["subject"]),
            str(held["reason"]),
            tuple((str(kind), bytes.fromhex(token)) for kind, token in held["points"]),
            tuple((str(kind), int(number), bytes.fromhex(token)) for kind, number, token in held["suppressed"]),
            int(held["last_id"]),
        )
    except (ValueError, KeyError, TypeError, RecursionError):
        raise TombstoneError("a tombstone line is not one") from None
    if encode(found) != text:
        raise TombstoneError("a tombstone line is spelt otherwise")
    return found


def header() -> str:
    """Return the JSON of the first line."""
    return _json({"format": FORMAT, "version": VERSION})


def seal(key: bytes, previous: bytes, text: str) -> tuple[bytes, bytes]:
    """Return the bytes of a line with its line feed, and its MAC, to which the next line is chained."""
    mac = _mac(key, previous, text.encode())
    return text.encode() + _SEPARATOR + mac.hex().encode() + b"\n", mac


def unseal(key: bytes, previous: bytes, lines: Iterable[bytes], first: int) -> Iterator[tuple[str, bytes]]:
    """Yield JSON and MAC of each line; TombstoneError names the number of the first line that does not hold.

    `previous` is the MAC of the line before, `first` the number of the first of `lines`, from 1.
    """
    for number, line in enumerate(lines, first):
        text, _, stated = line.rpartition(_SEPARATOR)
        mac = _mac(key, previous, text)
        if not hmac.compare_digest(mac.hex().encode(), stated):
            raise TombstoneError(f"line {number} of the tombstone file was altered, or is of another keyring")
        yield text.decode(), mac
        previous = mac


def _mac(key: bytes, previous: bytes, text: bytes) -> bytes:
    return hmac.digest(key, frame(_LINE_DOMAIN, previous, text), "sha256")


def _json(value: dict[str, Any]) -> str:
    return json.dumps(value, separators=(",", ":"), sort_keys=True)
