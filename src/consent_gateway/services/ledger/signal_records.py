"""Signals that are kept: who or what they came from, the string itself (sealed), what was shown, what they did.

A signal of somebody nobody knows stays by the keyed hash of the identifier it came with, sealed under the gateway's own
key; when a person turns up with that identifier it becomes theirs, sealed under their key, and goes with them.
11 CCR 7025(c): a signal counts for the browser or device, and for the consumer once known.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from consent_gateway.db import merges
from consent_gateway.db import signals as signal_rows
from consent_gateway.db.subjects import Token
from consent_gateway.domain.ids import SubjectId
from consent_gateway.errors import OwnKeyLostError
from consent_gateway.services.identity.lasting_names import by_name
from consent_gateway.services.work.gateway import Work
from consent_gateway.services.work.own_key import own_key
from consent_gateway.services.work.vault import GATEWAY_ITSELF, open_bytes, seal_bytes
from consent_gateway.vault.normal_forms import Normalised


@dataclass(frozen=True, slots=True)
class Heard:
    """One signal to keep: of a person, or by the lasting token of an identifier that nobody holds."""

    kind: str
    raw: str
    at: int
    effects: Mapping[str, object]
    subject_id: SubjectId | None = None
    identifier_kind: str | None = None
    token: Token | None = None
    displayed: bool | None = None


def keep_signals(work: Work, source: str, heard: Sequence[Heard]) -> None:
    """Keep signals, each sealed under its person's key, or the gateway's own while there is no person."""
    if not heard:
        return
    deks = work.gateway.vault.keys(work.session, sorted({h.subject_id for h in heard if h.subject_id is not None}))
    rows = [
        {
            "subject_id": h.subject_id,
            "identifier_kind": h.identifier_kind,
            "token": None if h.token is None else h.token.value,
            "kind": h.kind,
            "at": h.at,
            "source": source,
            "sealed": _of_nobody(work, h.raw) if h.subject_id is None else _sealed(deks, h.subject_id, h.raw),
            "displayed": h.displayed,
            "effects": json.dumps(h.effects),
            "received_at": work.now,
        }
        for h in heard
    ]
    signal_rows.put(work.session, rows)


def _sealed(deks: Mapping[SubjectId, bytes], subject_id: SubjectId, raw: str) -> bytes:
    return seal_bytes(deks[subject_id], subject_id, raw.encode())


def _of_nobody(work: Work, raw: str) -> bytes:
    """Seal a string under the gateway's own key; empty if that is lost: what a signal does counts all the same (P1)."""
    try:
        return seal_bytes(own_key(work), GATEWAY_ITSELF, raw.encode())
    except OwnKeyLostError:
        return b""


def link_signals(work: Work, holders: Mapping[Normalised, SubjectId]) -> None:
    """Give the signals that came with these identifiers to the people who brought them."""
    if not signal_rows.any_unlinked(work.session):
        return
    named = by_name(work, holders)
    waiting = signal_rows.unlinked(work.session, named)
    if not waiting:
        return
    deks = work.gateway.vault.keys(work.session, sorted({named[token] for token, _, _ in waiting}))
    own = own_key(work) if any(sealed for _, _, sealed in waiting) else b""
    for token, signal, sealed in waiting:
        subject_id = named[token]
        raw = open_bytes(own, GATEWAY_ITSELF, sealed) if sealed else b""  # given up with a lost key
        signal_rows.link(work.session, signal, subject_id, seal_bytes(deks[subject_id], subject_id, raw), work.now)


def signals_of(work: Work, subject_id: SubjectId, limit: int) -> list[dict[str, Any]]:
    """Return the newest signals of a person, newest first: when, from where, what they did, whether it was shown."""
    members = [i for found in merges.clusters(work.session, [subject_id]).values() for i in found]
    rows = signal_rows.of_subjects(work.session, members, limit)
    return [row | {"effects": json.loads(row["effects"])} for row in rows]
