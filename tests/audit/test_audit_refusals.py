"""What the log's parts refuse, word for word and at the very edge: the words are what an operator has to go by."""

from __future__ import annotations

import json
from collections.abc import Callable
from hashlib import sha256
from types import MappingProxyType

import pytest
from audit_fakes import ORIGIN, SEED, MemoryLogStore, filled, mth, path, subproof

from consent_gateway.audit.canonical import canonical_json
from consent_gateway.audit.chains import chain_ref, extend
from consent_gateway.audit.checkpoints import Signer, open_checkpoint
from consent_gateway.audit.commitments import opening_salt
from consent_gateway.audit.entries import Entry, EntryKind, EntryWriter, entry_bytes, parse_entry
from consent_gateway.audit.epochs import Loss, Succession, follow, parse_succession
from consent_gateway.audit.jws import JwsSigner, from_base64url, parse_jwks, parse_jws, to_base64url
from consent_gateway.audit.log import (
    EMPTY_HEAD,
    NO_CHAIN,
    chain_keys_of,
    integrate,
    load_head,
    make_receipt,
    sequence,
)
from consent_gateway.audit.log_keys import ForeignError, LogKeys
from consent_gateway.audit.maps import (
    MapLeaf,
    MapProof,
    SumCheck,
    check_growth,
    check_published,
    map_leaf,
    read_leaves,
    verify_map,
    write_leaves,
)
from consent_gateway.audit.merkle import CompactRange, leaf_hashes
from consent_gateway.audit.notes import MAX_NOTE_BYTES, parse_note, parse_vkey, to_base64
from consent_gateway.audit.proofs import inclusion_proof, verify_consistency, verify_inclusion
from consent_gateway.audit.receipts import parse_receipt
from consent_gateway.audit.tiles import EMPTY_EDGE, decode_bundle, encode_bundle, grow, load_edge
from consent_gateway.audit.verifier import verify_receipt

UID, KEY = bytes(range(16)), bytes(range(32))


def said(call: Callable[[], object]) -> str:
    """The words of a refusal, which quotes no other error."""
    with pytest.raises(ValueError) as refused:
        call()
    return str(refused.value)


def nested(depth: int, *, objects: bool, core: object = 1) -> object:
    for _ in range(depth):
        core = {"a": core} if objects else [core]
    return core


def example(**changes: object) -> Entry:
    facts: dict[str, object] = {"kind": EntryKind.ADMIN_ACTION, "at": 7, "actor": "a", "uid": UID}
    return Entry(**{**facts, **changes})  # type: ignore[arg-type]


def members(**changes: object) -> bytes:
    """An entry spelt canonically, with other members."""
    return canonical_json({**json.loads(entry_bytes(example())), **changes})


# -- values and entries --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("value", "words"), [
    (2**53, "an integer is outside ±(2^53-1)"),
    ([-(2**53)], "an integer is outside ±(2^53-1)"),
    ({1: "a"}, "an object key is not a string"),
    ("\ud800", "a string holds a lone surrogate"),
    (1.5, "float has no canonical form here"),
    ({"a": [b""]}, "bytes has no canonical form here"),
    (nested(33, objects=False), "nested deeper than 32 levels"),
    (nested(33, objects=True), "nested deeper than 32 levels"),
    (nested(16, objects=True, core=nested(17, objects=False)), "nested deeper than 32 levels"),
    (nested(16, objects=False, core=nested(17, objects=True)), "nested deeper than 32 levels"),
])  # fmt: skip
def test_values_without_a_canonical_form(value: object, words: str) -> None:
    assert said(lambda: canonical_json(value)) == words


@pytest.mark.parametrize("objects", [True, False])
def test_the_deepest_values_that_have_one(*, objects: bool) -> None:
    for value in (nested(32, objects=objects), nested(16, objects=objects, core=nested(16, objects=not objects))):
        assert json.loads(canonical_json(value)) == value


