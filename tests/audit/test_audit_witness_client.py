"""One witness over real HTTP: the request to the byte, what counts as a cosignature, and each answer by its status."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Callable
from contextlib import contextmanager
from hashlib import sha256
from typing import TYPE_CHECKING

import pytest
from audit_fakes import ORIGIN, SEED, mth
from audit_fakes import Witness as Cosigner

from consent_gateway.audit.checkpoints import Signer, open_checkpoint
from consent_gateway.audit.kept.outbound import Outbound
from consent_gateway.audit.kept.port import MAX_KEPT_BYTES, KeptError, Trouble
from consent_gateway.audit.kept.witnesses import (
    Behind,
    Cosigned,
    Refusal,
    Witness,
    joined,
    outbound,
    request_body,
)
from consent_gateway.audit.merkle import leaf_hashes
from consent_gateway.audit.notes import parse_note
from edge import free_port
from peers import Asked, Peer, Told, peer

if TYPE_CHECKING:
    from collections.abc import Iterator

LOG = Signer(ORIGIN, SEED)
NOTE = LOG.sign_checkpoint(7, mth(leaf_hashes([b"%d" % n for n in range(7)])))
NODES = [sha256(b"a").digest(), sha256(b"b").digest()]
NOW = 1_700_000_000
W1, W2, PQ = Cosigner("w.example/1", 1), Cosigner("w.example/2", 2), Cosigner("w.example/3", 3, post_quantum=True)


@contextmanager
def witness(
    told: Told | Callable[[Asked], Told], of: Cosigner = W1, prefix: str = "/p/"
) -> Iterator[tuple[Witness, Peer]]:
    act = told if callable(told) else lambda _: told
    with peer(act) as served:
        yield Witness("w1", of.key, served.url + prefix, Outbound(5, MAX_KEPT_BYTES)), served


def add(told: Told, of: Cosigner = W1, old: int = 3) -> object:
    with witness(told, of) as (client, _):
        return client.add(LOG.key, old, NODES, NOTE, NOW)


def trouble(act: Callable[[], object]) -> Trouble:
    with pytest.raises(KeptError) as caught:
        act()
    return caught.value.trouble


def test_the_request_is_that_of_the_protocol() -> None:
    body = "old 3\n{}\n{}\n\n".format(*(b64encode(node).decode() for node in NODES)).encode() + NOTE
    assert request_body(3, NODES, NOTE) == body
    assert request_body(0, [], NOTE) == b"old 0\n\n" + NOTE
    with witness(Told(200, body=W1.line(NOTE, NOW))) as (client, served):
        client.add(LOG.key, 3, NODES, NOTE, NOW)
    assert [(asked.method, asked.path, asked.body) for asked in served.asked] == [("POST", "/p/add-checkpoint", body)]
    assert served.asked[0].headers["accept-encoding"] == "identity"


@pytest.mark.parametrize("of", [W1, PQ])
def test_a_cosignature_is_verified_and_stands_beside_that_of_the_log(of: Cosigner) -> None:
    line = of.line(NOTE, NOW)
    assert add(Told(200, body=line), of) == Cosigned(NOTE + line, NOW)
    opened = open_checkpoint(NOTE + line, LOG.key, (of.key,))
    assert opened.signed_by(of.key)


def test_lines_of_others_are_left_out() -> None:
    lines = W2.line(NOTE, NOW) + W1.line(NOTE, NOW) + PQ.line(NOTE, NOW)
    assert add(Told(200, body=lines)) == Cosigned(NOTE + W1.line(NOTE, NOW), NOW)


def test_cosignatures_that_the_note_has_already_stay() -> None:
    known = NOTE + W2.line(NOTE, 5)
    with witness(Told(200, body=W1.line(NOTE, NOW))) as (client, _):
        assert client.add(LOG.key, 3, NODES, known, NOW) == Cosigned(known + W1.line(NOTE, NOW), NOW)


@pytest.mark.parametrize("at", [NOW - 86_400, NOW, NOW + 3_600])
def test_the_clock_of_a_witness_may_differ_by_so_much(at: int) -> None:
    assert add(Told(200, body=W1.line(NOTE, at))) == Cosigned(NOTE + W1.line(NOTE, at), at)


OTHER = LOG.sign_checkpoint(8, bytes(32))


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\n",
        b"\xff",
        b"junk",
        W1.line(NOTE, NOW)[:-1],
        W2.line(NOTE, NOW),  # only somebody else's
        W1.line(NOTE, NOW) * 2,
        W1.line(NOTE, NOW) + W1.line(NOTE, NOW + 1),  # two times for one checkpoint
        W1.line(OTHER, NOW),  # of another checkpoint
    ],
)
def test_what_is_no_fresh_cosignature_of_this_checkpoint_is_unreadable(body: bytes) -> None:
    assert trouble(lambda: add(Told(200, body=body))) is Trouble.UNREADABLE


@pytest.mark.parametrize("at", [NOW - 86_401, NOW + 3_601])
def test_a_cosignature_of_another_time_is_told_as_that(at: int) -> None:
    assert trouble(lambda: add(Told(200, body=W1.line(NOTE, at)))) is Trouble.CLOCK


def test_a_checkpoint_that_is_not_ours_is_not_taken_with_a_cosignature() -> None:
    """Whoever asks with a note that the log's key has not signed gets nothing for it."""
    note = Signer(ORIGIN, b"x" * 32).sign_checkpoint(7, bytes(32))
    with witness(Told(200, body=W1.line(note, NOW))) as (client, _):
        assert trouble(lambda: client.add(LOG.key, 0, [], note, NOW)) is Trouble.UNREADABLE


