"""The consented audience as one call: segment, consent, law, suppression, caps, quiet hours, with every loss explained.

One scan groups everyone inside the segment into classes, each class is decided once, and the members of permitted
classes are the audience. It is one entry in the log, which commits to the manifest (`audit.manifests`), so that anybody
can be proven in or out without listing the others.

Members are kept and read out in the order of the manifest, which is another one in every audience: in the order in
which people came, two recipients could join their lists line by line (promise P9).

An audience is a proposal. While its members are read out they are decided again (promise P2): the same question as
then, about the people as they are now; who withdrew, objected, was erased or was merged into somebody else since is not
in the stream. A chunk is computed, and everything it needed is given back, before it is handed over: a slow reader
holds nothing.
"""

from __future__ import annotations

import json
import secrets
import sys
from array import array
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace

from consent_gateway.audit.canonical import canonical_json
from consent_gateway.audit.entries import EntryKind
from consent_gateway.audit.manifests import MANIFEST_VERSION, member_leaves
from consent_gateway.audit.merkle import EMPTY_RANGE
from consent_gateway.audit.tiles import TILE_HEIGHT
from consent_gateway.db import audience_rows, merges
from consent_gateway.db import audiences as audience_db
from consent_gateway.db import registers as register_rows
from consent_gateway.db.audiences import AudienceRow
from consent_gateway.db.classes import classes
from consent_gateway.db.segments import compile_segment
from consent_gateway.domain.audiences import ClassKey, Loss, LossStage, Waterfall, loss, waterfall
from consent_gateway.domain.ids import PurposeId, RecipientId, SubjectId
from consent_gateway.domain.purposes import Basis, Channel
from consent_gateway.domain.registers import Principal, Registers
from consent_gateway.domain.segments import Segment, check, parse_json, to_json, traits_used
from consent_gateway.errors import FieldProblem, InputError, NotFoundError
from consent_gateway.services.deciding.questions import Asked, Message, Use
from consent_gateway.services.work.gateway import SYSTEM, Gateway, Work

CHUNK = 1000


@dataclass(frozen=True, slots=True)
class Audience:
    """A resolved audience: its row, and the losses as they may be shown."""

    row: AudienceRow
    waterfall: Waterfall


def resolve(work: Work, segment: Segment, use: Use, ttl_seconds: int | None = None) -> Audience:
    """Resolve `segment` for `use` at this instant, record it, and keep its members until it expires."""
    rules = work.gateway.rules
    check(segment, work.registers.traits)
    use = _with_sensitive(use, segment, work.registers)
    asked = work.gateway.decider.ask(use, work.registers, rules, work.now)
    population = audience_rows.population(work.session)
    outcomes, members = _decide_classes(work, segment, asked)
    shown_losses = waterfall(population, outcomes, rules.k_floor)
    sector = work.registers.sector(use.recipient)
    epoch = work.registers.epochs_of(sector).current
    audience_id = secrets.token_hex(16)
    blocks = work.gateway.vault.pseudonymiser.bulk_bytes(members, sector, epoch)
    members, leaves = _in_order(members, member_leaves(bytes.fromhex(audience_id), blocks))
    tree, rows = EMPTY_RANGE.climb(leaves)
    ttl = min(ttl_seconds or rules.audience_ttl_seconds, rules.audience_ttl_seconds)
    packs = [pack.name for pack in work.law.packs.packs]
    shown = [losses_json(item) for item in shown_losses.losses]
    uid = work.record(
        EntryKind.AUDIENCE_RESOLVED,
        {
            "audience": audience_id,
            "purpose": use.purpose,
            "channel": use.channel.value,
            "recipient": use.recipient,
            "segment": to_json(segment),
            "size": len(members),
            "waterfall": shown,
            "manifest": MANIFEST_VERSION,
            "manifest_root": tree.root.hex(),
            **work.cite_law(),
            "expires_at": work.now + ttl,
        },
    )
    row = AudienceRow(
        id=audience_id,
        segment=canonical_json(to_json(segment)).decode(),
        purpose=use.purpose,
        channel=use.channel.value,
        recipient=use.recipient,
        message=canonical_json(asdict(use.message)).decode(),
        basis=use.basis,
        created_at=work.now,
        expires_at=work.now + ttl,
        size=len(members),
        waterfall=json.dumps(shown),
        packs=json.dumps(packs),
        manifest_root=tree.root,
        entry_uid=uid,
        epoch=epoch,
    )
    audience_db.put(work.session, row, _chunks(members), b"".join(rows[TILE_HEIGHT] if len(rows) > TILE_HEIGHT else ()))
    return Audience(row, shown_losses)


def saved_segment(work: Work, segment_id: str) -> Segment:
    """Return a saved segment; InputError names the field if there is none."""
    rows = register_rows.segment_rows(work.session, segment_id)
    if not rows:
        raise InputError(fields=(FieldProblem("$.segment", "unknown_segment", "no such segment is saved"),))
    return parse_json(json.loads(rows[0]["expression"]))


def find(work: Work, audience_id: str) -> AudienceRow:
    """Return an audience that has not expired; NotFoundError otherwise. It ends at the latest with its epoch."""
    row = audience_db.get(work.session, audience_id)
    if row is None or row.expires_at <= work.now:
        raise NotFoundError
    if row.epoch not in work.registers.epochs_of(work.registers.sector(RecipientId(row.recipient))).counting(work.now):
        raise NotFoundError
    return row


