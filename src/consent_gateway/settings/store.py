"""The store: database, keyring, and the files that must outlive a restored backup."""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, Field

from consent_gateway.errors import FieldProblem, InputError
from consent_gateway.settings.values import Paths, PostgresAddress
from consent_gateway.settings.variables import variable

SQLITE_FILE = "gateway.sqlite3"
KEYRING_FILE = "keyring.json"
TOMBSTONE_FILE = "tombstones.log"
SPOOL_FILE = "opt_outs.spool"


class StoreSettings(BaseModel, title="The store"):
    """Where everything is that the gateway keeps."""

    store_directory: Path | None = Field(
        None,
        description=f"Directory (mode 0700) of `{SQLITE_FILE}` and `{KEYRING_FILE}`; `--store` sets it.",
        json_schema_extra={"attacker": "Serves another store; checkpoints signed earlier expose the swap."},
    )
    database_url: PostgresAddress | None = Field(
        None,
        description=(
            "PostgreSQL instead of the SQLite file: `postgresql://user@host/db?passfile=...`; "
            "`postgresql+psycopg://` is the same."
        ),
        json_schema_extra={
            "attacker": "Sees and changes pseudonymous facts; personal data stays sealed, the log shows changes."
        },
    )
    keyring_path: Path | None = Field(
        None,
        description=f"Keyring file (mode 0600); without it `{KEYRING_FILE}` in the store directory.",
        json_schema_extra={
            "attacker": "Makes the gateway seal new data under keys the attacker knows; existing data stays closed."
        },
    )
    store_deadline_seconds: float = Field(
        10.0,
        ge=0.1,
        le=60,
        description=(
            "Longest wait for the store: for other writers, for a connection, for a server that says nothing. Then "
            "503, and nothing was done; a no is kept in the spool."
        ),
        json_schema_extra={"attacker": "Long waits tie up threads while the store is blocked; short ones refuse more."},
    )
    store_statement_seconds: float = Field(
        300.0,
        ge=0,
        le=86_400,
        description=(
            "Longest time that PostgreSQL may work on one statement of a server or worker; 0: no limit. Commands that "
            "people run, and migrations, have none."
        ),
        json_schema_extra={"attacker": "Small values refuse what takes long; large ones let it hold its locks."},
    )
    tombstone_path: Path | None = Field(
        None,
        description=(
            f"Tombstone file (mode 0600), outside of every backup of the database, the same for all processes; without "
            f"it `{TOMBSTONE_FILE}` beside the keyring."
        ),
        json_schema_extra={
            "attacker": "Makes erasures wait: a file that lacks what was written to it, or of another keyring, stops "
            "the start."
        },
    )
    tombstone_copies: Paths = Field(
        (),
        description=(
            "Further files that get every line too before an erasure is acknowledged, on other disks or mounts, "
            "separated by `:`."
        ),
        json_schema_extra={"attacker": "Makes erasures wait, if a path cannot be written; learns nothing from a copy."},
    )
    spool_path: Path | None = Field(
        None,
        description=(
            "File that keeps sealed opt-outs and rights requests while the log does not stand, the same for all "
            f"processes; without it `{SPOOL_FILE}` beside the tombstone file."
        ),
        json_schema_extra={"attacker": "Loses noes that were answered with 202; what a line says is sealed."},
    )

    def database(self) -> str:
        """Return the SQLAlchemy address of the store; InputError without a store directory and database."""
        if self.database_url is not None:
            return self.database_url.get_secret_value()
        return f"sqlite:///{self._in_store(SQLITE_FILE)}"

    def keyring(self) -> Path:
        """Return the path of the keyring file; InputError if neither it nor a store directory is set."""
        return self.keyring_path or self._in_store(KEYRING_FILE)

    def tombstone_file(self) -> Path:
        """Return the path of the tombstone file; InputError as for `keyring`."""
        return (self.tombstone_path or self.keyring().with_name(TOMBSTONE_FILE)).absolute()

    def spool_file(self) -> Path:
        """Return the path of the spool; InputError as for `keyring`."""
        return (self.spool_path or self.tombstone_file().with_name(SPOOL_FILE)).absolute()

    def _in_store(self, name: str) -> Path:
        if self.store_directory is None:
            problem = FieldProblem(variable("store_directory"), "required", "set it, or give --store DIR")
            raise InputError("There is no store directory.", fields=(problem,))
        return self.store_directory.absolute() / name