@pytest.mark.parametrize(
    ("status", "meaning"),
    [
        (400, Refusal.MALFORMED),
        (403, Refusal.NOT_TRUSTED),
        (404, Refusal.UNKNOWN_ORIGIN),
        (422, Refusal.FORK),
    ],
)
def test_refusals(status: int, meaning: Refusal) -> None:
    assert add(Told(status, body=W1.line(NOTE, NOW))) is meaning


@pytest.mark.parametrize("status", [201, 204, 401, 405, 410, 418, 429, 500, 503])
def test_any_other_status_says_nothing_about_the_log(status: int) -> None:
    told = Told(status) if status == 204 else Told(status, {"content-type": "text/x.tlog.size"}, b"3\n")
    assert trouble(lambda: add(told)) is Trouble.REFUSED


@pytest.mark.parametrize(
    ("kind", "body", "size"),
    [
        ("text/x.tlog.size", b"4\n", 4),
        ("text/x.tlog.size", b"0\n", 0),
        ("text/x.tlog.size", b"4", 4),
        ("Text/X.Tlog.Size ; charset=utf-8", b"900\n", 900),
    ],
)
def test_a_conflict_names_the_size_that_was_signed_last(kind: str, body: bytes, size: int) -> None:
    assert add(Told(409, {"content-type": kind}, body)) == Behind(size)


@pytest.mark.parametrize(
    "told",
    [
        Told(409, {}, b"4\n"),
        Told(409, {"content-type": "text/plain"}, b"4\n"),
        Told(409, {"content-type": "text/x.tlog.sizes"}, b"4\n"),
        Told(409, {"content-type": "text/x.tlog.size"}, b""),
        Told(409, {"content-type": "text/x.tlog.size"}, b"04\n"),
        Told(409, {"content-type": "text/x.tlog.size"}, b"-4\n"),
        Told(409, {"content-type": "text/x.tlog.size"}, b"4\n\n"),
        Told(409, {"content-type": "text/x.tlog.size"}, b"\xb4\n"),
        Told(409, {"content-type": "text/x.tlog.size"}, b"9223372036854775808\n"),
    ],
)
def test_a_conflict_without_a_size_is_unreadable(told: Told) -> None:
    assert trouble(lambda: add(told)) is Trouble.UNREADABLE


SIZE = {"content-type": "text/x.tlog.size"}


@pytest.mark.parametrize(
    ("told", "meaning"),
    [
        (Told(409, SIZE, b"7\n"), Refusal.FORK),
        (Told(409), Refusal.FORK),
        (Told(409, {"content-type": "text/plain"}, b"another root\n"), Refusal.FORK),
        (Told(409, SIZE, b"no number\n"), Refusal.FORK),
        (Told(409, SIZE, b"5\n"), Behind(5)),
        (Told(409, SIZE, b"9\n"), Behind(9)),
    ],
)
def test_a_conflict_about_the_size_that_was_asked_from_is_a_fork(told: Told, meaning: object) -> None:
    assert add(told, old=7) == meaning


@pytest.mark.parametrize("told", [Told(409, {"content-type": "text/plain"}, b" 7\n"), Told(409, SIZE, b"07\n")])
def test_a_size_in_another_form_is_no_word_about_the_root(told: Told) -> None:
    assert trouble(lambda: add(told, old=7)) is Trouble.UNREADABLE


def test_a_conflict_about_another_size_is_none_about_the_root() -> None:
    assert add(Told(409, SIZE, b"3\n"), old=3) == Behind(3)


@pytest.mark.parametrize("prefix", ["/p/", "/p", ""])
def test_the_newest_checkpoint_is_asked_for_by_the_digest_of_the_origin(prefix: str) -> None:
    name = sha256(ORIGIN.encode()).hexdigest()
    with witness(Told(200, body=NOTE), prefix=prefix) as (client, served):
        assert client.newest(ORIGIN) == NOTE
    wanted = f"{prefix.rstrip('/')}/{name}/checkpoint"
    assert [(asked.method, asked.path) for asked in served.asked] == [("GET", wanted)]


@pytest.mark.parametrize("status", [201, 404, 500])
def test_a_witness_that_does_not_show_it_is_no_trouble(status: int) -> None:
    with witness(Told(status, body=NOTE)) as (client, _):
        assert client.newest(ORIGIN) is None


def test_nobody_there_and_too_much_said() -> None:
    gone = Witness("w1", W1.key, f"http://127.0.0.1:{free_port()}", outbound(0.5))
    assert trouble(lambda: gone.add(LOG.key, 0, [], NOTE, NOW)) is Trouble.UNREACHABLE
    assert trouble(lambda: gone.newest(ORIGIN)) is Trouble.UNREACHABLE
    assert trouble(lambda: add(Told(200, body=b"x" * (MAX_KEPT_BYTES + 1)))) is Trouble.TOO_LARGE
    assert outbound(0.5) == Outbound(0.5, MAX_KEPT_BYTES)


def test_a_witness_is_known_by_its_key_and_its_address_shows_nowhere() -> None:
    one, moved = (Witness(name, W1.key, url, outbound(1)) for name, url in (("a", "https://a/"), ("b", "https://b/")))
    assert one.place == moved.place == sha256(W1.vkey.encode()).hexdigest()
    assert one.place != Witness("a", W2.key, "https://a/", outbound(1)).place
    assert "https" not in repr(one)


def test_signatures_of_several_notes_of_one_checkpoint_are_joined_once_each() -> None:
    one, two = NOTE + W1.line(NOTE, NOW), NOTE + W2.line(NOTE, NOW) + W1.line(NOTE, NOW)
    assert joined([NOTE]) == NOTE
    assert joined([one, two]) == NOTE + W1.line(NOTE, NOW) + W2.line(NOTE, NOW)
    assert [s.name for s in parse_note(joined([two, one])).signatures] == [ORIGIN, "w.example/2", "w.example/1"]