@pytest.mark.parametrize(("call", "words"), [
    (lambda: entry_bytes(example(actor="")), "an entry needs an actor"),
    (lambda: entry_bytes(example(uid=UID[1:])), "an entry needs a 16-byte uid and a time in epoch milliseconds"),
    (lambda: entry_bytes(example(at=-1)), "an entry needs a 16-byte uid and a time in epoch milliseconds"),
    (lambda: entry_bytes(example(at=2**53)), "an entry needs a 16-byte uid and a time in epoch milliseconds"),
    (lambda: entry_bytes(example(fields={"t": "x" * 65_535})), "an entry is at most 65535 bytes"),
    (lambda: entry_bytes(example(commitments={"p": KEY, "q": KEY[1:]})), "a commitment has 32 bytes"),
    (lambda: parse_entry(b"x" * 65_536), "an entry is at most 65535 bytes"),
    (lambda: parse_entry(b"x" * 65_535), "the entry is not JSON"),
    (lambda: parse_entry(b"\xff"), "the entry is not JSON"),
    (lambda: parse_entry(b"[" * 60_000), "the entry is not JSON"),
    (lambda: parse_entry(b"[]"), "the entry has missing or unknown members"),
    (lambda: parse_entry(members(more=1)), "the entry has missing or unknown members"),
    (lambda: parse_entry(members(at="7")), "a member of the entry has the wrong type"),
    (lambda: parse_entry(members(fields=[])), "a member of the entry has the wrong type"),
    (lambda: parse_entry(members(v=2)), "the entry is not in canonical form"),
    (lambda: parse_entry(entry_bytes(example()) + b" "), "the entry is not in canonical form"),
    (lambda: opening_salt(KEY[1:], UID, "p"), "a commitment needs a 32-byte key and a 16-byte uid"),
    (lambda: opening_salt(KEY, UID[1:], "p"), "a commitment needs a 32-byte key and a 16-byte uid"),
])  # fmt: skip
def test_entries_and_commitments(call: Callable[[], object], words: str) -> None:
    assert said(call) == words


def test_the_times_at_the_ends_and_any_mapping_of_fields() -> None:
    for at in (0, 2**53 - 1):
        assert parse_entry(entry_bytes(example(at=at))).at == at
    writer = EntryWriter(EntryKind.ADMIN_ACTION, "a")
    fields = {"b": 1, "a": "x"}
    assert writer.write(7, UID, MappingProxyType(fields)) == writer.write(7, UID, fields)
    assert writer.write(7, UID, fields) == entry_bytes(example(fields=fields))
    assert parse_entry(writer.write(7, UID, fields)).commitments == {}


# -- the tree ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("call", "words"), [
    (lambda: CompactRange(3, (KEY,)), "a compact range has one peak for each 1-bit of its size"),
    (lambda: CompactRange(-1, (KEY,)), "a compact range has one peak for each 1-bit of its size"),
    (lambda: encode_bundle([b"", bytes(65_536)]), "an entry is at most 65535 bytes"),
    (lambda: decode_bundle(b"\0\2a"), "an entry bundle ends inside an entry"),
    (lambda: decode_bundle(b"\0\1a\0"), "an entry bundle ends inside an entry"),
    (lambda: load_edge(3, {}), "the partial tiles do not fit the size of the tree"),
    (lambda: grow(EMPTY_EDGE, [KEY, KEY[1:]]), "a leaf hash has 32 bytes"),
    (lambda: integrate(EMPTY_HEAD, [(b"", NO_CHAIN)], {}), "an entry has 1 to 65535 bytes"),
    (lambda: load_head(1, KEY, {0: KEY[::-1]}), "the stored tiles do not hash to the stored root"),
    (lambda: extend(b"{}", bytes(64), {}), "an entry has no room for its place in a chain"),
])  # fmt: skip
def test_trees_tiles_and_places(call: Callable[[], object], words: str) -> None:
    assert said(call) == words


def test_the_longest_entry_is_integrated_and_bundled() -> None:
    longest = bytes(65_535)
    done = integrate(EMPTY_HEAD, [(longest, NO_CHAIN), (b"x", NO_CHAIN)], {})
    assert [row[:2] for row in done.rows] == [(0, longest), (1, b"x")]
    assert decode_bundle(encode_bundle([longest, b"x"])) == [longest, b"x"]


