"""Step 1: import everything; nothing may be lost in silence, and only what was spoiled on purpose is refused."""

from __future__ import annotations

from collections import Counter
from typing import Any

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from consent_gateway.cli.demo.dirt import Flaw
from consent_gateway.cli.demo.files import InputFile, write_all
from consent_gateway.cli.demo.tour import Tour
from consent_gateway.cli.demo.upload import Outcome, upload

PERSONAL = b"@example."  # in every address of the demo


def bring_in(tour: Tour) -> None:
    """Write the input files and import them in order, the customers twice."""
    files = write_all(tour.places.input, tour.journey, tour.crowd, tour.now)
    results = []
    with _progress(tour) as progress:
        for file in files:
            outcome = _import(tour, progress, file, "first")
            results.append((file, outcome))
            _judge(tour, file, outcome)
            if file is files[0]:
                _judge_again(tour, file, _import(tour, progress, file, "again"))
    _judge_store(tour)
    _keep_checkpoint(tour)
    tour.facts["imports"] = [_summary(file, outcome) for file, outcome in results]
    tour.facts["people"] = sum(file.people or 0 for file in files)


def _progress(tour: Tour) -> Progress:
    return Progress(
        TextColumn("  {task.description:<28}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        console=tour.console,
    )


def _import(tour: Tour, progress: Progress, file: InputFile, label: str) -> Outcome:
    name = file.path.name if label == "first" else f"{file.path.name} once more"
    task = progress.add_task(name, total=file.lines)
    return upload(tour.api, file, label, lambda rows: progress.advance(task, rows))


def _judge(tour: Tour, file: InputFile, outcome: Outcome) -> None:
    name, counts = file.path.name, outcome.counts
    tour.check(
        f"{name}: received = accepted + duplicates + rejected",
        outcome.complete and counts["received"] == file.lines,
        ", ".join(f"{counts[c]} {c}" for c in ("received", "accepted", "duplicates", "rejected")),
    )
    refused = _differences(file, outcome)
    flaws = ", ".join(f"{n} {flaw}" for flaw, n in sorted(file.flaws.items()))
    tour.check(f"{name}: exactly the spoiled lines are refused", not refused, "; ".join(refused) or flaws or "none")
    if file.repeats:
        tour.check(f"{name}: what was sent twice counts once", counts["duplicates"] == file.repeats)
    if file.people is not None:
        claim = f"{name}: {file.people} new people, however they are spelt"
        tour.check(claim, counts["created"] == file.people, f"{counts['created']} created")


def _differences(file: InputFile, outcome: Outcome) -> list[str]:
    """Return what was refused and should not be, or the other way round; a refusal must name the right column."""
    wrong = [f"line {i + 1} ({flaw}) was taken" for i, flaw in file.refused.items() if i not in outcome.rejections]
    wrong += [f"line {i + 1} was refused: {_codes(r)}" for i, r in outcome.rejections.items() if i not in file.refused]
    for i, flaw in file.refused.items():
        column = flaw.field if isinstance(flaw, Flaw) else ""
        found = outcome.rejections.get(i)
        if found and column and not any(str(r["path"]).endswith(column) for r in found["reasons"]):
            wrong.append(f"line {i + 1} ({flaw}) was refused for another reason: {_codes(found)}")
    return wrong[:5]


def _codes(rejection: dict[str, Any]) -> str:
    return ", ".join(f"{r['path']} {r['code']}" for r in rejection["reasons"])


def _judge_again(tour: Tour, file: InputFile, outcome: Outcome) -> None:
    counts = outcome.counts
    tour.check(
        f"{file.path.name} once more changes nothing",
        outcome.complete and counts["created"] == 0 and counts["updated"] == 0,
        f"{counts['created']} created, {counts['updated']} updated, {counts['rejected']} rejected as before",
    )


def _judge_store(tour: Tour) -> None:
    """Look into the raw files of the store, as a thief would (promise P7)."""
    found = stored(tour, PERSONAL)
    tour.check("no e-mail address is readable in the raw store", found == 0, f"{found} found")


def _keep_checkpoint(tour: Tour) -> None:
    """Keep the checkpoint of this moment, as a witness would: the log may only grow from here."""
    tour.places.early.write_bytes(tour.api.content("/v1/audit/checkpoint"))


def stored(tour: Tour, needle: bytes) -> int:
    """Return how often `needle` (lower case) occurs in the raw files of the database, in upper or lower case."""
    files = tour.places.store.glob(f"{tour.places.database.name}*")
    return sum(path.read_bytes().lower().count(needle) for path in files)


def _summary(file: InputFile, outcome: Outcome) -> dict[str, Any]:
    flaws: Counter[str] = file.flaws
    return {
        "file": file.path.name,
        "source": file.source,
        **{name: outcome.counts[name] for name in outcome.counts},
        "expected_refusals": dict(flaws),
        "reasons": dict(outcome.codes()),
    }
