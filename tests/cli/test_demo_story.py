"""The demo's own checks go red when the gateway misbehaves, and the story ends with the exit status it promises."""

from __future__ import annotations

import io
import json
import sqlite3
import sys
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import httpx
import pytest
from rich.console import Console

from consent_gateway.cli.demo import audience, decisions, intake, people, proof, report, story
from consent_gateway.cli.demo.client import Api
from consent_gateway.cli.demo.data import Basket, Journey, Mark
from consent_gateway.cli.demo.dirt import Flaw
from consent_gateway.cli.demo.files import InputFile
from consent_gateway.cli.demo.people import member_no
from consent_gateway.cli.demo.server import CommandError, Commands
from consent_gateway.cli.demo.tour import Audience, Places, Tour
from consent_gateway.cli.importer import import_file

NOW = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)
DAY = 86_400
HOUSEHOLDS = tuple(range(1, 61))


def a_journey():
    """Every third household bought often and long ago."""
    start = int(NOW.timestamp()) - 200 * DAY
    baskets = [
        Basket(h, 1000 * h + n, start + n * DAY, 100) for n in range(30) for h in HOUSEHOLDS if h % 3 == 0 or n < 5
    ]
    baskets += [Basket(h, 9_000_000 + h, int(NOW.timestamp()) - DAY, 100) for h in HOUSEHOLDS if h % 3]
    contacts = tuple(Mark(h, 7, start) for h in HOUSEHOLDS[:40])
    return Journey(HOUSEHOLDS, tuple(baskets), contacts, (), {}, len(baskets))


def a_tour(tmp_path, handler=None):
    journey = a_journey()
    crowd = people.make(journey.households, NOW, contacted=journey.contacted, sizes={})
    api = Api("http://gateway.test", "cg_test_key")
    api.http = httpx.Client(
        base_url=api.url, transport=httpx.MockTransport(handler or (lambda _request: httpx.Response(500)))
    )
    console = Console(file=io.StringIO(), width=160)
    tour = Tour(Places(tmp_path), console, NOW, api, journey, crowd, Commands(tmp_path / "pycache"))
    tour.on_check = lambda check: report.show_check(console, check)
    return tour


def failed(tour):
    return [check.claim for check in tour.failures]


# -- intake ----------------------------------------------------------------------------------------------------------


def a_file(tmp_path, lines=9, **more):
    path = tmp_path / "input.csv"
    path.write_text("a\n" + "".join(f"{n}\n" for n in range(lines)), encoding="utf-8")
    return InputFile(path, "subjects", "crm", lines, more.pop("refused", {}), **more)


def taking(refuse=(), lose=0):
    """A gateway that takes every line but those in `refuse`, and loses some in silence."""

    def handler(request):
        rows = request.content.decode().splitlines()[1:]
        rejections = [
            {"row": i + 1, "reasons": [{"path": "$.email", "code": "no", "message": ""}]}
            for i, row in enumerate(rows)
            if int(row) in refuse
        ]
        accepted = len(rows) - len(rejections) - lose
        body = {"received": len(rows), "accepted": accepted, "created": accepted, "updated": 0, "joined": 0}
        return httpx.Response(200, json=body | {"duplicates": 0, "rejected": len(rejections), "rejections": rejections})

    return handler


def sent(tour, file):
    return import_file(tour.api.http, file.path, file.kind, file.source, lambda _size: None)


@pytest.mark.parametrize(
    ("refuse", "lose", "word"),
    [({1}, 0, None), (set(), 0, "spoiled"), ({1, 2}, 0, "spoiled"), ({1}, 1, "received")],
    ids=["as it must be", "took a spoiled line", "refused a good line", "lost a line"],
)
def test_intake_is_judged(tmp_path, refuse, lose, word):
    tour = a_tour(tmp_path, taking(refuse, lose))
    file = a_file(tmp_path, refused={1: Flaw.NO_AT_SIGN})
    intake.judge(tour, file, sent(tour, file))
    assert bool(tour.failures) == (word is not None)
    assert all(word in claim for claim in failed(tour))


def test_a_refusal_in_a_later_batch_is_placed_in_the_file(tmp_path):
    tour = a_tour(tmp_path, taking({1500, 2999}))
    file = a_file(tmp_path, 3001, refused={1500: Flaw.NO_AT_SIGN, 2999: Flaw.NO_AT_SIGN})
    intake.judge(tour, file, sent(tour, file))
    assert not tour.failures


def test_a_refusal_that_names_another_column_is_noticed(tmp_path):
    tour = a_tour(tmp_path, taking({1}))
    file = a_file(tmp_path, refused={1: Flaw.NO_SUCH_DAY})
    intake.judge(tour, file, sent(tour, file))
    assert len(tour.failures) == 1
    assert "another reason" in tour.failures[0].detail


