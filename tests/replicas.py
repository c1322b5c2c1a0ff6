"""Another process on the same database: no lock, no cache and no connection is shared with the first."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import text

from builders import a_gateway
from consent_gateway.db.engine import Store
from consent_gateway.services.work.gateway import Gateway, Work


@contextmanager
def same_database(store: Store) -> Iterator[Store]:
    """The same database by another process's means."""
    other = Store(store.engine.url.render_as_string(hide_password=False))
    try:
        yield other
    finally:
        other.dispose()


@contextmanager
def a_replica(gateway: Gateway, **more: Any) -> Iterator[Gateway]:
    """A gateway of another process under the same keys; `more` as for `a_gateway`."""
    with same_database(gateway.store) as store:
        yield a_gateway(store, keyring=gateway.vault.provider.keyring, **more)


def impatient(work: Work) -> Work:
    """A unit of work that gives up waiting for a lock nearly at once (PostgreSQL)."""
    work.session.execute(text("SET LOCAL lock_timeout = '50ms'"))
    return work


def waits(condition: Callable[[], bool]) -> None:
    """Wait for what another thread or process brings about; AssertionError after twenty seconds."""
    bell = threading.Event()
    for _ in range(1000):
        if condition():
            return
        bell.wait(0.02)
    raise AssertionError("it did not happen")
