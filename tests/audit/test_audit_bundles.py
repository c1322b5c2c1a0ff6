"""Bundles: what an honest log gives verifies, and whatever is changed, left out or added is found with its reason."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from hashlib import sha256
from typing import Any

import pytest
from audit_fakes import ORIGIN, SEED, MemoryLogStore, flip
from hypothesis import given, settings
from hypothesis import strategies as st

from consent_gateway.audit.bundle_files import (
    AudiencePart,
    Bundle,
    ChainPart,
    Logged,
    Told,
    bundle_bytes,
    disclosed,
    parse_bundle,
    parse_disclosed,
)
from consent_gateway.audit.bundles import verify_bundle
from consent_gateway.audit.chains import CHAIN_OF, UNFILLED, chain_key, chain_ref, chain_secret
from consent_gateway.audit.checkpoints import Signer
from consent_gateway.audit.commitments import commit, opening_salt
from consent_gateway.audit.entries import Entry, EntryKind, entry_bytes, parse_entry
from consent_gateway.audit.log import make_receipt, sequence
from consent_gateway.audit.manifests import manifest_leaves, member_leaves, witnesses_of
from consent_gateway.audit.maps import MapLeaf, MapProof, Subtree, bounds, kept_node, prove, subtree
from consent_gateway.audit.merkle import root_from_leaves
from consent_gateway.audit.proofs import inclusion_proof
from consent_gateway.audit.tiles import EMPTY_EDGE, grow
from consent_gateway.audit.verifier import Finding

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
    audiences: dict[str, tuple[bytes, list[bytes]]] = field(default_factory=dict)  # by id: its entry, its leaves
    named: dict[bytes, dict[str, str]] = field(default_factory=dict)  # by whom, what their newest disclosure names
    count: int = 0

    def resolve(self, *members: bytes) -> str:
        """Resolve an audience of these people, and some more; return its id."""
        audience = sha256(b"%d" % self.count).hexdigest()[:32]
        blocks = [block_of(member) for member in (*members, *(bytes([n]) * 32 for n in range(100, 120)))]
        leaves = sorted(member_leaves(bytes.fromhex(audience), b"".join(blocks)))
        said = {"audience": audience, "manifest": 2, "size": len(leaves), "purpose": "ads", "channel": "email"}
        uid = self.record(
            kind="audience.resolved", recipient="crm", manifest_root=root_from_leaves(leaves).hex(), **said
        )
        self.audiences[audience] = uid, leaves
        return audience

    def disclose(self, key: bytes, *audiences: str, **names: str) -> None:
        """Record that a bundle is handed out that shows these audiences."""
        self.named[key] = {audience: f"p1-{block_of(key).hex()}" for audience in audiences} | names
        self.record(key, kind="bundle.disclosed", payload=disclosed(self.named[key]))

    def audience(self, audience: str, pseudonym: str) -> AudiencePart:
        uid, leaves = self.audiences[audience]
        (leaf,) = member_leaves(bytes.fromhex(audience), bytes.fromhex(pseudonym[-32:]))
        tiles = {(tile.level, tile.index): tile.data for tile in grow(EMPTY_EDGE, leaves).tiles}
        read = lambda level, index, width: tiles[level, index][: 32 * width]  # noqa: E731
        proof = manifest_leaves(audience, pseudonym, len(leaves), witnesses_of(leaf, 0, leaves), read)
        return AudiencePart(self.logged(uid), pseudonym, *proof)

    def record(
        self,
        key: bytes | None = None,
        former: bytes | None = None,
        kind: str = "decision.made",
        payload: bytes | None = None,
        **said: Any,
    ) -> bytes:
        self.count += 1
        uid = self.count.to_bytes(16, "big")
        roles = {"subject": key, "other": former}
        sealed, refs = dict[str, bytes](), b""
        for role, held in roles.items():
            if held is not None:
                payload = payload or b'{"n":%d}' % self.count
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
        named = sorted({item for key in keys for item in self.named.get(key, {}).items()})
        shown = tuple(self.audience(*item) for item in named if item[0] in self.audiences)
        return Bundle(self.store.checkpoint, published, chains, shown)


def block_of(key: bytes) -> bytes:
    """The pseudonym of somebody, as a company makes it: nobody else can."""
    return sha256(b"pseudonym" + key).digest()[:16]


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
    assert "complete up to the map at 8 of 11 entries of the log; 1 are newer" in finding.message


def test_before_the_first_map_nothing_is_complete() -> None:
    made = Company()
    made.record(BEN)
    finding = verify_bundle(VKEY, bundle_bytes(made.bundle(BEN)))
    assert (finding.ok, finding.details["complete_to"], finding.details["not_covered"]) == (True, 0, 1)
    assert "not shown to be complete: there is no map; 1 are newer" in finding.message


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


# -- audiences ------------------------------------------------------------------------------------------------------


def shown(*, other: bytes = ANNA) -> tuple[Company, Bundle]:
    """Ben, who was in two audiences and not in a third; two disclosures, the first named one that is gone."""
    made = company()
    gone = made.resolve(BEN)
    made.disclose(BEN, gone)
    del made.audiences[gone]
    in_both, only_anna, with_ben = made.resolve(BEN, ANNA), made.resolve(other), made.resolve(BEN)
    made.disclose(ANNA, in_both)
    made.disclose(BEN, in_both, only_anna, with_ben)
    made.record(BEN)
    made.publish()
    return made, made.bundle(BEN)


def test_audiences_are_shown_and_no_other_is_ruled_out() -> None:
    made, bundle = shown()
    finding = verify_bundle(VKEY, bundle_bytes(bundle))
    assert finding.ok, str(finding)
    audiences: Any = finding.details["audiences"]
    assert sorted(a["member"] for a in audiences) == [False, True, True]
    assert {a["audience"] for a in audiences} == set(made.audiences)
    assert {(a["recipient"], a["purpose"], a["channel"]) for a in audiences} == {("crm", "ads", "email")}
    assert "shown in 2 audiences and out of 1, of others it says nothing" in finding.message
    assert parse_bundle(bundle_bytes(bundle)) == bundle


def test_a_bundle_of_version_1_says_nothing_of_audiences_and_still_verifies() -> None:
    old = replace(company().bundle(BEN), audiences=None)
    data = bundle_bytes(old)
    assert b'"consent-gateway/bundle@v1"' in data
    assert b"audiences" not in data
    assert parse_bundle(data) == old
    finding = verify_bundle(VKEY, data)
    assert (finding.ok, finding.details["audiences"]) == (True, None), str(finding)
    assert "of audiences it says nothing" in finding.message
    newer = verify_bundle(VKEY, bundle_bytes(company().bundle(BEN)))
    assert (newer.ok, newer.details["audiences"], "of audiences it says nothing" in newer.message) == (True, [], True)


def with_audience(bundle: Bundle, at: int, **changes: Any) -> Bundle:
    parts = list(bundle.audiences or ())
    parts[at] = replace(parts[at], **changes)
    return replace(bundle, audiences=tuple(parts))


def parts_of(bundle: Bundle) -> tuple[AudiencePart, ...]:
    return bundle.audiences or ()


def member_at(bundle: Bundle, *, member: bool) -> int:
    return next(n for n, part in enumerate(parts_of(bundle)) if part.member is member)


AUDIENCES: dict[str, tuple[str, Callable[[Company, Bundle], Bundle]]] = {
    "one left out": ("audience", lambda _, b: replace(b, audiences=parts_of(b)[1:])),
    "all left out": ("audience", lambda _, b: replace(b, audiences=())),
    "called version 1": ("audience", lambda _, b: replace(b, audiences=None)),
    "one twice": ("audience", lambda _, b: replace(b, audiences=(*parts_of(b), parts_of(b)[0]))),
    "two swapped": ("audience", lambda _, b: replace(b, audiences=parts_of(b)[::-1])),
    "another's proof": (
        "audience",
        lambda c, b: replace(b, audiences=(c.audience(*next(iter(c.named[ANNA].items()))), *parts_of(b)[1:])),
    ),
    "another's proof beside": (
        "audience",
        lambda c, b: replace(b, audiences=(c.audience(*next(iter(c.named[ANNA].items()))), *parts_of(b))),
    ),
    "another's pseudonym": (
        "audience",
        lambda _, b: with_audience(b, member_at(b, member=True), pseudonym=f"p1-{block_of(ANNA).hex()}"),
    ),
    "another audience's entry": ("audience", lambda _, b: with_audience(b, 0, logged=parts_of(b)[1].logged)),
    "another audience's leaves": ("audience", lambda _, b: with_audience(b, 0, leaves=parts_of(b)[1].leaves)),
    "another entry": ("audience", lambda _, b: with_audience(b, 0, logged=entries_of(b)[0].logged)),
    "an entry's index": (
        "inclusion", lambda _, b: with_audience(b, 0, logged=replace(parts_of(b)[0].logged, index=1)),
    ),
    "an entry's path": (
        "inclusion",
        lambda _, b: with_audience(b, 0, logged=replace(parts_of(b)[0].logged, path=parts_of(b)[0].logged.path[1:])),
    ),
    "in called out": ("audience", lambda _, b: with_audience(b, member_at(b, member=True), member=False)),
    "out called in": ("audience", lambda _, b: with_audience(b, member_at(b, member=False), member=True)),
    "no leaves": ("audience", lambda _, b: with_audience(b, member_at(b, member=True), leaves=())),
    "no leaves of one who is out": ("audience", lambda _, b: with_audience(b, member_at(b, member=False), leaves=())),
    "a leaf's path": (
        "audience",
        lambda _, b: with_audience(b, 0, leaves=tuple(replace(leaf, path=leaf.path[:-1]) for leaf in parts_of(b)[0].leaves)),
    ),
    "a leaf's index": (
        "audience",
        lambda _, b: with_audience(b, 0, leaves=tuple(replace(leaf, index=leaf.index ^ 1) for leaf in parts_of(b)[0].leaves)),
    ),
    "what no disclosure names": (
        "audience",
        lambda c, b: replace(b, audiences=(*parts_of(b), c.audience(next(iter(c.audiences)), f"p2-{block_of(BEN).hex()}"))),
    ),
    "under another checkpoint": ("inclusion", lambda c, b: (c.record(ANNA), replace(b, audiences=c.bundle(BEN).audiences))[1]),
    "the disclosure left out": (
        "chain", lambda _, b: with_chain(b, entries=(*entries_of(b)[:-2], entries_of(b)[-1])),
    ),
}  # fmt: skip


@pytest.mark.parametrize("change", AUDIENCES)
def test_what_is_changed_of_audiences_is_found(change: str) -> None:
    code, act = AUDIENCES[change]
    made, bundle = shown()
    assert checked(bundle) == ("ok", None)
    assert checked(act(made, bundle))[0] == code


def test_without_the_disclosure_no_audience_is_the_persons() -> None:
    """What is newer than the map can be cut off, the disclosure too: with it goes all that was said of audiences."""
    made = company()
    made.publish()
    audience = made.resolve(BEN)
    made.disclose(BEN, audience)
    bundle = made.bundle(BEN)
    assert checked(bundle) == ("ok", None)
    cut = with_chain(bundle, entries=entries_of(bundle)[:-1])
    assert checked(cut)[0] == "audience"
    finding = verify_bundle(VKEY, bundle_bytes(replace(cut, audiences=())))
    assert (finding.ok, "of audiences it says nothing" in finding.message) == (True, True), str(finding)


def test_what_a_former_chain_was_handed_out_with_need_not_be_shown_again() -> None:
    made = Company()
    made.record(ANNA_BEFORE)
    old = made.resolve(ANNA_BEFORE)
    made.disclose(ANNA_BEFORE, old)
    made.record(ANNA, former=ANNA_BEFORE, kind="dek.rotated")
    bundle = replace(made.bundle(ANNA_BEFORE, ANNA), audiences=())
    assert checked(bundle) == ("ok", None)
    still = made.bundle(ANNA_BEFORE, ANNA)
    assert (checked(still), len(parts_of(still))) == (("ok", None), 1)


@pytest.mark.parametrize("payload", [b"{}", b"[]", b"\xff", b"[" * 5000, b'{"audiences": {}}', b'{"audiences":[]}',
                                     b'{"audiences":{"a":7}}', b'{"audiences":{},"more":1}'])  # fmt: skip
def test_a_disclosure_that_names_nothing_readable_is_found(payload: bytes) -> None:
    with pytest.raises(ValueError, match="which audiences"):
        parse_disclosed(payload)
    if payload == b"\xff":
        return  # a payload of a bundle is text
    made = Company()
    made.record(BEN)
    made.record(BEN, kind="bundle.disclosed", payload=payload)
    assert checked(made.bundle(BEN))[0] == "audience"


def test_any_kind_but_one_is_no_audience() -> None:
    """An entry with the fields of an audience, of a kind that resolves none."""
    made = Company()
    audience = made.resolve(BEN)
    said = parse_entry(made.logged(made.audiences[audience][0]).entry).fields
    other = made.record(kind="admin.action", **said)
    made.disclose(BEN, audience)
    bundle = made.bundle(BEN)
    assert checked(bundle) == ("ok", None)
    assert checked(with_audience(bundle, 0, logged=made.logged(other))) == ("audience", made.logged(other).index)


def test_an_audience_without_a_manifest_shows_nobody() -> None:
    made = Company()
    uid = made.record(kind="audience.resolved", audience="00" * 16, size=0, manifest_root="00" * 32)
    made.disclose(BEN, **{"00" * 16: f"p1-{block_of(BEN).hex()}"})
    part = AudiencePart(made.logged(uid), f"p1-{block_of(BEN).hex()}", member=False, leaves=())
    finding = verify_bundle(VKEY, bundle_bytes(replace(made.bundle(BEN), audiences=(part,))))
    assert (finding.code, finding.index, "version 2" in finding.message) == ("audience", 0, True)


@settings(derandomize=True, deadline=None, max_examples=80)
@given(st.integers(0, len(bundle_bytes(shown()[1])) * 8 - 1))
def test_a_bit_of_a_bundle_with_audiences_never_passes_unseen(bit: int) -> None:
    assert not verify_bundle(VKEY, flip(bundle_bytes(shown()[1]), bit)).ok


# -- the erasure that comes after ----------------------------------------------------------------------------------


def erased(made: Company, *keys: bytes, **said: Any) -> tuple[bytes, bytes]:
    """The entry that erases a subject of these chains, today's last, and its receipt."""
    lengths = {chain_key(chain_secret(key)): made.store.heads[chain_key(chain_secret(key))][0] for key in keys}
    lengths[chain_key(chain_secret(keys[-1]))] += 1
    chains = [{"chain": key.hex(), "count": count} for key, count in lengths.items()]
    uid = made.record(keys[-1], kind="subject.erased", **({"reason": "request", "chains": chains} | said))
    logged = made.logged(uid)
    assert made.store.checkpoint is not None
    size = len(made.store.rows)
    return logged.entry, make_receipt(logged.index, size, made.store.checkpoint, made.store.read_tile)


