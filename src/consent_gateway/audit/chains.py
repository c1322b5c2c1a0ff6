"""Chains: every entry about one person, counted and linked, without saying whose they are or which belong together.

    secret = SHA-256("consent-gateway/chain/v1" ‖ 0x00 ‖ audit key)
    key    = SHA-256("consent-gateway/chain-key/v1" ‖ 0x00 ‖ secret)                  public, and meaningless
    salt   = HMAC-SHA256(audit key, uid ‖ "chain")                                    as of any commitment
    chain  = commitment under salt to {"n":<count, from 1>,"prev":"<link before, or 64 zeros>"}
    link   = SHA-256("consent-gateway/chain-link/v1" ‖ 0x00 ‖ salt ‖ leaf hash of the entry)

The audit key is one person's and dies with them. An entry holds `chain` alone, which looks like any other commitment,
so that the log is no record of anybody's behaviour; whoever is given the salts of an entry can tell that it is number n
of this chain and which one came before. What is published of a chain (`maps`) is its key, its count and its newest
link. The link is salted too: a plain leaf hash there would tell, with each map, which entry is the newest of which
chain.

Who sequences the log gives numbers, for only there is there one order (`extend`): an action writes the entry with zeros
for the commitment (`UNFILLED`) and hands over `chain_ref`, key and salt; the bytes are final, and seen by anybody, once
they are in the tree. A second chain of one entry stands under `other_chain`: a person's former one, when their keys are
changed (`OTHER`).

Stand-alone: only the standard library, `commitments` and `merkle`.
"""

from __future__ import annotations

from hashlib import sha256

from consent_gateway.audit.commitments import COMMITMENT_TAG, KEY_BYTES, opening_salt
from consent_gateway.audit.merkle import HASH_BYTES, leaf_hash

SUBJECT, CHAIN = "subject", "chain"
OTHER, OTHER_CHAIN = "other", "other_chain"
CHAIN_OF = {SUBJECT: CHAIN, OTHER: OTHER_CHAIN}
"""Which commitment says where in their chain an entry stands, for each commitment about a person."""

NO_LINK = bytes(HASH_BYTES)
UNFILLED = bytes(HASH_BYTES)
CHAIN_REF_BYTES = HASH_BYTES + KEY_BYTES

ChainHead = tuple[int, bytes]
"""How many entries a chain has, and the link of the newest."""

NEW_CHAIN: ChainHead = (0, NO_LINK)

_SECRET_TAG = b"consent-gateway/chain/v1\x00"
_KEY_TAG = b"consent-gateway/chain-key/v1\x00"
_LINK_TAG = b"consent-gateway/chain-link/v1\x00"
# Canonical JSON sorts: "chain" is always the first of the commitments, "other_chain" is never. Neither text can stand
# within a string before them, where every quotation mark is escaped.
_UNFILLED_JSON = b'{"chain":"%b","subject":"%%b"}' % UNFILLED.hex().encode()
_PLACE_DIGITS = 2 * HASH_BYTES
_PLACE = b'"commitments":{"chain":"' + b"0" * _PLACE_DIGITS
_OTHER_PLACE = b',"other_chain":"' + b"0" * _PLACE_DIGITS
_AFTER = b',"fields":'


def chain_secret(audit_key: bytes) -> bytes:
    """Return what proves whose a chain is; it opens nothing, and tells nothing but the chain's key."""
    return sha256(_SECRET_TAG + audit_key).digest()


def chain_key(secret: bytes) -> bytes:
    """Return the public name of the chain of whoever holds `secret`."""
    return sha256(_KEY_TAG + secret).digest()


def chain_ref(audit_key: bytes, uid: bytes, name: str = CHAIN) -> bytes:
    """Return key ‖ salt: what the sequencer needs to put the entry `uid` into the person's chain; 64 bytes."""
    return chain_key(chain_secret(audit_key)) + opening_salt(audit_key, uid, name)


def unfilled(commitment: bytes) -> bytes:
    """Return, as canonical JSON, the commitments of an entry about one person, with room for its place in the chain."""
    return _UNFILLED_JSON % commitment.hex().encode()


def chain_payload(number: int, prev: bytes) -> bytes:
    """Return the canonical JSON that an entry commits to as its place in the chain."""
    return b'{"n":%d,"prev":"%b"}' % (number, prev.hex().encode())


def chain_link(salt: bytes, leaf: bytes) -> bytes:
    """Return by what the next entry of the chain names this one, and the map its newest."""
    return sha256(_LINK_TAG + salt + leaf).digest()


def extend(entry: bytes, refs: bytes, heads: dict[bytes, ChainHead]) -> tuple[bytes, bytes]:
    """Return the entry with its places in its chains, and its leaf hash; the heads of those chains move.

    `refs` are one or two of `chain_ref`, the second for `other_chain`; a chain that `heads` does not hold is new.
    ValueError where the entry keeps no room for a place, or names one chain twice.
    """
    key, salt = refs[:HASH_BYTES], refs[HASH_BYTES:CHAIN_REF_BYTES]
    count, prev = heads.get(key, NEW_CHAIN)
    entry = _placed(entry, _PLACE, salt, count + 1, prev)
    if len(refs) > CHAIN_REF_BYTES:
        return _extend_both(entry, refs, heads)
    leaf = leaf_hash(entry)
    heads[key] = count + 1, chain_link(salt, leaf)
    return entry, leaf


def _extend_both(entry: bytes, refs: bytes, heads: dict[bytes, ChainHead]) -> tuple[bytes, bytes]:
    """Go on with an entry that has its place in the first of its two chains."""
    (key, salt), (other, other_salt) = (
        (refs[at : at + HASH_BYTES], refs[at + HASH_BYTES : at + CHAIN_REF_BYTES]) for at in (0, CHAIN_REF_BYTES)
    )
    if other == key:
        raise ValueError("an entry has one place in a chain")
    count = heads.get(key, NEW_CHAIN)[0]
    other_count, prev = heads.get(other, NEW_CHAIN)
    entry = _placed(entry, _OTHER_PLACE, other_salt, other_count + 1, prev)
    leaf = leaf_hash(entry)
    heads[key] = count + 1, chain_link(salt, leaf)
    heads[other] = other_count + 1, chain_link(other_salt, leaf)
    return entry, leaf


def _placed(entry: bytes, place: bytes, salt: bytes, number: int, prev: bytes) -> bytes:
    head, room, tail = entry.partition(place)
    if not room or _AFTER in head:
        raise ValueError("an entry has no room for its place in a chain")
    said = sha256(COMMITMENT_TAG + salt + chain_payload(number, prev)).hexdigest().encode()
    return b"".join((head, room[:-_PLACE_DIGITS], said, tail))
