"""Run published test vectors against the checks of this package, so that anybody can repeat it on an installation.

Two file formats are known: proof vectors (`vectors`: RFC 6962 inclusion and consistency cases as in
transparency-dev/merkle, most of which must be refused) and receipt cases (`cases`: `.tlog-proof` files with an entry
and the wanted answer). Every case is answered by the same functions that serve auditors.
"""

from __future__ import annotations

import json
from base64 import b64decode
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from consent_gateway.audit.proofs import verify_consistency, verify_inclusion
from consent_gateway.audit.verifier import verify_receipt

_ANSWERS = {True: "accept", False: "refuse"}


@dataclass(frozen=True, slots=True)
class Difference:
    """A case that was answered otherwise than it wants."""

    case: str
    wanted: str
    got: str

    def __str__(self) -> str:
        return f"{self.case}: wanted {self.wanted}, got {self.got}"


@dataclass(frozen=True, slots=True)
class VectorRun:
    """How many cases a file has and which of them were answered wrongly."""

    cases: int
    differences: tuple[Difference, ...]


def run_vectors(path: Path) -> list[Difference]:
    """Return the cases of the file that are answered otherwise than they want; empty when all agree.

    Raises ValueError when the file is of no known format or holds no case at all, OSError when it can't be read.
    """
    return list(run_vector_file(path).differences)


def run_vector_file(path: Path) -> VectorRun:
    """Run every case of the file; see `run_vectors` for the errors."""
    document = json.loads(path.read_text(encoding="utf-8"))
    try:
        answers = list(_answers(document))
    except (LookupError, TypeError, AttributeError):
        raise ValueError(f"{path.name} is not a vector file of a known format") from None
    if not answers:
        raise ValueError(f"{path.name} holds no cases")
    wrong = (Difference(case, _ANSWERS[want], _ANSWERS[got]) for case, want, got in answers if want != got)
    return VectorRun(len(answers), tuple(wrong))


def _answers(document: Mapping[str, Any]) -> list[tuple[str, bool, bool]]:
    """Return (name, wanted, got) of each case."""
    if "cases" in document:
        vkey = document["log_vkey"]
        return [(case["name"], case["want"] == "accept", _receipt_holds(vkey, case)) for case in document["cases"]]
    return [(case["file"], not case["wantErr"], _proof_holds(case)) for case in document["vectors"]]


def _receipt_holds(vkey: str, case: Mapping[str, Any]) -> bool:
    """Answer one receipt case."""
    return verify_receipt(vkey, case["proof"].encode(), bytes.fromhex(case["leaf_hex"])).ok


def _proof_holds(case: Mapping[str, Any]) -> bool:
    """Answer one proof vector; hashes are base64 and may be absent or of any length."""
    path = [_hash(node) for node in case["proof"] or ()]
    if "leafHash" in case:
        index, size = case["leafIdx"], case["treeSize"]
        return verify_inclusion(index, size, _hash(case["leafHash"]), path, _hash(case["root"]))
    return verify_consistency(case["size1"], case["size2"], _hash(case["root1"]), _hash(case["root2"]), path)


def _hash(text: str | None) -> bytes:
    """Return the bytes of a vector's hash; null stands for none."""
    return b64decode(text or "")
