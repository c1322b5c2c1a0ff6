"""Replies are kept once for a key, in the transaction of the action; the quarantine shows no content."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import func, select

from consent_gateway.db import intake
from consent_gateway.db.engine import Store
from consent_gateway.db.subjects import Token
from consent_gateway.db.tables import imports, quarantine, quarantine_identifiers
from consent_gateway.errors import ConflictError


def reply(key: str = "k", principal: str = "shop", at: int = 5) -> dict[str, Any]:
    return {
        "principal": principal,
        "key": key,
        "request_digest": b"r" * 32,
        "status": 200,
        "response": b"{}",
        "at": at,
    }


def an_import() -> dict[str, Any]:
    return {"source": "crm", "kind": "subjects", "content_digest": "", "counts": "{}", "at": 1}


def act(store: Store, key: str) -> None:
    """A use case with an idempotency key: its effect and its reply in one transaction."""
    with store.transaction() as session:
        intake.put_import(session, an_import())
        intake.put_reply(session, reply(key))


def effects(store: Store) -> int:
    with store.reading() as session:
        return session.execute(select(func.count()).select_from(imports)).scalar_one()


def test_a_racing_twin_is_refused_with_all_it_did(store: Store) -> None:
    act(store, "k")
    with pytest.raises(ConflictError):
        act(store, "k")
    assert effects(store) == 1
    act(store, "other")
    assert effects(store) == 2


def test_a_reply_is_found_by_principal_and_key(store: Store) -> None:
    with store.transaction() as session:
        intake.put_reply(session, reply("k", "shop"))
        intake.put_reply(session, reply("k", "mailer"))
        found = intake.find_reply(session, "shop", "k")
        assert found is not None
        assert (found.status, bytes(found.response), bytes(found.request_digest)) == (200, b"{}", b"r" * 32)
        assert intake.find_reply(session, "shop", "other") is None
        assert intake.find_reply(session, "nobody", "k") is None


def test_replies_are_forgotten_when_they_are_old(store: Store) -> None:
    with store.transaction() as session:
        for at in (4, 5, 6):
            intake.put_reply(session, reply(f"k{at}", at=at))
        assert intake.forget_replies(session, 5) == 1
        assert intake.find_reply(session, "shop", "k5") is not None


def rejected(n: int) -> dict[str, Any]:
    return {
        "source": "crm",
        "kind": "subjects",
        "reference": str(n),
        "reasons": "[]",
        "sealed": b"secret %d" % n,
        "at": 1,
    }


def test_quarantined_rows_are_listed_without_their_content(store: Store) -> None:
    with store.transaction() as session:
        ids = intake.put_quarantine(session, [rejected(n) for n in range(5)])
        assert ids == sorted(ids)
        page = intake.quarantine_rows(session, ids[0], 3)
        assert [row["id"] for row in page] == ids[1:4]
        assert [row["reference"] for row in page] == ["1", "2", "3"]
        assert all("sealed" not in row for row in page)
        assert intake.put_quarantine(session, []) == []


def test_an_erasure_reaches_the_rows_that_name_the_person(store: Store) -> None:
    mine, other = Token("email", b"m" * 16), Token("email", b"o" * 16)
    with store.transaction() as session:
        ids = intake.put_quarantine(session, [rejected(n) for n in range(3)])
        intake.tie_quarantine(session, [(mine, ids[0]), (other, ids[1]), (mine, ids[2]), (other, ids[2])])
        intake.tie_quarantine(session, [(mine, ids[0])])  # again changes nothing
        assert intake.forget_quarantined(session, [mine, Token("phone", b"m" * 16)]) == 2
        left = session.execute(select(quarantine.c.id, quarantine.c.sealed).order_by(quarantine.c.id))
        assert [(i, bytes(s)) for i, s in left] == [(ids[0], b""), (ids[1], b"secret 1"), (ids[2], b"")]
        tied = session.execute(select(quarantine_identifiers.c.token)).scalars()
        assert {bytes(t) for t in tied} == {other.value}
