"""The log over HTTP to the letter of C2SP tlog-tiles, checked by a client that knows nothing of the gateway's code."""

from __future__ import annotations

import asyncio
import gzip
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from consent_gateway.api.guests import Guests
from consent_gateway.api.tiles import accepts_gzip
from consent_gateway.audit import verifier
from consent_gateway.audit.entries import EntryKind
from consent_gateway.audit.tiles import decode_bundle, entries_path, level_tiles, tile_path, tree_tiles
from consent_gateway.errors import UnavailableError
from edge import SHARED, Edge, running

ENTRIES = 256 + 40
CHECKER = SHARED / "verifiers" / "tlogcheck"
NOT_TILES = (
    "tile/0/000.p/0", "tile/0/000.p/256", "tile/0/000.p/01", "tile/0/000.p/", "tile/00/000", "tile/64/000", "tile/-1/000",
    "tile/0/x000/000", "tile/0/0000", "tile/0/00", "tile/0/x001", "tile/0/000/", "tile//0/000", "tile/Entries/000",
    "tile/entries/000.p/1/1", "tile/0/000.p/\u0661", "tile/0/x9999/000", "tile/entries/", "tile/0",
)  # fmt: skip


@pytest.fixture(scope="module")
def edge(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Edge]:
    with running(tmp_path_factory.mktemp("tiles"), log_public=True) as made:
        with made.gateway.work() as work:
            for number in range(ENTRIES):
                work.record(EntryKind.ADMIN_ACTION, {"action": "test", "number": number})
        made.settle()
        yield made


@pytest.fixture
def log(edge: Edge) -> httpx.Client:
    """A stranger, as the log is public."""
    return edge.client(None)


def published(log: httpx.Client, prefix: str = "") -> int:
    return int(log.get(f"{prefix}/checkpoint").text.split("\n")[1])


def fetch(log: httpx.Client, directory: Path, prefix: str = "") -> int:
    """Copy a log as any client of tlog-tiles would: what a verified checkpoint says exists, and nothing else."""
    note = log.get(f"{prefix}/checkpoint")
    size = int(note.text.split("\n")[1])
    names = ["checkpoint", *(tile_path(*tile) for tile in tree_tiles(size))]
    names += [entries_path(index, width) for index, width in level_tiles(size, 0)]
    for name in names:
        reply = note if name == "checkpoint" else log.get(f"{prefix}/{name}")
        assert reply.status_code == 200, name
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(reply.content)
    return size


@pytest.mark.parametrize("prefix", ["", "/v1/audit"])
def test_a_standard_client_reads_and_verifies_the_log_below_either_prefix(
    edge: Edge, log: httpx.Client, tmp_path: Path, prefix: str
) -> None:
    size = fetch(log, tmp_path, prefix)
    assert size > ENTRIES
    assert verifier.verify_directory(log.get("/v1/audit/vkey").text.strip(), tmp_path).ok


def test_the_go_checker_agrees(edge: Edge, log: httpx.Client, tmp_path: Path) -> None:
    """An implementation that shares no line with ours: golang.org/x/mod/sumdb/tlog."""
    go = shutil.which("go")
    if go is None or not (CHECKER / "main.go").is_file() or not Path("/usr/share/gocode/src/golang.org/x/mod").is_dir():
        pytest.skip("GO OR ITS x/mod IS MISSING: the log over HTTP is not checked by another implementation")
    fetch(log, tmp_path / "log")
    environment = {"GO111MODULE": "off", "GOPATH": "/usr/share/gocode", "HOME": str(tmp_path), "PATH": "/usr/bin:/bin"}
    built = tmp_path / "tlogcheck"
    subprocess.run([go, "build", "-o", built, "."], cwd=CHECKER, env=environment, check=True, timeout=120)
    vkey = log.get("/v1/audit/vkey").text.strip()

    def check() -> str:
        command = [built, "tree", vkey, tmp_path / "log"]
        return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False).stdout

    assert check().startswith(f"ok {published(log)} entries")
    bundle = tmp_path / "log" / "tile" / "entries" / "000"
    bundle.write_bytes(bundle.read_bytes().replace(b'"number":7}', b'"number":8}'))
    assert check().startswith("FAIL")


def test_types_and_caching(log: httpx.Client) -> None:
    note = log.get("/checkpoint")
    assert note.headers["content-type"] == "text/plain; charset=utf-8"
    assert note.headers["cache-control"] == "no-cache"
    for name in ("tile/0/000", "tile/1/000.p/1", "tile/0/000.p/3", "tile/entries/000", "tile/entries/000.p/255"):
        reply = log.get("/" + name)
        assert reply.headers["content-type"] == "application/octet-stream", name
        assert reply.headers["cache-control"] == "public, max-age=31536000, immutable"
    assert len(log.get("/tile/0/000").content) == 8192


