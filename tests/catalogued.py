"""Holds every entry that tests record against the catalogue of what the log can say."""

from __future__ import annotations

import json
from collections.abc import Sequence

from consent_gateway.audit.canonical import canonical_json
from consent_gateway.audit.catalogue import problems
from consent_gateway.audit.entries import parse_entry
from consent_gateway.db import log_people, log_store
from consent_gateway.db.engine import Session

FOUND: list[str] = []
PAYLOAD = {"facts", "contact_point", "guardian", "merge", "result_sha256", "receipt_sha256", "audiences"}
_OF_ONE_CALL = 100  # many thousands at once are of one kind: those that measure and those that fill


def payload_problems(payload: bytes) -> list[str]:
    """What must not be in a payload, which leaves with the person's bundle: a number of ours (docs/audit-log.md)."""
    said = json.loads(payload)
    if canonical_json(said) != payload or not said.keys() <= PAYLOAD:
        return ["it has members that are not described"]
    return [f"{name} is a number of ours" for name, value in said.items() if isinstance(value, int) and name != "merge"]


def watch() -> None:
    """Look at what is appended from now on; `FOUND` is for the fixture that reports."""
    original = log_store.append

    def append(
        session: Session, entries: Sequence[log_store.Recorded], openings: Sequence[log_people.Opening] = ()
    ) -> None:
        for _, raw, _ in entries[:_OF_ONE_CALL]:
            try:
                entry = parse_entry(raw)
            except ValueError:  # planted by those who test what a dishonest operator writes
                continue
            FOUND.extend(f"{entry.kind}: {problem}" for problem in problems(entry))
        for opening in openings[:_OF_ONE_CALL]:
            FOUND.extend(f"a payload: {problem}" for problem in payload_problems(opening.payload))
        original(session, entries, openings)

    log_store.append = append