def ended(bundle: Bundle, *files: tuple[bytes, bytes]) -> Finding:
    return verify_bundle(VKEY, bundle_bytes(bundle), erasures=files)


def test_the_erasure_says_how_much_came_after_the_bundle() -> None:
    made = company()
    bundle = made.bundle(ANNA_BEFORE, ANNA)
    finding = ended(bundle, erased(made, ANNA_BEFORE, ANNA))
    assert (finding.ok, finding.details["erased"]) == (
        True, {"index": 11, "after": 1, "chains_missing": 0, "chains_open": 0},
    )  # fmt: skip
    assert finding.message.endswith(
        "erased by entry 11: 1 entries are newer than the bundle, the erasure's own included"
    )
    made = company()
    made.record(ANNA)
    assert ended(bundle, erased(made, ANNA_BEFORE, ANNA)).details["erased"]["after"] == 2  # type: ignore[index]
    assert "erased" not in ended(bundle).details


def test_each_subject_is_erased_by_an_entry_of_its_own() -> None:
    made = company()
    bundle = made.bundle(BEN, ANNA_BEFORE, ANNA)
    first = erased(made, BEN)
    half = ended(bundle, first)
    assert half.details["erased"] == {"index": 11, "after": 1, "chains_missing": 0, "chains_open": 2}
    assert "2 chains of the bundle are not ended by it" in half.message
    whole = ended(bundle, first, erased(made, ANNA_BEFORE, ANNA))
    assert whole.details["erased"] == {"index": 12, "after": 2, "chains_missing": 0, "chains_open": 0}


