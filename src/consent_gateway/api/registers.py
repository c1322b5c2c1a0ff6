"""Registers over HTTP: purposes, sources, recipients, traits, segments."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

import msgspec
from litestar import Request, Response, get, post

from consent_gateway.api.desk import body_as, desk_of, documented
from consent_gateway.api.wire import ExportsIn, FieldIn, PurposeIn, RecipientIn, SegmentIn, SourceIn, TraitIn
from consent_gateway.db import records as record_rows
from consent_gateway.db import registers as register_rows
from consent_gateway.domain.fields import CITED
from consent_gateway.domain.ids import NoticeId, PurposeId, RecipientId, SegmentId, SourceId, TraitId
from consent_gateway.domain.purposes import Recipient, Source
from consent_gateway.domain.segments import Segment, parse_json, parse_text, to_text
from consent_gateway.errors import FieldProblem, InputError
from consent_gateway.services.disclosing.exports import declare_exports
from consent_gateway.services.registry import records, registers
from consent_gateway.services.registry.fields import put_field
from consent_gateway.services.work.gateway import Work

Call = Request[Any, Any, Any]


@post("/v1/purposes", status_code=200, tags=["registers"], **documented(PurposeIn, None))
async def put_purpose(request: Call) -> Response[bytes]:
    """Register a purpose, and give its channels their place in the audience row."""
    data = await body_as(request, PurposeIn, "admin")

    def act(work: Work) -> dict[str, Any]:
        registers.put_purpose(work, data.purpose(), data.channels)
        if data.processing is not None:
            records.put_processing(work, PurposeId(data.id), data.processing.plain())
        return {"id": data.id}

    return await desk_of(request).write(request, "admin", act)


@get("/v1/purposes", tags=["registers"])
async def list_purposes(request: Call) -> Response[bytes]:
    """List the purposes with their channels."""
    return await desk_of(request).read(request, "ingest", _purposes)


def _purposes(work: Work) -> dict[str, Any]:
    channels: dict[str, list[str]] = {}
    processing = record_rows.processing(work.session)
    for purpose, channel in work.registers.slots:
        channels.setdefault(purpose, []).append(channel.value)
    return {
        "items": [
            {
                "id": p.id,
                "kind": p.kind,
                "title": p.title,
                "title_zh": p.title_zh,
                "dpv_iri": p.dpv_iri,
                "basis": p.basis,
                "parent": p.parent,
                "channels": sorted(channels.get(p.id, [])),
                "processing": processing.get(p.id),
                "marks": sorted(p.marks),
                "sensitive": p.sensitive,
                "bases": p.bases,
                "requested": p.requested,
                "reveals": p.reveals,
            }
            for p in work.registers.purposes.purposes.values()
        ]
    }


@post("/v1/sources", status_code=200, tags=["registers"], **documented(SourceIn, None))
async def put_source(request: Call) -> Response[bytes]:
    """Register a source of data."""
    data = await body_as(request, SourceIn, "admin")

    def act(work: Work) -> dict[str, Any]:
        notice = NoticeId(data.notice) if data.notice else None
        purposes = tuple(PurposeId(p) for p in data.purposes)
        source = Source(SourceId(data.id), data.name, data.channel, data.party, notice, purposes, data.retention)
        registers.put_source(work, source)
        return {"id": data.id}

    return await desk_of(request).write(request, "admin", act)


@get("/v1/sources", tags=["registers"])
async def list_sources(request: Call) -> Response[bytes]:
    """List the sources."""

    def act(work: Work) -> dict[str, Any]:
        return {"items": list(work.registers.sources.values())}

    return await desk_of(request).read(request, "ingest", act)


@post("/v1/recipients", status_code=200, tags=["registers"], **documented(RecipientIn, None))
async def put_recipient(request: Call) -> Response[bytes]:
    """Register a recipient of data, with its own pseudonym space."""
    data = await body_as(request, RecipientIn, "admin")

    def act(work: Work) -> dict[str, Any]:
        recipient = Recipient(
            RecipientId(data.id),
            data.name,
            data.kind,
            data.country,
            data.contract,
            data.transfer_mechanism,
            data.sector or data.id,
            destination=data.destination,
        )
        registers.put_recipient(work, recipient)
        if data.party is not None:
            records.put_party(work, recipient.id, data.party.plain())
        return {"id": data.id}

    return await desk_of(request).write(request, "admin", act)


@get("/v1/recipients", tags=["registers"])
async def list_recipients(request: Call) -> Response[bytes]:
    """List the recipients."""

    def act(work: Work) -> dict[str, Any]:
        parties = record_rows.parties(work.session)
        epochs = {r.id: work.registers.epochs_of(r.sector).current for r in work.registers.recipients.values()}
        more = {r: {"party": parties.get(r), "epoch": epoch} for r, epoch in epochs.items()}
        return {"items": [asdict(r) | more[r.id] for r in work.registers.recipients.values()]}

    return await desk_of(request).read(request, "ingest", act)


@post("/v1/traits", status_code=200, tags=["registers"], **documented(TraitIn, None))
async def put_trait(request: Call) -> Response[bytes]:
    """Declare a trait for segments; one that is derived from events is computed for everyone at once."""
    data = await body_as(request, TraitIn, "admin")

    def act(work: Work) -> dict[str, Any]:
        trait = registers.put_trait(
            work, TraitId(data.id), data.type, data.origin, data.event_type, data.description, data.sensitive
        )
        return {"id": trait.id, "slot": trait.slot}

    return await desk_of(request).write(request, "admin", act)


@get("/v1/traits", tags=["registers"])
async def list_traits(request: Call) -> Response[bytes]:
    """List the traits."""

    def act(work: Work) -> dict[str, Any]:
        return {"items": list(work.registers.traits.values())}

    return await desk_of(request).read(request, "ingest", act)


@post("/v1/fields", status_code=200, tags=["registers"], **documented(FieldIn, None))
async def declare_field(request: Call) -> Response[bytes]:
    """Declare a sensitive field, or for what and how long one of our own is kept (GDPR Art 5(1)(e), 9; PIPL Art 28)."""
    data = await body_as(request, FieldIn, "admin")

    def act(work: Work) -> dict[str, Any]:
        put_field(work, data.definition())
        return {"id": data.id}

    return await desk_of(request).write(request, "admin", act)


@get("/v1/fields", tags=["registers"])
async def list_fields(request: Call) -> Response[bytes]:
    """List the registered fields, with the articles by which each is sensitive."""

    def act(work: Work) -> dict[str, Any]:
        fields = sorted(work.registers.fields.values(), key=lambda f: f.id)
        cited = {f.id: () if f.category is None else CITED[f.category] for f in fields}
        return {"items": [asdict(f) | {"cites": cited[f.id]} for f in fields]}

    return await desk_of(request).read(request, "ingest", act)


@post("/v1/exports", status_code=200, tags=["registers"], **documented(ExportsIn, None))
async def put_exports(request: Call) -> Response[bytes]:
    """Declare how many people's data left China this year: beyond the thresholds a transfer needs a mechanism."""
    data = await body_as(request, ExportsIn, "admin")

    def act(work: Work) -> dict[str, Any]:
        declare_exports(work, data.exports())
        return {"year": data.year}

    return await desk_of(request).write(request, "admin", act)


