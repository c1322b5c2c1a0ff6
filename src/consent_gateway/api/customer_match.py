"""Customer lists over HTTP: the disclosure of identifiers to an ad platform, recorded before the first byte."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import msgspec
from litestar import Request, post
from litestar.params import FromPath
from litestar.response import Stream

from consent_gateway.api.audiences import require_id
from consent_gateway.api.auth import authenticate
from consent_gateway.api.desk import Desk, body_as, desk_of, documented
from consent_gateway.api.wire.customer_match import CustomerMatchIn
from consent_gateway.domain.registers import Principal
from consent_gateway.services.disclosing import customer_match
from consent_gateway.services.disclosing.customer_match import Disclosure

Call = Request[Any, Any, Any]


@post(
    "/v1/audiences/{audience:str}/customer-match",
    status_code=200,
    tags=["audiences"],
    **documented(CustomerMatchIn, None),
)
async def disclose_members(request: Call, audience: FromPath[str]) -> Stream:
    """Disclose digests of members' addresses to the audience's ad platform, one person a line; recorded first.

    A digest of an address is no pseudonym: whoever holds the address knows the person. The entry is in the header
    `Consent-Gateway-Entry`.
    """
    data = await body_as(request, CustomerMatchIn, customer_match.DISCLOSE_SCOPE)
    desk = desk_of(request)

    def begin() -> tuple[Principal, Disclosure]:
        principal = authenticate(desk.gateway, request.scope["headers"], customer_match.DISCLOSE_SCOPE)
        require_id(audience)
        grounds = data.grounds()
        return principal, desk.retried(lambda: customer_match.begin(desk.gateway, audience, grounds, principal))

    principal, begun = await desk.run(begin)
    headers = {"consent-gateway-nature": customer_match.NATURE, "consent-gateway-entry": begun.uid.hex()}
    return Stream(_lines(desk, begun, principal), media_type="application/x-ndjson", headers=headers)


async def _lines(desk: Desk, begun: Disclosure, principal: Principal) -> AsyncIterator[bytes]:
    """Yield the lines chunk by chunk; an error leaves the response unfinished, so that nobody takes it for all."""
    chunks = customer_match.stream(desk.gateway, begun, principal)
    while (chunk := await desk.run(lambda: next(chunks, None))) is not None:
        yield b"".join(msgspec.json.encode(person) + b"\n" for person in chunk)


HANDLERS = (disclose_members,)