def test_the_keys_of_chains_are_the_first_halves() -> None:
    refs = [chain_ref(bytes([n]) * 32, UID) for n in range(3)]
    assert chain_keys_of([refs[0] + refs[1], NO_CHAIN, refs[2]]) == [ref[:32] for ref in refs]


def test_a_batch_is_a_thousand_and_asks_who_signs_once_it_is_known() -> None:
    store, asked = MemoryLogStore(), list[int]()
    store.queue += [b"%d" % n for n in range(1_500)]

    def signer() -> Signer:
        asked.append(store.head().size)
        return Signer(ORIGIN, SEED)

    sizes = [len(done.rows) for done in (sequence(store, signer), sequence(store, signer)) if done is not None]
    assert (sizes, asked) == ([1_000, 500], [0, 1_000])
    assert sequence(store, signer) is None
    assert asked == [0, 1_000], "nothing is signed where nothing waits"
    opened = open_checkpoint(store.checkpoint or b"", Signer(ORIGIN, SEED).key).checkpoint
    assert (opened.size, opened.root) == (1_500, mth(leaf_hashes([b"%d" % n for n in range(1_500)])))


def test_only_the_chains_of_the_batch_are_read() -> None:
    class Asked(MemoryLogStore):
        keys: frozenset[bytes] = frozenset()

        def chains(self, keys, /):
            self.keys = frozenset(keys)
            return super().chains(keys)

    store = Asked()
    ref = chain_ref(KEY, UID)
    sealed = {"chain": bytes(32), "subject": KEY}
    about = entry_bytes(example(kind=EntryKind.DECISION_MADE, commitments=sealed))
    store.queue += [b"nobody", about]
    store.refs[about] = ref
    sequence(store, Signer(ORIGIN, SEED))
    assert store.keys == {ref[:32]}
    assert store.heads[ref[:32]][0] == 1


def test_a_receipt_is_of_its_entry_and_size() -> None:
    store, signer = filled([b"%d" % n for n in range(300)])
    for index in (0, 255, 299):
        proof = make_receipt(index, 300, store.checkpoint or b"", store.read_tile)
        found = verify_receipt(signer.vkey, proof, b"%d" % index)
        assert (found.ok, found.index) == (True, index)


# -- proofs and receipts -------------------------------------------------------------------------------------------

NODE, NOT_RECEIPT = to_base64(KEY), "a receipt is ASCII lines, a blank line and a checkpoint"
HEADER_LINE = b"c2sp.org/tlog-proof@v1\n"


@pytest.mark.parametrize(("data", "words"), [
    (b"", NOT_RECEIPT), (HEADER_LINE + b"index 1\n", NOT_RECEIPT), (HEADER_LINE + "index ü\n\n".encode(), NOT_RECEIPT),
    (HEADER_LINE + b"index 1\n\n" + b"x" * 2_000_000, NOT_RECEIPT),
    (b"c2sp.org/tlog-proof@v2\nindex 1\n\n", "not a receipt of version 1"),
    (HEADER_LINE[:-1] + b"\n\n", "the receipt has no index or empty extra data"),
    (HEADER_LINE + b"extra \nindex 1\n\n", "the receipt has no index or empty extra data"),
    (HEADER_LINE + b"extra AA==\n\n", "the receipt has no index or empty extra data"),
    (HEADER_LINE + b"at 1\n\n", "the receipt lacks its index line"),
    (HEADER_LINE + b"index 01\n\n", "not a canonical decimal number"),
    (HEADER_LINE + b"index 1\nAAAA\n\n", "a hash of the proof has not 32 bytes"),
    (HEADER_LINE + b"index 1\n" + f"{NODE}\n".encode() * 64 + b"\n", "the proof is longer than any tree is high"),
])  # fmt: skip
def test_receipts(data: bytes, words: str) -> None:
    assert said(lambda: parse_receipt(data)) == words


