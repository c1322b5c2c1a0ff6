"""Kept copies of the checkpoint: each place keeps what it is given, is written conditionally, and fails within limits."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from consent_gateway.audit.kept import nats_copies
from consent_gateway.audit.kept.file_copies import FileCopy
from consent_gateway.audit.kept.http_copies import HttpCopy
from consent_gateway.audit.kept.outbound import Outbound, is_safe_url
from consent_gateway.audit.kept.places import Places, copies_of
from consent_gateway.audit.kept.port import MAX_KEPT_BYTES, Copy, KeptError, Trouble
from edge import free_port
from peers import Peer, Shelf, Told, peer

NOTES = [b"note %d" % n for n in range(3)]
SECONDS = 0.4
Place = Callable[[], Copy]


def trouble(act: Callable[[], object]) -> Trouble:
    with pytest.raises(KeptError) as caught:
        act()
    return caught.value.trouble


@pytest.fixture
def shelf() -> Iterator[Peer]:
    with peer(Shelf()) as served:
        yield served


@pytest.fixture(scope="module")
def nats_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A real NATS server with JetStream, if there is one on this machine."""
    found = shutil.which("nats-server") or shutil.which("nats-server", path="/usr/sbin:/usr/local/bin")
    if found is None:
        pytest.skip("NATS-SERVER IS MISSING: apt-get install nats-server")
    port, folder = free_port(), tmp_path_factory.mktemp("nats")
    command = [found, "-a", "127.0.0.1", "-p", str(port), "-js", "-sd", str(folder)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                break
        time.sleep(0.02)
    yield f"nats://127.0.0.1:{port}"
    process.terminate()
    process.wait(20)


@pytest.fixture(params=["file", "http", "nats"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    """A way to make copies of one place: each as another process would have it."""
    if request.param == "file":
        return lambda: FileCopy("file_1", tmp_path / "checkpoint")
    if request.param == "http":
        url = request.getfixturevalue("shelf").url + "/log/checkpoint"
        return lambda: HttpCopy("http_1", url, Outbound(5, MAX_KEPT_BYTES))
    server = request.getfixturevalue("nats_server")
    bucket = "b" + os.urandom(6).hex()
    return lambda: nats_copies.NatsCopy("nats_1", server, bucket, 5.0)


def test_a_place_keeps_the_newest_note(place: Place) -> None:
    copy = place()
    assert copy.read() is None
    for note in NOTES:
        copy.write(note, copy.read())
        kept = place().read()
        assert kept is not None
        assert kept.note == note


def test_of_two_writers_one_is_told_that_it_came_second(place: Place) -> None:
    first, second = place(), place()
    assert (first.read(), second.read()) == (None, None)
    first.write(NOTES[0], None)
    assert trouble(lambda: second.write(NOTES[1], None)) is Trouble.CONFLICT
    seen = second.read()
    first.write(NOTES[1], first.read())
    assert trouble(lambda: second.write(NOTES[2], seen)) is Trouble.CONFLICT
    kept = first.read()
    assert kept is not None
    assert kept.note == NOTES[1]


def test_a_place_is_known_by_its_address_and_shows_nothing_of_it(place: Place) -> None:
    assert place().place == place().place
    assert len(place().place) == 64
    assert FileCopy("a", Path("/x")).place != FileCopy("a", Path("/y")).place


def test_a_file_is_replaced_whole_and_stays_private(tmp_path: Path) -> None:
    copy = FileCopy("file_1", tmp_path / "checkpoint")
    copy.write(NOTES[0], None)
    assert (tmp_path / "checkpoint").stat().st_mode & 0o777 == 0o600
    assert sorted(path.name for path in tmp_path.iterdir()) == ["checkpoint", "checkpoint.lock"]
    (tmp_path / "checkpoint.part").write_bytes(b"left by a crash")
    copy.write(NOTES[1], copy.read())
    assert (tmp_path / "checkpoint").read_bytes() == NOTES[1]
    assert not (tmp_path / "checkpoint.part").exists()


def test_a_file_that_cannot_be_used_says_so(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    assert trouble(FileCopy("f", tmp_path / "folder").read) is Trouble.UNREACHABLE
    assert trouble(lambda: FileCopy("f", tmp_path / "no" / "x").write(NOTES[0], None)) is Trouble.UNWRITABLE
    (tmp_path / "big").write_bytes(b"x" * (MAX_KEPT_BYTES + 1))
    assert trouble(FileCopy("f", tmp_path / "big").read) is Trouble.TOO_LARGE
    (tmp_path / "link").symlink_to(tmp_path / "big")
    (tmp_path / "link.part").symlink_to(tmp_path / "elsewhere")
    small = FileCopy("f", tmp_path / "new")
    (tmp_path / "new.part").symlink_to(tmp_path / "elsewhere")
    assert trouble(lambda: small.write(NOTES[0], None)) is Trouble.UNWRITABLE
    assert not (tmp_path / "elsewhere").exists()


def http(served: Peer, **more: Path) -> HttpCopy:
    return HttpCopy("http_1", served.url + "/x", Outbound(SECONDS, 1000), **more)


@pytest.mark.parametrize(
    ("told", "expected"),
    [
        (Told(hang=True), Trouble.TIMEOUT),
        (Told(body=b"x" * 200, drip=True), Trouble.TIMEOUT),
        (Told(cut=True), Trouble.UNREACHABLE),
        (Told(302, {"location": "http://127.0.0.1:1/x"}), Trouble.REDIRECTED),
        (Told(307, {"location": "/elsewhere"}), Trouble.REDIRECTED),
        (Told(200, body=b"x" * 1001), Trouble.TOO_LARGE),
        (Told(200, {"content-length": "5"}, b"x" * 1001), None),  # what goes beyond is not read
        (Told(500), Trouble.REFUSED),
        (Told(401), Trouble.REFUSED),
        (Told(206, body=b"x"), Trouble.REFUSED),
    ],
)
def test_a_server_that_misbehaves_costs_a_bounded_wait(told: Told, expected: Trouble | None) -> None:
    with peer(lambda _: told) as served:
        begun = time.monotonic()
        if expected is None:
            kept = http(served).read()
            assert kept is not None
            assert kept.note == b"xxxxx"
        else:
            assert trouble(http(served).read) is expected
            if told.status != 200 or expected is Trouble.REDIRECTED:
                assert trouble(lambda: http(served).write(NOTES[0], None)) is expected
        assert time.monotonic() - begun < 3
        assert {asked.path for asked in served.asked} == {"/x"}, "a redirect is not followed"


def test_an_answer_in_pieces_of_unknown_length_is_cut_off() -> None:
    chunks = b"".join(b"64\r\n%b\r\n" % (b"y" * 100) for _ in range(20)) + b"0\r\n\r\n"
    told = Told(200, {"transfer-encoding": "chunked", "content-length": ""}, chunks)
    del told.headers["content-length"]
    with peer(lambda _: told) as served:
        assert trouble(http(served).read) in (Trouble.TOO_LARGE, Trouble.UNREACHABLE)


def test_nobody_there() -> None:
    copy = HttpCopy("h", f"http://127.0.0.1:{free_port()}/x", Outbound(SECONDS, 1000))
    assert trouble(copy.read) is Trouble.UNREACHABLE
    lost = nats_copies.NatsCopy("n", f"nats://127.0.0.1:{free_port()}", "b", SECONDS)
    assert trouble(lost.read) in (Trouble.UNREACHABLE, Trouble.TIMEOUT)


def test_a_server_that_is_no_nats_server_costs_a_bounded_wait() -> None:
    with peer(lambda _: Told(hang=True)) as served:
        lost = nats_copies.NatsCopy("n", served.url.replace("http", "nats"), "b", SECONDS)
        begun = time.monotonic()
        assert trouble(lost.read) in (Trouble.UNREACHABLE, Trouble.TIMEOUT)
        assert time.monotonic() - begun < 5


def test_the_token_is_read_for_each_call_and_shows_nowhere(tmp_path: Path) -> None:
    secret = tmp_path / "token"
    with peer(Shelf(token="s3cret")) as served:
        copy = http(served, bearer_file=secret)
        assert trouble(copy.read) is Trouble.BEARER
        for wrong in (b"", b"two\nlines", b"\xff"):
            secret.write_bytes(wrong)
            assert trouble(copy.read) is Trouble.BEARER
        secret.write_bytes(b"wrong")
        assert trouble(copy.read) is Trouble.REFUSED
        secret.write_bytes(b"s3cret\n")
        assert copy.read() is None
        copy.write(NOTES[0], None)
    assert "s3cret" not in repr(copy)
    assert served.url not in repr(copy)


def test_a_server_without_entity_tags_is_written_all_the_same() -> None:
    with peer(Shelf(tags=False)) as served:
        copy = http(served)
        copy.write(NOTES[0], None)
        copy.write(NOTES[1], copy.read())
        assert "if-match" not in served.asked[-1].headers
        kept = copy.read()
        assert kept is not None
        assert kept.note == NOTES[1]


@pytest.mark.parametrize("url", ["https://h.example/x", "http://127.0.0.1:80/x", "http://localhost", "http://[::1]/"])
def test_addresses_that_are_called(url: str) -> None:
    assert is_safe_url(url)


@pytest.mark.parametrize(
    "url",
    ["", "http://h.example/x", "ftp://h.example", "https://", "https://u:p@h.example", "https://u@h.example/",
     "https://h.example/#f", "file:///etc/passwd", "http://127.0.0.1.evil.example/", "http://0/", "https://[::1"],
)  # fmt: skip
def test_addresses_that_are_refused(url: str) -> None:
    assert not is_safe_url(url)


def test_places_become_copies_with_names_of_their_own(tmp_path: Path) -> None:
    with ExitStack():
        files = (tmp_path / "a", tmp_path / "b")
        made = copies_of(Places(files, ("https://h.example/x",), nats_url="tls://h.example"))
    assert [copy.name for copy in made] == ["file_1", "file_2", "http_1", "nats_1"]
    assert len({copy.place for copy in made}) == 4
    assert copies_of(Places()) == ()
