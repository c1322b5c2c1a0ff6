"""Checkpoints: the signed head of a log, and its cosignatures (C2SP tlog-checkpoint, tlog-cosignature).

The text of a checkpoint is three lines (origin, size in decimal, root in base64) and optional extension lines.
The log signs the text with Ed25519 (type 0x01). Witnesses, who have seen that the log only ever grew, add
timestamped cosignatures: Ed25519 over `cosignature/v1`, the time and the text (0x04), or ML-DSA-44 over a binary
`subtree/v1` message (0x06, which does not cover extension lines).

Rules for whoever opens a note: a signature by an unknown key is ignored; a signature that claims a known key and
does not verify rejects the whole note, and so does a line by a known key that stands there twice (a reader that
counts lines would count it twice); a note without any signature by the log's key is rejected. The origin must
be the log's key name, so that one key cannot speak for two logs.

Stand-alone: standard library, `cryptography`, and `merkle` and `notes` of this package.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from consent_gateway.audit.merkle import EMPTY_ROOT, HASH_BYTES
from consent_gateway.audit.notes import (
    COSIGNATURE_ED25519,
    COSIGNATURE_MLDSA44,
    ED25519,
    Note,
    NoteSignature,
    VerifierKey,
    check_key_name,
    from_base64,
    parse_decimal,
    parse_note,
    parse_vkey,
    to_base64,
)

try:
    from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA44PublicKey

    _load_mldsa44: Callable[[bytes], MLDSA44PublicKey] | None = MLDSA44PublicKey.from_public_bytes
except ImportError:  # an auditor's older release: it still checks everything that is Ed25519
    _load_mldsa44 = None

_TIME_BYTES = 8
_ORIGIN_SIZE_ROOT = 3
_MAX_LABEL = 255  # names in a subtree message have a one-byte length


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """The head of the log `origin`: `size` entries under the 32-byte `root`."""

    origin: str
    size: int
    root: bytes
    extensions: tuple[str, ...] = ()

    @property
    def text(self) -> str:
        """The signed text, ending in a newline."""
        return "\n".join((self.origin, str(self.size), to_base64(self.root), *self.extensions, ""))


@dataclass(frozen=True, slots=True)
class Verified:
    """A signature that holds: by which key and, for cosignatures, at which time (epoch seconds)."""

    key: VerifierKey
    time: int | None


@dataclass(frozen=True, slots=True)
class OpenedCheckpoint:
    """A checkpoint that the log has signed, and every known signature on it, the log's own included."""

    checkpoint: Checkpoint
    signatures: tuple[Verified, ...]

    def signed_by(self, key: VerifierKey) -> bool:
        """Tell whether a signature by `key` was verified."""
        return any(signature.key == key for signature in self.signatures)


class Signer:
    """The log's signing key: an origin name and an Ed25519 seed, which never shows in a repr."""

    __slots__ = ("_private", "key")

    def __init__(self, name: str, seed: bytes) -> None:
        check_key_name(name)
        self._private = Ed25519PrivateKey.from_private_bytes(seed)
        self.key = VerifierKey(name, ED25519, self._private.public_key().public_bytes_raw())

    @property
    def vkey(self) -> str:
        """The public key to hand to auditors."""
        return self.key.vkey

    def sign_checkpoint(self, size: int, root: bytes) -> bytes:
        """Return the signed note for this head; raises ValueError when the root is not one of a tree of `size`.

        Call it once for each size: two signed roots for one size are proof of a fork.
        """
        return self.sign_text(parse_checkpoint(Checkpoint(self.key.name, size, root).text).text)

    def sign_text(self, text: str) -> bytes:
        """Return the note of `text` (which ends in a newline) with one signature, type 0x01."""
        signature = NoteSignature(self.key.name, self.key.key_id, self._private.sign(text.encode()))
        return Note(text, (signature,)).to_bytes()


def parse_checkpoint(text: str) -> Checkpoint:
    """Return the checkpoint that a note's text is; raises ValueError unless it is one, to the byte.

    The size is below 2^63, the root 32 bytes, extension lines are not empty; the only root of size 0 is that of
    the empty tree (C2SP tlog-witness: 422 otherwise).
    """
    lines = text.split("\n")
    if len(lines) <= _ORIGIN_SIZE_ROOT or lines.pop() or not all(lines):
        raise ValueError("a checkpoint is an origin, a size and a root, without empty lines")
    origin, size, root, *extensions = lines
    checkpoint = Checkpoint(origin, parse_decimal(size), from_base64(root), tuple(extensions))
    if len(checkpoint.root) != HASH_BYTES:
        raise ValueError("the root of a checkpoint has 32 bytes")
    if checkpoint.size == 0 and checkpoint.root != EMPTY_ROOT:
        raise ValueError("the empty tree has another root")
    return checkpoint


def open_note(data: bytes, keys: Sequence[VerifierKey]) -> tuple[Note, tuple[Verified, ...]]:
    """Return the note and its signatures by `keys`, all verified (at least one).

    Raises ValueError when the note is malformed, when a signature that claims one of `keys` fails or stands there
    twice, or when there is none by any of them. A witness may have signed at several times: whoever asks for a number
    of witnesses counts keys, not signatures. The note's text is not interpreted.
    """
    note = parse_note(data)
    claimed = [
        (key, signature.signature)
        for signature in note.signatures
        for key in keys
        if (signature.name, signature.key_id) == (key.name, key.key_id)
    ]
    if len(set(claimed)) != len(claimed):
        raise ValueError("a signature by a known key stands there twice")
    verified = tuple(_verify(key, note.text, signature) for key, signature in claimed)
    if not verified:
        raise ValueError("no signature by a known key")
    return note, verified


