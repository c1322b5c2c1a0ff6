"""Which revision the schema is at, and which one the code needs: read without loading the tool that migrates.

Every start and every look at readiness asks this; `migrate` is loaded by whoever changes the schema. The revisions form
one line, each file naming its own and the one before it (tested against what the tool says of them).
"""

from __future__ import annotations

import re
from functools import lru_cache
from pathlib import Path

from sqlalchemy import column, inspect, select, table

from consent_gateway.db.engine import Session, Store
from consent_gateway.errors import StoreError

_VERSION = table("alembic_version", column("version_num"))
_NAMED = re.compile(r'^(revision|down_revision) = (?:"(\w+)"|None)$', re.MULTILINE)


def current(store: Store) -> str | None:
    """Return the revision that the store is at, None for an empty store."""
    with store.reading() as session:
        return _current(session)


def _current(session: Session) -> str | None:
    if not inspect(session).has_table(_VERSION.name):
        return None
    found: str | None = session.execute(select(_VERSION.c.version_num)).scalar_one_or_none()
    return found


@lru_cache(maxsize=1)
def head() -> str:
    """Return the revision that the code needs: the one that no other follows."""
    named: list[dict[str, str]] = [
        dict(_NAMED.findall(file.read_text("utf-8"))) for file in (scripts() / "versions").glob("*.py")
    ]
    (last,) = {one["revision"] for one in named} - {one["down_revision"] for one in named}
    return last


def require_head(store: Store) -> None:
    """Raise StoreError unless the schema is the code's; says which command repairs it."""
    found, needed = current(store), head()
    if found != needed:
        raise StoreError(f"the schema is at {found or 'nothing'}, the code needs {needed}: run consent-gateway migrate")


def scripts() -> Path:
    """Return the folder of the migrations: inside the package when it is installed as a wheel."""
    installed = Path(__file__).parent.parent / "_migrations"
    return installed if installed.is_dir() else Path(__file__).resolve().parents[3] / "migrations"
