"""Signed notes and verifier keys: the text format only, no cryptography (C2SP signed-note).

A note is UTF-8 text that ends in a newline, a blank line, then one line for each signature::

    — <key name> base64(<key id, 4 bytes> ‖ <signature>)

A verifier key (vkey) is `name+hex(key id)+base64(type ‖ public key)`; the key id is the first four bytes of
SHA-256(name ‖ 0x0A ‖ type ‖ public key). An auditor pins the vkey: what a log says about its own identity is
never believed.

Reading is strict, because two readers that disagree about one note are an attack: no control bytes but newline,
canonical base64, key names without blanks or `+`, one blank line of which the last one counts. Everything malformed
is a `ValueError`; who signed and whether it holds is for `checkpoints`.

Stand-alone: only the standard library.
"""

from __future__ import annotations

from base64 import b64decode, b64encode
from dataclasses import dataclass
from hashlib import sha256

ED25519 = 0x01
COSIGNATURE_ED25519 = 0x04
COSIGNATURE_MLDSA44 = 0x06
PUBLIC_KEY_BYTES = {ED25519: 32, COSIGNATURE_ED25519: 32, COSIGNATURE_MLDSA44: 1312}

KEY_ID_BYTES = 4
MAX_NOTE_BYTES = 1_000_000  # the two limits of Go's sumdb/note: they bound what a stranger can make us do
MAX_SIGNATURES = 100
_SIGNATURE_MARK = "— "  # U+2014 and one blank
_FIRST_PRINTABLE = 0x20


@dataclass(frozen=True, slots=True)
class VerifierKey:
    """A public key with the name it signs under; `algorithm` is the signature type byte."""

    name: str
    algorithm: int
    public_key: bytes

    @property
    def key_id(self) -> bytes:
        """The four bytes that name this key on a signature line."""
        message = self.name.encode() + b"\n" + bytes([self.algorithm]) + self.public_key
        return sha256(message).digest()[:KEY_ID_BYTES]

    @property
    def vkey(self) -> str:
        """The one-line text form."""
        return f"{self.name}+{self.key_id.hex()}+{to_base64(bytes([self.algorithm]) + self.public_key)}"


@dataclass(frozen=True, slots=True)
class NoteSignature:
    """One signature line, not verified: the claimed name and key id, and the bytes after the key id."""

    name: str
    key_id: bytes
    signature: bytes

    @property
    def line(self) -> str:
        """The line with its newline, as it stands in a note."""
        return f"{_SIGNATURE_MARK}{self.name} {to_base64(self.key_id + self.signature)}\n"


@dataclass(frozen=True, slots=True)
class Note:
    """A parsed note, not verified: `text` ends in a newline and is what log signatures cover."""

    text: str
    signatures: tuple[NoteSignature, ...]

    def to_bytes(self) -> bytes:
        """Return the note as it is published; parsing it gives this note back."""
        return f"{self.text}\n{''.join(signature.line for signature in self.signatures)}".encode()


def parse_vkey(text: str) -> VerifierKey:
    """Return the key that `name+hash+base64` names; raises ValueError when any part does not fit the others."""
    name, _, rest = text.partition("+")
    key_hash, _, encoded = rest.partition("+")
    raw = from_base64(encoded)
    check_key_name(name)
    if not raw:
        raise ValueError("the verifier key is empty")
    key = VerifierKey(name, raw[0], raw[1:])
    # keys of unknown types are read: they may stand in a policy, and they verify nothing
    if len(key.public_key) != PUBLIC_KEY_BYTES.get(key.algorithm, len(key.public_key)):
        raise ValueError("the verifier key has a wrong length for its type")
    if key.key_id.hex() != key_hash:
        raise ValueError("the key id does not belong to this name and key")
    return key


def parse_note(data: bytes) -> Note:
    """Return the note in `data`; raises ValueError unless it is well-formed and has 1 to 100 signature lines."""
    if len(data) > MAX_NOTE_BYTES:
        raise ValueError("the note is too long")
    note = _decode(data)
    text, blank, lines = note.rpartition("\n\n")
    if not blank or not text or not lines.endswith("\n"):
        raise ValueError("a note is text, a blank line and signature lines")
    signatures = lines.removesuffix("\n").split("\n")
    if len(signatures) > MAX_SIGNATURES:
        raise ValueError("the note has too many signatures")
    return Note(text + "\n", tuple(_parse_signature(line) for line in signatures))


def check_key_name(name: str) -> None:
    """Raise ValueError unless `name` may name a key: not empty, no blanks, no `+`, no control characters."""
    if not name or "+" in name or any(char.isspace() or ord(char) < _FIRST_PRINTABLE for char in name):
        raise ValueError("a key name has no blanks and no +")


def to_base64(data: bytes) -> str:
    """Return standard base64 with padding (RFC 4648 section 4)."""
    return b64encode(data).decode()


def from_base64(text: str) -> bytes:
    """Return the decoded bytes; raises ValueError unless `text` is exactly what `to_base64` writes."""
    try:
        data = b64decode(text, validate=True)
    except ValueError:
        raise ValueError("not base64") from None
    if to_base64(data) != text:  # padding bits that are not zero: a second spelling of the same bytes
        raise ValueError("not canonical base64")
    return data


def parse_decimal(text: str) -> int:
    """Return a number below 2^63 in plain ASCII decimal without leading zeros; raises ValueError otherwise."""
    # at most 19 digits reach int(): a longer text could be made expensive
    if not (text.isascii() and text.isdecimal()) or len(text) > len(str(2**63)):
        raise ValueError("not a decimal number")
    number = int(text)
    if str(number) != text or number >= 2**63:
        raise ValueError("not a canonical decimal number")
    return number


def _decode(data: bytes) -> str:
    """Return the text of a note; raises ValueError for bad UTF-8 and for control bytes other than newline."""
    try:
        text = data.decode()
    except UnicodeDecodeError:
        raise ValueError("the note is not UTF-8") from None
    if any(byte < _FIRST_PRINTABLE for byte in data.replace(b"\n", b"")):
        raise ValueError("the note holds a control character")
    return text


def _parse_signature(line: str) -> NoteSignature:
    """Return the signature on one line."""
    name, blank, encoded = line.removeprefix(_SIGNATURE_MARK).partition(" ")
    if not line.startswith(_SIGNATURE_MARK) or not blank:
        raise ValueError("a signature line is malformed")
    check_key_name(name)
    raw = from_base64(encoded)
    if len(raw) <= KEY_ID_BYTES:
        raise ValueError("a signature line holds no signature")
    return NoteSignature(name, raw[:KEY_ID_BYTES], raw[KEY_ID_BYTES:])