def test_partial_tiles_are_served_for_every_size_the_log_had_and_no_other(log: httpx.Client) -> None:
    size = published(log)
    full, edge_width = log.get("/tile/0/000").content, size - 256
    entries = decode_bundle(log.get("/tile/entries/000").content)
    for width in (1, 17, 255):
        assert log.get(f"/tile/0/000.p/{width}").content == full[: 32 * width]
        assert decode_bundle(log.get(f"/tile/entries/000.p/{width}").content) == entries[:width]
    assert log.get(f"/tile/0/001.p/{edge_width}").status_code == 200
    for name in (f"0/001.p/{edge_width + 1}", f"entries/001.p/{edge_width + 1}", "0/001", "entries/001", "1/000",
                 "1/000.p/2", "2/000.p/1", "0/002.p/1", "63/000", "0/x999/x999/x999/x999/x999/x999/999"):  # fmt: skip
        reply = log.get("/tile/" + name)
        assert reply.status_code == 404, name
        assert reply.headers["cache-control"] == "no-store"  # it may exist a moment later


@pytest.mark.parametrize("name", NOT_TILES)
def test_a_tile_has_one_path(log: httpx.Client, name: str) -> None:
    assert log.get("/" + name).status_code == 404


def test_head_is_get_without_its_body(log: httpx.Client) -> None:
    for name in ("/checkpoint", "/v1/audit/checkpoint", "/tile/0/000", "/tile/entries/000", "/v1/audit/tile/0/000"):
        got, head = log.get(name), log.head(name)
        assert head.status_code == 200
        assert head.content == b""
        kept = ("content-type", "content-length", "cache-control", "content-encoding", "vary")
        assert {k: head.headers.get(k) for k in kept} == {k: got.headers.get(k) for k in kept}
    assert log.head("/tile/9/000").status_code == 404


def test_compression_changes_no_byte_of_a_bundle(log: httpx.Client) -> None:
    plain = log.get("/tile/entries/000", headers={"accept-encoding": "identity"})
    packed = log.get("/tile/entries/000", headers={"accept-encoding": "br;q=1.0, gzip;q=0.8"})
    assert "content-encoding" not in plain.headers
    assert packed.headers["content-encoding"] == "gzip"
    assert packed.content == plain.content
    assert int(packed.headers["content-length"]) < len(plain.content) / 2
    assert plain.headers["vary"] == packed.headers["vary"] == "accept-encoding"
    assert "content-encoding" not in log.get("/tile/0/000", headers={"accept-encoding": "gzip"}).headers


def test_what_is_packed_is_the_same_each_time(edge: Edge, log: httpx.Client) -> None:
    with log.stream("GET", "/tile/entries/000", headers={"accept-encoding": "gzip"}) as reply:
        raw = b"".join(reply.iter_raw())
    assert raw == gzip.compress(log.get("/tile/entries/000").content, mtime=0)


@pytest.mark.parametrize(
    ("header", "wanted"),
    [("gzip", True), ("GZIP;q=0.5", True), ("x-gzip", True), ("br, gzip ; q=1", True), ("", False), ("identity", False),
     ("gzip;q=0", False), ("gzip;q=0.000", False), ("*", False), ("gzipp", False), ("br", False)],
)  # fmt: skip
def test_gzip_is_for_who_asks_for_it(header: str, wanted: bool) -> None:  # noqa: FBT001 - a column of the table
    assert accepts_gzip(header) is wanted


def test_without_the_setting_tiles_need_the_scope_and_stay_out_of_shared_caches(tmp_path: Path) -> None:
    """RFC 9111 3.5: `public` lets a proxy hand the reply of one key to callers who have none."""
    with running(tmp_path) as edge:
        edge.settle()
        stranger, auditor = edge.client(None), edge.client(edge.issue("auditor", "audit"))
        assert stranger.get("/checkpoint").status_code == 200
        for name in ("/tile/0/000.p/1", "/tile/entries/000.p/1", "/v1/audit/tile/0/000.p/1"):
            assert stranger.get(name).status_code == 401
            reply = auditor.get(name)
            assert reply.status_code == 200
            assert reply.headers["cache-control"] == "private, max-age=31536000, immutable"


def test_strangers_take_turns_and_too_many_are_sent_away() -> None:
    async def run() -> tuple[int, int]:
        guests, leave = Guests(at_once=1, waiting=2), asyncio.Event()
        inside, most = 0, 0

        async def read() -> None:
            nonlocal inside, most
            async with guests.admitted():
                inside += 1
                most = max(most, inside)
                await leave.wait()
                inside -= 1

        readers = [asyncio.create_task(read()) for _ in range(5)]
        await asyncio.sleep(0)
        leave.set()
        results = await asyncio.gather(*readers, return_exceptions=True)
        await read()  # there is room again
        return most, sum(isinstance(r, UnavailableError) for r in results)

    assert asyncio.run(run()) == (1, 2)