def test_the_longest_receipt_and_the_longest_path() -> None:
    data = HEADER_LINE + b"index 1\n" + f"{NODE}\n".encode() * 63 + b"\n"
    found = parse_receipt(data.ljust(2_000_000, b"x"))
    assert (found.index, found.path, len(found.checkpoint)) == (1, (KEY,) * 63, 2_000_000 - len(data))


SIGNER = Signer(ORIGIN, SEED)
SIGNED = SIGNER.sign_checkpoint(7, KEY)
TWICE = SIGNED + SIGNED.rpartition(b"\n\n")[2]
NO_NOTE, NO_HEAD = (
    "a note is text, a blank line and signature lines",
    "a checkpoint is an origin, a size and a root, without empty lines",
)


@pytest.mark.parametrize(("call", "words"), [
    (lambda: parse_note(b"x"), NO_NOTE),
    (lambda: parse_note(b"x\n\n- a AAAAAAAA\n"), "a signature line is malformed"),
    (lambda: parse_note("x\n\n— a\n".encode()), "a signature line is malformed"),
    (lambda: parse_note("x\n\n— a AAAA\n".encode()), "a signature line holds no signature"),
    (lambda: parse_note(b"\xff\n\n"), "the note is not UTF-8"),
    (lambda: parse_note(b"\t\n\n"), "the note holds a control character"),
    (lambda: parse_note(b"x" * (MAX_NOTE_BYTES + 1)), "the note is too long"),
    (lambda: parse_note(b"x" * MAX_NOTE_BYTES), NO_NOTE),
    (lambda: parse_vkey("a+00000000+AQ=="), "the verifier key has a wrong length for its type"),
    (lambda: parse_vkey("a+00000000+"), "the verifier key is empty"),
    (lambda: parse_vkey(f"a+00000000+{to_base64(b'x' + KEY)}"), "the key id does not belong to this name and key"),
    (lambda: open_checkpoint(TWICE, SIGNER.key), "a signature by a known key stands there twice"),
    (lambda: open_checkpoint(SIGNER.sign_text("a\n7\n"), SIGNER.key), NO_HEAD),
    (lambda: open_checkpoint(SIGNER.sign_text(f"a\n7\n{NODE}\n\nx\n"), SIGNER.key), NO_HEAD),
])  # fmt: skip
def test_notes_and_checkpoints(call: Callable[[], object], words: str) -> None:
    assert said(call) == words


def test_a_tile_of_another_length_is_told() -> None:
    words = "tile 0/0 has 31 bytes instead of 224"
    assert said(lambda: inclusion_proof(3, 7, lambda *_: bytes(31))) == words


LEAVES = leaf_hashes([b"%d" % n for n in range(7)])
ROOT, PATH = mth(LEAVES), path(5, LEAVES)


def test_what_no_inclusion_proof_is() -> None:
    assert verify_inclusion(5, 7, LEAVES[5], PATH, ROOT)
    for index, size, leaf, nodes, root in [
        (7, 7, LEAVES[5], PATH, ROOT), (-1, 7, LEAVES[5], PATH, ROOT), (0, 0, ROOT, [], ROOT), (1, 1, ROOT, [], ROOT),
        (0, 1, b"", [], b""), (0, 1, ROOT[1:], [], ROOT[1:]), (5, 7, LEAVES[5], PATH[:-1], ROOT),
        (5, 7, LEAVES[5], [*PATH, KEY], ROOT), (5, 7, LEAVES[5], [*PATH[:-1], PATH[-1][1:]], ROOT),
        (4, 7, LEAVES[5], PATH, ROOT), (5, 6, LEAVES[5], PATH, ROOT),
    ]:  # fmt: skip
        assert not verify_inclusion(index, size, leaf, nodes, root)