def test_a_chain_that_the_bundle_does_not_have_is_told() -> None:
    made = company()
    made.record(b"\x0a" * 32)
    finding = ended(made.bundle(BEN), erased(made, b"\x0a" * 32, BEN))
    assert finding.details["erased"] == {"index": 12, "after": 2, "chains_missing": 1, "chains_open": 0}
    assert "1 chains that it ended are not in the bundle" in finding.message


WRONG_ENDS: dict[str, tuple[Callable[[Company], tuple[bytes, bytes]], str, int | None]] = {
    "somebody else's": (lambda c: erased(c, ANNA), "entry 11 erased somebody else", 11),
    "one that names less": (
        lambda c: erased(c, BEN, chains=[{"chain": chain_key(chain_secret(BEN)).hex(), "count": 2}]),
        "entry 11 names fewer entries of a chain than the bundle has", 11,
    ),
    "one that names no chains": (lambda c: erased(c, BEN, chains=[]), "entry 11 erased somebody else", 11),
    "one of a former release": (lambda c: erased(c, BEN, chains=None), "entry 11 erased somebody else", 11),
    "chains of no form": (lambda c: erased(c, BEN, chains=[7]), "entry 11 does not say which chains it ended", 11),
    "a key of no form": (
        lambda c: erased(c, BEN, chains=[{"chain": "zz", "count": 9}]),
        "a hash, salt or secret of the bundle is not 32 bytes in hex", None,
    ),
    "a count of no form": (
        lambda c: erased(c, BEN, chains=[{"chain": "00" * 32, "count": "9"}]),
        "entry 11 does not say which chains it ended", 11,
    ),
    "another entry": (
        lambda c: (c.store.rows[3][1], make_receipt(3, 11, c.store.checkpoint or b"", c.store.read_tile)),
        "entry 3 erases nobody", 3,
    ),
    "another's receipt": (
        lambda c: (erased(c, BEN)[0], make_receipt(3, 12, c.store.checkpoint or b"", c.store.read_tile)),
        "the erasure is not at index 3 of this log", 3,
    ),
    "no receipt": (lambda c: (erased(c, BEN)[0], b""), "a receipt is ASCII lines, a blank line and a checkpoint", None),
}  # fmt: skip


@pytest.mark.parametrize("wrong", WRONG_ENDS)
def test_an_erasure_that_is_none_of_this_person_is_refused(wrong: str) -> None:
    make, words, index = WRONG_ENDS[wrong]
    made = company()
    bundle = made.bundle(BEN)
    finding = ended(bundle, make(made))
    assert (finding.ok, finding.code, finding.message, finding.index) == (False, "erasure", words, index)


def test_an_erasure_of_another_log_is_refused() -> None:
    made, other = company(), company()
    bundle = made.bundle(BEN)
    other.signer = Signer(ORIGIN, bytes(32))
    assert ended(bundle, erased(other, BEN)).code == "checkpoint"


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
    spelt(("format",), "consent-gateway/bundle@v3"), spelt(("format",), "consent-gateway/bundle@v1"),
    spelt(("format",), None), spelt(("audiences",), None), spelt(("audiences",), [{}]), spelt(("more",), 1), spelt(("checkpoint",), 1),
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
