"""Step 6: the log proves itself to people who do not trust the gateway.

The withdrawal's receipt and the whole exported log are checked twice: by `consent-gateway audit verify`, and by the
verifier in one file, run by Python in isolated mode, so that nothing of the product is within its reach. Then one
stored row is edited in a copy of the store, and the verifier must find it and name it.
"""

from __future__ import annotations

import json
import shutil
import sqlite3
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

from consent_gateway.audit.singlefile import build_single_file
from consent_gateway.cli.demo.client import ProblemError
from consent_gateway.cli.demo.server import Commands, Finished
from consent_gateway.cli.demo.tour import Tour

MERGE_SECONDS, POLL_SECONDS = 10.0, 0.1
Verify = Callable[..., Finished]


def prove(tour: Tour) -> None:
    """Fetch the receipt, export the log, verify both with two verifiers, then edit a copy."""
    places = tour.places
    vkey = tour.api.text("/v1/audit/vkey").strip()
    places.vkey.write_text(vkey + "\n", encoding="utf-8")
    _fetch_receipt(tour)
    _export(tour)
    places.verifier.write_text(build_single_file(), encoding="utf-8")
    index = _edit_copy(tour)
    _verify_all(tour, vkey, index)


def _verify_all(tour: Tour, vkey: str, index: int) -> None:
    """Run both verifiers on receipt, log and edited copy, two at a time, and judge what they found."""
    places = tour.places
    receipt = ("receipt", vkey, str(places.receipt), str(places.entry))
    tree = ("tree", vkey, str(places.log), str(places.early))
    edited = ("tree", vkey, str(places.edited))
    with ThreadPoolExecutor(2) as pool:
        running = {
            name: [pool.submit(verify, *arguments) for arguments in (receipt, tree, edited)]
            for name, verify in _verifiers(tour.commands, places.verifier).items()
        }
        for name, waiting in running.items():
            on_receipt, on_tree, on_edited = (future.result() for future in waiting)
            _judge(tour, f"{name}: the receipt holds", on_receipt)
            _judge(tour, f"{name}: the whole log holds and extends the early checkpoint", on_tree)
            _judge_edited(tour, f"{name}: one bit edited in entry {index} is found and named", index, on_edited)


def _verifiers(commands: Commands, single_file: Path) -> dict[str, Verify]:
    return {
        "audit verify": lambda *arguments: commands.gateway("audit", "verify", *arguments),
        "python -I verify.py": lambda *arguments: commands.run("-I", str(single_file), *arguments),
    }


def _fetch_receipt(tour: Tour) -> None:
    """Fetch receipt and entry of the withdrawal."""
    path = f"/v1/audit/entries/{tour.consent_entry}"
    tour.places.receipt.write_bytes(integrated(tour, f"{path}/receipt"))
    entry = tour.api.content(f"{path}/bytes")
    tour.places.entry.write_bytes(entry)
    person = tour.withdrawn
    told = [v for v in (person.email, person.phone, person.member_no) if v and v.encode() in entry] if person else []
    tour.check("the entry tells nothing about the person", not told, f"{len(entry)} bytes")
    tour.facts["entry"] = json.loads(entry)


def integrated(tour: Tour, path: str) -> bytes:
    """Return what the log has at `path`; the sequencer has some milliseconds to integrate what was just written."""
    deadline = time.monotonic() + MERGE_SECONDS
    while True:
        try:
            return tour.api.content(path)
        except ProblemError:
            if time.monotonic() > deadline:
                raise
            time.sleep(POLL_SECONDS)


def _export(tour: Tour) -> None:
    shutil.rmtree(tour.places.log, ignore_errors=True)
    done = tour.commands.gateway("audit", "export", "--store", str(tour.places.store), str(tour.places.log))
    exported = done.status == 0 and (tour.places.log / "checkpoint").is_file()
    tour.check("the log is exported", exported, "" if exported else done.output.strip()[-200:])


def _judge(tour: Tour, claim: str, done: Finished) -> None:
    tour.check(claim, done.status == 0, done.output.strip()[-200:])


def _judge_edited(tour: Tour, claim: str, index: int, done: Finished) -> None:
    tour.check(claim, done.status != 0 and str(index) in done.output, done.output.strip()[-200:])


def _edit_copy(tour: Tour) -> int:
    """Edit the stored row of the receipt's entry in a copy of the store, export that copy's log; return the index."""
    places, index = tour.places, _index(tour.places.receipt)
    for folder in (places.edited, places.edited_store):
        shutil.rmtree(folder, ignore_errors=True)
    places.edited_store.mkdir(parents=True)
    # A store is its keys and its tombstones too: without them nothing is served, and nothing exported.
    for kept in (*places.store.glob("keyring.*"), *places.store.glob("tombstones.log")):
        shutil.copy2(kept, places.edited_store)
    edit_row(places.database, places.edited_store / places.database.name, index)
    done = tour.commands.gateway("audit", "export", "--store", str(places.edited_store), str(places.edited))
    tour.check("the edited copy is exported", done.status == 0, "" if done.status == 0 else done.output.strip()[-200:])
    return index


def _index(receipt: Path) -> int:
    """Return the index that a receipt is about: its line `index N` (C2SP tlog-proof)."""
    lines = receipt.read_text(encoding="utf-8").splitlines()
    return next(int(line.removeprefix("index ")) for line in lines if line.startswith("index "))


def edit_row(database: Path, copy: Path, index: int) -> None:
    """Copy a live SQLite store and flip one bit of the stored entry `index` in the copy, as an insider could."""
    with closing(sqlite3.connect(database)) as source, closing(sqlite3.connect(copy)) as target:
        source.backup(target)
        entry = bytearray(target.execute("SELECT entry FROM audit_entries WHERE idx = ?", (index,)).fetchone()[0])
        entry[len(entry) // 2] ^= 1
        target.execute("UPDATE audit_entries SET entry = ? WHERE idx = ?", (bytes(entry), index))
        target.commit()