def test_what_no_consistency_proof_is() -> None:
    proof = subproof(3, LEAVES)
    old = mth(LEAVES[:3])
    assert verify_consistency(3, 7, old, ROOT, proof)
    # a whole proof of a smaller tree, said to be of this one: it does not reach the top
    assert verify_consistency(3, 4, old, mth(LEAVES[:4]), subproof(3, LEAVES[:4]))
    assert not verify_consistency(3, 7, old, mth(LEAVES[:4]), subproof(3, LEAVES[:4]))
    for first, second, roots, nodes in [
        (0, 7, (old, ROOT), proof), (7, 3, (old, ROOT), proof), (3, 7, (old[1:], ROOT), proof), (7, 7, (old, ROOT), []),
        (3, 7, (ROOT, old), proof), (3, 7, (old, ROOT), [*proof, KEY]), (7, 7, (ROOT, ROOT), [KEY]),
        (1, 1, (b"", b""), []),
    ]:  # fmt: skip
        assert not verify_consistency(first, second, *roots, nodes)


# -- keys and epochs -----------------------------------------------------------------------------------------------

KEYS = LogKeys(ORIGIN, lambda epoch: bytes([epoch]) * 32)
STEP = Succession(ORIGIN, 2, KEYS.signer(2).vkey, 20, KEY, Loss(20, 40, KEY))


def test_whose_a_checkpoint_is() -> None:
    other = LogKeys("other.example", KEYS.seed)
    for epoch in (1, 2):
        note = KEYS.signer(epoch).sign_checkpoint(7, KEY)
        assert KEYS.open(note)[0] == epoch
        for holder, words in (
            (other, "the checkpoint is of another log"),
            (LogKeys(ORIGIN, lambda _: KEY), "the checkpoint is signed by a key that is not this log's"),
        ):
            with pytest.raises(ForeignError) as refused:
                holder.open(note)
            assert str(refused.value) == words


def test_a_signer_is_made_once_and_for_its_epoch() -> None:
    seeds = list[int]()
    keys = LogKeys(ORIGIN, lambda epoch: seeds.append(epoch) or bytes([epoch]) * 32)
    assert keys.signer() is keys.signer(1)
    assert keys.signer(3) is keys.signer(3)
    assert seeds == [1, 3]
    assert [keys.signer(n).key.name for n in (1, 3)] == [ORIGIN, f"{ORIGIN}/epoch-3"]
    assert keys.signer(3).vkey == Signer(f"{ORIGIN}/epoch-3", b"\3" * 32).vkey


NO_STATEMENT = "not a statement about an epoch"


@pytest.mark.parametrize(("old", "new", "words"), [
    ("log-epoch@v1", "log-epoch@v2", NO_STATEMENT),
    ("epoch 2\n", "", NO_STATEMENT),
    ("epoch 2\n", "epoch 2\n\n", NO_STATEMENT),
    ("lost 20 40", "lost 20 20", NO_STATEMENT),
    ("lost 20 40", "lost 21 40", NO_STATEMENT),
    ("lost 20 40 ", "lost 20 40 AAAA", "a root has 32 bytes"),
    ("surviving 20 ", "surviving 20 AAAA", "a root has 32 bytes"),
    ("surviving 20", "surviving x", "not a decimal number"),
])  # fmt: skip
def test_statements(old: str, new: str, words: str) -> None:
    assert old in STEP.text
    changed = STEP.text.replace(old, new)
    if new.endswith("AAAA"):
        changed = "\n".join(
            line.partition("AAAA")[0] + "AAAA" if "AAAA" in line else line for line in changed.split("\n")
        )
    assert said(lambda: parse_succession(changed)) == words
    assert parse_succession(STEP.text) == STEP


@pytest.mark.parametrize(("changes", "words"), [
    ({"epoch": 1, "vkey": KEYS.signer(1).vkey}, "the statement does not follow on the epoch before"),
    ({"origin": "other.example"}, "the statement does not follow on the epoch before"),
    ({"origin": f"{ORIGIN}/epoch-2", "epoch": 2}, "the statement does not follow on the epoch before"),
    ({"epoch": 3}, "the key that the statement names is not one of the next epoch"),
])  # fmt: skip
def test_statements_that_do_not_follow(changes: dict[str, object], words: str) -> None:
    values = {"origin": ORIGIN, "epoch": 2, "vkey": KEYS.signer(2).vkey, "surviving": 20, "root": KEY}
    step = Succession(**(values | changes))  # type: ignore[arg-type]
    assert said(lambda: follow(KEYS.signer(1).vkey, [KEYS.signer(1).sign_text(step.text)])) == words


