"""Files as they come: any line ends, stray quotes, blank lines, no end; and the same file again after a repair.

The gateway is a fake that reads bodies with the functions of the API itself and remembers its answers by their keys;
the last part is a whole gateway behind a socket.
"""

from __future__ import annotations

import json
import tracemalloc
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest
from click.testing import CliRunner
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from sqlalchemy import text

from consent_gateway.api.rows import csv_rows, ndjson_rows
from consent_gateway.cli import import_files, importer
from consent_gateway.cli.import_files import Limits
from consent_gateway.cli.importer import Total, import_file
from consent_gateway.errors import InputError, UnavailableError
from edge import Edge, running

LAWS = settings(
    derandomize=True, deadline=None, max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
SMALL = Limits(rows=3, batch_bytes=120, line_bytes=2000)
UNKNOWN = {"path": "$.subject", "code": "unknown_subject", "message": "nobody"}
COUNTS = ("received", "accepted", "created", "updated", "joined", "duplicates", "suppressed", "rejected")


@dataclass
class FakeGateway:
    """Takes rows whose bytes `accepts`; counts how often each was applied; remembers every answer by its key."""

    accepts: Callable[[bytes], bool] = lambda _: True
    remembered: dict[str, tuple[bytes, dict[str, Any]]] = field(default_factory=dict)
    applied: Counter[bytes] = field(default_factory=Counter)
    calls: list[bytes] = field(default_factory=list)

    def __call__(self, request: httpx.Request) -> httpx.Response:
        key, body = request.headers["idempotency-key"], request.content
        assert len(key) <= 64
        if key in self.remembered:
            before, answer = self.remembered[key]
            if before != body:
                return httpx.Response(422, json={"title": "reused"})
            return httpx.Response(200, json=answer, headers={"idempotent-replayed": "true"})
        self.calls.append(body)
        try:
            answer = self.take(request, body)
        except InputError as error:
            return httpx.Response(400, json={"title": str(error)})
        self.remembered[key] = (body, answer)
        return httpx.Response(200, json=answer)

    def take(self, request: httpx.Request, body: bytes) -> dict[str, Any]:
        is_csv = request.headers["content-type"] == "text/csv"
        kind = request.url.path.rpartition("/")[2]
        rows = csv_rows(body, 1000) if is_csv else ndjson_rows(kind, body, 1000)
        refused = [row for row in rows if not self.accepts(row.raw)]
        self.applied.update(row.raw for row in rows if row not in refused)
        counts = dict.fromkeys(COUNTS, 0) | {"received": len(rows), "rejected": len(refused)}
        counts["accepted"] = counts["created"] = len(rows) - len(refused)
        return counts | {
            "rejections": [{"row": row.row, "reasons": [UNKNOWN], "quarantine_id": 1} for row in refused],
            "kind": kind,
        }


def bring(gateway: FakeGateway, path: Path, kind: str = "subjects", limits: Limits = SMALL) -> Total:
    """Import a file; whatever it is, progress never runs back and ends at its size, and the sums hold."""
    moved: list[int] = []
    with httpx.Client(transport=httpx.MockTransport(gateway), base_url="http://gateway") as client:
        total = import_file(client, path, kind, "crm", moved.append, limits)
    assert min(moved) >= 0
    assert sum(moved) == path.stat().st_size
    assert total.counts["received"] == total.counts["accepted"] + total.counts["rejected"]
    assert total.counts["rejected"] == len(total.rejections)
    return total


def write(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


def names(gateway: FakeGateway) -> list[str]:
    return [json.loads(raw)["given_name"] for raw in gateway.applied.elements()]


# -- reading -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("bom", ["", "\ufeff"])
@pytest.mark.parametrize("last", ["", "END"])
def test_csv_with_any_line_ends(tmp_path: Path, end: str, bom: str, last: str) -> None:
    lines = ["member_no,given_name", *(f"M-{n},Name{n}" for n in range(10))]
    gateway = FakeGateway()
    content = bom + end.join(lines) + (end if last else "")
    total = bring(gateway, write(tmp_path / "people.csv", content.encode()))
    assert total.counts["received"] == 10
    assert names(gateway) == [f"Name{n}" for n in range(10)]
    assert len(gateway.calls) == 4


def test_a_quote_inside_an_unquoted_field_is_a_character(tmp_path: Path) -> None:
    content = b'member_no,given_name\nM-1,5" tall\nM-2,Bert\nM-3,"An ""A"", with\r\na break"\nM-4,6"\n'
    gateway = FakeGateway()
    assert bring(gateway, write(tmp_path / "people.csv", content)).counts["received"] == 4
    assert names(gateway) == ['5" tall', "Bert", 'An "A", with\r\na break', '6"']


def test_rejections_of_a_csv_name_the_record(tmp_path: Path) -> None:
    content = b'\n\nmember_no,given_name\n\nM-1,"a\n\nb"\n\n\nM-2,b\nM-3,c\nM-4,no\n\nM-5,d\nM-6,no\n'
    gateway = FakeGateway(accepts=lambda raw: b'"no"' not in raw)
    total = bring(gateway, write(tmp_path / "people.csv", content))
    assert [r["row"] for r in total.rejections] == [4, 6]
    assert total.reasons == {"unknown_subject": 2}


def test_rejections_of_ndjson_name_the_line(tmp_path: Path) -> None:
    lines = ["", '{"member_no":"M-1"}', "  ", "\r", '{"member_no":"no"}', *['{"member_no":"M-2"}'] * 5, "", "broken"]
    gateway = FakeGateway(accepts=lambda raw: b'"no"' not in raw and b"broken" not in raw)
    total = bring(gateway, write(tmp_path / "people.ndjson", "\n".join(lines).encode()))
    assert [r["row"] for r in total.rejections] == [5, 12]
    assert total.counts["received"] == 8


CELLS = st.text(alphabet='a",\r\n é5 ', max_size=120)


@LAWS
@given(cells=CELLS)
@example(cells='""\n"",""\n')
@example(cells='a"b\r"c\rd"\r')
@example(cells="")
def test_what_is_sent_is_what_the_gateway_would_have_read_in_one_piece(tmp_path: Path, cells: str) -> None:
    """Batches cut and write anew, and yet every row is the one of the whole file; what is no CSV is an error."""
    check_sent(tmp_path / "people.csv", b"member_no,given_name\r\n" + cells.encode())


def check_sent(path: Path, content: bytes) -> None:
    gateway = FakeGateway()
    write(path, content)
    try:
        whole = csv_rows(content, 10**6)
    except InputError:
        with pytest.raises(InputError):
            bring(gateway, path)
        return
    bring(gateway, path)
    sent = [row.raw for body in gateway.calls for row in csv_rows(body, 3)]
    assert sent == [row.raw for row in whole]
    rejected = bring(FakeGateway(accepts=lambda _: False), path).rejections
    assert [r["row"] for r in rejected] == [row.row for row in whole]
    assert all(len(body) <= max(SMALL.batch_bytes, 2 * len(content) + 30) for body in gateway.calls)


def test_the_law_above_finds_a_writer_that_forgets_lone_line_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def careless(fields: list[str], _: int) -> bytes:
        return ",".join('"' + f.replace('"', '""') + '"' if set(f) & set('",') else f for f in fields).encode() + b"\n"

    monkeypatch.setattr(import_files, "_written", careless)
    with pytest.raises(AssertionError):
        check_sent(tmp_path / "people.csv", b'member_no,given_name\nM-1,"a\rb"\n')


def test_batches_keep_to_their_limits(tmp_path: Path) -> None:
    rows = [f"M-{n:04},{'x' * (n % 60)}" for n in range(300)]
    path = write(tmp_path / "people.csv", ("member_no,given_name\n" + "\n".join(rows)).encode())
    gateway = FakeGateway()
    bring(gateway, path, limits=Limits(rows=7, batch_bytes=300, line_bytes=100))
    assert max(map(len, gateway.calls)) <= 300
    assert max(len(csv_rows(body, 7)) for body in gateway.calls) == 7
    assert sum(gateway.applied.values()) == 300


# -- what is no file of rows ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("content", [b"\n", b"\r\r", b"  \n\n", b"\xef\xbb\xbf\n"])
@pytest.mark.parametrize("name", ["people.csv", "people.ndjson"])
def test_bytes_without_a_record_are_an_error(tmp_path: Path, name: str, content: bytes) -> None:
    content = content.removeprefix(b"\xef\xbb\xbf") if name.endswith("ndjson") else content
    with pytest.raises(InputError, match="no record"):
        bring(FakeGateway(), write(tmp_path / name, content))


def test_a_header_alone_is_an_error_and_an_empty_file_is_not(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="20 bytes and no record"):
        bring(FakeGateway(), write(tmp_path / "people.csv", b"member_no,given_name"))
    total = bring(FakeGateway(), write(tmp_path / "people.csv", b""))
    assert dict(total.counts) == dict.fromkeys(COUNTS, 0)


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("people.csv", b"member_no\n" + b"9" * 101 + b"\n", "line is longer than 100"),
        ("people.csv", b"9" * 101, "line is longer than 100"),
        ("people.csv", b'member_no\n"' + b"a\n" * 200, "quote is never closed"),
        ("people.csv", b'member_no\n"' + b'a\n","' * 50 + b'"\n', "line is longer than 100"),
        ("people.csv", b"member_no\n" + "é".encode() * 60 + b"\n", "line is longer than 100"),
        ("people.csv", b"member_no\n" + b'a"' * 45 + b"\n", "line is longer than 100"),
        ("people.csv", b'member_no\nM-1\n"M-2\n', "record 2 must follow RFC 4180"),
        ("people.csv", b'"member_no"x\nM-1\n', "the header must follow RFC 4180"),
        ("people.csv", b"member_no\nM-1\nM-\xff\n", "not UTF-8"),
        ("people.csv", "member_no\nM-1\n".encode("utf-16"), "not UTF-8"),
        ("people.csv", "member_no\né".encode()[:-1], "not UTF-8"),
        ("people.ndjson", b'{"member_no":"M-1"}\n' + b"9" * 101, "line is longer than 100"),
    ],
)
def test_what_cannot_be_read_is_said_plainly(tmp_path: Path, name: str, content: bytes, says: str) -> None:
    with pytest.raises(InputError, match=says):
        bring(FakeGateway(), write(tmp_path / name, content), limits=Limits(line_bytes=100))


