"""The file that a person keeps, as the reference shows it; what it means to the byte is in docs/audit-log.md."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, Field

Hash = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]


class LoggedOut(BaseModel):
    """An entry of the log: its index, its exact text, and the path (base64) to the root of the bundle's checkpoint."""

    index: int
    entry: str
    proof: list[str]


class ToldOut(LoggedOut):
    """An entry about the person, with what opens its place in their chain, and what it was about."""

    role: Literal["subject", "other"]
    chain_salt: Hash
    salt: Hash
    payload: str


class MapLeafOut(BaseModel):
    """A chain in the map: its key, how many entries it has, and its newest link."""

    key: Hash
    entries: int
    link: Hash


class MapProofOut(BaseModel):
    """What the map has for a chain: the nodes beside the way to it, each [hash, sum], and the leaf at its end."""

    others: list[list[str | int]]
    leaf: MapLeafOut | None


class ChainOut(BaseModel):
    """A chain of the person: the secret of its key, its entries in order, and its place in the map."""

    secret: Hash
    entries: list[ToldOut]
    map: MapProofOut | None


class LeafOut(BaseModel):
    """A leaf of an audience's manifest, with the path to the root that the audience's entry names."""

    index: int
    leaf: Hash
    path: list[Hash]


class ShownAudienceOut(LoggedOut):
    """The entry of an audience, the pseudonym by which it knew the person, and whether it had them."""

    pseudonym: str
    member: bool
    leaves: list[LeafOut]


class BundleFileOut(BaseModel):
    """Everything that the log says about a person, with proofs: canonical JSON, good for ever, kept nowhere else."""

    format: Literal["consent-gateway/bundle@v2"]
    checkpoint: str
    map: LoggedOut | None
    chains: list[ChainOut]
    audiences: list[ShownAudienceOut]
