"""Chains: what an entry commits to as its place, and what cannot be placed."""

from __future__ import annotations

import json
from collections.abc import Callable
from hashlib import sha256

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from consent_gateway.audit.canonical import canonical_json
from consent_gateway.audit.chains import (
    CHAIN,
    CHAIN_OF,
    NEW_CHAIN,
    NO_LINK,
    OTHER,
    OTHER_CHAIN,
    SUBJECT,
    UNFILLED,
    ChainHead,
    chain_key,
    chain_link,
    chain_payload,
    chain_ref,
    chain_secret,
    extend,
    unfilled,
)
from consent_gateway.audit.commitments import commit, opening_salt, verify_opening
from consent_gateway.audit.entries import Entry, EntryKind, entry_bytes, entry_writer, parse_entry
from consent_gateway.audit.log import EMPTY_HEAD, chain_keys_of, integrate
from consent_gateway.audit.merkle import leaf_hash

KEYS = [bytes([n]) * 32 for n in range(1, 5)]
REPLY = {"commitments": {"chain": "0" * 64}}  # a field that looks like the place to fill


def about(number: int, key: bytes, former: bytes | None = None) -> tuple[bytes, bytes]:
    """An entry about a person as an action queues it, and its chains."""
    uid = number.to_bytes(16, "big")
    sealed = {SUBJECT: commit(key, uid, SUBJECT, b"{}"), CHAIN: UNFILLED}
    refs = chain_ref(key, uid)
    if former is not None:
        sealed |= {OTHER: commit(former, uid, OTHER, b"{}"), OTHER_CHAIN: UNFILLED}
        refs += chain_ref(former, uid, OTHER_CHAIN)
    return entry_bytes(Entry(EntryKind.DECISION_MADE, number, '"commitments":{"chain":"', uid, REPLY, sealed)), refs


def test_keys_and_secrets_are_what_the_documents_say() -> None:
    secret = sha256(b"consent-gateway/chain/v1\0" + KEYS[0]).digest()
    assert chain_secret(KEYS[0]) == secret
    assert chain_key(secret) == sha256(b"consent-gateway/chain-key/v1\0" + secret).digest()
    assert chain_ref(KEYS[0], bytes(16)) == chain_key(secret) + opening_salt(KEYS[0], bytes(16), "chain")
    assert chain_payload(7, bytes(32)) == b'{"n":7,"prev":"%b"}' % (b"0" * 64)
    assert json.loads(chain_payload(7, bytes(32))) == {"n": 7, "prev": "0" * 64}
    assert CHAIN_OF == {"subject": "chain", "other": "other_chain"}


def test_what_a_decision_writes_of_its_person_is_canonical_and_keeps_room() -> None:
    sealed = commit(KEYS[0], bytes(16), SUBJECT, b"{}")
    wanted = {CHAIN: UNFILLED.hex(), SUBJECT: sealed.hex()}
    assert unfilled(sealed) == canonical_json(wanted)
    entry = entry_writer(EntryKind.DECISION_MADE, "a").write_encoded(1, bytes(16), b"{}", unfilled(sealed))
    placed, _ = extend(entry, chain_ref(KEYS[0], bytes(16)), {})
    found = parse_entry(placed).commitments
    assert found[SUBJECT] == sealed
    assert verify_opening(found[CHAIN], opening_salt(KEYS[0], bytes(16), CHAIN), chain_payload(1, NO_LINK))


def test_the_first_and_the_second_entry_of_a_chain() -> None:
    heads: dict[bytes, ChainHead] = {}
    prev = NO_LINK
    for number in (1, 2):
        entry, refs = about(number, KEYS[0])
        placed, leaf = extend(entry, refs, heads)
        found = parse_entry(placed)
        salt = refs[32:]
        assert verify_opening(found.commitments[CHAIN], salt, chain_payload(number, prev))
        assert (leaf, len(placed)) == (leaf_hash(placed), len(entry))
        assert heads == {refs[:32]: (number, chain_link(salt, leaf))}
        before = parse_entry(entry)
        assert (found.fields, found.actor, found.commitments[SUBJECT]) == (
            REPLY, before.actor, before.commitments[SUBJECT],
        )  # fmt: skip
        prev = heads[refs[:32]][1]


def test_an_entry_of_two_chains() -> None:
    entry, refs = about(1, KEYS[0], former=KEYS[1])
    former = chain_key(chain_secret(KEYS[1]))
    heads = {former: (9, b"l" * 32)}
    placed, leaf = extend(entry, refs, heads)
    found = parse_entry(placed).commitments
    assert verify_opening(found[CHAIN], refs[32:64], chain_payload(1, NO_LINK))
    assert verify_opening(found[OTHER_CHAIN], refs[96:], chain_payload(10, b"l" * 32))
    assert heads == {refs[:32]: (1, chain_link(refs[32:64], leaf)), former: (10, chain_link(refs[96:], leaf))}


@pytest.mark.parametrize("changed", [
    lambda entry, refs: (entry.replace(b"0" * 64, b"1" * 64, 1), refs),
    lambda entry, refs: (entry, refs + refs),
    lambda *_: about(1, KEYS[0], former=KEYS[0]),
    lambda _, refs: (b"{}", refs),
])  # fmt: skip
def test_what_keeps_no_room_is_refused(changed: Callable[[bytes, bytes], tuple[bytes, bytes]]) -> None:
    entry, refs = changed(*about(1, KEYS[0]))
    heads = {KEYS[3]: (1, NO_LINK)}
    with pytest.raises(ValueError, match="place in a chain"):
        extend(entry, refs, heads)
    assert heads == {KEYS[3]: (1, NO_LINK)}


@settings(derandomize=True, deadline=None, max_examples=40)
@given(st.lists(st.tuples(st.integers(0, 3), st.none() | st.integers(0, 3)), max_size=30), st.integers(1, 30))
def test_the_order_of_a_chain_is_that_of_the_log_however_it_is_cut(
    plan: list[tuple[int, int | None]], batch: int
) -> None:
    """Against a model that walks the whole log: number, link before and head of each chain."""
    queued = [about(n, KEYS[a], KEYS[b] if b is not None and b != a else None) for n, (a, b) in enumerate(plan)]
    heads = dict[bytes, ChainHead]()
    head, rows = EMPTY_HEAD, list[bytes]()
    for start in range(0, len(queued), batch):
        waiting = queued[start : start + batch]
        known = {key: heads[key] for key in chain_keys_of([refs for _, refs in waiting]) if key in heads}
        done = integrate(head, waiting, known)
        heads |= done.chains
        head = done.head
        rows += [entry for _, entry, _ in done.rows]
    model = dict[bytes, ChainHead]()
    for entry, (_, refs) in zip(rows, queued, strict=True):
        found = parse_entry(entry).commitments
        for place, at in zip((CHAIN, OTHER_CHAIN), range(0, len(refs), 64), strict=False):
            key, salt = refs[at : at + 32], refs[at + 32 : at + 64]
            count, prev = model.get(key, NEW_CHAIN)
            assert verify_opening(found[place], salt, chain_payload(count + 1, prev))
            model[key] = count + 1, chain_link(salt, leaf_hash(entry))
    assert heads == model