# -- maps ----------------------------------------------------------------------------------------------------------

ONE, TWO = (MapLeaf(bytes([n]) * 32, 1, KEY) for n in (1, 2))


def published(size: int, entries: int, **more: object) -> bytes:
    fields = {"entries": entries, "size": size, **more}
    return canonical_json({"commitments": {}, "fields": fields, "kind": "map.published"})


def fed(*entries: bytes) -> None:
    check = SumCheck()
    for entry in entries:
        check.feed(entry)


@pytest.mark.parametrize(("call", "words"), [
    (lambda: read_leaves(bytes(71)), "the file of a map is cut off"),
    (lambda: read_leaves(b"".join(write_leaves([TWO, ONE]))), "the chains of a map are not in order, each once"),
    (lambda: read_leaves(b"".join(write_leaves([ONE, ONE]))), "the chains of a map are not in order, each once"),
    (lambda: read_leaves(b"".join(write_leaves([ONE._replace(entries=0)]))),
     "a chain of a map has no entry, or more than there can be"),
    (lambda: read_leaves(b"".join(write_leaves([ONE, TWO._replace(entries=2**63 - 1)]))),
     "a chain of a map has no entry, or more than there can be"),
    (lambda: check_published({}, [ONE]), "the chains are not those of the published map"),
    (lambda: check_growth([ONE], []), f"the chain {'01' * 32} lost entries that were published"),
    (lambda: check_growth([ONE], [ONE._replace(link=UID * 2)]),
     f"the chain {'01' * 32} has another newest entry and no more of them"),
    (lambda: fed(b"{}"), "entry 0 is not an entry in canonical form"),
    (lambda: fed(published(1, 0)), "the map of entry 0 is of no size that the log had since the map before"),
    (lambda: fed(published(0, 1)),
     "the map of entry 0 has 1 entries in chains, but 0 of the first 0 entries say that they are in one"),
])  # fmt: skip
def test_maps(call: Callable[[], object], words: str) -> None:
    assert said(call) == words


BOTH = canonical_json({"commitments": {"chain": "", "other_chain": ""}, "fields": {}, "kind": "dek.rotated"})


def test_one_size_has_one_map() -> None:
    """The same may be published twice; another root at that size is a fork of the map, at a later size it is none."""
    one, two = published(1, 2, root="a"), published(1, 2, root="b")
    fed(BOTH, one, one)
    fed(BOTH, one, published(2, 2, root="b"))
    fed(published(0, 0, root="a"), published(1, 0, root="b"))
    words = "the map of entry 2 is another one of the same 1 entries"
    assert said(lambda: fed(BOTH, one, two)) == words
    assert said(lambda: fed(BOTH, one, published(1, 2))) == words


def test_the_largest_chain_that_there_can_be() -> None:
    most = [ONE._replace(entries=2**63 - 1)]
    assert read_leaves(b"".join(write_leaves(most))) == most


@pytest.mark.parametrize(("entries", "holds"), [(0, True), (2**55 - 1, True), (2**55, False)])
def test_the_largest_sum_that_a_proof_may_show_at_a_branch(entries: int, *, holds: bool) -> None:
    """Below 2^55, so that 256 of them and a leaf still fit the eight bytes of a sum."""
    here = map_leaf(ONE)
    root = sha256(b"\x03" + here.hash + (1).to_bytes(8, "big") + KEY + entries.to_bytes(8, "big")).digest()
    assert verify_map(ONE.key, MapProof(((KEY, entries),), ONE), root, entries + 1) is holds


@pytest.mark.parametrize(("entries", "holds"), [(1, True), (2**63 - 1, True), (2**63, False)])
def test_the_largest_count_of_a_leaf(entries: int, *, holds: bool) -> None:
    leaf = ONE._replace(entries=entries)
    assert verify_map(ONE.key, MapProof((), leaf), *map_leaf(leaf)[:2]) is holds


