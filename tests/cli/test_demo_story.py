"""The demo's own checks go red when the gateway misbehaves, and the story ends with the exit status it promises."""

from __future__ import annotations

import io
import json
import sys
from datetime import UTC, datetime
from pathlib import Path

import httpx
import pytest
from rich.console import Console

from consent_gateway.cli.demo import audience, decisions, intake, people, proof, report, server, story, upload
from consent_gateway.cli.demo.client import Api, ProblemError
from consent_gateway.cli.demo.data import Basket, Journey, Mark
from consent_gateway.cli.demo.dirt import Flaw
from consent_gateway.cli.demo.files import CSV, NDJSON, InputFile
from consent_gateway.cli.demo.people import member_no
from consent_gateway.cli.demo.tour import Audience, Places, Tour

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
    api._http = httpx.Client(
        base_url=api.url, transport=httpx.MockTransport(handler or (lambda _request: httpx.Response(500)))
    )
    console = Console(file=io.StringIO(), width=160)
    tour = Tour(Places(tmp_path), console, NOW, api, journey, crowd)
    tour.on_check = lambda check: report.show_check(console, check)
    return tour


def failed(tour):
    return [check.claim for check in tour.failures]


# -- upload ----------------------------------------------------------------------------------------------------------


def a_file(tmp_path, lines, content_type=NDJSON, **more):
    path = tmp_path / "input.txt"
    head = "a,b\n" if content_type == CSV else ""
    path.write_text(head + "".join(f"{n}\n" for n in range(lines)), encoding="utf-8")
    kind = "subjects" if content_type == CSV else "events"
    return InputFile(path, kind, "crm", content_type, lines, more.pop("refused", {}), **more)


def taking(refuse=(), lose=0):
    """A gateway that takes every line but those in `refuse`, and loses some in silence."""
    seen = []

    def handler(request):
        rows = request.content.decode().splitlines()
        rows = [row for row in rows if row != "a,b"]
        seen.append((request.url, request.headers["idempotency-key"], len(rows)))
        rejections = [
            {"row": i + 1, "reasons": [{"path": "$.email", "code": "no", "message": ""}]}
            for i, row in enumerate(rows)
            if int(row) in refuse
        ]
        accepted = len(rows) - len(rejections) - lose
        body = {"received": len(rows), "accepted": accepted, "created": accepted, "updated": 0, "joined": 0}
        return httpx.Response(200, json=body | {"duplicates": 0, "rejected": len(rejections), "rejections": rejections})

    handler.seen = seen
    return handler


@pytest.mark.parametrize("content_type", [CSV, NDJSON])
def test_an_upload_sends_every_line_once_in_batches_and_places_rejections(tmp_path, content_type):
    handler = taking(refuse={5, 1500, 2999})
    tour, done = a_tour(tmp_path, handler), []
    outcome = upload.upload(tour.api, a_file(tmp_path, 3001, content_type), "first", done.append)
    assert outcome.complete
    assert outcome.counts["received"] == sum(done) == 3001
    assert set(outcome.rejections) == {5, 1500, 2999}
    assert sorted(rows for *_, rows in handler.seen) == [1, 1000, 1000, 1000]
    assert len({key for _, key, _ in handler.seen}) == 4
    assert all(url.params["source"] == "crm" for url, *_ in handler.seen)


def test_a_batch_that_is_refused_as_a_whole_is_an_error(tmp_path):
    tour = a_tour(tmp_path, lambda _request: httpx.Response(400, json={"code": "invalid_input", "detail": "no"}))
    with pytest.raises(ProblemError, match="invalid_input"):
        upload.upload(tour.api, a_file(tmp_path, 3), "first", lambda _n: None)


@pytest.mark.parametrize(
    ("refuse", "lose", "word"),
    [({1}, 0, None), (set(), 0, "spoiled"), ({1, 2}, 0, "spoiled"), ({1}, 1, "received")],
    ids=["as it must be", "took a spoiled line", "refused a good line", "lost a line"],
)
def test_intake_is_judged(tmp_path, refuse, lose, word):
    tour = a_tour(tmp_path, taking(refuse, lose))
    file = a_file(tmp_path, 9, CSV, refused={1: Flaw.NO_AT_SIGN})
    intake._judge(tour, file, upload.upload(tour.api, file, "first", lambda _n: None))
    assert bool(tour.failures) == (word is not None)
    assert all(word in claim for claim in failed(tour))


