"""Bundles: what an honest log gives verifies, and whatever is changed, left out or added is found with its reason."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from audit_fakes import ORIGIN, SEED, MemoryLogStore, flip
from hypothesis import given, settings
from hypothesis import strategies as st

from consent_gateway.audit.bundles import (
    Bundle,
    ChainPart,
    Logged,
    Told,
    bundle_bytes,
    parse_bundle,
    verify_bundle,
)
from consent_gateway.audit.chains import CHAIN_OF, UNFILLED, chain_key, chain_ref, chain_secret
from consent_gateway.audit.checkpoints import Signer
from consent_gateway.audit.commitments import commit, opening_salt
from consent_gateway.audit.entries import Entry, EntryKind, entry_bytes, parse_entry
from consent_gateway.audit.log import sequence
from consent_gateway.audit.maps import MapLeaf, MapProof, Subtree, bounds, kept_node, prove, subtree
from consent_gateway.audit.proofs import inclusion_proof

ANNA, BEN, ANNA_BEFORE = (bytes([n]) * 32 for n in (1, 2, 3))
VKEY = Signer(ORIGIN, SEED).vkey


@dataclass
class Company:
    """A log about people who are their audit keys, with the openings of every entry, and maps of its chains."""

    store: MemoryLogStore = field(default_factory=MemoryLogStore)
    signer: Signer = field(default_factory=lambda: Signer(ORIGIN, SEED))
    openings: list[tuple[bytes, bytes, str, bytes]] = field(default_factory=list)  # key, uid, role, payload
    published: bytes | None = None  # the uid of the newest map's entry
    leaves: list[MapLeaf] = field(default_factory=list)
    count: int = 0

    def record(
        self, key: bytes | None = None, former: bytes | None = None, kind: str = "decision.made", **said: Any
    ) -> bytes:
        self.count += 1
        uid = self.count.to_bytes(16, "big")
        roles = {"subject": key, "other": former}
        sealed, refs = dict[str, bytes](), b""
        for role, held in roles.items():
            if held is not None:
                payload = b'{"n":%d}' % self.count
                sealed |= {role: commit(held, uid, role, payload), CHAIN_OF[role]: UNFILLED}
                refs += chain_ref(held, uid, CHAIN_OF[role])
                self.openings.append((held, uid, role, payload))
        entry = entry_bytes(Entry(EntryKind(kind), self.count, "key:a", uid, said, sealed))
        self.store.queue.append(entry)
        self.store.refs[entry] = refs
        sequence(self.store, self.signer)
        return uid

    def publish(self, lie: Callable[[list[MapLeaf]], list[MapLeaf]] = lambda leaves: leaves, **said: Any) -> None:
        self.leaves = lie(sorted(MapLeaf(key, *head) for key, head in self.store.heads.items()))
        whole, size = subtree(self.leaves), len(self.store.rows)
        fields = {"root": whole.hash.hex(), "entries": whole.entries, "chains": whole.chains, "size": size}
        self.published = self.record(kind="map.published", **(fields | said))

    def logged(self, uid: bytes) -> Logged:
        rows = self.store.rows
        index = next(n for n, entry, _ in rows if parse_entry(entry).uid == uid)
        return Logged(index, rows[index][1], inclusion_proof(index, len(rows), self.store.read_tile))

    def told(self, key: bytes, uid: bytes, role: str, payload: bytes) -> Told:
        return Told(
            self.logged(uid), role, opening_salt(key, uid, CHAIN_OF[role]), opening_salt(key, uid, role), payload
        )

    def prove(self, key: bytes) -> MapProof:
        def node(number: int) -> Subtree:
            first, after = bounds(number)
            held = [leaf for leaf in self.leaves if leaf.key >= first and (not after or leaf.key < after)]
            return subtree(held, number.bit_length() - 1)

        def between(first: bytes, after: bytes) -> list[MapLeaf]:
            return [leaf for leaf in self.leaves if leaf.key >= first and (not after or leaf.key < after)]

        assert kept_node(key, 0) == 1
        return prove(chain_key(chain_secret(key)), node, between)

    def bundle(self, *keys: bytes) -> Bundle:
        published = None if self.published is None else self.logged(self.published)
        chains = tuple(
            ChainPart(
                chain_secret(key),
                tuple(self.told(*opening) for opening in self.openings if opening[0] == key),
                None if published is None else self.prove(key),
            )
            for key in keys
        )
        assert self.store.checkpoint is not None
        return Bundle(self.store.checkpoint, published, chains)


def company() -> Company:
    """Two people; one of them has a new key since; a map in the middle."""
    made = Company()
    for key in (ANNA_BEFORE, BEN, ANNA_BEFORE, None):
        made.record(key)
    made.record(ANNA, former=ANNA_BEFORE, kind="dek.rotated")
    for key in (ANNA, BEN, ANNA):
        made.record(key)
    made.publish()
    made.record(ANNA)
    made.record(BEN)
    return made


def checked(bundle: Bundle, vkey: str = VKEY) -> tuple[str, int | None]:
    finding = verify_bundle(vkey, bundle_bytes(bundle))
    assert finding.ok == (finding.code == "ok")
    return finding.code, finding.index


def test_a_whole_bundle_verifies_and_says_how_far_it_reaches() -> None:
    finding = verify_bundle(VKEY, bundle_bytes(company().bundle(ANNA_BEFORE, ANNA)))
    assert finding.ok, str(finding)
    told = {name: finding.details[name] for name in ("entries", "chains", "complete_to", "not_covered", "size")}
    assert told == {"entries": 7, "chains": 2, "complete_to": 8, "not_covered": 1, "size": 11}
    assert "complete up to the map at 8 entries of the log; 1 are newer" in finding.message


def test_before_the_first_map_nothing_is_complete() -> None:
    made = Company()
    made.record(BEN)
    finding = verify_bundle(VKEY, bundle_bytes(made.bundle(BEN)))
    assert (finding.ok, finding.details["complete_to"], finding.details["not_covered"]) == (True, 0, 1)
    assert "complete up to no map; 1 are newer" in finding.message


def test_someone_the_map_does_not_have_yet() -> None:
    made, new = company(), b"\x09" * 32
    made.record(new)
    assert checked(made.bundle(new)) == ("ok", None)
    hidden = made.bundle(BEN)
    (chain,) = hidden.chains
    started_later = replace(chain, entries=chain.entries[-1:])
    assert checked(replace(hidden, chains=(started_later,)))[0] == "chain"


def test_the_file_is_read_back() -> None:
    bundle = company().bundle(ANNA, ANNA_BEFORE)
    assert parse_bundle(bundle_bytes(bundle)) == bundle


# -- what is changed on the way ------------------------------------------------------------------------------------


def with_chain(bundle: Bundle, **changes: Any) -> Bundle:
    return replace(bundle, chains=(replace(bundle.chains[0], **changes), *bundle.chains[1:]))


def with_entry(bundle: Bundle, at: int, **changes: Any) -> Bundle:
    entries = list(bundle.chains[0].entries)
    entries[at] = replace(entries[at], **changes)
    return with_chain(bundle, entries=tuple(entries))


def entries_of(bundle: Bundle) -> tuple[Told, ...]:
    return bundle.chains[0].entries


CHANGED: dict[str, tuple[str, Callable[[Bundle], Bundle]]] = {
    "the first entry left out": ("chain", lambda b: with_chain(b, entries=entries_of(b)[1:])),
    "one in the middle left out": ("chain", lambda b: with_chain(b, entries=(*entries_of(b)[:1], *entries_of(b)[2:]))),
    "the newest of the map left out": ("map", lambda b: with_chain(b, entries=entries_of(b)[:1])),
    "all left out": ("map", lambda b: with_chain(b, entries=())),
    "two swapped": ("chain", lambda b: with_chain(b, entries=(entries_of(b)[1], entries_of(b)[0], *entries_of(b)[2:]))),
    "one twice": ("chain", lambda b: with_chain(b, entries=(entries_of(b)[0], *entries_of(b)))),
    "a chain twice": ("chain", lambda b: replace(b, chains=b.chains * 2)),
    "another secret": ("map", lambda b: with_chain(b, secret=flip(b.chains[0].secret, 0))),
    "a payload": ("opening", lambda b: with_entry(b, 1, payload=b'{"n":99}')),
    "a salt": ("opening", lambda b: with_entry(b, 1, salt=bytes(32))),
    "a salt of the chain": ("chain", lambda b: with_entry(b, 1, chain_salt=bytes(32))),
    "a role": ("chain", lambda b: with_entry(b, 1, role="other")),
    "no proof of the map": ("map", lambda b: with_chain(b, proof=None)),
    "another's proof of the map": ("map", lambda b: with_chain(b, proof=company().prove(ANNA))),
    "a count of the map": (
        "map",
        lambda b: with_chain(
            b, proof=replace(b.chains[0].proof, leaf=b.chains[0].proof.leaf._replace(entries=1))  # type: ignore[union-attr,type-var]
        ),
    ),
    "an entry's index": (
        "inclusion", lambda b: with_entry(b, 1, logged=replace(entries_of(b)[1].logged, index=7)),
    ),
    "an entry's bytes": (
        "inclusion",
        lambda b: with_entry(b, 1, logged=replace(entries_of(b)[1].logged, entry=entries_of(b)[1].logged.entry.replace(b"key:a", b"key:b"))),
    ),
    "another entry as the map": ("map", lambda b: replace(b, published=entries_of(b)[0].logged)),
    "the map's entry": ("inclusion", lambda b: replace(b, published=replace(b.published, index=3))),  # type: ignore[type-var]
}  # fmt: skip


@pytest.mark.parametrize("change", CHANGED)
def test_what_is_changed_is_found(change: str) -> None:
    code, act = CHANGED[change]
    bundle = company().bundle(BEN)
    assert checked(bundle) == ("ok", None)
    assert checked(act(bundle))[0] == code


def test_a_former_or_a_later_chain_that_is_not_there_is_missed() -> None:
    made = company()
    assert checked(made.bundle(ANNA)) == ("former", 4)
    assert checked(made.bundle(ANNA_BEFORE)) == ("former", 4)
    for keys, which in (((ANNA,), "former"), ((ANNA_BEFORE,), "later")):
        assert which in verify_bundle(VKEY, bundle_bytes(made.bundle(*keys))).message


def test_the_log_is_the_pinned_one() -> None:
    bundle = company().bundle(BEN)
    assert checked(bundle, Signer(ORIGIN, bytes(32)).vkey) == ("checkpoint", None)
    assert verify_bundle("nonsense", bundle_bytes(bundle)).code == "vkey"
    assert verify_bundle(VKEY, bundle_bytes(bundle), witnesses=[VKEY]).code == "vkey"


# -- what a dishonest company does ---------------------------------------------------------------------------------


def test_a_map_that_lost_an_entry_is_found_by_the_person() -> None:
    """A count that is smaller than what was given out before: the bundle has more than the map."""
    made = company()
    key = chain_key(chain_secret(BEN))
    made.publish(
        lambda leaves: [leaf._replace(entries=leaf.entries - 1) if leaf.key == key else leaf for leaf in leaves]
    )
    assert checked(made.bundle(BEN))[0] == "map"


def test_an_entry_that_is_put_into_the_chain_of_nobody_is_found() -> None:
    """The person's own chain goes on without it; its sum is some phantom's. What they know of has no place."""
    made = company()
    phantom = b"\x66" * 32
    made.record(BEN)
    *_, (key, uid, role, payload) = made.openings
    hidden = made.record(phantom)
    *_, told = made.openings
    made.publish()
    assert checked(made.bundle(BEN)) == ("ok", None)
    made.openings[-1] = (BEN, hidden, "subject", told[3])
    assert checked(made.bundle(BEN))[0] == "chain"
    assert (key, role, payload) == (BEN, "subject", payload)
    assert uid != hidden


def test_an_old_map_says_how_old_it_is() -> None:
    """An honest bundle under an older map covers less, and says so."""
    made = company()
    for _ in range(3):
        made.record(BEN)
    finding = verify_bundle(VKEY, bundle_bytes(made.bundle(BEN)))
    assert (finding.ok, finding.details["complete_to"], finding.details["not_covered"]) == (True, 8, 4)


@pytest.mark.parametrize("said", [{"size": 9}, {"size": "8"}, {"root": 7}, {"entries": None}, {"root": "00"}])
def test_an_entry_that_publishes_no_map(said: dict[str, Any]) -> None:
    made = Company()
    made.record(BEN)
    made.publish(**said)
    code, _ = checked(made.bundle(BEN))
    assert code == "map"


def test_another_newest_entry_of_the_same_count() -> None:
    made = company()
    key = chain_key(chain_secret(BEN))
    made.publish(lambda leaves: [leaf._replace(link=bytes(32)) if leaf.key == key else leaf for leaf in leaves])
    finding = verify_bundle(VKEY, bundle_bytes(made.bundle(BEN)))
    assert (finding.code, "newest" in finding.message) == ("map", True)


# -- what is no bundle ---------------------------------------------------------------------------------------------

VALID = json.loads(bundle_bytes(company().bundle(BEN)))


def spelt(path: tuple[Any, ...], value: object) -> bytes:
    read = json.loads(json.dumps(VALID))
    place = read
    for step in path[:-1]:
        place = place[step]
    place[path[-1]] = value
    return json.dumps(read, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


ENTRY, PROOF = ("chains", 0, "entries", 0), ("chains", 0, "map")


@pytest.mark.parametrize("data", [
    b"", b"[]", b"\xff", b"{}", b"[" * 5000,
    spelt(("format",), "consent-gateway/bundle@v2"), spelt(("more",), 1), spelt(("checkpoint",), 1),
    spelt(("map",), 1), spelt(("map", "index"), bool(1)), spelt(("map", "proof"), [1]), spelt(("chains",), {}),
    spelt(("chains", 0, "secret"), "00"), spelt(("chains", 0, "secret"), "zz"), spelt(("chains", 0, "secret"), None),
    spelt(("chains", 0, "secret"), VALID["chains"][0]["secret"].upper() + " "),
    spelt((*ENTRY, "index"), -1), spelt((*ENTRY, "index"), 1.0), spelt((*ENTRY, "index"), 1 << 60),
    spelt((*ENTRY, "role"), "actor"), spelt((*ENTRY, "proof"), ["?"]), spelt((*ENTRY, "proof"), None),
    spelt((*ENTRY, "payload"), None), spelt((*ENTRY, "extra"), None),
    spelt((*PROOF, "others"), None), spelt((*PROOF, "others", 0), ["00" * 32]), spelt((*PROOF, "leaf", "entries"), "1"),
    spelt((*PROOF, "leaf", "key"), "AB" * 32),
])  # fmt: skip
def test_what_has_another_form_is_refused(data: bytes) -> None:
    assert verify_bundle(VKEY, data).code == "bundle"


OTHERWISE: dict[str, Callable[[bytes], bytes]] = {
    "a blank before": lambda data: b" " + data,
    "a newline at the end": lambda data: data + b"\n",
    "a second value at the end": lambda data: data + b"{}",
    "a blank between": lambda data: data.replace(b'":', b'": ', 1),
    "a member twice": lambda data: data.replace(b'"format":', b'"format":"consent-gateway/bundle@v0","format":', 1),
    "a member of an entry twice": lambda data: data.replace(b'"index":', b'"index":7,"index":', 1),
    "a number as a float": lambda data: data.replace(b'"entries":4', b'"entries":4.0', 1),
    "a number with an exponent": lambda data: data.replace(b'"entries":4', b'"entries":4e0', 1),
    "a letter escaped": lambda data: data.replace(b'"format"', b'"\\u0066ormat"', 1),
    "members in another order": lambda data: json.dumps(dict(reversed(json.loads(data).items()))).encode(),
    "as it is printed": lambda data: json.dumps(json.loads(data), indent=2).encode(),
    "a mark of the byte order": lambda data: b"\xef\xbb\xbf" + data,
    "in UTF-16": lambda data: data.decode().encode("utf-16"),
}


@pytest.mark.parametrize("spelling", OTHERWISE)
def test_a_bundle_has_one_spelling(spelling: str) -> None:
    made = company()
    made.publish()
    data = bundle_bytes(made.bundle(BEN)).replace(b'"entries":3', b'"entries":4')  # what it says does not matter here
    assert verify_bundle(VKEY, data).code == "map"
    changed = OTHERWISE[spelling](data)
    assert changed != data
    assert verify_bundle(VKEY, changed).code == "bundle"


@settings(derandomize=True, deadline=None, max_examples=60)
@given(st.integers(0, len(bundle_bytes(company().bundle(BEN))) * 8 - 1))
def test_a_bit_that_is_flipped_anywhere_never_passes_unseen(bit: int) -> None:
    """Whatever else it may do, it does not raise; base64 and JSON could have two spellings of one value, and have not."""
    data = bundle_bytes(company().bundle(BEN))
    assert not verify_bundle(VKEY, flip(data, bit)).ok
