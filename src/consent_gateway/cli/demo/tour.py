"""What the steps of the story share: where things lie, what was found so far, and what must hold.

A step calls `tour.check` for everything that must be so; a check that fails is shown at once, does not stop the
story, and makes the exit status of the demo 1. What the steps learn goes to `facts`, and ends in `report.json`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from rich.console import Console

from consent_gateway.cli.demo.client import Api
from consent_gateway.cli.demo.data import Journey
from consent_gateway.cli.demo.people import Crowd, Person
from consent_gateway.cli.demo.server import Commands


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that must hold: in which step, what, whether it does, and the figures behind it."""

    step: str
    claim: str
    holds: bool
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Places:
    """The files of the demo, all under one directory."""

    out: Path

    @property
    def store(self) -> Path:
        """The store directory of the gateway."""
        return self.out / "store"

    @property
    def database(self) -> Path:
        """The SQLite file of the store."""
        return self.store / "gateway.sqlite3"

    @property
    def input(self) -> Path:
        """The files that are imported."""
        return self.out / "input"

    @property
    def key(self) -> Path:
        """The API key, readable by its owner alone."""
        return self.out / "api.key"

    @property
    def log(self) -> Path:
        """The exported audit log, in the tlog-tiles layout."""
        return self.out / "log"

    @property
    def edited(self) -> Path:
        """The log of the edited store, exported: the verifier must find the edit."""
        return self.out / "log-edited"

    @property
    def edited_store(self) -> Path:
        """A copy of the store in which one row of the log was edited."""
        return self.out / "store-edited"

    @property
    def vkey(self) -> Path:
        """The public key of the log."""
        return self.out / "log.vkey"

    @property
    def early(self) -> Path:
        """A checkpoint that was fetched before the end: the log must extend it."""
        return self.out / "early.checkpoint"

    @property
    def receipt(self) -> Path:
        """The receipt of the withdrawal, for the person."""
        return self.out / "receipt.tlog-proof"

    @property
    def entry(self) -> Path:
        """The bytes of the entry that the receipt is about."""
        return self.out / "receipt.entry"

    @property
    def verifier(self) -> Path:
        """The stand-alone verifier in one file."""
        return self.out / "verify.py"

    @property
    def page(self) -> Path:
        """The page on which somebody confirmed a yes."""
        return self.out / "confirmation.html"

    @property
    def candidate(self) -> Path:
        """The text of a law that was proposed."""
        return self.out / "candidate.yaml"

    @property
    def consent_receipt(self) -> Path:
        """A consent receipt that outlives the person's data."""
        return self.out / "consent-receipt.json"

    @property
    def altered_receipt(self) -> Path:
        """The same with one word changed: it must not verify."""
        return self.out / "consent-receipt-altered.json"

    @property
    def receipt_keys(self) -> Path:
        """The keys that consent receipts are signed with."""
        return self.out / "receipt-keys.json"

    @property
    def receipt_entry(self) -> Path:
        """The bytes of the consent receipt's entry in the log."""
        return self.out / "consent-receipt.entry"

    @property
    def made(self) -> tuple[Path, ...]:
        """Every single file that a run writes anew."""
        of_log = (self.receipt, self.entry, self.vkey, self.early)
        of_receipt = (self.consent_receipt, self.altered_receipt, self.receipt_keys, self.receipt_entry)
        return (self.key, self.report, self.page, self.candidate, *of_log, *of_receipt)

    @property
    def server_log(self) -> Path:
        """What the server printed."""
        return self.out / "server.log"

    @property
    def cache(self) -> Path:
        """Where the commands keep compiled modules, if the environment lets them keep none."""
        return self.out / "pycache"

    @property
    def report(self) -> Path:
        """Everything that was found, for programs."""
        return self.out / "report.json"


@dataclass(slots=True)
class Audience:
    """An audience that was resolved: the answer of the API and its members' pseudonyms."""

    answer: dict[str, Any]
    members: list[str]


@dataclass(slots=True)
class Tour:
    """The state of one run. `consent_entry` is the uid of the log entry that step 4 makes."""

    places: Places
    console: Console
    now: datetime
    api: Api
    journey: Journey
    crowd: Crowd
    commands: Commands
    checks: list[Check] = field(default_factory=list)
    facts: dict[str, Any] = field(default_factory=dict)
    audiences: dict[str, Audience] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    step: str = ""
    consent_entry: str = ""
    withdrawn: Person | None = None
    on_check: Callable[[Check], None] = lambda _check: None

    def check(self, claim: str, holds: object, detail: str = "") -> bool:
        """Note that `claim` must hold and whether it does; return whether it does."""
        found = Check(self.step, claim, bool(holds), detail)
        self.checks.append(found)
        self.on_check(found)
        return found.holds

    @property
    def failures(self) -> list[Check]:
        """What must hold and does not."""
        return [check for check in self.checks if not check.holds]

    def pseudonym(self, person: Person, recipient: str | None = None) -> str:
        """Ask the gateway what `recipient` (by default we ourselves) sees of `person`; ProblemError if unknown."""
        body: dict[str, Any] = {"identifier": identifier(person)}
        if recipient is not None:
            body["recipient"] = recipient
        answer: str = self.api.post("/v1/subjects/lookup", body)["pseudonym"]
        return answer


def identifier(person: Person) -> dict[str, str]:
    """Return an identifier of a person the way the API wants it: `{kind: value}`."""
    return {"member_no": person.member_no} if person.member_no else {"email": person.email or ""}
