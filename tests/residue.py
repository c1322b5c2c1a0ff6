"""Look for what must not be anywhere: plaintext of people, and bytes of keys, raw, in hex or in base64."""

from __future__ import annotations

import base64
import contextlib
from collections.abc import Iterable, Mapping
from pathlib import Path

from sqlalchemy import text

from consent_gateway.db import subjects
from consent_gateway.db.engine import Store
from consent_gateway.domain.ids import SubjectId
from consent_gateway.services.work.gateway import Gateway
from consent_gateway.vault.keyring import SHARDS

Needles = Mapping[str, bytes]


def keys_of(gateway: Gateway) -> dict[str, bytes]:
    """Every key that lives: roots, key-encryption keys, and the data key of each person and of the gateway itself."""
    ring = gateway.vault.provider.keyring
    single = ("pseudonym", "audit_commitment", "tombstone", "log_signing_seed")
    found = {f"root/{name}": bytes(getattr(ring.roots, name)) for name in single}
    found |= {f"kek/{epoch}": bytes(root) for epoch, root in ring.roots.kek.items()}
    found |= {f"kek/{e}/{shard}": ring.kek(e, shard) for e in ring.epochs for shard in range(SHARDS)}
    found |= {f"index/{n}": bytes(root) for n, root in ring.roots.index.items()}
    with gateway.look() as work:
        ids = [SubjectId(0), *subjects.ids_after(work.session, 0, 10_000)]
        found |= {f"dek/{i}": dek for i, dek in gateway.vault.keys(work.session, ids).items()}
    return found


def files_of(store: Store, *more: Path) -> list[Path]:
    """Every file in which the store keeps anything (with the log of PostgreSQL's writes), and those below `more`."""
    if store.is_sqlite:
        home = Path(str(store.engine.url.database)).parent
    else:
        with store.engine.connect() as connection:
            home = Path(str(connection.execute(text("SHOW data_directory")).scalar()))
            connection.execute(text("CHECKPOINT"))
    return [file for place in (home, *more) for file in sorted(place.rglob("*")) if file.is_file()]


def found_in(files: Iterable[Path], needles: Needles) -> set[str]:
    """The names of the needles that stand in any of the files."""
    hits: set[str] = set()
    for file in files:
        with contextlib.suppress(FileNotFoundError):  # of a server that is at work
            hits |= found_in_bytes(file.read_bytes(), needles)
    return hits


def found_in_bytes(content: bytes, needles: Needles) -> set[str]:
    """The names of the needles that stand in the bytes."""
    return {name for name, needle in needles.items() if any(form in content for form in _forms(needle))}


def _forms(needle: bytes) -> tuple[bytes, ...]:
    encoded = base64.b64encode(needle).rstrip(b"=")[:-1]  # the last character depends on what follows
    return needle, needle.hex().encode(), needle.hex().upper().encode(), encoded
