"""One witness over HTTP: the client's side of `add-checkpoint` (C2SP tlog-witness).

The request is `old <size>`, the consistency proof from there, a blank line and the checkpoint. What comes back is not
believed: a cosignature counts once it was verified under the witness's key over exactly this checkpoint, and is fresh.
A 409 tells the size that the witness signed last, or that it signed this size under another root; `newest` asks it for
that checkpoint, which our own key has signed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from hashlib import sha256

from consent_gateway.audit.checkpoints import open_checkpoint, parse_checkpoint
from consent_gateway.audit.kept.outbound import Answer, Outbound
from consent_gateway.audit.kept.port import MAX_KEPT_BYTES, KeptError, Trouble
from consent_gateway.audit.notes import Note, VerifierKey, parse_decimal, parse_note, to_base64

SIZE_TYPE = "text/x.tlog.size"
_OLDEST_SECONDS, _AHEAD_SECONDS = 86_400, 3_600  # how far a witness's clock may be from ours
_OK, _BAD, _FORBIDDEN, _UNKNOWN, _CONFLICT, _UNPROCESSABLE = 200, 400, 403, 404, 409, 422


class Refusal(StrEnum):
    """What a witness says instead of a cosignature."""

    MALFORMED = "malformed"  # 400: it cannot read the request, or `old` is larger than the checkpoint
    NOT_TRUSTED = "not_trusted"  # 403: no signature by a key that it knows for this origin
    UNKNOWN_ORIGIN = "unknown_origin"  # 404: its operator has to register the log (each epoch anew)
    FORK = "fork"  # 422, or 409 about the size that it was asked from: what it signed before is not a prefix of this


@dataclass(frozen=True, slots=True)
class Cosigned:
    """A verified cosignature: the checkpoint with it, and its time (epoch seconds, the witness's clock)."""

    note: bytes
    time: int


@dataclass(frozen=True, slots=True)
class Behind:
    """The witness signed another size last than `old` said."""

    size: int


Reply = Cosigned | Behind | Refusal
_REFUSALS = {_BAD: Refusal.MALFORMED, _FORBIDDEN: Refusal.NOT_TRUSTED, _UNKNOWN: Refusal.UNKNOWN_ORIGIN}


@dataclass(frozen=True, slots=True)
class Witness:
    """A witness of the policy: its name there, its key, and the prefix of its addresses."""

    name: str
    key: VerifierKey
    url: str = field(repr=False)
    outbound: Outbound

    @property
    def place(self) -> str:
        """A digest of its key, which names it in the store."""
        return sha256(self.key.vkey.encode()).hexdigest()

    def add(self, log: VerifierKey, old: int, proof: Sequence[bytes], note: bytes, now: int) -> Reply:
        """Ask for a cosignature of `note`, whose log key is `log`. KeptError if there is no answer that can be used."""
        body = request_body(old, proof, note)
        answer = self.outbound.call("POST", f"{self.url.rstrip('/')}/add-checkpoint", body=body)
        if answer.status == _OK:
            return self._cosigned(log, note, answer.body, now)
        if answer.status == _CONFLICT:
            return _conflict(answer, old, note)
        if answer.status == _UNPROCESSABLE:
            return Refusal.FORK
        if answer.status not in _REFUSALS:
            raise KeptError(Trouble.REFUSED)
        return _REFUSALS[answer.status]

    def newest(self, origin: str) -> bytes | None:
        """Return the checkpoint of this origin that the witness signed last, None if it does not show it."""
        name = sha256(origin.encode()).hexdigest()
        answer = self.outbound.call("GET", f"{self.url.rstrip('/')}/{name}/checkpoint")
        return answer.body if answer.status == _OK else None

    def _cosigned(self, log: VerifierKey, note: bytes, lines: bytes, now: int) -> Cosigned:
        try:
            ours, told = parse_note(note), parse_note(note + lines)
            added = tuple(s for s in told.signatures[len(ours.signatures) :] if s.key_id == self.key.key_id)
            whole = Note(ours.text, (*ours.signatures, *added)).to_bytes()
            opened = open_checkpoint(whole, log, (self.key,))
        except ValueError:
            raise KeptError(Trouble.UNREADABLE) from None
        times = [signed.time for signed in opened.signatures if signed.key == self.key and signed.time is not None]
        if len(times) != 1:
            raise KeptError(Trouble.UNREADABLE)
        if not now - _OLDEST_SECONDS <= times[0] <= now + _AHEAD_SECONDS:
            raise KeptError(Trouble.CLOCK)
        return Cosigned(whole, times[0])


def request_body(old: int, proof: Sequence[bytes], note: bytes) -> bytes:
    """Return the body of `add-checkpoint`."""
    return "".join((f"old {old}\n", *(f"{to_base64(node)}\n" for node in proof), "\n")).encode() + note


def joined(notes: Sequence[bytes]) -> bytes:
    """Return one checkpoint with the signatures of several notes of it; the first ones first, none twice."""
    parsed = [parse_note(note) for note in notes]
    signatures = dict.fromkeys(signature for note in parsed for signature in note.signatures)
    return Note(parsed[0].text, tuple(signatures)).to_bytes()


def _conflict(answer: Answer, old: int, note: bytes) -> Behind | Refusal:
    """Say what a 409 means: the witness signed another size than `old`, or this size under another root.

    The second is asked by `old` being the size of the note; of its body tlog-witness says nothing.
    """
    at_head = old == parse_checkpoint(parse_note(note).text).size
    try:
        size = _size(answer)
    except KeptError:
        if not at_head or answer.body.strip().isdigit():  # a size in another form is no word about the root
            raise
        size = old
    return Refusal.FORK if at_head and size == old else Behind(size)


def _size(answer: Answer) -> int:
    kind = answer.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != SIZE_TYPE:
        raise KeptError(Trouble.UNREADABLE)
    try:
        return parse_decimal(answer.body.decode().removesuffix("\n"))
    except ValueError:
        raise KeptError(Trouble.UNREADABLE) from None


def outbound(seconds: float) -> Outbound:
    """Return what witnesses are called with."""
    return Outbound(seconds, MAX_KEPT_BYTES)
