"""What is known about the log beside the log: its epochs, its copies elsewhere, and what witnesses signed."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Integer, LargeBinary, SmallInteger, String, Table

from consent_gateway.db.tables.base import Classes, metadata

log_epochs = Table(
    "log_epochs",
    metadata,
    Column("epoch", Integer, primary_key=True, autoincrement=False),
    Column("origin", String(160), nullable=False),
    Column("vkey", String(320), nullable=False),
    Column("reason", String(63), nullable=False),
    Column("surviving", BigInteger, nullable=False),  # entries that went on
    Column("lost_from", BigInteger),  # NULL: nothing was lost
    Column("lost_until", BigInteger),
    Column("statement", LargeBinary, nullable=False),  # a signed note by the key of the epoch before
    Column("entry_uid", LargeBinary(16), nullable=False),
    Column("opened_at", BigInteger, nullable=False),
)

log_copies = Table(
    "log_copies",
    metadata,
    Column("place", String(64), primary_key=True),  # digest of where the copy is
    Column("name", String(32), nullable=False),
    Column("kept_at", BigInteger, nullable=False),  # when it was first written
)

log_witnesses = Table(
    "log_witnesses",
    metadata,
    Column("witness", String(64), primary_key=True),  # digest of its key
    Column("origin", String(160), primary_key=True),
    Column("size", BigInteger, nullable=False),  # of the last checkpoint that it is known to have signed
    Column("cosigned_at", BigInteger, nullable=False),  # by its own clock
)

log_witnessed = Table(
    "log_witnessed",
    metadata,
    Column("id", SmallInteger, primary_key=True, autoincrement=False),
    Column("size", BigInteger, nullable=False),
    Column("checkpoint", LargeBinary, nullable=False),  # the newest with a quorum of cosignatures
)

CLASSES: Classes = {
    "log_epochs": {
        "log": "epoch origin vkey reason surviving lost_from lost_until statement entry_uid",
        "time": "opened_at",
    },
    "log_copies": {"operational": "place name", "time": "kept_at"},
    "log_witnesses": {"operational": "witness origin size", "time": "cosigned_at"},
    "log_witnessed": {"log": "id size checkpoint"},
}