def test_a_refusal_that_names_another_column_is_noticed(tmp_path):
    tour = a_tour(tmp_path, taking({1}))
    file = a_file(tmp_path, 9, CSV, refused={1: Flaw.NO_SUCH_DAY})
    intake._judge(tour, file, upload.upload(tour.api, file, "first", lambda _n: None))
    assert len(tour.failures) == 1
    assert "another reason" in tour.failures[0].detail


def test_a_readable_address_in_the_store_is_found(tmp_path):
    tour = a_tour(tmp_path)
    tour.places.store.mkdir()
    tour.places.database.write_bytes(b"\x00sealed\xff")
    intake._judge_store(tour)
    assert not tour.failures
    (tour.places.store / "gateway.sqlite3-wal").write_bytes(b"..Anna@Example.com..")
    intake._judge_store(tour)
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


def test_decisions_that_come_out_otherwise_or_cite_nothing_are_found(tmp_path):
    tour = a_tour(tmp_path)
    question = decisions.QUESTIONS[0]
    decisions._judge(tour, question, an_answer(question.must))
    assert not tour.failures
    decisions._judge(tour, question, an_answer("deny", reasons=[]))
    assert len(tour.failures) == 2


def test_every_question_is_about_a_part_that_is_played(tmp_path):
    parts = a_tour(tmp_path).crowd.parts
    assert {q.part for q in decisions.QUESTIONS} <= set(parts)


# -- proof -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("index", [0, 1, 255, 256, 300])
def test_an_edit_changes_one_bit_of_the_entry_named_and_nothing_else(tmp_path, index):
    entries = [f"entry-{n}".encode() for n in range(301)]
    folder = tmp_path / "tile" / "entries"
    (folder / "001.p").mkdir(parents=True)
    files = {folder / "000": entries[:256], folder / "001.p" / "45": entries[256:]}
    for path, held in files.items():
        path.write_bytes(b"".join(len(e).to_bytes(2, "big") + e for e in held))
    before = b"".join(path.read_bytes() for path in files)
    proof.edit_entry(tmp_path, index)
    after = b"".join(path.read_bytes() for path in files)
    changed = [i for i, (a, b) in enumerate(zip(before, after, strict=True)) if a != b]
    assert len(changed) == 1
    start = sum(2 + len(e) for e in entries[:index]) + 2
    assert start <= changed[0] < start + len(entries[index])


def test_the_path_of_a_bundle_follows_the_tile_layout(tmp_path):
    path = tmp_path / "tile" / "entries" / "x001" / "x234" / "067"
    path.parent.mkdir(parents=True)
    path.write_bytes(b"")
    assert proof._bundle(tmp_path, 1_234_067) == path


# -- server and story ------------------------------------------------------------------------------------------------


def test_settings_of_another_gateway_do_not_reach_the_demo():
    outer = {"PATH": "/bin", "CONSENT_GATEWAY_DATABASE_URL": "postgresql://x", "CONSENT_GATEWAY_PORT": "1"}
    assert server._environment(outer) == {"PATH": "/bin"}


def test_a_command_answers_with_status_and_output():
    done = server.run("-c", "import sys; print('seen'); sys.exit(3)")
    assert (done.status, done.output.strip()) == (3, "seen")


def test_a_gateway_that_dies_is_told_with_its_last_words(tmp_path, monkeypatch):
    fake = tmp_path / "python"
    fake.write_text("#!/bin/sh\necho the keyring can not be opened\nexit 7\n", encoding="utf-8")
    fake.chmod(0o700)
    monkeypatch.setattr(sys, "executable", str(fake))
    with pytest.raises(server.CommandError, match="keyring"), server.serving(tmp_path, tmp_path / "log"):
        pass
    with pytest.raises(server.CommandError, match="init"):
        server.create(tmp_path / "store")


def test_the_story_can_not_run_without_its_data(tmp_path, monkeypatch):
    def missing(*_arguments):
        raise FileNotFoundError("the demo's data are not installed: run `make demo`")

    monkeypatch.setattr(story, "load", missing)
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
    monkeypatch.setattr(story, "create", lambda _store: "cg_a_b")
    assert story._prepare(Places(tmp_path)) == "cg_a_b"
    assert story._prepare(Places(tmp_path)) == "cg_a_b"  # a second run
    assert (tmp_path / "api.key").stat().st_mode & 0o777 == 0o600