def test_new_or_fewer_people_than_the_file_brings_are_noticed(tmp_path):
    tour = a_tour(tmp_path, taking())
    file = a_file(tmp_path, people=9)
    intake.judge(tour, file, sent(tour, file))
    assert not tour.failures
    intake.judge(tour, replace(file, people=8), sent(tour, file))
    intake.judge_again(tour, file, sent(tour, file))
    assert len(tour.failures) == 2


def test_a_readable_address_in_the_store_is_found(tmp_path):
    tour = a_tour(tmp_path)
    tour.places.store.mkdir()
    tour.places.database.write_bytes(b"\x00sealed\xff")
    intake.judge_store(tour)
    assert not tour.failures
    (tour.places.store / "gateway.sqlite3-wal").write_bytes(b"..Anna@Example.com..")
    intake.judge_store(tour)
    assert len(tour.failures) == 1


# -- audience --------------------------------------------------------------------------------------------------------


def in_segment(tour):
    return audience.in_segment(tour, NOW)


def pseudonym_of(person):
    return f"p1-{person.member_no}"


def looking_up(request):
    return httpx.Response(200, json={"pseudonym": f"p1-{json.loads(request.content)['identifier']['member_no']}"})


def an_audience(people_in):
    members = [pseudonym_of(p) for p in people_in]
    rows = [{"stage": s, "lost": 0, "remaining": len(members), "reasons": {}} for s in audience.STAGES]
    return Audience({"id": "a1", "size": len(members), "waterfall": rows, "packs": []}, members)


def test_the_segment_is_counted_from_the_input(tmp_path):
    numbers = {person.member_no for person in in_segment(a_tour(tmp_path))}
    assert numbers == {member_no(h) for h in HOUSEHOLDS if h % 3 == 0}


def test_an_audience_of_those_who_may_be_written_to_passes(tmp_path):
    tour = a_tour(tmp_path, looking_up)
    good = [p for p in in_segment(tour) if not p.stops_marketing and not p.lacks_opt_in and p.email]
    audience._judge_members(tour, an_audience(good), in_segment(tour))
    audience._judge_shape(tour, "mail_house", an_audience(good))
    assert tour.checks
    assert not tour.failures


def test_someone_who_said_no_or_never_yes_in_the_audience_is_found(tmp_path):
    tour = a_tour(tmp_path, looking_up)
    segment = in_segment(tour)
    assert any(p.stops_marketing for p in segment)
    assert any(p.lacks_opt_in for p in segment)
    audience._judge_members(tour, an_audience(segment), segment)
    assert {"nobody who said no is in the audience", "nobody is in it without the yes that their law wants"} <= set(
        failed(tour)
    )


def test_a_stranger_in_the_audience_is_found(tmp_path):
    tour = a_tour(tmp_path, looking_up)
    planted = an_audience([])
    planted.members.append("p1-somebody")
    audience._judge_members(tour, planted, in_segment(tour))
    assert failed(tour) == ["every member is in the segment"]


def test_a_waterfall_that_rises_lacks_a_stage_or_disagrees_with_the_stream_is_found(tmp_path):
    tour = a_tour(tmp_path)
    segment = in_segment(tour)
    planted = an_audience(segment)
    planted.answer["waterfall"][0]["remaining"] = 3
    planted.answer["waterfall"].pop(4)
    planted.members.append(planted.members[0])
    audience._judge_shape(tour, "x", planted)
    assert len(tour.failures) == 3


def test_counts_below_the_floor_may_be_hidden_and_others_may_not(tmp_path):
    assert audience._same(None, 4, 4)
    assert not audience._same(None, 40, 40)
    assert audience._same(40, 39, 41)
    assert not audience._same(42, 39, 41)


# -- decisions -------------------------------------------------------------------------------------------------------


def an_answer(outcome, **more):
    reason = {"code": "why", "citation": "GDPR 7", "text": "because", "text_zh": "因为"}
    return {"outcome": outcome, "reason_code": "why", "reasons": [reason], "changes": []} | more


def deciding(*, outcome=None, cite=True, tell=True):
    """A gateway that answers every question as it must be answered, but for what is planted."""
    must = {(q.part, q.purpose): q.must for q in decisions.QUESTIONS}

    def handler(request):
        body = json.loads(request.content)
        part = next(n for n, p in handler.parts.items() if p.member_no == body["subject"]["member_no"])
        change = {"fact": "consent", "text": "ask", "text_zh": "询问"}
        answer = an_answer(outcome or must[part, body["purpose"]], changes=[change] if tell else [])
        return httpx.Response(200, json=answer | ({} if cite else {"reasons": []}))

    return handler


