"""Erasing a person: why, whether their bundle is handed out with it, and what came of it."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel

from consent_gateway.api.wire.base import EntryOut, Strict


class ErasureIn(Strict):
    """Why a person is erased; with `bundle` the answer has all that the log says about them, for them to keep."""

    reason: Literal["request", "account_closed", "retention", "unlawful", "consent_withdrawn"] = "request"
    bundle: bool = False


class ErasedBundleOut(BaseModel):
    """The person's bundle: `content` is the file, to the byte; null where there is none, and `reason` says why.

    It is in the first answer alone and kept nowhere (`not_kept` when the call is repeated). `ok`: it verifies as it is.
    `after`: how many entries about them are newer than it, the erasure's own included, one for each subject that they
    were; null while the erasure waits. `receipt` and `bytes` are where those of the erasure's entry can be had, a
    moment later, with the scope `audit`: the file cannot hold them, and with them the person has the end as well.
    """

    content: str | None
    reason: str | None
    ok: bool | None
    entries: int | None
    after: int | None
    receipt: str
    bytes: str


class ErasureOut(BaseModel):
    """What the erasure did; with 202 it waits (`pending`) for the end of legal holds of these reasons (`holds`).

    Without any hold it waits for the keys, which are away. `bundle` is null unless it was asked for.
    """

    erased: bool
    pending: bool
    tombstones: int
    rows: int
    holds: list[str]
    entry: EntryOut
    bundle: ErasedBundleOut | None