@get("/v1/exports", tags=["registers"])
async def list_exports(request: Call) -> Response[bytes]:
    """List what was declared, by year."""

    def act(work: Work) -> dict[str, Any]:
        return {"items": list(work.registers.exports.values())}

    return await desk_of(request).read(request, "ingest", act)


@post("/v1/segments", status_code=200, tags=["registers"], **documented(SegmentIn, None))
async def save_segment(request: Call) -> Response[bytes]:
    """Save a segment, given as an expression tree or as text."""
    data = await body_as(request, SegmentIn, "audience")

    def act(work: Work) -> dict[str, Any]:
        segment = read_segment(data.expression, data.text)
        registers.save_segment(work, SegmentId(data.id), segment, data.description)
        return {"id": data.id, "text": to_text(segment)}

    return await desk_of(request).write(request, "audience", act)


@get("/v1/segments", tags=["registers"])
async def list_segments(request: Call) -> Response[bytes]:
    """List the saved segments as expressions and as text."""

    def act(work: Work) -> dict[str, Any]:
        items = []
        for row in register_rows.segment_rows(work.session):
            expression = json.loads(row["expression"])
            text = to_text(parse_json(expression))
            items.append({"id": row["id"], "expression": expression, "text": text, "description": row["description"]})
        return {"items": items}

    return await desk_of(request).read(request, "audience", act)


def read_segment(expression: dict[str, Any] | None, text: str | None) -> Segment:
    """Return the segment of whichever of the two forms was given; InputError unless it is exactly one."""
    if (expression is None) == (text is None):
        message = "give exactly one of expression and text"
        raise InputError(fields=(FieldProblem("$", "one_of", message),))
    if text is not None:
        return parse_text(text)
    if b"\\u0000" in msgspec.json.encode(expression):
        raise InputError(fields=(FieldProblem("$.expression", "nul_character", "must not contain NUL"),))
    return parse_json(expression)


HANDLERS = (
    put_purpose,
    list_purposes,
    put_source,
    list_sources,
    put_recipient,
    list_recipients,
    put_trait,
    list_traits,
    declare_field,
    list_fields,
    put_exports,
    list_exports,
    save_segment,
    list_segments,
)