@pytest.mark.parametrize(
    ("planted", "failures"),
    [({}, 0), ({"outcome": "permit"}, 7), ({"outcome": "deny"}, 3), ({"cite": False}, 1), ({"tell": False}, 1)],
    ids=["as it must be", "permits all", "denies all", "cites nothing", "tells no way out"],
)
def test_decisions_are_judged(tmp_path, planted, failures):
    handler = deciding(**planted)
    tour = a_tour(tmp_path, handler)
    handler.parts = tour.crowd.parts
    decisions.explain(tour)
    assert len(tour.failures) == failures


def test_every_question_is_about_a_part_that_is_played(tmp_path):
    parts = a_tour(tmp_path).crowd.parts
    assert {q.part for q in decisions.QUESTIONS} <= set(parts)


# -- proof -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("index", [0, 1, 2])
def test_an_edit_changes_one_bit_of_the_row_named_and_nothing_else(tmp_path, index):
    entries = [f"entry-{n}".encode() for n in range(3)]
    with closing(sqlite3.connect(tmp_path / "store")) as store:
        store.execute("CREATE TABLE audit_entries (idx INTEGER PRIMARY KEY, entry BLOB)")
        store.executemany("INSERT INTO audit_entries VALUES (?, ?)", enumerate(entries))
        store.commit()
    proof.edit_row(tmp_path / "store", tmp_path / "copy", index)
    with closing(sqlite3.connect(tmp_path / "copy")) as copy:
        edited = [row[0] for row in copy.execute("SELECT entry FROM audit_entries ORDER BY idx")]
    changed = [n for n, (before, after) in enumerate(zip(entries, edited, strict=True)) if before != after]
    assert changed == [index]
    flips = [a ^ b for a, b in zip(entries[index], edited[index], strict=True)]
    assert sum(flip.bit_count() for flip in flips) == 1


# -- server and story ------------------------------------------------------------------------------------------------


def test_settings_of_another_gateway_do_not_reach_the_demo(tmp_path):
    outer = {"PATH": "/bin", "CONSENT_GATEWAY_DATABASE_URL": "postgresql://x", "CONSENT_GATEWAY_PORT": "1"}
    assert Commands(tmp_path).environment(outer) == {"PATH": "/bin"}


def test_compiled_modules_are_kept_apart_only_where_python_may_not_keep_them(tmp_path):
    forbidden = Commands(tmp_path).environment({"PYTHONDONTWRITEBYTECODE": "1"})
    assert forbidden == {"PYTHONPYCACHEPREFIX": str(tmp_path)}


def test_a_command_answers_with_status_and_output(tmp_path):
    done = Commands(tmp_path).run("-c", "import sys; print('seen'); sys.exit(3)")
    assert (done.status, done.output.strip()) == (3, "seen")


def test_a_gateway_that_dies_is_told_with_its_last_words(tmp_path, monkeypatch):
    fake = tmp_path / "python"
    fake.write_text("#!/bin/sh\necho the keyring can not be opened\nexit 7\n", encoding="utf-8")
    fake.chmod(0o700)
    monkeypatch.setattr(sys, "executable", str(fake))
    commands = Commands(tmp_path)
    with pytest.raises(CommandError, match="keyring"), commands.serving(tmp_path, tmp_path / "log"):
        pass
    with pytest.raises(CommandError, match="init"):
        commands.create(tmp_path / "store")


def test_the_story_can_not_run_without_its_data(tmp_path, monkeypatch):
    def missing(*_arguments):
        raise FileNotFoundError("the demo's data are not installed: run `make demo`")

    monkeypatch.setattr(story, "load", missing)
    monkeypatch.setattr(Commands, "create", lambda _self, _store: "cg_a_b")
    text = io.StringIO()
    assert story.run(tmp_path, households=None, console=Console(file=text)) == story.CANNOT_RUN
    assert "make demo" in text.getvalue()


def test_a_step_that_breaks_ends_the_story_and_is_reported(tmp_path):
    tour = a_tour(tmp_path)
    story._tell(tour)  # a gateway that answers 500 to everything
    assert failed(tour) == ["the step can be finished"]
    report.write_report(tour)
    written = json.loads(Path(tour.places.report).read_text(encoding="utf-8"))
    assert written["holds"] is False
    report.show_end(tour)
    assert "does not hold" in tour.console.file.getvalue()


def test_the_api_key_is_for_its_owner_alone(tmp_path, monkeypatch):
    monkeypatch.setattr(Commands, "create", lambda _self, _store: "cg_a_b")
    for _run in range(2):
        assert story._prepare(Places(tmp_path), Commands(tmp_path)) == "cg_a_b"
    assert (tmp_path / "api.key").stat().st_mode & 0o777 == 0o600
