"""Kept copies of the checkpoint: each place keeps what it is given, is written conditionally, and fails within limits."""

from __future__ import annotations

import asyncio
import errno
import fcntl
import gzip
import os
import shutil
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path

import nats
import pytest

import nats_accounts
from consent_gateway.audit.kept import nats_copies
from consent_gateway.audit.kept.file_copies import FileCopy
from consent_gateway.audit.kept.http_copies import HttpCopy
from consent_gateway.audit.kept.outbound import Outbound, is_safe_url
from consent_gateway.audit.kept.places import Places, copies_of
from consent_gateway.audit.kept.port import MAX_KEPT_BYTES, Copy, Kept, KeptError, Trouble
from consent_gateway.errors import InputError
from edge import free_port
from nats_accounts import ACCOUNT, USER, new, operated
from peers import Asked, Peer, Shelf, Told, peer

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


@contextmanager
def running_nats(*options: str, port: int) -> Iterator[str]:
    """A real NATS server, if there is one on this machine."""
    found = shutil.which("nats-server") or shutil.which("nats-server", path="/usr/sbin:/usr/local/bin")
    if found is None:
        pytest.skip("NATS-SERVER IS MISSING: apt-get install nats-server")
    process = subprocess.Popen([found, *options], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline and process.poll() is None:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                break
        time.sleep(0.02)
    yield f"nats://127.0.0.1:{port}"
    process.terminate()
    process.wait(20)


@pytest.fixture(scope="module")
def nats_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server with JetStream that lets everybody in."""
    port, folder = free_port(), tmp_path_factory.mktemp("nats")
    with running_nats("-a", "127.0.0.1", "-p", str(port), "-js", "-sd", str(folder), port=port) as url:
        yield url


@pytest.fixture(scope="module")
def guarded_nats(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, str]]:
    """A server that knows its users by JWT, and the credentials of one."""
    port, folder = free_port(), tmp_path_factory.mktemp("guarded")
    configuration, credentials = operated(folder, port)
    with running_nats("-c", str(configuration), port=port) as url:
        yield url, credentials


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


def test_a_server_that_packs_what_it_sends_is_asked_not_to() -> None:
    """What is compared is what was kept, and entity tags are those of the bytes themselves."""

    def packing(asked: Asked) -> Told:
        if "gzip" in asked.headers.get("accept-encoding", ""):
            return Told(200, {"content-encoding": "gzip", "etag": 'W/"1"'}, gzip.compress(NOTES[0]))
        return Told(200, {"etag": '"1"'}, NOTES[0])

    with peer(packing) as served:
        kept = HttpCopy("http_1", served.url, Outbound(5, MAX_KEPT_BYTES)).read()
    assert kept == Kept(NOTES[0], '"1"')


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


def test_a_file_is_durable_before_it_is_renamed_and_its_name_after(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done, flush, rename = list[str](), os.fsync, Path.replace

    def flushed(descriptor: int) -> None:
        done.append("folder" if stat.S_ISDIR(os.fstat(descriptor).st_mode) else "file")
        flush(descriptor)

    def renamed(path: Path, target: Path) -> Path:
        done.append(f"{path.name} to {target.name}")
        return rename(path, target)

    monkeypatch.setattr(os, "fsync", flushed)
    monkeypatch.setattr(Path, "replace", renamed)
    FileCopy("f", tmp_path / "checkpoint").write(NOTES[0], None)
    assert done == ["file", "checkpoint.part to checkpoint", "folder"]


def test_a_folder_that_cannot_be_flushed_is_no_trouble_and_a_file_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy = FileCopy("f", tmp_path / "checkpoint")
    flush, refused = os.fsync, [stat.S_ISDIR]

    def flushed(descriptor: int) -> None:
        if refused[0](os.fstat(descriptor).st_mode):
            raise OSError(errno.EINVAL, "Invalid argument")
        flush(descriptor)

    monkeypatch.setattr(os, "fsync", flushed)
    copy.write(NOTES[0], None)
    seen = copy.read()
    assert seen is not None
    refused[0] = stat.S_ISREG
    assert trouble(lambda: copy.write(NOTES[1], seen)) is Trouble.UNWRITABLE
    assert copy.read() == seen


def test_a_file_is_written_to_its_end_in_however_many_pieces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write = os.write
    monkeypatch.setattr(os, "write", lambda descriptor, data: write(descriptor, bytes(data[:3])))
    FileCopy("f", tmp_path / "checkpoint").write(NOTES[0], None)
    assert (tmp_path / "checkpoint").read_bytes() == NOTES[0]


def test_the_lock_of_a_file_is_private_follows_no_link_and_is_let_go(tmp_path: Path) -> None:
    copy = FileCopy("f", tmp_path / "checkpoint")
    copy.write(NOTES[0], None)
    lock = tmp_path / "checkpoint.lock"
    assert lock.stat().st_mode & 0o777 == 0o600
    with lock.open("rb") as other:
        fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
    lock.unlink()
    lock.symlink_to(tmp_path / "elsewhere")
    assert trouble(lambda: copy.write(NOTES[1], copy.read())) is Trouble.UNWRITABLE
    assert not (tmp_path / "elsewhere").exists()


def test_a_file_of_the_largest_size_is_read_and_known_by_its_digest(tmp_path: Path) -> None:
    copy = FileCopy("f", tmp_path / "checkpoint")
    copy.write(b"x" * MAX_KEPT_BYTES, None)
    assert copy.read() == Kept(b"x" * MAX_KEPT_BYTES, sha256(b"x" * MAX_KEPT_BYTES).hexdigest())
    assert copy.place == sha256(f"file\0{tmp_path / 'checkpoint'}".encode()).hexdigest()


def test_a_file_that_another_process_is_writing_is_left_to_it(tmp_path: Path) -> None:
    copy = FileCopy("f", tmp_path / "checkpoint")
    copy.write(NOTES[0], None)
    seen = copy.read()
    with (tmp_path / "checkpoint.lock").open("rb") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        assert trouble(lambda: copy.write(NOTES[1], seen)) is Trouble.CONFLICT
        assert copy.read() == seen
    copy.write(NOTES[1], seen)
    kept = copy.read()
    assert kept is not None
    assert kept.note == NOTES[1]


def test_a_bucket_keeps_the_notes_before_and_a_key_that_was_deleted_is_none(nats_server: str) -> None:
    copy = nats_copies.NatsCopy("nats_1", nats_server, "history", 5.0)
    for note in NOTES:
        copy.write(note, copy.read())

    async def look(*, delete: bool) -> list[bytes | None]:
        client = await nats.connect(nats_server)
        try:
            keys = await client.jetstream().key_value("history")
            if delete:
                await keys.delete("checkpoint")
            return [entry.value for entry in await keys.history("checkpoint")]
        finally:
            await client.close()

    assert asyncio.run(look(delete=False)) == NOTES
    assert [*asyncio.run(look(delete=True))][: len(NOTES)] == NOTES
    assert copy.read() is None
    copy.write(NOTES[0], None)
    kept = copy.read()
    assert kept is not None
    assert kept.note == NOTES[0]


def test_what_is_in_a_bucket_has_a_limit(nats_server: str) -> None:
    copy = nats_copies.NatsCopy("nats_1", nats_server, "limits", 5.0)
    copy.write(b"x" * MAX_KEPT_BYTES, None)
    kept = copy.read()
    assert kept is not None
    assert len(kept.note) == MAX_KEPT_BYTES
    copy.write(b"x" * (MAX_KEPT_BYTES + 1), kept)
    assert trouble(copy.read) is Trouble.TOO_LARGE
    copy.write(b"", Kept(b"", "2"))
    assert copy.read() == Kept(b"", "3")
    assert copy.place == sha256(f"nats\0{nats_server}\0limits".encode()).hexdigest()


def test_a_bucket_or_an_address_that_there_cannot_be(nats_server: str) -> None:
    assert trouble(nats_copies.NatsCopy("n", nats_server, "no bucket", 5.0).read) is Trouble.UNREACHABLE
    assert trouble(nats_copies.NatsCopy("n", "nats://127.0.0.1:99999", "b", 5.0).read) is Trouble.UNREACHABLE


def test_a_server_that_knows_its_users_is_shown_the_credentials_as_they_are_now(
    guarded_nats: tuple[str, str], tmp_path: Path
) -> None:
    server, credentials = guarded_nats
    file = tmp_path / "gateway.creds"
    copy = nats_copies.NatsCopy("nats_1", server, "guarded", 5.0, file)
    file.write_text(credentials, encoding="utf-8")
    copy.write(NOTES[0], copy.read())
    file.write_text(credentials.replace("\n", "\r\n"), encoding="utf-8")
    kept = copy.read()
    assert kept is not None
    assert kept.note == NOTES[0]
    stranger = new(USER)
    file.write_text(nats_accounts.credentials(new(ACCOUNT).vouches(stranger, "user"), stranger.seed), encoding="utf-8")
    assert trouble(copy.read) is Trouble.UNREACHABLE
    assert trouble(nats_copies.NatsCopy("n", server, "guarded", 5.0).read) is Trouble.UNREACHABLE


SEED = new(USER).seed
WHOLE = nats_accounts.credentials("a.b-c_d.e", SEED)


@pytest.mark.parametrize("content", [
    None, "", WHOLE[:40], WHOLE[: WHOLE.index(SEED) + 57], WHOLE.replace("a.b", "a b"), WHOLE.replace(SEED, SEED[:-1]),
    WHOLE.replace(SEED, SEED[:-2] + ("BC" if SEED[-2:] != "BC" else "CB")), WHOLE.replace(SEED, new(ACCOUNT).seed),
    WHOLE.replace("BEGIN NATS USER JWT", "BEGIN NATS ACCOUNT JWT"), " " * 65_536 + WHOLE,
])  # fmt: skip
def test_credentials_that_are_none_are_said_to_be_so_at_once(
    guarded_nats: tuple[str, str], tmp_path: Path, content: str | None
) -> None:
    """Also while an agent is writing them: the call must not wait for the rest of the file."""
    file = tmp_path / "gateway.creds"
    if content is not None:
        file.write_text(content, encoding="utf-8")
    copy = nats_copies.NatsCopy("n", guarded_nats[0], "b", 5.0, file)
    assert trouble(copy.read) is Trouble.CREDENTIALS
    assert trouble(lambda: copy.write(NOTES[0], None)) is Trouble.CREDENTIALS


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


def test_what_a_client_reports_beside_the_call_goes_nowhere(caplog: pytest.LogCaptureFixture) -> None:
    lost = nats_copies.NatsCopy("n", f"nats://127.0.0.1:{free_port()}", "b", SECONDS)
    assert trouble(lost.read) in (Trouble.UNREACHABLE, Trouble.TIMEOUT)
    assert caplog.records == []


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
        assert copy.read() == Kept(NOTES[1], "")


def test_what_a_server_of_copies_is_asked() -> None:
    """GET and conditional PUT to the letter of RFC 9110: the first only if there is none, the next over what was read."""
    with peer(Shelf()) as served:
        copy = http(served)
        copy.write(NOTES[0], copy.read())
        seen = copy.read()
        assert seen is not None
        copy.write(NOTES[1], seen)
    kind = "text/plain; charset=utf-8"
    told = [
        {name: asked.headers.get(name) for name in ("if-none-match", "if-match", "content-type")}
        for asked in served.asked
    ]
    nothing = dict.fromkeys(("if-none-match", "if-match", "content-type"))
    assert [asked.method for asked in served.asked] == ["GET", "PUT", "GET", "PUT"]
    assert told == [
        nothing, nothing | {"if-none-match": "*", "content-type": kind},
        nothing, nothing | {"if-match": seen.version, "content-type": kind},
    ]  # fmt: skip
    assert [asked.body for asked in served.asked] == [b"", NOTES[0], b"", NOTES[1]]
    assert copy.place == sha256(f"http\0{copy.url}".encode()).hexdigest()


@pytest.mark.parametrize(("tag", "condition"), [('"a"', '"a"'), ("W/", None), ('W/"a"', None), ("", None)])
def test_a_weak_entity_tag_is_no_condition(tag: str, condition: str | None) -> None:
    with peer(lambda _: Told(204)) as served:
        http(served).write(NOTES[0], Kept(b"", tag))
    assert served.asked[0].headers.get("if-match") == condition
    assert "if-none-match" not in served.asked[0].headers


@pytest.mark.parametrize(("status", "expected"), [
    (200, None), (201, None), (202, None), (204, None), (409, Trouble.CONFLICT), (412, Trouble.CONFLICT),
    (203, Trouble.REFUSED), (400, Trouble.REFUSED), (404, Trouble.REFUSED), (500, Trouble.REFUSED),
])  # fmt: skip
def test_what_a_server_says_to_a_copy(status: int, expected: Trouble | None) -> None:
    with peer(lambda _: Told(status)) as served:
        if expected is None:
            http(served).write(NOTES[0], None)
        else:
            assert trouble(lambda: http(served).write(NOTES[0], None)) is expected


@pytest.mark.parametrize("status", [404, 410])
def test_what_a_server_does_not_have(status: int) -> None:
    with peer(lambda _: Told(status, body=b"not here")) as served:
        assert http(served).read() is None


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


def test_a_trouble_is_told_in_a_word() -> None:
    assert str(KeptError(Trouble.TIMEOUT)) == "timeout"


def test_places_become_copies_with_names_of_their_own(tmp_path: Path) -> None:
    files, urls = (tmp_path / "a", tmp_path / "b"), ("https://h.example/x", "https://h.example/y")
    bearer, credentials = tmp_path / "token", tmp_path / "creds"
    places = Places(files, urls, bearer, "tls://h.example", "bucket", credentials, 2.5)
    outbound = Outbound(2.5, MAX_KEPT_BYTES)
    assert copies_of(places) == (
        FileCopy("file_1", files[0]),
        FileCopy("file_2", files[1]),
        HttpCopy("http_1", urls[0], outbound, bearer),
        HttpCopy("http_2", urls[1], outbound, bearer),
        nats_copies.NatsCopy("nats_1", "tls://h.example", "bucket", 2.5, credentials),
    )
    assert len({copy.place for copy in copies_of(places)}) == 5
    assert copies_of(Places()) == ()


def test_a_relative_path_stays_where_it_was_when_the_process_moves(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (made,) = copies_of(Places((Path("a"),)))
    assert made == FileCopy("file_1", tmp_path / "a")


def test_a_copy_in_nats_needs_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    """None in `sys.modules` is how Python says that a module is not there."""
    monkeypatch.setitem(sys.modules, "consent_gateway.audit.kept.nats_copies", None)
    with pytest.raises(InputError, match=r"^A copy in NATS needs the extra `consent-gateway\[nats\]`$"):
        copies_of(Places(nats_url="nats://h.example"))
    assert copies_of(Places()) == ()
