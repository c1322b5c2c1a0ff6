"""What a measurement stands on: a filled store, a key, the way to ask its server."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from consent_gateway.cli.bench.asking import ask
from consent_gateway.cli.bench.bulk import fill
from consent_gateway.cli.bench.crowd import TRAITS
from consent_gateway.cli.bench.http import encode
from consent_gateway.cli.bench.job import Job, Outcome
from consent_gateway.cli.bench.loading import put
from consent_gateway.cli.bench.places import Place, fresh
from consent_gateway.cli.bench.plan import Plan
from consent_gateway.cli.bench.raw import Raw
from consent_gateway.cli.bench.serving import Server, gateway_server
from consent_gateway.cli.demo.dice import Dice
from consent_gateway.domain.epochs import FIRST_EPOCH
from consent_gateway.domain.ids import RecipientId, SubjectId
from consent_gateway.services.work.gateway import Gateway
from consent_gateway.setup import create_store

SOURCE = "bench"
OWN = RecipientId("self")
USE = {"purpose": "direct_marketing", "channel": "email", "recipient": "self"}
_REGISTERS: tuple[tuple[str, dict[str, Any]], ...] = (
    ("sources", {"id": SOURCE, "name": "Benchmark", "channel": "file", "party": "first", "purposes": []}),
    *(("traits", {"id": n, "type": t, "origin": "declared", "description": n}) for n, t in TRAITS),
)


@dataclass(frozen=True, slots=True)
class Site:
    """A store in one place, its gateway in this process (not serving), and the first API key.

    `postgres` is the URL of the server on which the place has its database, None for SQLite.
    """

    plan: Plan
    place: Place
    gateway: Gateway
    key: str
    postgres: str | None = None

    def pseudonyms(self, count: int, label: str) -> list[str]:
        """Return the pseudonyms, as `self` knows them, of people picked at random but the same in every run."""
        dice = Dice(label)
        ids = [SubjectId(dice.between(1, self.plan.people)) for _ in range(count)]
        return self.gateway.vault.pseudonymiser.bulk(ids, OWN, FIRST_EPOCH)

    def post(self, path: str, body: Any) -> bytes:
        """Return the bytes of a request with a JSON body."""
        return encode("POST", path, self.key, json.dumps(body, separators=(",", ":")).encode())

    def get(self, path: str) -> bytes:
        """Return the bytes of a reading request."""
        return encode("GET", path, self.key)

    def questions(self) -> tuple[bytes, ...]:
        """Return decision requests about many different people."""
        people = self.pseudonyms(self.plan.questions, "questions")
        return tuple(self.post("/v1/decisions", {**USE, "subject": {"pseudonym": p}}) for p in people)

    def closed(self, server: Server, requests: tuple[bytes, ...], connections: int) -> tuple[Outcome, float | None]:
        """Put a closed loop on a server; see `loading.put`."""
        plan = self.plan
        job = Job("closed", server.port, requests, connections, plan.seconds, plan.warmup)
        return put(job, server.pid)

    def offered(self, server: Server, requests: tuple[bytes, ...]) -> tuple[Outcome, float | None]:
        """Put an open loop on a server; see `loading.put`."""
        plan = self.plan
        job = Job("open", server.port, requests, plan.open_connections, plan.seconds, plan.warmup, plan.offered)
        return put(job, server.pid)

    @contextmanager
    def serving(self) -> Iterator[Server]:
        """Serve the store for as long as the context lasts."""
        with gateway_server(self.place) as server:
            yield server


@contextmanager
def filled_site(plan: Plan, kind: str, directory: Path, postgres: str | None) -> Iterator[Site]:
    """Make a store with the benchmark's registers and people; it is removed at the end."""
    with empty_site(plan, kind, directory, postgres) as site:
        with site.serving() as server:
            for name, item in _REGISTERS:
                ask(server, site.post(f"/v1/{name}", item))
        fill(site.gateway, plan.people)
        yield site


@contextmanager
def empty_site(plan: Plan, kind: str, directory: Path, postgres: str | None) -> Iterator[Site]:
    """Make a store without people; it is removed at the end."""
    with fresh(kind, directory, postgres) as place:
        gateway, key = create_store(place.settings())
        try:
            yield Site(plan, place, gateway, key, postgres)
        finally:
            gateway.store.dispose()


@contextmanager
def twin(site: Site) -> Iterator[Raw]:
    """Make an empty store of the same kind beside a site, and yield its bare driver."""
    with empty_site(site.plan, site.place.kind, site.place.directory.parent, site.postgres) as other:
        raw = Raw(other.gateway.store)
        try:
            yield raw
        finally:
            raw.close()
