"""Bring a file to the gateway in batches, at most two of them under way, and add up the answers.

A batch is at most 1,000 rows (the gateway's limit). Each carries an idempotency key made of the file's content and
a label, so that a batch that is sent again after a lost answer changes nothing. Files about people go one batch
after the other: whether a row belongs to two people depends on the rows before it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from hashlib import sha256
from itertools import islice
from pathlib import Path
from typing import Any

from consent_gateway.cli.demo.client import Api
from consent_gateway.cli.demo.files import CSV, InputFile

BATCH, UNDER_WAY = 1000, 2
COUNTS = ("received", "accepted", "created", "updated", "joined", "duplicates", "rejected")


@dataclass(slots=True)
class Outcome:
    """What came of a file: the counts of the answers added up, and every rejection by its position in the file."""

    counts: Counter[str] = field(default_factory=Counter)
    rejections: dict[int, dict[str, Any]] = field(default_factory=dict)

    @property
    def complete(self) -> bool:
        """Whether nothing was lost in silence."""
        counts = self.counts
        return counts["received"] == counts["accepted"] + counts["duplicates"] + counts["rejected"]

    def add(self, answer: dict[str, Any], start: int) -> None:
        """Take in the answer to the batch whose first line stood at position `start` of the file."""
        for name in COUNTS:
            self.counts[name] += int(answer.get(name) or 0)
        for rejection in answer["rejections"]:
            self.rejections[start + int(rejection["row"]) - FIRST_ROW] = rejection

    def codes(self) -> Counter[str]:
        """How often each code led to a rejection (the first code of each row)."""
        return Counter(str((r["reasons"] or [{}])[0].get("code", "?")) for r in self.rejections.values())


FIRST_ROW = 1  # the gateway numbers the rows of a call from 1, the header of a CSV not counted


def upload(api: Api, file: InputFile, label: str, on_progress: Callable[[int], object]) -> Outcome:
    """Send every line of `file`; call `on_progress` with the number of lines of each batch that was answered.

    Raises client.ProblemError if the gateway refuses a whole batch.
    """
    outcome = Outcome()
    with ThreadPoolExecutor(1 if file.kind == "subjects" else UNDER_WAY) as pool:
        under_way: list[tuple[int, int, Future[dict[str, Any]]]] = []
        for start, rows, body in _batches(file):
            if len(under_way) > UNDER_WAY:
                _finish(outcome, under_way.pop(0), on_progress)
            under_way.append((start, rows, pool.submit(_send, api, file, body, f"{label}-{start}")))
        for batch in under_way:
            _finish(outcome, batch, on_progress)
    return outcome


def _finish(
    outcome: Outcome, batch: tuple[int, int, Future[dict[str, Any]]], on_progress: Callable[[int], object]
) -> None:
    start, rows, future = batch
    outcome.add(future.result(), start)
    on_progress(rows)


def _send(api: Api, file: InputFile, body: bytes, label: str) -> dict[str, Any]:
    key = sha256(f"{label}\x00{file.path.name}\x00".encode() + body).hexdigest()[:48]
    answer: dict[str, Any] = api.upload(f"/v1/imports/{file.kind}?source={file.source}", body, file.content_type, key)
    return answer


def _batches(file: InputFile) -> Iterator[tuple[int, int, bytes]]:
    """Yield (position of the first line, number of lines, body); every CSV body begins with the header."""
    with file.path.open("rb") as lines:
        header = next(lines) if file.content_type == CSV else b""
        start = 0
        while batch := list(islice(lines, BATCH)):
            yield start, len(batch), header + b"".join(batch)
            start += len(batch)


def size(path: Path) -> int:
    """Return the size of a file in bytes."""
    return path.stat().st_size
