"""What the check of a bundle and of a membership says, to the letter: code, words, entry and details."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import test_audit_bundles as bundles
import test_audit_manifests as manifests
from audit_fakes import ORIGIN, Witness, flip
from test_audit_bundles import ANNA, ANNA_BEFORE, BEN, VALID, VKEY, company, entries_of, spelt, with_chain, with_entry

from consent_gateway.audit.bundle_files import Bundle, Logged, bundle_bytes, parse_bundle
from consent_gateway.audit.bundles import verify_bundle
from consent_gateway.audit.chains import chain_key, chain_secret
from consent_gateway.audit.entries import parse_entry
from consent_gateway.audit.log import sequence
from consent_gateway.audit.manifests import manifest_proof, member_leaves, verify_membership, witnesses_of
from consent_gateway.audit.proofs import inclusion_proof
from consent_gateway.audit.verifier import Finding

W1, W2 = Witness("w1.example", 1), Witness("w2.example", 2)
POLICY = f"log {VKEY}\nwitness a {W1.vkey}\nwitness b {W2.vkey}\ngroup g any a b\nquorum g\n".encode()
NOBODY = "not cosigned by w1.example, w2.example; group g has 0 of 1"
BEN_KEY = chain_key(chain_secret(BEN)).hex()


def refused(code: str, message: str, index: int | None = None) -> Finding:
    return Finding(ok=False, code=code, message=message, index=index)


def checked(bundle: Bundle) -> Finding:
    return verify_bundle(VKEY, bundle_bytes(bundle))


# -- bundles -------------------------------------------------------------------------------------------------------


def test_what_holds_says_what_was_seen() -> None:
    made = company()
    bundle = made.bundle(ANNA_BEFORE, ANNA)
    cosigned = replace(bundle, checkpoint=bundle.checkpoint + W2.line(bundle.checkpoint, 9))
    seen = {"origin": ORIGIN, "size": 11, "root": made.store.head().root.hex()}
    assert bundle.published is not None
    at = parse_entry(bundle.published.entry).at
    counts = {"entries": 7, "chains": 2, "complete_to": 8, "map_at": at, "not_covered": 1, "audiences": []}
    message = "7 entries in 2 chains, complete up to the map at 8 of 11 entries of the log; 1 are newer than that"
    message += "; of audiences it says nothing"
    by = [{"witness": "w2.example", "vkey": W2.vkey, "time": 9}]
    assert verify_bundle(VKEY, bundle_bytes(bundle)) == Finding(
        ok=True, code="ok", message=message, details=counts | seen | {"cosigned": []}
    )
    for trusted in ({"policy": POLICY}, {"witnesses": [W2.vkey]}):
        found = verify_bundle(VKEY, bundle_bytes(cosigned), **trusted)  # type: ignore[arg-type]
        assert found == Finding(ok=True, code="ok", message=message, details=counts | seen | {"cosigned": by})
    assert verify_bundle(VKEY, bundle_bytes(bundle), policy=POLICY) == refused("witness", NOBODY)
    missed = "not cosigned by w1.example; group all has 0 of 1"
    assert verify_bundle(VKEY, bundle_bytes(cosigned), witnesses=[W1.vkey]) == refused("witness", missed)


def other_role(b: Bundle) -> Bundle:
    return with_entry(b, 1, role="other")


CHANGED: list[tuple[Callable[[Bundle], Bundle], Finding]] = [
    (lambda b: with_chain(b, entries=entries_of(b)[1:]),
     refused("chain", "entry 6 is not number 1 of the chain, after the one before", 6)),
    (lambda b: with_chain(b, entries=(entries_of(b)[0], *entries_of(b))), refused("chain", "entry 1 is out of order", 1)),
    (lambda b: with_chain(b, entries=entries_of(b)[::-1]), refused("chain", "entry 10 is not number 1 of the chain, after the one before", 10)),
    (lambda b: with_chain(b, entries=(entries_of(b)[0], entries_of(b)[2], entries_of(b)[1])),
     refused("chain", "entry 10 is not number 2 of the chain, after the one before", 10)),
    (other_role, refused("chain", "entry 6 is not number 2 of the chain, after the one before", 6)),
    (lambda b: with_entry(b, 1, payload=b"{}"), refused("opening", "the payload is not what entry 6 committed to", 6)),
    (lambda b: with_entry(b, 1, salt=bytes(32)), refused("opening", "the payload is not what entry 6 committed to", 6)),
    (lambda b: with_entry(b, 1, logged=replace(entries_of(b)[1].logged, index=7)),
     refused("inclusion", "the entry is not at index 7 of this log", 7)),
    (lambda b: with_chain(b, entries=entries_of(b)[:1]),
     refused("map", f"the map has 2 entries of the chain {BEN_KEY}, the bundle has 1 up to there")),
    (lambda b: with_chain(b, proof=None), refused("map", f"nothing shows what the published map has for the chain {BEN_KEY}")),
    (lambda b: replace(b, chains=b.chains * 2), refused("chain", "a chain is in the bundle twice")),
    (lambda b: replace(b, published=entries_of(b)[0].logged), refused("map", "entry 1 publishes no map", 1)),
    (lambda b: replace(b, published=replace(b.published, index=3)),  # type: ignore[type-var]
     refused("inclusion", "the entry is not at index 3 of this log", 3)),
]  # fmt: skip


@pytest.mark.parametrize(("change", "found"), CHANGED)
def test_what_was_changed_is_told(change: Callable[[Bundle], Bundle], found: Finding) -> None:
    assert checked(change(company().bundle(BEN))) == found


def test_a_chain_that_is_missed_is_told() -> None:
    for key, which in ((ANNA, "former"), (ANNA_BEFORE, "later")):
        message = f"entry 4 leads to a {which} chain, which is not in the bundle"
        assert checked(company().bundle(key)) == refused("former", message, 4)


def test_a_map_with_another_newest_entry_is_told() -> None:
    made, key = company(), chain_key(chain_secret(BEN))
    made.publish(lambda leaves: [leaf._replace(link=bytes(32)) if leaf.key == key else leaf for leaf in leaves])
    assert checked(made.bundle(BEN)) == refused("map", f"the map names another newest entry of the chain {BEN_KEY}")


def test_what_the_log_holds_and_is_no_entry_is_told() -> None:
    made = company()
    made.store.queue.append(b"junk")
    sequence(made.store, made.signer)
    bundle, at = made.bundle(BEN), len(made.store.rows) - 1
    junk = Logged(at, b"junk", inclusion_proof(at, at + 1, made.store.read_tile))
    assert checked(replace(bundle, published=junk)) == refused("entry", "the entry is not JSON")


def test_a_file_without_a_chain_is_said_to_show_nothing() -> None:
    made = company()
    found = checked(replace(made.bundle(BEN), chains=()))
    assert found.ok
    assert found.message.startswith("no chain, which shows nothing about anybody, complete up to the map at 8 of 11 ")


@pytest.mark.parametrize(("said", "found"), [
    ({"size": 2}, refused("map", "entry 1 publishes no map", 1)),
    ({"size": -1}, refused("map", "entry 1 publishes no map", 1)),
    ({"entries": "1"}, refused("map", "entry 1 publishes no map", 1)),
    ({"root": "00"}, refused("map", "a hash, salt or secret of the bundle is not 32 bytes in hex")),
])  # fmt: skip
def test_an_entry_that_publishes_no_map_is_told(said: dict[str, Any], found: Finding) -> None:
    made = bundles.Company()
    made.record(BEN)
    made.publish(**said)
    assert checked(made.bundle(BEN)) == found


def test_a_map_may_stand_at_the_size_that_the_log_had_when_it_was_published() -> None:
    """The largest size that it may name is its own index: all that came before."""
    made = bundles.Company()
    made.record(BEN)
    made.publish(size=1)
    assert checked(made.bundle(BEN)).details["complete_to"] == 1


FIRST, PROOF = ("chains", 0, "entries", 0), ("chains", 0, "map")
PART = "a part of the bundle has missing or unknown members"
ENTRY_FORM = "an entry of the bundle is not of the format"
CHAIN_FORM = "a chain of the bundle is not of the format"
MAP_FORM = "a map proof of the bundle is not of the format"
HEX = "a hash, salt or secret of the bundle is not 32 bytes in hex"


@pytest.mark.parametrize(("data", "words"), [
    (b"{", "the bundle is not JSON"),
    (b"\xff", "the bundle is not JSON"),
    (b"[" * 100_000, "the bundle is not JSON"),
    (b"[]", PART),
    (json.dumps(VALID).encode(), "the bundle is not in canonical form"),
    (spelt(("more",), 1), PART),
    (spelt(("format",), "consent-gateway/bundle@v3"), "not a bundle of version 1 or 2"),
    (spelt(("checkpoint",), 1), "a member of the bundle is not of the format"),
    (spelt(("chains",), {}), "a member of the bundle is not of the format"),
    (spelt(("map",), {}), PART),
    (spelt(("map", "index"), -1), ENTRY_FORM),
    (spelt(("map", "index"), True), ENTRY_FORM),  # noqa: FBT003 - a value of JSON
    (spelt(("map", "index"), 1 << 53), "an integer is outside ±(2^53-1)"),
    (spelt(("map", "proof"), [1]), ENTRY_FORM),
    (spelt(("map", "proof"), ["?"]), "not base64"),
    (spelt(("chains", 0, "more"), 1), PART),
    (spelt(("chains", 0, "entries"), {}), CHAIN_FORM),
    (spelt(("chains", 0, "secret"), 1), CHAIN_FORM),
    (spelt(("chains", 0, "secret"), "00" * 31), HEX),
    (spelt(("chains", 0, "secret"), "AA" * 32), HEX),
    (spelt((*FIRST, "more"), 1), PART),
    (spelt((*FIRST, "role"), "actor"), ENTRY_FORM),
    (spelt((*FIRST, "salt"), None), ENTRY_FORM),
    (spelt((*FIRST, "chain_salt"), "00" * 33), HEX),
    (spelt((*FIRST, "index"), "1"), ENTRY_FORM),
    (spelt((*PROOF, "more"), 1), PART),
    (spelt((*PROOF, "others"), {}), MAP_FORM),
    (spelt((*PROOF, "others"), [1]), MAP_FORM),
    (spelt((*PROOF, "others"), [["00" * 32, -1]]), MAP_FORM),
    (spelt((*PROOF, "others"), [["00", 1]]), HEX),
    (spelt((*PROOF, "leaf"), []), PART),
    (spelt((*PROOF, "leaf", "entries"), "1"), MAP_FORM),
    (spelt((*PROOF, "leaf", "entries"), -1), MAP_FORM),
    (spelt((*PROOF, "leaf", "link"), "zz" * 32), HEX),
])  # fmt: skip
def test_what_is_no_bundle_is_told(data: bytes, words: str) -> None:
    found = verify_bundle(VKEY, data)
    assert (found.ok, found.code, found.message) == (False, "bundle", words)


def test_the_smallest_and_the_largest_counts_are_read() -> None:
    """Whether they fit anything is for the check; a reader takes what a number of JSON can say."""
    for count in (0, (1 << 53) - 1):
        for path in ((*PROOF, "leaf", "entries"), (*FIRST, "index"), (*PROOF, "others", 0, 1)):
            assert bundle_bytes(parse_bundle(spelt(path, count))) == spelt(path, count)


# -- audiences of a bundle -----------------------------------------------------------------------------------------


def test_what_is_shown_of_audiences() -> None:
    _, bundle = bundles.shown()
    found = checked(bundle)
    told = "shown in 2 audiences and out of 1, of others it says nothing"
    assert (found.ok, found.message.rpartition("; ")[2]) == (True, told)
    assert found.details["audiences"] == [
        {
            "audience": json.loads(part.logged.entry)["fields"]["audience"], "recipient": "crm", "purpose": "ads",
            "channel": "email", "at": json.loads(part.logged.entry)["at"], "index": part.logged.index,
            "pseudonym": part.pseudonym, "member": part.member,
        }
        for part in bundles.parts_of(bundle)
    ]  # fmt: skip


def with_audience(bundle: Bundle, at: int = 0, **changes: Any) -> Bundle:
    parts = list(bundles.parts_of(bundle))
    parts[at] = replace(parts[at], **changes)
    return replace(bundle, audiences=tuple(parts))


def test_what_is_changed_of_audiences_is_told() -> None:
    made, bundle = bundles.shown()
    first, second, _ = bundles.parts_of(bundle)
    index = first.logged.index
    other_name = f"p2-{bundles.block_of(BEN).hex()}"
    for changed, words, where in [
        (replace(bundle, audiences=bundles.parts_of(bundle)[2:]),
         "2 audiences are not there that the bundle was handed out with", None),
        (replace(bundle, audiences=(*bundles.parts_of(bundle), first)), f"the audience of entry {index} is there twice, or out of order", index),
        (with_audience(bundle, pseudonym=other_name),
         f"nothing in the chains says that the audience of entry {index} knew the person so", index),
        (with_audience(bundle, member=not first.member),
         f"the audience of entry {index}: the leaves do not show what the proof says", index),
        (with_audience(bundle, pseudonym="ben"), f"the audience of entry {index}: not a pseudonym", index),
        (with_audience(bundle, logged=entries_of(bundle)[0].logged), "entry 1 resolves no audience", 1),
        (with_audience(bundle, leaves=second.leaves), None, index),
    ]:  # fmt: skip
        found = checked(changed)
        assert (found.ok, found.code, found.index) == (False, "audience", where)
        assert words is None or found.message == words
    assert made.signer.vkey == VKEY


def test_an_older_disclosure_that_names_nothing_readable_is_told_as_well() -> None:
    made = company()
    made.record(BEN, kind="bundle.disclosed")
    made.disclose(BEN, made.resolve(BEN))
    words = "the payload does not say which audiences are shown"
    assert checked(made.bundle(BEN)) == refused("audience", words)


AUDIENCE_FORM = "an audience of the bundle is not of the format"


@pytest.mark.parametrize(("path", "value", "words"), [
    ((), 7, "not a bundle of version 1 or 2"),
    ((0, "more"), 1, PART),
    ((0, "pseudonym"), 7, AUDIENCE_FORM),
    ((0, "member"), 1, AUDIENCE_FORM),
    ((0, "leaves"), {}, AUDIENCE_FORM),
    ((0, "index"), -1, ENTRY_FORM),
    ((0, "entry"), None, ENTRY_FORM),
    ((0, "leaves", 0), 7, PART),
    ((0, "leaves", 0, "index"), -1, AUDIENCE_FORM),
    ((0, "leaves", 0, "index"), False, AUDIENCE_FORM),
    ((0, "leaves", 0, "leaf"), None, AUDIENCE_FORM),
    ((0, "leaves", 0, "leaf"), "00", HEX),
    ((0, "leaves", 0, "path"), 7, AUDIENCE_FORM),
    ((0, "leaves", 0, "path"), [7], AUDIENCE_FORM),
    ((0, "leaves", 0, "path"), ["AA" * 32], HEX),
])  # fmt: skip
def test_what_is_no_audience_is_told(path: tuple[Any, ...], value: object, words: str) -> None:
    shown = bundle_bytes(bundles.shown()[1])
    read = json.loads(shown)
    assert json.dumps(read, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode() == shown
    place = read
    for step in ("audiences", *path)[:-1]:
        place = place[step]
    place[("audiences", *path)[-1]] = value
    found = verify_bundle(VKEY, json.dumps(read, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode())
    assert found == refused("bundle", words)


# -- membership ----------------------------------------------------------------------------------------------------

IN, OUT, SIGNER = manifests.IN, manifests.OUT, manifests.SIGNER
AUDIENCE = manifests.AUDIENCE.hex()
NOT_FORMED = "the proof is not well-formed"
NOT_SHOWN = "the leaves do not show what the proof says"
NOT_OURS = "the entry is not that of this audience and manifest"
NOT_ONE = "not a proof of membership, version 1"


def membership(proof: Any, **trusted: Any) -> Finding:
    return verify_membership(SIGNER.vkey, json.dumps(proof).encode(), **trusted)


def leaf(**changes: object) -> dict[str, Any]:
    return manifests.changed(IN, leaves=[IN["leaves"][0] | changes])


def logged(**changes: object) -> dict[str, Any]:
    fields = {"audience": AUDIENCE, "manifest": 2, "manifest_root": IN["manifest_root"], "size": 300} | changes
    return manifests.changed(IN, **manifests.in_the_log(fields))


def test_who_is_in_and_who_is_out_is_told() -> None:
    for proof, code, said in ((IN, "member", "in"), (OUT, "no_member", "not in")):
        message = f"{proof['pseudonym']} is {said} audience {AUDIENCE} of 300 members, entry 1"
        assert membership(proof) == Finding(ok=True, code=code, message=message, index=1)


def test_the_checkpoint_of_a_proof_is_held_to_what_is_trusted() -> None:
    policy = POLICY.replace(VKEY.encode(), SIGNER.vkey.encode())
    assert membership(IN, policy=policy) == refused("witness", NOBODY)
    missed = "not cosigned by w1.example; group all has 0 of 1"
    assert membership(IN, witnesses=[W1.vkey]) == refused("witness", missed)
    receipt = IN["receipt"].encode()
    note = receipt[receipt.index(SIGNER.key.name.encode()) :]
    cosigned = manifests.changed(IN, receipt=IN["receipt"] + W2.line(note, 9).decode())
    for trusted in ({"policy": policy}, {"witnesses": [W2.vkey]}):
        assert membership(cosigned, **trusted).code == "member"


@pytest.mark.parametrize(("proof", "words"), [
    ({}, NOT_ONE), ([], NOT_ONE), (manifests.changed(IN, more=1), NOT_ONE), (manifests.changed(IN, format="x"), NOT_ONE),
    (manifests.changed(IN, size=299), NOT_OURS), (manifests.changed(IN, audience="00" * 16), NOT_OURS),
    (manifests.changed(IN, manifest_root="00" * 32), NOT_OURS), (logged(manifest=1), NOT_OURS),
    (logged(size=True), NOT_OURS), (manifests.changed(IN, entry="*"), NOT_FORMED),
    (manifests.changed(IN, member=False), NOT_SHOWN), (manifests.changed(IN, member=1), NOT_SHOWN),
    (manifests.changed(OUT, member=True), NOT_SHOWN), (manifests.changed(IN, leaves=[]), NOT_SHOWN),
    (manifests.changed(OUT, leaves=[*OUT["leaves"], OUT["leaves"][1]]), NOT_SHOWN),
    (manifests.changed(IN, pseudonym="p3-" + "0" * 31), "not a pseudonym"),
    (manifests.changed(IN, pseudonym="p03-" + "0" * 32), "not a pseudonym"),
    (manifests.changed(IN, leaves=7), NOT_FORMED), (manifests.changed(IN, leaves=[None]), NOT_FORMED),
    (manifests.changed(IN, leaves=[{}]), NOT_FORMED),
    (leaf(index="7"), NOT_FORMED), (leaf(index=True), NOT_FORMED), (leaf(leaf="xx"), NOT_FORMED), (leaf(leaf=7), NOT_FORMED),
    (leaf(path=7), NOT_FORMED), (leaf(path=["0"]), NOT_FORMED),
    (leaf(leaf="AB" * 32), NOT_FORMED), (leaf(index=0), "leaf 0 is not in the manifest"),
])  # fmt: skip
def test_what_a_proof_of_membership_does_not_show_is_told(proof: Any, words: str) -> None:
    found = membership(proof)
    assert (found.ok, found.code, found.message, found.index) == (False, "membership", words, None)


@pytest.mark.parametrize(("document", "words"), [
    (b"{}" + b" " * 999_999, "the proof is too large"),
    (b"{}" + b" " * 999_998, NOT_ONE),
    (b"[" * 100_000, NOT_FORMED),
    (b"\xff", NOT_FORMED),
])  # fmt: skip
def test_documents_that_are_none(document: bytes, words: str) -> None:
    assert verify_membership(SIGNER.vkey, document) == refused("membership", words)


def test_neighbours_are_found_where_they_are() -> None:
    leaves = sorted(member_leaves(manifests.AUDIENCE, b"".join(manifests.block(n) for n in range(5))))
    assert witnesses_of(leaves[2], 10, leaves) == [(12, leaves[2])]
    between = leaves[2][:-1] + bytes([leaves[2][-1] + 1 & 255])
    assert witnesses_of(between, 10, leaves) == [(12, leaves[2]), (13, leaves[3])]
    assert witnesses_of(bytes(32), 10, leaves) == [(10, leaves[0])]
    assert witnesses_of(b"\xff" * 32, 10, leaves) == [(14, leaves[4])]
    assert witnesses_of(bytes(32), 0, []) == []


def test_a_proof_is_written_as_it_is_documented() -> None:
    blocks = [manifests.block(n) for n in range(3)]
    leaves = sorted(member_leaves(manifests.AUDIENCE, b"".join(blocks)))
    (mine,) = member_leaves(manifests.AUDIENCE, blocks[0])
    tiles, at = manifests.tiles_of(leaves), leaves.index(mine)
    name = f"p0-{blocks[0].hex()}"
    said = manifest_proof(AUDIENCE, name, 3, bytes(32), [(at, mine)], tiles)
    assert said | {"leaves": 0} == {
        "format": "consent-gateway/manifest-proof@v1", "audience": AUDIENCE, "pseudonym": name, "member": True, "size": 3,
        "manifest_root": "00" * 32, "leaves": 0,
    }  # fmt: skip
    assert [(found["index"], found["leaf"]) for found in said["leaves"]] == [(at, mine.hex())]  # type: ignore[attr-defined]
    assert manifest_proof(AUDIENCE, name, 3, bytes(32), [(at, flip(mine, 0))], tiles)["member"] is False
