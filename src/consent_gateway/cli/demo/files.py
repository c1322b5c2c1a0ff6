"""The input files under `var/demo/input/`, with what must come of each: written once, read by the import only."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from consent_gateway.cli.demo.data import Basket, Journey, Mark, at_utc
from consent_gateway.cli.demo.dirt import COLUMNS, Flaw, SubjectFile, subject_files
from consent_gateway.cli.demo.histories import JsonLine, LineFlaw, choices, consents, instant, json_line
from consent_gateway.cli.demo.people import Crowd, member_no

REPEATED = 5  # events and contacts that a source sends twice


@dataclass(frozen=True, slots=True)
class InputFile:
    """One file to import and what must come of it.

    `refused` names the flaw of every line that must be rejected, by position (0 is the first data line); `repeats`
    is how many lines repeat an earlier one to the letter, `people` how many new people come into being (None where
    the file is not about people).
    """

    path: Path
    kind: str
    source: str
    lines: int
    refused: dict[int, Flaw | LineFlaw]
    repeats: int = 0
    people: int | None = None

    @property
    def flaws(self) -> Counter[str]:
        """How many lines must be rejected, by flaw."""
        return Counter(self.refused.values())


def write_all(folder: Path, journey: Journey, crowd: Crowd, now: datetime) -> tuple[InputFile, ...]:
    """Write every input file into `folder` and return them in the order in which they must be imported."""
    folder.mkdir(parents=True, exist_ok=True)
    people = [_write_subjects(folder, file) for file in subject_files(crowd, now.date())]
    lines = (
        ("consents.ndjson", "consents", "crm", consents(crowd, now)),
        ("choices.ndjson", "choices", "crm", choices(crowd, now)),
        ("contacts.ndjson", "contacts", "crm", _contacts(journey.contacts)),
        ("baskets.ndjson", "events", "pos", _baskets(journey.baskets)),
        ("coupons.ndjson", "events", "pos", _redemptions(journey)),
    )
    return (*people, *(_write_lines(folder / name, kind, source, found) for name, kind, source, found in lines))


def _write_subjects(folder: Path, file: SubjectFile) -> InputFile:
    path = folder / file.name
    with path.open("w", encoding="utf-8", newline="") as sink:
        writer = csv.DictWriter(sink, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(line.row for line in file.lines)
    refused: dict[int, Flaw | LineFlaw] = dict(file.refused)
    return InputFile(path, "subjects", file.source, len(file.lines), refused, people=file.people)


def _write_lines(path: Path, kind: str, source: str, lines: Iterable[JsonLine]) -> InputFile:
    refused: dict[int, Flaw | LineFlaw] = {}
    count = repeats = 0
    with path.open("w", encoding="utf-8", newline="\n") as sink:
        for count, line in enumerate(lines, 1):
            sink.write(line.text + "\n")
            repeats += line.repeat
            if line.flaw is not None:
                refused[count - 1] = line.flaw
    return InputFile(path, kind, source, count, refused, repeats)


def _baskets(baskets: Sequence[Basket]) -> Iterator[JsonLine]:
    """Yield one purchase a basket; then what a till does now and then: send twice, send nonsense."""
    for basket in baskets:
        yield _basket(basket)
    for basket in baskets[-REPEATED:]:
        yield JsonLine(_basket(basket).text, repeat=True)
    at = instant(at_utc(baskets[-1].at))
    good = {"subject": {"member_no": member_no(baskets[-1].household)}, "type": "purchase", "at": at, "value": 1}
    yield json_line(good | {"key": "wrong-1", "subject": {"member_no": "HH-NOBODY"}}, LineFlaw.STRANGER)
    yield json_line(good | {"key": "wrong-2", "value": "12,50"}, LineFlaw.WRONG_TYPE)
    yield json_line(good | {"key": "wrong-3", "at": "2023-02-30T10:00:00Z"}, LineFlaw.NO_SUCH_DAY)


def _basket(basket: Basket) -> JsonLine:
    # Written by hand: json.dumps would take three seconds for a year of baskets, and every value is plain ASCII.
    at = instant(at_utc(basket.at))
    return JsonLine(
        f'{{"subject":{{"member_no":"{member_no(basket.household)}"}},"type":"purchase","at":"{at}",'
        f'"value":{basket.cents},"key":"{basket.key}"}}'
    )


def _redemptions(journey: Journey) -> Iterator[JsonLine]:
    for n, mark in enumerate(journey.redemptions):
        subject = {"member_no": member_no(mark.household)}
        yield json_line(
            {"subject": subject, "type": "coupon_redeemed", "at": instant(at_utc(mark.at)), "key": f"coupon-{n}"}
        )


def _contacts(contacts: Sequence[Mark]) -> Iterator[JsonLine]:
    for mark in contacts:
        yield _contact(mark)
    for mark in contacts[:REPEATED]:
        yield JsonLine(_contact(mark).text, repeat=True)


def _contact(mark: Mark) -> JsonLine:
    number = member_no(mark.household)
    return json_line(
        {
            "subject": {"member_no": number},
            "channel": "email",
            "at": instant(at_utc(mark.at)),
            "campaign": f"campaign_{mark.campaign}",
            "key": f"{mark.campaign}-{number}",
        }
    )
