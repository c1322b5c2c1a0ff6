"""The database under a serving gateway is killed, stopped, waits for its standby, or has no room left.

Whatever happens to it: what was acknowledged has its entry and a receipt that holds, the log is one history, everything
that cannot be written is 503 with Retry-After in time, a no is kept, and all goes on by itself when the database does.
"""

from __future__ import annotations

import itertools
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import pytest

from consent_gateway.audit.verifier import verify_directory, verify_receipt
from consent_gateway.services.log import audit_log
from edge import Edge, client, running
from own_server import OwnServer, fill, own_server, small_disk

DEADLINE = 2.0
LATE = 12.0  # the deadline, and what a busy machine adds
ANNA = {"email": "anna@example.org"}
SOURCE = {"id": "crm", "name": "CRM", "channel": "web", "party": "first"}
ASK = {"subject": ANNA, "purpose": "direct_marketing", "channel": "email", "recipient": "self"}
NUMBERS = itertools.count()
KILLS = 20

pytestmark = pytest.mark.postgres


@pytest.fixture(scope="module")
def server() -> Iterator[OwnServer]:
    with own_server() as made:
        yield made


@dataclass
class Site:
    """A serving gateway and its callers: what they were told."""

    edge: Edge
    acknowledged: list[str] = field(default_factory=list)  # entries of decisions
    refused: Counter[str] = field(default_factory=Counter)
    noes: int = 0  # 200 or 202
    calls: Iterator[int] = field(default_factory=itertools.count)

    def ask(self, api: httpx.Client) -> bool:
        """A decision; tell whether it was made."""
        reply = self._timed(lambda: api.post("/v1/decisions", json=ASK))
        if reply.is_success:
            self.acknowledged.append(reply.json()["entry"]["uid"])
        else:
            self._refuse(reply)
        return reply.is_success

    def say_no(self, api: httpx.Client) -> int:
        """A withdrawal of somebody new each time; whatever happens, it is taken in."""
        who = {"email": f"no{next(self.calls)}@example.org"}
        row = {"subject": who, "purpose": "direct_marketing", "channel": "email", "kind": "withdrawn"}
        items = [row | {"at": "2026-01-31T12:00:00Z"}]
        reply = self._timed(lambda: api.post("/v1/consents", json={"source": "crm", "items": items}))
        assert reply.status_code in (200, 202), reply.text
        self.noes += 1
        return reply.status_code

    def _refuse(self, reply: httpx.Response) -> None:
        assert reply.status_code == 503, reply.text
        assert int(reply.headers["retry-after"]) >= 1
        self.refused[reply.json()["code"]] += 1

    @staticmethod
    def _timed(act: Callable[[], httpx.Response]) -> httpx.Response:
        begun = time.monotonic()
        reply = act()
        assert time.monotonic() - begun < LATE
        return reply

    def heals(self) -> None:
        waits(lambda: self.edge.admin.get("/health/ready").is_success)
        waits(lambda: self.edge.admin.post("/v1/decisions", json=ASK).is_success)
        assert self.edge.admin.get("/v1/keys").json()["deferred"] == {"waiting": 0, "refused": 0}

    def check(self, directory: Path) -> int:
        """What must hold whenever the database is there; returns the size of the log."""
        self.edge.settle()
        vkey = self.edge.gateway.signer.vkey
        for uid in self.acknowledged:
            receipt = self.edge.admin.get(f"/v1/audit/entries/{uid}/receipt").raise_for_status().content
            entry = self.edge.admin.get(f"/v1/audit/entries/{uid}/bytes").raise_for_status().content
            assert verify_receipt(vkey, receipt, entry).ok
        size = audit_log.export(self.edge.gateway, directory)
        found = verify_directory(vkey, directory, strict=True)
        assert found.ok, str(found)
        with self.edge.gateway.look() as work:
            kept = work.session.exec_driver_sql("SELECT count(*) FROM suppressions").scalar()
        assert kept == self.noes, "every no stands"
        return size


def waits(condition: Callable[[], bool]) -> None:
    bell = threading.Event()
    for _ in range(1500):
        if condition():
            return
        bell.wait(0.02)
    raise AssertionError("it did not happen")


@contextmanager
def a_site(place: Path, url: str, **more: float) -> Iterator[Site]:
    with running(place / "store", url, store_deadline_seconds=DEADLINE, **more) as edge:
        assert edge.admin.post("/v1/sources", json=SOURCE).is_success
        items = [{"email": ANNA["email"], "country": "DE", "birth_date": "1980-05-17"}]
        assert edge.admin.post("/v1/subjects", json={"source": "crm", "items": items}).is_success
        yield Site(edge)


@pytest.fixture
def site(server: OwnServer, tmp_path: Path) -> Iterator[Site]:
    with a_site(tmp_path, server.create(f"sink_{next(NUMBERS)}")) as made:
        yield made


@contextmanager
def busy(site: Site) -> Iterator[None]:
    """Two callers who pause for refusals alone, until the block ends."""
    ended, broken = threading.Event(), list[BaseException]()

    def calls(number: int) -> None:
        with client(site.edge.url, site.edge.key) as api:
            try:
                while not ended.is_set():
                    if not site.ask(api):
                        ended.wait(0.02)
                    if number == 0:
                        site.say_no(api)
            except BaseException as error:  # noqa: BLE001 - told to the test
                broken.append(error)

    threads = [threading.Thread(target=calls, args=(number,)) for number in range(2)]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        ended.set()
        for thread in threads:
            thread.join()
    assert broken == []


