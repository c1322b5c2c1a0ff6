"""Framing is injective; derivation agrees with RFC 5869 written out by hand."""

from __future__ import annotations

import hashlib
import hmac

from hypothesis import given, settings
from hypothesis import strategies as st

from consent_gateway.vault.derivation import derive, expand, frame

PARTS = st.lists(st.binary(max_size=12), max_size=5).map(tuple)


def unframe(framed: bytes) -> tuple[bytes, ...]:
    parts = []
    while framed:
        length = int.from_bytes(framed[:4], "big")
        parts.append(framed[4 : 4 + length])
        framed = framed[4 + length :]
    return tuple(parts)


@settings(derandomize=True, deadline=None)
@given(PARTS)
def test_a_frame_can_be_read_back_so_no_two_tuples_share_one(parts):
    assert unframe(frame(*parts)) == parts


def test_plain_joining_would_confuse_what_framing_keeps_apart():
    assert b"".join((b"ab", b"c")) == b"".join((b"a", b"bc"))
    assert frame(b"ab", b"c") != frame(b"a", b"bc")


@settings(derandomize=True, deadline=None)
@given(st.binary(min_size=32, max_size=32), PARTS, st.sampled_from([16, 32, 64]))
def test_derive_is_hkdf_sha256(root, info, length):
    prk = hmac.digest(bytes(32), root, "sha256")
    first = hmac.digest(prk, frame(*info) + b"\x01", "sha256")
    second = hmac.digest(prk, first + frame(*info) + b"\x02", "sha256")
    assert derive(root, length, *info) == (first + second)[:length]


def test_expand_is_one_block_of_hkdf_expand_sha512():
    assert expand(b"k" * 32, b"label") == hmac.new(b"k" * 32, b"label\x01", hashlib.sha512).digest()