@pytest.mark.parametrize("name", ["people.csv", "people.ndjson"])
@pytest.mark.parametrize("start", [b"", b'member_no\n"'])
def test_a_gigabyte_without_a_line_end_is_never_in_memory(tmp_path: Path, name: str, start: bytes) -> None:
    path = write(tmp_path / name, start)
    with path.open("r+b") as file:
        file.truncate(1 << 30)  # a hole: no disk is used
    tracemalloc.start()
    try:
        with pytest.raises(InputError, match="line is longer"):
            bring(FakeGateway(), path, limits=Limits(line_bytes=10_000))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 4 << 20


def test_what_the_gateway_says_is_passed_on(tmp_path: Path) -> None:
    path = write(tmp_path / "people.csv", b"shoe\n44\n")
    with pytest.raises(InputError):
        bring(FakeGateway(), path)

    def down(request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("no", request=request)

    with pytest.raises(UnavailableError, match="is it running"):
        bring(down, path)  # type: ignore[arg-type]
    with pytest.raises(UnavailableError, match="503"):
        bring(lambda _: httpx.Response(503, text="-"), path)  # type: ignore[arg-type]


# -- the same file again ---------------------------------------------------------------------------------------------


def consents(path: Path, people: int) -> Path:
    rows = [
        {
            "subject": {"member_no": f"M-{n}"},
            "purpose": "direct_marketing",
            "kind": "given",
            "at": "2026-01-31T12:00:00Z",
        }
        for n in range(people)
    ]
    return write(path, "\n\n".join(map(json.dumps, rows)).encode())


def person_of(raw: bytes) -> int:
    return int(json.loads(raw)["subject"]["member_no"].removeprefix("M-"))


def check_repairs(path: Path, arrivals: list[set[int]]) -> None:
    """Import one file after each arrival of people: who is there is applied once, the others are refused today."""
    known: set[int] = set()
    gateway = FakeGateway(accepts=lambda raw: person_of(raw) in known)
    for arrived in arrivals:
        known |= arrived
        total = bring(gateway, path, "consents")
        assert {person_of(raw) for raw in gateway.applied} == known
        assert set(gateway.applied.values()) <= {1}
        assert [r["row"] for r in total.rejections] == [2 * n + 1 for n in range(10) if n not in known]
        assert (total.counts["received"], total.counts["accepted"]) == (10, len(known))


ARRIVALS = st.lists(st.sets(st.integers(0, 9), max_size=4), min_size=1, max_size=6)


@settings(LAWS, max_examples=60)
@given(arrivals=ARRIVALS)
@example(arrivals=[set(), set(), set(range(10)), set(), set()])
def test_a_repaired_import_takes_what_was_refused_and_nothing_twice(tmp_path: Path, arrivals: list[set[int]]) -> None:
    check_repairs(consents(tmp_path / "consents.ndjson", 10), arrivals)


@pytest.mark.parametrize("bug", ["always new", "never again"])
def test_the_law_above_finds_keys_that_are_wrong(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bug: str) -> None:
    """With a random key the third import applies what the second did; with the old one nothing is ever repaired."""
    path, right = consents(tmp_path / "consents.ndjson", 10), importer._Call._key

    def wrong(call: importer._Call, body: bytes, number: int) -> str:
        return uuid.uuid4().hex if bug == "always new" and number else right(call, body, number)

    monkeypatch.setattr(importer._Call, "_key", wrong)
    if bug == "never again":
        monkeypatch.setattr(
            importer, "_deliver", lambda call, batch, t: t.add(call.send(batch.body(), 0).json(), batch)
        )
    with pytest.raises(AssertionError):
        check_repairs(path, [set(), {1}, set()])


def test_an_import_that_broke_off_is_taken_up_where_it_was(tmp_path: Path) -> None:
    path, gateway, answered = consents(tmp_path / "consents.ndjson", 10), FakeGateway(), [0]

    def flaky(request: httpx.Request) -> httpx.Response:
        answered[0] += 1
        answer = gateway(request)
        if answered[0] == 2:  # taken in, but the answer is lost
            raise httpx.ReadTimeout("lost", request=request)
        return answer

    with pytest.raises(UnavailableError):
        bring(flaky, path, "consents")  # type: ignore[arg-type]
    total = bring(gateway, path, "consents")
    assert (total.replayed, set(gateway.applied.values()), len(gateway.applied)) == (2, {1}, 10)


# -- against a whole gateway -------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def edge(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Edge]:
    with running(tmp_path_factory.mktemp("importer")) as made:
        source = {"id": "crm", "name": "CRM", "channel": "web", "party": "first"}
        assert made.admin.post("/v1/sources", json=source).is_success
        yield made


def run(edge: Edge, path: Path, *more: str) -> tuple[int, dict[str, Any]]:
    arguments = [str(path), "--source", "crm", "--url", edge.url, "--key", edge.key, "--json", *more]
    done = CliRunner().invoke(importer.import_command, arguments)
    return done.exit_code, json.loads(done.stdout)


def test_old_macintosh_line_ends_reach_a_real_gateway(tmp_path: Path, edge: Edge) -> None:
    content = b'member_no,given_name\rR-1,Anna\r\rR-2,"5"" tall\rR-3"\rR-4,Bert\r'
    status, told = run(edge, write(tmp_path / "people.csv", content))
    assert (status, told["received"], told["created"]) == (1, 3, 2)
    assert [r["row"] for r in told["rejections"]] == [2]  # a name holds no line end, and so no second record


def facts(edge: Edge) -> dict[str, int]:
    with edge.gateway.work() as work:
        found = work.session.execute(text("SELECT kind, count(*) FROM consent_events GROUP BY kind"))
        return {row[0]: row[1] for row in found}


def test_facts_of_people_who_come_later_are_applied_once(tmp_path: Path, edge: Edge) -> None:
    """Consents before their people, the people, the consents again, and again."""
    for number in (1, 2, 3):
        run(edge, write(tmp_path / f"first{number}.ndjson", b'{"member_no":"S-1"}\n'))
    told = {"purpose": "direct_marketing", "at": "2026-01-31T12:00:00Z"}
    rows = [
        told | {"subject": {"member_no": "S-1"}, "kind": "given"},
        told | {"subject": {"member_no": "S-2"}, "kind": "given"},
        told | {"subject": {"member_no": "S-1"}, "kind": "withdrawn", "at": "2026-02-01T12:00:00Z"},
    ]
    path = write(tmp_path / "consents.ndjson", "\n".join(map(json.dumps, rows)).encode())
    status, first = run(edge, path, "--kind", "consents")
    assert (status, first["accepted"], first["reasons"]) == (1, 2, {"unknown_subject": 1})
    assert facts(edge) == {"given": 1, "withdrawn": 1}
    still, same = run(edge, path, "--kind", "consents")
    assert (still, same["accepted"], same["rejections"][0]["row"]) == (1, 2, 2)
    run(edge, write(tmp_path / "second.ndjson", b'{"member_no":"S-2"}\n'))
    for _ in range(2):
        status, again = run(edge, path, "--kind", "consents")
        assert (status, again["received"], again["accepted"], again["rejections"]) == (0, 3, 3, [])
        assert facts(edge) == {"given": 2, "withdrawn": 1}


def test_people_are_told_what_was_judged_once_more(tmp_path: Path, edge: Edge) -> None:
    path = write(tmp_path / "people.csv", b"member_no,country\nT-1,DE\nT-2,Atlantis\n")
    arguments = [str(path), "--source", "crm", "--url", edge.url, "--key", edge.key]
    first = CliRunner().invoke(importer.import_command, arguments)
    again = CliRunner().invoke(importer.import_command, arguments)
    assert (first.exit_code, again.exit_code) == (1, 1)
    assert "once more" not in first.stdout
    assert "1 rows had been refused before and were judged once more" in again.stdout
    assert "row 2: $.country" in again.stdout