def open_checkpoint(data: bytes, log: VerifierKey, witnesses: Sequence[VerifierKey] = ()) -> OpenedCheckpoint:
    """Return the checkpoint in a signed note, once the log's signature and every known cosignature hold.

    `log` is the pinned key of the log, whose name must be the origin. Raises ValueError otherwise. A witness that
    did not sign is no error here: see `OpenedCheckpoint.signed_by`.
    """
    note, verified = open_note(data, (log, *witnesses))
    opened = OpenedCheckpoint(parse_checkpoint(note.text), verified)
    if not opened.signed_by(log):
        raise ValueError("no signature by the log's key")
    if opened.checkpoint.origin != log.name:
        raise ValueError("the origin of the checkpoint is not the name of the log's key")
    return opened


def pinned_key(vkey: str) -> VerifierKey:
    """Return the log key in `vkey`; raises ValueError unless it is an Ed25519 log key (0x01), as tlog-tiles asks."""
    key = parse_vkey(vkey)
    if key.algorithm != ED25519:
        raise ValueError("a log is pinned by an Ed25519 key of type 0x01")
    return key


def witness_key(vkey: str) -> VerifierKey:
    """Return the witness key in `vkey`; raises ValueError unless its type is one of a cosignature (0x04, 0x06)."""
    key = parse_vkey(vkey)
    if key.algorithm not in {COSIGNATURE_ED25519, COSIGNATURE_MLDSA44}:
        raise ValueError("a witness is pinned by a key of type 0x04 or 0x06")
    return key


def ed25519_holds(public_key: bytes, signature: bytes, message: bytes) -> bool:
    """Tell whether the signature is this key's (RFC 8032 5.1.7, without the cofactor; no second spelling of S or R)."""
    try:
        Ed25519PublicKey.from_public_bytes(public_key).verify(signature, message)
    except InvalidSignature:
        return False
    return True


def subtree_message(witness: str, time: int, checkpoint: Checkpoint) -> bytes:
    """Return the bytes that an ML-DSA-44 cosignature of the whole tree covers (C2SP tlog-cosignature)."""
    return b"".join((
        b"subtree/v1\n\0",
        _label(witness),
        _u64(time),
        _label(checkpoint.origin),
        _u64(0),
        _u64(checkpoint.size),
        checkpoint.root,
    ))  # fmt: skip


def _verify(key: VerifierKey, text: str, blob: bytes) -> Verified:
    """Return the verified signature; raises ValueError when it does not hold or its type is not known here."""
    check = _VERIFIERS.get(key.algorithm)
    if check is None:
        raise ValueError("the type of a known key cannot be verified")
    try:
        holds, time = check(key, text, blob)
    except UnsupportedAlgorithm:
        raise ValueError("the installed cryptography has no ML-DSA-44; a newer release has") from None
    if not holds:
        raise ValueError("a signature by a known key does not verify")
    return Verified(key, time)


def _verify_log(key: VerifierKey, text: str, blob: bytes) -> tuple[bool, None]:
    """Check a plain Ed25519 signature over the text (type 0x01)."""
    return ed25519_holds(key.public_key, blob, text.encode()), None


def _verify_cosignature(key: VerifierKey, text: str, blob: bytes) -> tuple[bool, int]:
    """Check a timestamped Ed25519 cosignature (type 0x04); its time comes with the answer."""
    time, signature = _timestamped(blob)
    return ed25519_holds(key.public_key, signature, f"cosignature/v1\ntime {time}\n{text}".encode()), time


def _verify_mldsa(key: VerifierKey, text: str, blob: bytes) -> tuple[bool, int]:
    """Check a timestamped ML-DSA-44 cosignature (type 0x06); its time comes with the answer."""
    if _load_mldsa44 is None:
        raise UnsupportedAlgorithm("ML-DSA-44")
    time, signature = _timestamped(blob)
    message = subtree_message(key.name, time, parse_checkpoint(text))
    try:
        _load_mldsa44(key.public_key).verify(signature, message)  # FIPS 204, empty context
    except InvalidSignature:
        return False, time
    return True, time


def _timestamped(blob: bytes) -> tuple[int, bytes]:
    """Return time and signature of a cosignature; ValueError for a time beyond 2^63-1 (C2SP tlog-cosignature)."""
    time = int.from_bytes(blob[:_TIME_BYTES], "big")
    if time >= 1 << 63:
        raise ValueError("the time of a cosignature is beyond 2^63-1")
    return time, blob[_TIME_BYTES:]


_VERIFIERS: dict[int, Callable[[VerifierKey, str, bytes], tuple[bool, int | None]]] = {
    ED25519: _verify_log,
    COSIGNATURE_ED25519: _verify_cosignature,
    COSIGNATURE_MLDSA44: _verify_mldsa,
}


def _label(text: str) -> bytes:
    """Return u8 length ‖ text."""
    raw = text.encode()
    if len(raw) > _MAX_LABEL:
        raise ValueError("a name in a cosignature is at most 255 bytes")
    return bytes([len(raw)]) + raw


def _u64(number: int) -> bytes:
    """Return eight bytes, big-endian."""
    return number.to_bytes(_TIME_BYTES, "big")
