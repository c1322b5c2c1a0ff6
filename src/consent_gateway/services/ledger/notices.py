"""Publishing notices: each version once, and a material one makes the consents before it outdated.

What people were shown never changes: a version is inserted once, and of two at once the later finds it. Who inserted it
then locks the version of the registers until the transaction ends, so that intake, which holds that version, either
wrote its grants before (and they are recomputed here) or sees the new notice.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

from consent_gateway.audit.entries import EntryKind
from consent_gateway.db import consents
from consent_gateway.db import notices as notice_rows
from consent_gateway.domain.ids import NoticeId, PurposeId
from consent_gateway.domain.notices import language_for
from consent_gateway.errors import ConflictError, FieldProblem, InputError, NotFoundError
from consent_gateway.services.identity.audience_rows import refresh_standings
from consent_gateway.services.identity.people import Resolver
from consent_gateway.services.ledger.opt_outs import settled_instant
from consent_gateway.services.registry.registers import require_slug
from consent_gateway.services.rows.intake import Incoming, Intake, Refusals, keep_counts, require_size, require_source
from consent_gateway.services.work.gateway import Work
from consent_gateway.services.work.items import NoticeShownItem

_PAGE = 1000
_WORDS = ("title", "text_sha256")
_WEIGHT = ("material", "purposes")


def put_notice(
    work: Work,
    notice: NoticeId,
    version: int,
    language: str,
    title: str,
    text: str,
    *,
    material: bool = False,
    purposes: Sequence[PurposeId] = (),
) -> str:
    """Publish one version of a notice in one language; returns the SHA-256 of the text.

    Published again with the same words, it stays as it was, with its first instant and its one entry; with others it is
    a ConflictError, also for the later of two at once. `material`: consents under earlier versions are outdated, for
    `purposes` and what is below them (all, where none is named); the same in every language of a version, for a
    translation changes nothing about what people agreed to.
    """
    require_slug(notice, "$.id")
    digest = hashlib.sha256(text.encode()).hexdigest()
    row = {
        "id": notice,
        "version": version,
        "language": language,
        "title": title,
        "text": text,
        "text_sha256": digest,
        "published_at": work.now,
        "material": material,
        "purposes": json.dumps(sorted(set(purposes))),
    }
    if notice_rows.add_notice(work.session, row):
        _published(work, row)
    else:
        _require_same(work, row)
    return digest


def text_of(work: Work, notice: str, version: int | None, language: str | None) -> dict[str, Any]:
    """Return a version (the newest: None) of a published notice in the language that fits best."""
    found = work.registers.notices.find(NoticeId(notice), version)
    if found is None:
        raise NotFoundError("no such notice was published")
    chosen = language_for(language, found.languages)
    rows = notice_rows.notice_rows(work.session, NoticeId(notice))
    return next(r for r in rows if (r["version"], r["language"]) == (found.version, chosen))


def record_shown(work: Work, source: str, rows: Sequence[Incoming[NoticeShownItem]], content_sha256: str) -> Intake:
    """Append which notice was shown to whom (GDPR Art 13, PIPL Art 17); one entry in the log for the batch."""
    source_id = require_source(work, source)
    require_size(rows)
    refusals = Refusals()
    intake = Intake("notices_shown", source_id, len(rows))
    readable = refusals.readable(rows)
    resolver = Resolver(work, [item.subject for _, item in readable], writing=True)
    shown: list[dict[str, Any]] = []
    for row, item in readable:
        found = _shown(work, resolver, item)
        if isinstance(found, FieldProblem):
            refusals.refuse(row, found)
        else:
            shown.append(found | {"source": source_id, "received_at": work.now})
    intake.accepted = intake.created = len(shown)
    notice_rows.add_views(work.session, shown)
    intake.rejections = refusals.quarantine(work, "notices_shown", source_id)
    keep_counts(work, intake, content_sha256)
    intake.entries = [work.record(EntryKind.NOTICE_SHOWN, {"source": source_id, **intake.counts()})]
    return intake


def _shown(work: Work, resolver: Resolver, item: NoticeShownItem) -> dict[str, Any] | FieldProblem:
    at = settled_instant(work, item.at, opting_out=False)
    if isinstance(at, FieldProblem):
        return at
    if work.registers.notices.find(NoticeId(item.notice), item.notice_version, item.language) is None:
        return FieldProblem("$.notice", "unknown_notice", "no such version was published in this language")
    found = resolver.resolve(item.subject)
    if isinstance(found, FieldProblem):
        return found
    named = {name: getattr(item, name) for name in ("notice", "notice_version", "language", "place")}
    return named | {"subject_id": found, "at": at}


def _published(work: Work, row: Mapping[str, Any]) -> None:
    work.changed_registers()
    purposes = json.loads(row["purposes"])
    if not set(purposes) <= work.registers.purposes.purposes.keys():
        raise InputError(fields=(FieldProblem("$.purposes", "unknown_purpose", "a purpose is not registered"),))
    _require_same(work, row)
    fields = {name: row[name] for name in ("version", "language", "text_sha256")} | {"notice": row["id"]}
    if row["material"]:
        fields |= {"material": True, "purposes": purposes, "refolded": _refold(work, row["id"], purposes)}
    work.record(EntryKind.NOTICE_PUBLISHED, fields)


def _require_same(work: Work, row: Mapping[str, Any]) -> None:
    """Refuse other words for what was published, and another weight in another language of the version."""
    weight = {"material": row["material"], "purposes": json.loads(row["purposes"])}
    for held in notice_rows.notice_rows(work.session, row["id"]):
        if held["version"] != row["version"]:
            continue
        if held["language"] == row["language"] and any(held[w] != row[w] for w in _WORDS):
            raise ConflictError("this version was published with other words: publish a new version")
        if any(held[w] != weight[w] for w in _WEIGHT):
            raise ConflictError("a version is material, and about the same purposes, in every language or in none")


def _refold(work: Work, notice: NoticeId, purposes: Sequence[str]) -> int:
    """Fold again for everyone who was asked under the notice; returns how many they are."""
    concerned = {PurposeId(p) for p in purposes} or set(work.registers.purposes.purposes)
    after, count = 0, 0
    while ids := consents.asked_under(work.session, notice, after, _PAGE):
        refresh_standings(work, ids, concerned)
        count += len(ids)
        after = ids[-1]
    return count
