"""Pseudonyms over HTTP: a recipient's epochs, the next one, and the move into it."""

from __future__ import annotations

from typing import Any

from litestar import Request, Response, get, post
from litestar.params import FromPath

from consent_gateway.api.desk import body_as, desk_of, documented
from consent_gateway.api.wire import instant
from consent_gateway.api.wire.pseudonyms import ConvertIn, ConvertOut, EpochsOut, RollIn
from consent_gateway.domain.ids import RecipientId
from consent_gateway.services.disclosing import pseudonyms
from consent_gateway.services.work.gateway import Work

Call = Request[Any, Any, Any]


@post("/v1/recipients/{recipient:str}/epochs", status_code=201, tags=["registers"], **documented(RollIn, EpochsOut))
async def roll_epoch(request: Call, recipient: FromPath[str]) -> Response[bytes]:
    """Begin the next epoch of a recipient's pseudonyms, and of everybody's in its sector."""
    data = await body_as(request, RollIn, "admin")

    def act(work: Work) -> dict[str, Any]:
        pseudonyms.roll(work, RecipientId(recipient), data.overlap_seconds)
        return _epochs(work, RecipientId(recipient))

    return await desk_of(request).write(request, "admin", act, 201)


@get("/v1/pseudonyms/epochs", tags=["pseudonyms"], **documented(None, EpochsOut))
async def show_epochs(request: Call) -> Response[bytes]:
    """Show the caller which of its pseudonyms count: those of the current epoch, and former ones for a while."""
    return await desk_of(request).read(request, "audience", lambda work: _epochs(work, work.actor.recipient))


@post("/v1/pseudonyms/convert", status_code=200, tags=["pseudonyms"], **documented(ConvertIn, ConvertOut))
async def convert_pseudonyms(request: Call) -> Response[bytes]:
    """Return the caller's pseudonyms of the current epoch for those it holds. Repeating it changes nothing."""
    data = await body_as(request, ConvertIn, "audience")

    def act(work: Work) -> dict[str, Any]:
        done = pseudonyms.convert(work, data.pseudonyms)
        return {
            "epoch": done.epoch,
            "converted": len(done.names) - done.refused,
            "refused": done.refused,
            "pseudonyms": done.names,
            "refusal": {"code": pseudonyms.UNKNOWN_NAME.code, "message": pseudonyms.UNKNOWN_NAME.message},
            "entry": {"uid": done.uid.hex()},
        }

    return await desk_of(request).write(request, "audience", act, kept=False)


def _epochs(work: Work, recipient: RecipientId) -> dict[str, Any]:
    sector = work.registers.sector(recipient)
    epochs = work.registers.epochs_of(sector)
    counting = [e for e in sorted(epochs.former) if e in epochs.counting(work.now)]
    former = [{"epoch": e, "counts_until": instant(epochs.former[e])} for e in counting]
    return {"recipient": recipient, "sector": sector, "epoch": epochs.current, "former": former}


HANDLERS = (roll_epoch, show_epochs, convert_pseudonyms)
