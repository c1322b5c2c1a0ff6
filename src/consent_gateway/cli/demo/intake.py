"""Step 1: import everything; nothing may be lost in silence, and only what was spoiled on purpose is refused.

The files go in by the very function that `consent-gateway import` uses.
"""

from __future__ import annotations

import shutil
from dataclasses import replace
from typing import Any

from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeElapsedColumn

from consent_gateway.cli.demo.dirt import Flaw
from consent_gateway.cli.demo.files import InputFile, write_all
from consent_gateway.cli.demo.tour import Tour
from consent_gateway.cli.importer import Total, import_file

PERSONAL = b"@example."  # in every address of the demo


def bring_in(tour: Tour) -> None:
    """Write the input files and import them in order, the customers twice."""
    files = write_all(tour.places.input, tour.journey, tour.crowd, tour.now)
    results = []
    with _progress(tour) as progress:
        for file in files:
            total = _import(tour, progress, file)
            results.append((file, total))
            judge(tour, file, total)
            if file is files[0]:
                judge_again(tour, file, _import(tour, progress, _renamed(file)))
    judge_store(tour)
    _keep_checkpoint(tour)
    tour.facts["imports"] = [_summary(file, total) for file, total in results]
    tour.facts["people"] = sum(file.people or 0 for file in files)


def _progress(tour: Tour) -> Progress:
    return Progress(
        TextColumn("  {task.description:<22}"),
        BarColumn(),
        DownloadColumn(),
        TimeElapsedColumn(),
        console=tour.console,
    )


def _import(tour: Tour, progress: Progress, file: InputFile) -> Total:
    task = progress.add_task(file.path.name, total=file.path.stat().st_size)
    return import_file(tour.api.http, file.path, file.kind, file.source, lambda size: progress.advance(task, size))


def _renamed(file: InputFile) -> InputFile:
    """Return a copy under another name, so that its batches are judged anew and not recognised by their keys."""
    path = file.path.with_stem(f"{file.path.stem}-again")
    shutil.copyfile(file.path, path)
    return replace(file, path=path)


def judge(tour: Tour, file: InputFile, total: Total) -> None:
    """Hold what came of a file to what must come of it."""
    name, counts = file.path.name, total.counts
    kept = counts["accepted"] + counts["duplicates"] + counts["rejected"]
    tour.check(
        f"{name}: received = accepted + duplicates + rejected",
        counts["received"] == kept == file.lines,
        ", ".join(f"{counts[c]} {c}" for c in ("received", "accepted", "duplicates", "rejected")),
    )
    wrong = _differences(file, total)
    flaws = ", ".join(f"{n} {flaw}" for flaw, n in sorted(file.flaws.items()))
    tour.check(f"{name}: exactly the spoiled lines are refused", not wrong, "; ".join(wrong) or flaws or "none")
    if file.repeats:
        tour.check(f"{name}: what was sent twice counts once", counts["duplicates"] == file.repeats)
    if file.people is not None:
        claim = f"{name}: {file.people} new people, however they are spelt"
        tour.check(claim, counts["created"] == file.people, f"{counts['created']} created")


def _differences(file: InputFile, total: Total) -> list[str]:
    """Return what was refused and should not be, or the other way round; a refusal must name the right column."""
    refused = {int(rejection["row"]) - 1: rejection for rejection in total.rejections}
    wrong = [f"line {i + 1} ({flaw}) was taken" for i, flaw in file.refused.items() if i not in refused]
    wrong += [f"line {i + 1} was refused: {_codes(r)}" for i, r in refused.items() if i not in file.refused]
    for i, flaw in file.refused.items():
        column = flaw.field if isinstance(flaw, Flaw) else ""
        found = refused.get(i)
        if found and column and not any(str(r["path"]).endswith(column) for r in found["reasons"]):
            wrong.append(f"line {i + 1} ({flaw}) was refused for another reason: {_codes(found)}")
    return wrong[:5]


def _codes(rejection: dict[str, Any]) -> str:
    return ", ".join(f"{r['path']} {r['code']}" for r in rejection["reasons"])


def judge_again(tour: Tour, file: InputFile, total: Total) -> None:
    """Hold the second import of the same rows to changing nothing."""
    counts = total.counts
    tour.check(
        f"{file.path.name} once more changes nothing",
        counts["created"] == counts["updated"] == 0 and not total.replayed and not _differences(file, total),
        f"{counts['duplicates']} known already, {counts['updated']} updated, {counts['rejected']} refused as before",
    )


def judge_store(tour: Tour) -> None:
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


def _summary(file: InputFile, total: Total) -> dict[str, Any]:
    names = ("received", "accepted", "created", "updated", "joined", "duplicates", "rejected")
    return {
        "file": file.path.name,
        "source": file.source,
        **{name: total.counts[name] for name in names},
        "expected_refusals": dict(file.flaws),
        "reasons": dict(total.reasons),
    }