def record_reading(work: Work, row: AudienceRow, size: int | None = None) -> bytes:
    """Record that the caller begins to read the members out, all or `size` of them; returns the entry's uid."""
    read = row.size if size is None else size
    return work.record(EntryKind.MEMBERS_READ, {"audience": row.id, "recipient": row.recipient, "size": read})


def use_of(row: AudienceRow) -> Use:
    """Return what an audience was resolved for; equal to the `Use` that `resolve` was given.

    The categories of sensitive data follow from the segment and are not part of it.
    """
    return Use(
        PurposeId(row.purpose),
        Channel(row.channel),
        RecipientId(row.recipient),
        Message(**json.loads(row.message)),
        None if row.basis is None else Basis(row.basis),
    )


def stream_members(gateway: Gateway, audience_id: str, actor: Principal = SYSTEM) -> Iterator[list[str]]:
    """Yield the pseudonyms of those who are still permitted, in chunks of at most `CHUNK` people of the audience.

    Each chunk is read in a snapshot of its own, which is closed before the chunk is yielded. NotFoundError once the
    audience has expired, AuthenticationError once the key of `actor` was revoked, also in the middle.
    """
    number = 0
    while (chunk := _read_chunk(gateway, audience_id, number, actor)) is not None:
        yield chunk
        number += 1


def _read_chunk(gateway: Gateway, audience_id: str, number: int, actor: Principal) -> list[str] | None:
    with gateway.look(actor) as work:
        row = find(work, audience_id)
        ids = chunk_ids(work, audience_id, number)
        return None if ids is None else _still_permitted(work, row, ids)


def chunk_ids(work: Work, audience_id: str, number: int) -> list[SubjectId] | None:
    """Return who was in one chunk of an audience when it was resolved, None after the last."""
    ids = audience_db.chunk(work.session, audience_id, number)
    return None if ids is None else [SubjectId(i) for i in _unpack(ids)]


def asked_of(work: Work, row: AudienceRow) -> Asked:
    """Return the question that an audience was asked, as it is put now."""
    use = _with_sensitive(use_of(row), parse_json(json.loads(row.segment)), work.registers)
    return work.gateway.decider.ask(use, work.registers, work.gateway.rules, work.now)


def may_be_read(work: Work, asked: Asked, key: ClassKey) -> bool:
    """Tell whether a class is permitted at this instant, and can be reached."""
    return _reachable(asked, key) and work.gateway.decider.answer(asked, key, work.now).permitted


def losses_json(item: Loss) -> dict[str, object]:
    """Return one line of the waterfall as it is shown; null stands for fewer people than the k-floor."""
    return {"stage": item.stage.value, "lost": item.lost, "remaining": item.remaining, "reasons": dict(item.reasons)}


def _with_sensitive(use: Use, segment: Segment, registers: Registers) -> Use:
    """Return the use with the categories of the traits that choose the people: choosing by health is using it.

    LAW 1.6, "sensitive segment": GDPR Art 9, Civ. Code 1798.121, PIPL Art 28-29.
    """
    traits = (registers.traits.get(trait) for trait in traits_used(segment))
    found = {t.sensitive for t in traits if t is not None and t.sensitive is not None}
    return replace(use, sensitive=tuple(sorted({*use.sensitive, *found}))) if found else use


def _decide_classes(
    work: Work, segment: Segment, asked: Asked
) -> tuple[list[tuple[int, LossStage | None, str]], list[SubjectId]]:
    condition = compile_segment(segment, work.registers.traits, work.now, merged=merges.any_link(work.session))
    outcomes: list[tuple[int, LossStage | None, str]] = []
    members: list[SubjectId] = []
    for key, ids in classes(work.session, asked.reading, condition, work.now):
        answer = work.gateway.decider.answer(asked, key, work.now)
        if asked.law.watched:
            work.watch(asked, key, len(ids))
        stage, code = loss(answer, reachable=_reachable(asked, key))
        outcomes.append((len(ids), stage, code))
        if stage is None:
            members += ids
    return outcomes, members


def _reachable(asked: Asked, key: ClassKey) -> bool:
    return key.flags & asked.reach == asked.reach


def _still_permitted(work: Work, row: AudienceRow, ids: list[SubjectId]) -> list[str]:
    asked = asked_of(work, row)
    # Who was merged into somebody since has no row: the next audience names the person once.
    people = audience_rows.read_rows(work.session, asked.reading, ids, work.now)
    kept = [i for i in ids if (p := people.get(i)) is not None and may_be_read(work, asked, p.key)]
    return work.gateway.vault.pseudonymiser.bulk(kept, work.registers.sector(asked.use.recipient), row.epoch)


def _in_order(members: list[SubjectId], leaves: list[bytes]) -> tuple[list[SubjectId], list[bytes]]:
    """Return members and their leaves in the order of the manifest."""
    order = sorted(range(len(leaves)), key=leaves.__getitem__)
    return [members[at] for at in order], [leaves[at] for at in order]


def _chunks(members: list[SubjectId]) -> list[bytes]:
    return [_pack(members[i : i + CHUNK]) for i in range(0, len(members), CHUNK)]


def _pack(ids: list[SubjectId]) -> bytes:
    packed = array("q", ids)
    if sys.byteorder == "little":
        packed.byteswap()
    return packed.tobytes()


def _unpack(data: bytes) -> list[int]:
    return [int.from_bytes(data[i : i + 8], "big") for i in range(0, len(data), 8)]
