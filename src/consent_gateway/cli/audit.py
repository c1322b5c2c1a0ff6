"""The commands for the log, each in the module of what it is about: reading, verifying, bundles, state, epochs."""

from __future__ import annotations

from consent_gateway.cli.lazy import LazyGroup, Place

_PLACES = {
    "export": Place(
        "log_reading", "export", "Write the log as a C2SP tlog-tiles directory; a second run writes what is new."
    ),
    "prove": Place(
        "log_reading",
        "prove",
        "Print the proof that somebody is in an audience, or is not, as JSON; `audit verify membership` checks it.",
    ),
    "search": Place(
        "log_reading",
        "search",
        'Print entries that match, newest first, one JSON object a line: {"index":…,"entry":…}.',
    ),
    "index": Place(
        "log_reading",
        "index",
        "Bring the index of the log up to date, as the worker does; searches are complete without it, and slower.",
    ),
    "ocsf": Place(
        "log_reading",
        "ocsf",
        "Print entries as OCSF 1.3.0 events, one JSON object a line, oldest first: for a SIEM (docs/ocsf.md).",
    ),
    "copy": Place(
        "log_reading",
        "copy",
        "Copy the log to another store, SQLite or PostgreSQL: the same bytes under the same checkpoint.",
    ),
    "bundle": Place(
        "log_bundle",
        "bundle",
        "Write everything that the log says about a person to FILE, with proofs, for them to keep; "
        "status 1 if it fails.",
    ),
    "chains": Place(
        "log_bundle",
        "chains",
        "Check that every chain of the log is somebody's and that what was erased is gone; status 1 if not.",
    ),
    "status": Place(
        "log_state",
        "status",
        "Compare the log with itself, every kept checkpoint and every witness; status 1 if anything is wrong.",
    ),
    "copies": Place(
        "log_state", "copies", "Checkpoints kept outside of the store: bring them up to date, begin a lost one anew."
    ),
    "epoch": Place(
        "log_epochs",
        "epoch",
        "Epochs of the log: list, statement, plan, propose, open (four eyes); see docs/log-epochs.md.",
    ),
    "vkey": Place("log_reading", "vkey", "Print the log's verifier key; auditors pin it."),
    "verify": Place(
        "log_verifying",
        "verify",
        "Verify receipts, exported logs and checkpoints without any store; `--help` lists the checks.",
    ),
    "verifier": Place(
        "log_verifying", "single_file", "Print the verifier as one Python file that needs `cryptography` alone."
    ),
    "test": Place(
        "log_verifying",
        "test",
        "Hold vector files, or folders of them, against the checks and print what differs; status 1 if anything does.",
    ),
}

audit = LazyGroup("audit", _PLACES, help="The audit log: export, verify, and the verifier as a single file.")
