"""Destroying the key of a past generation of the blind index: after that, nothing is found by its values any more.

The protocol is that of `services.keys.key_destruction`. What stands in the way: the generation counts or is moved from,
or rows of people who are not known can be found by this key alone.
"""

from __future__ import annotations

from consent_gateway.audit.entries import EntryKind
from consent_gateway.db import generations as generation_rows
from consent_gateway.db.destructions import INDEX_GENERATIONS, Destruction
from consent_gateway.domain.approvals import Action, Approval
from consent_gateway.errors import ConflictError, NotFoundError
from consent_gateway.services.keys.key_destruction import Destroyable, Said
from consent_gateway.services.work.gateway import Work
from consent_gateway.vault.keyring import Keyring


def _require_past(work: Work, number: int) -> None:
    index, keyring = work.registers.index, work.gateway.vault.custody.keyring
    if number not in keyring.generations:
        raise NotFoundError("the keyring holds no such index generation")
    used = {index.counts.number, *(other.number for other in index.others())}
    if number in used | {keyring.current_generation}:
        raise ConflictError("this generation is in use: move the index first")
    counted = generation_rows.count(work.session, number)
    left = counted + sum(generation_rows.strangers(work.session, number).values())
    if left:
        raise ConflictError(f"{left} rows of people who are not known can be found by this key alone")


def _deciding(number: int, approval: Approval) -> Said:
    return EntryKind.INDEX_MOVED, {"step": "destroying", "from": number, "approval": approval.id}


def _done(_: Keyring, destruction: Destruction) -> Said:
    return EntryKind.INDEX_MOVED, {
        "step": "destroyed",
        "from": destruction.number,
        "approval": destruction.approval,
    }


GENERATIONS = Destroyable(
    "generation",
    Action.DESTROY_INDEX_GENERATION,
    INDEX_GENERATIONS,
    require_past=_require_past,
    require_needless=lambda _work, _number: None,  # what needs it is a reason not to propose it either
    held=lambda keyring: keyring.generations,
    without=Keyring.destroy_index_generation,
    deciding=_deciding,
    done=_done,
)
