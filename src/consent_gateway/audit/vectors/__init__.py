"""Run published test vectors against the checks of this package, so that anybody can repeat it on an installation.

A file's format is told by its content; `FORMATS` lists them. Every case is answered by the same functions that serve
auditors: `cases` says what a difference is, `proofs`, `notes` and `trees` read the formats.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from consent_gateway.audit.vectors.cases import Case, VectorRun, run_of
from consent_gateway.audit.vectors.notes import NOTE_FORMAT, mldsa_cases, own_note_cases, third_party_cases
from consent_gateway.audit.vectors.proofs import eddsa_cases, proof_cases, receipt_cases
from consent_gateway.audit.vectors.trees import (
    LOG_FORMAT,
    directory_cases,
    geometry_cases,
    own_log_cases,
    worked_cases,
)

__all__ = ["Case", "VectorRun", "run_vector_file", "vector_files"]

_MAX_FILE = 64 << 20
_Tells = Callable[[Any], bool]
_Reads = Callable[[Any, Path], Iterator[Case]]


def _has(*members: str) -> _Tells:
    return lambda document: isinstance(document, Mapping) and set(members) <= set(document)


def _is(member: str, value: str) -> _Tells:
    return lambda document: isinstance(document, Mapping) and document.get(member) == value


def _plain(read: Callable[[Any], Iterator[Case]]) -> _Reads:
    return lambda document, _folder: read(document)


FORMATS: tuple[tuple[str, _Tells, _Reads], ...] = (
    ("checkpoints", _is("format", NOTE_FORMAT), _plain(own_note_cases)),
    ("logs", _is("format", LOG_FORMAT), _plain(own_log_cases)),
    ("Wycheproof EdDSA", _is("algorithm", "EDDSA"), _plain(eddsa_cases)),
    ("proofs", _has("vectors"), _plain(proof_cases)),
    ("receipts", _has("cases", "log_vkey"), _plain(receipt_cases)),
    ("geometry of a tree", _has("tiles_sha256", "bundles_sha256"), _plain(geometry_cases)),
    ("worked values of a tree", _has("checkpoints", "leaf_hashes"), worked_cases),
    ("a tlog-tiles directory", _has("log_vkey", "entries"), directory_cases),
    ("an ML-DSA-44 cosignature", _has("public_key_hex", "note_line"), _plain(mldsa_cases)),
    ("notes", lambda document: isinstance(document, list), _plain(third_party_cases)),
)
"""Name, how it is told, how it is read; the first that fits counts."""


def vector_files(path: Path) -> list[Path]:
    """Return the file, or the JSON files of the folder at any depth, in order."""
    return sorted(path.rglob("*.json")) if path.is_dir() else [path]


def run_vector_file(path: Path) -> VectorRun:
    """Run every case of the file.

    Raises ValueError when the file is of no known format or holds no case at all, OSError when it can't be read.
    """
    document = _load(path)
    for _name, tells, read in FORMATS:
        if tells(document):
            cases = _run(path, document, read)
            if not cases:
                raise ValueError(f"{path.name} holds no cases")
            return run_of(cases)
    raise ValueError(f"{path.name} is not a vector file of a known format")


def _load(path: Path) -> Any:
    """Return the JSON of a file."""
    with path.open("rb") as file:
        data = file.read(_MAX_FILE + 1)
    try:
        return json.loads(data.decode()) if len(data) <= _MAX_FILE else None
    except (ValueError, RecursionError):
        raise ValueError(f"{path.name} is not JSON in UTF-8") from None


def _run(path: Path, document: Any, read: _Reads) -> list[Case]:
    """Return the answers; ValueError when the document is not what its format promises."""
    try:
        return list(read(document, path.parent))
    except (LookupError, TypeError, AttributeError, ValueError) as error:
        raise ValueError(f"{path.name} is not as its format wants it: {type(error).__name__}") from None