def test_a_proof_of_256_branches_is_the_longest() -> None:
    """A way through every bit of the key; one branch more has no bit to turn at."""
    here, total, others = map_leaf(ONE).hash, 1, list[tuple[bytes, int]]()
    for n in reversed(range(256)):
        others.insert(0, (KEY, 1))
        mine, other = here + total.to_bytes(8, "big"), KEY + (1).to_bytes(8, "big")
        right = ONE.key[n // 8] >> (7 - n % 8) & 1
        here, total = sha256(b"\x03" + (other + mine if right else mine + other)).digest(), total + 1
    assert verify_map(ONE.key, MapProof(tuple(others), ONE), here, total)
    assert not verify_map(ONE.key, MapProof((*others, (KEY, 1)), ONE), here, total)


# -- signatures of receipts ----------------------------------------------------------------------------------------

JWS = JwsSigner(SEED)
HEADER = {"alg": "EdDSA", "b64": False, "crit": ["b64"]}


def detached(header: object, signature: bytes = bytes(64)) -> str:
    return f"{to_base64url(canonical_json(header))}..{to_base64url(signature)}"


def jwk(**changes: object) -> bytes:
    return json.dumps({k: v for k, v in {**JWS.key.members, **changes}.items() if v is not None}).encode()


FORM = "a detached signature is a header, two dots and a signature"
OTHER_KIND = "the signature is not EdDSA over an unencoded payload"


@pytest.mark.parametrize(("call", "words"), [
    (lambda: parse_jws(""), FORM),
    (lambda: parse_jws("e30.e30.AA"), FORM),
    (lambda: parse_jws(detached(HEADER | {"x": "y" * 75_000})), FORM),
    (lambda: parse_jws(detached([])), "not a JSON object"),
    (lambda: parse_jws("AA..AA"), "not JSON"),
    (lambda: parse_jws(f"{to_base64url(json.dumps(HEADER).encode())}..AA"),
     "the header of the signature is not in canonical form"),
    (lambda: parse_jws(detached(HEADER | {"alg": "none"})), OTHER_KIND),
    (lambda: parse_jws(detached(HEADER | {"b64": True})), OTHER_KIND),
    (lambda: parse_jws(detached(HEADER | {"crit": []})), OTHER_KIND),
    (lambda: parse_jws(detached(HEADER, bytes(63))), "the signature has a wrong length"),
    (lambda: from_base64url("A"), "not base64url"),
    (lambda: from_base64url("AB=="), "not canonical base64url"),
    (lambda: parse_jwks(b"{"), "not JSON"),
    (lambda: parse_jwks(b"[]"), "not a JSON object"),
    (lambda: parse_jwks(b'{"keys":[]}'), "there is no Ed25519 key"),
    (lambda: parse_jwks(jwk(crv="X25519")), "there is no Ed25519 key"),
    (lambda: parse_jwks(jwk(kty="EC")), "there is no Ed25519 key"),
    (lambda: parse_jwks(jwk(x="AAAA")), "an Ed25519 key has 32 bytes"),
    (lambda: parse_jwks(jwk(x=None)), "an Ed25519 key has 32 bytes"),
    (lambda: parse_jwks(jwk(x=7)), "an Ed25519 key has 32 bytes"),
    (lambda: parse_jwks(jwk(kid="mine")), "the name of the key is not its thumbprint"),
])  # fmt: skip
def test_signatures_and_keys(call: Callable[[], object], words: str) -> None:
    assert said(call) == words


def test_a_header_of_almost_a_hundred_thousand_characters_is_read() -> None:
    room = 100_000 - len(detached(HEADER | {"x": ""}))
    header = HEADER | {"x": "y" * (room * 3 // 4 - 1)}
    assert len(detached(header)) <= 100_000
    assert parse_jws(detached(header)).header == header


def test_a_key_without_a_name_is_known_by_its_thumbprint() -> None:
    assert parse_jwks(jwk(kid=None)) == {JWS.key.kid: JWS.key}