def dies(site: Site, server: OwnServer, more: int) -> None:
    """Kill the database once so many further decisions were acknowledged, and start it again after some refusals."""
    with busy(site):
        goal = len(site.acknowledged) + more
        waits(lambda: len(site.acknowledged) >= goal)
        server.kill()
        goal = site.refused.total() + 5
        waits(lambda: site.refused.total() >= goal)
        server.start()
        goal = len(site.acknowledged) + 3
        waits(lambda: len(site.acknowledged) >= goal)


def test_a_database_that_is_killed_in_the_middle_of_work(site: Site, server: OwnServer, tmp_path: Path) -> None:
    dies(site, server, 20)
    site.heals()
    site.check(tmp_path / "log")
    assert site.noes > 0


@pytest.mark.long
def test_a_database_that_is_killed_again_and_again(
    site: Site, server: OwnServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sizes = []
    for number in range(KILLS):
        dies(site, server, 3 + 7 * number % 40)
        if number % 5 == 4:
            site.heals()
            sizes.append(site.check(tmp_path / "log"))
    assert sizes == sorted(sizes)
    with capsys.disabled():
        told = f"{len(site.acknowledged)} decisions and {site.noes} noes taken, refused {dict(site.refused)}"
        print(f"\n{KILLS} deaths of the database: {told}, log of {sizes[-1]}")


@pytest.fixture
def hasty(server: OwnServer, tmp_path: Path) -> Iterator[Site]:
    """A site whose statements have less time than the deadline."""
    with a_site(tmp_path, server.create(f"sink_{next(NUMBERS)}"), store_statement_seconds=DEADLINE / 2) as made:
        yield made


def test_a_database_that_stands_still_and_one_that_waits_for_its_standby(
    hasty: Site, server: OwnServer, tmp_path: Path
) -> None:
    """It answers questions, and no commit.

    Nothing that was not replicated is acknowledged: neither the time limit of statements nor anybody else cancels the
    wait, for PostgreSQL calls a commit done whose wait was cancelled. Before that it stands still altogether: the kernel
    accepts connections for it, and nobody answers.
    """
    site = hasty
    assert site.ask(site.edge.admin)
    with server.stopped():
        assert not site.ask(site.edge.admin)
        assert site.say_no(site.edge.admin) == 202
        assert not site.ask(site.edge.admin)
    site.heals()
    waits(lambda: audit_log.pending(site.edge.gateway) == 0)
    server.sql("ALTER SYSTEM SET synchronous_standby_names = 'away'", "SELECT pg_reload_conf()")
    try:
        waits(lambda: not site.ask(site.edge.admin))
        assert site.say_no(site.edge.admin) == 202
        assert not site.ask(site.edge.admin)
        assert site.edge.admin.get("/health/ready").status_code == 503
        acknowledged = list(site.acknowledged)
    finally:
        server.sql("ALTER SYSTEM RESET synchronous_standby_names", "SELECT pg_reload_conf()")
    site.heals()
    assert site.acknowledged == acknowledged
    site.check(tmp_path / "log")
    assert site.refused["commit_in_doubt"] >= 1


# -- no room -------------------------------------------------------------------------------------------------------


def full(site: Site, disk: Path, *, leave: int = 0) -> Path:
    """Fill the disk and act until nothing is acknowledged any more."""
    ballast = fill(disk, leave=leave)
    for _ in range(2000):
        if not site.ask(site.edge.admin):
            break
    else:
        raise AssertionError("it never became full")
    return ballast


def test_a_tablespace_without_room(server: OwnServer, tmp_path: Path) -> None:
    name = f"small_{next(NUMBERS)}"
    with small_disk(64) as disk:
        server.sql(f"CREATE TABLESPACE {name} LOCATION '{disk}'")
        with a_site(tmp_path, server.create(name, f"TABLESPACE {name}")) as site:
            ballast = full(site, disk)
            assert not any(site.ask(site.edge.admin) for _ in range(3))
            assert site.say_no(site.edge.admin) == 202
            assert site.edge.admin.get("/health/ready").status_code == 503
            ballast.unlink()
            site.heals()
            site.check(tmp_path / "log")
        server.sql(f"DROP DATABASE {name} WITH (FORCE)", f"DROP TABLESPACE {name}")


@pytest.mark.long
def test_a_server_without_room_for_its_own_log(tmp_path: Path) -> None:
    """Then PostgreSQL ends itself. It is started again when there is room; the gateway never is."""
    with small_disk(160) as disk, own_server(disk) as server, a_site(tmp_path, server.create("small")) as site:
        assert site.ask(site.edge.admin)
        ballast = full(site, disk)
        assert site.say_no(site.edge.admin) == 202
        waits(lambda: not server.has_room_for_its_log())
        assert not site.ask(site.edge.admin)
        assert site.say_no(site.edge.admin) == 202
        ballast.unlink()
        server.kill()
        server.start()
        site.heals()
        site.check(tmp_path / "log")
