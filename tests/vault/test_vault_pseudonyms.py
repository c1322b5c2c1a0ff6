"""Pseudonyms: published vectors, no joins between recipients, no forgeries, no oracle."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from hypothesis import given, settings
from hypothesis import strategies as st
from vault_builders import a_keyring

from consent_gateway.vault import pseudonyms
from consent_gateway.vault.custody import Custody
from consent_gateway.vault.derivation import derive
from consent_gateway.vault.keyring import Keyring, Roots
from consent_gateway.vault.pseudonyms import Pseudonymiser

VECTORS = json.loads((Path(__file__).resolve().parents[1] / "vectors" / "pseudonyms.json").read_text())
IDS = st.integers(0, 2**63 - 1)
EPOCHS = st.integers(0, 2**32 - 1)


def with_root(root: bytes) -> Pseudonymiser:
    return Pseudonymiser(Keyring(Roots({1: b"k" * 32}, {1: b"i" * 32}, root, b"a" * 32, b"t" * 32, b"l" * 32)))


@pytest.mark.parametrize("case", VECTORS["pseudonyms"], ids=lambda case: case["note"])
def test_published_vectors(case):
    maker = with_root(bytes.fromhex(VECTORS["root"]))
    assert maker.pseudonym(case["subject_id"], case["recipient"], case["epoch"]) == case["text"]
    assert maker.resolve(case["text"], case["recipient"]) == case["subject_id"]


@pytest.mark.parametrize("case", VECTORS["pseudonyms"], ids=lambda case: case["note"])
def test_the_published_decoder_description_is_enough(case):
    """Decode as a partner would, from the description alone: CBC with a zero IV is one raw block."""
    sector = case["recipient"].encode()
    key = derive(bytes.fromhex(VECTORS["root"]), 32, b"pseudonym", sector, case["epoch"].to_bytes(4, "big"))
    assert key.hex() == case["key"]
    epoch, _, block = case["text"].removeprefix("p").partition("-")
    plain = Cipher(algorithms.AES256(key), modes.CBC(bytes(16))).decryptor().update(bytes.fromhex(block))
    assert int(epoch) == case["epoch"]
    assert plain == bytes(8) + case["subject_id"].to_bytes(8, "big")


@pytest.mark.parametrize("case", VECTORS["refused"], ids=lambda case: case["note"])
def test_published_refusals(case):
    assert with_root(bytes.fromhex(VECTORS["root"])).resolve(case["text"], case["recipient"]) is None


@settings(derandomize=True, deadline=None)
@given(IDS, st.text(max_size=12), EPOCHS)
def test_a_pseudonym_resolves_for_its_recipient(subject_id, recipient, epoch):
    maker = Pseudonymiser(a_keyring())
    text = maker.pseudonym(subject_id, recipient, epoch)
    assert maker.resolve(text, recipient) == subject_id
    assert maker.resolve(text, recipient, epochs={epoch}) == subject_id
    assert maker.resolve(text, recipient, epochs=()) is None


@settings(derandomize=True, deadline=None)
@given(IDS, IDS, st.lists(st.tuples(st.text(max_size=8), EPOCHS), min_size=2, max_size=2, unique=True))
def test_two_recipients_or_epochs_never_share_a_pseudonym(one, other, relations):
    maker = Pseudonymiser(a_keyring())
    blocks = [maker.bulk_bytes([one, other], recipient, epoch) for recipient, epoch in relations]
    assert not {blocks[0][:16], blocks[0][16:]} & {blocks[1][:16], blocks[1][16:]}


def test_two_recipients_tables_of_ten_thousand_cannot_be_joined():
    maker = Pseudonymiser(a_keyring())
    tables = [set(maker.bulk(range(10_000), recipient, 1)) for recipient in ("crm", "ads")]
    assert [len(table) for table in tables] == [10_000, 10_000]
    assert not tables[0] & tables[1]


def test_foreign_wrong_epoch_and_forged_all_answer_none():
    maker = Pseudonymiser(a_keyring())
    text = maker.pseudonym(42, "crm", 3)
    for recipient in ("ads", "crm2", "", "CRM"):
        assert maker.resolve(text, recipient) is None
    assert maker.resolve(text.replace("p3-", "p4-"), "crm") is None
    for at in range(3, len(text)):
        assert maker.resolve(text[:at] + ("0" if text[at] != "0" else "1") + text[at + 1 :], "crm") is None
    for number in range(20_000):
        assert maker.resolve(f"p3-{number:032x}", "crm") is None


@settings(derandomize=True, deadline=None)
@given(st.text(max_size=50) | st.from_regex(r"p[0-9]{1,12}-[0-9a-f]{30,34}\n?"))
def test_any_text_answers_none_and_never_raises(text):
    assert Pseudonymiser(a_keyring()).resolve(text, "crm") is None


def test_only_the_canonical_spelling_counts():
    maker = Pseudonymiser(a_keyring())
    text = maker.pseudonym(42, "crm", 3)
    for spelling in (
        text.upper(),
        f" {text}",
        f"{text}\n",
        text.replace("p3", "p03"),
        text.replace("p3", "p٣"),
        text[1:],
    ):
        assert maker.resolve(spelling, "crm") is None


def test_an_encrypted_id_beyond_63_bits_is_no_subject():
    keyring = a_keyring()
    cipher = Cipher(algorithms.AES256(keyring.pseudonym_key("crm", 1)), modes.CBC(bytes(16)))
    block = cipher.encryptor().update(bytes(8) + b"\xff" * 8)
    assert Pseudonymiser(keyring).resolve(f"p1-{block.hex()}", "crm") is None


@settings(derandomize=True, deadline=None)
@given(st.lists(IDS, max_size=20))
def test_bulk_agrees_with_one_at_a_time(subject_ids):
    maker = Pseudonymiser(a_keyring())
    texts = maker.bulk(subject_ids, "crm", 5)
    assert texts == [maker.pseudonym(subject_id, "crm", 5) for subject_id in subject_ids]
    assert maker.bulk_bytes(subject_ids, "crm", 5).hex() == "".join(text[3:] for text in texts)


@pytest.mark.parametrize(("subject_id", "epoch"), [(-1, 1), (2**63, 1), (2**64, 1), (1, -1), (1, 2**32)])
def test_ids_and_epochs_out_of_range_are_refused(subject_id, epoch):
    message = "^epoch out of range$" if subject_id == 1 else "^subject id out of range$"
    with pytest.raises(ValueError, match=message):
        Pseudonymiser(a_keyring()).pseudonym(subject_id, "crm", epoch)
    with pytest.raises(ValueError, match=message):
        Pseudonymiser(a_keyring()).bulk([1, subject_id, 2], "crm", epoch)


def test_ids_and_epochs_at_the_ends_of_their_ranges_are_names_like_others():
    maker = Pseudonymiser(a_keyring())
    for epoch in (0, 2**32 - 1):
        texts = maker.bulk([0, 2**63 - 1], "crm", epoch)
        assert [maker.resolve(text, "crm") for text in texts] == [0, 2**63 - 1]
        assert maker.resolve_all(texts, "crm", {epoch}) == [0, 2**63 - 1]
    assert maker.bulk([], "crm", 1) == []
    assert maker.bulk_bytes([], "crm", 1) == b""


def test_a_cipher_is_made_once_for_each_recipient_and_epoch_and_goes_with_its_keyring(monkeypatch):
    made: list[int] = []
    genuine = pseudonyms.Cipher
    monkeypatch.setattr(pseudonyms, "Cipher", lambda *parts: (made.append(1), genuine(*parts))[1])
    custody = Custody(a_keyring())
    maker = Pseudonymiser(custody)
    for _ in range(3):
        text = maker.pseudonym(7, "crm", 1)
        assert maker.resolve(text, "crm") == 7
    assert len(made) == 1
    maker.pseudonym(7, "ads", 1)
    maker.pseudonym(7, "crm", 2)
    assert len(made) == 3
    custody.use(Keyring.in_memory())
    assert maker.pseudonym(7, "crm", 1) != text
    assert maker.resolve(text, "crm") is None
    assert len(made) == 4


def test_as_many_ciphers_are_kept_as_are_said_to_be():
    maker = Pseudonymiser(a_keyring())
    for epoch in range(1024):
        maker.pseudonym(7, "crm", epoch)
    assert len(maker._made[1]) == 1024
    maker.pseudonym(7, "crm", 1024)
    assert len(maker._made[1]) == 1


def test_what_does_not_count_asks_for_no_key_of_its_own(monkeypatch):
    """So that whoever makes up epochs makes no keys: it is decrypted under the one key that is at hand."""
    asked: list[int] = []
    genuine = Keyring.pseudonym_key
    monkeypatch.setattr(
        Keyring, "pseudonym_key", lambda ring, sector, epoch: (asked.append(epoch), genuine(ring, sector, epoch))[1]
    )
    maker = Pseudonymiser(a_keyring())
    for text in ("p7-" + "0" * 32, "p4294967296-" + "0" * 32, "p9-" + "0" * 31, "", "p8-" + "f" * 32):
        assert maker.resolve(text, "crm", {3}) is None
        assert maker.resolve_all([text], "crm", {3}) == [None]
    assert set(asked) == {0}


def test_ciphers_of_made_up_epochs_do_not_pile_up():
    maker = Pseudonymiser(a_keyring())
    for epoch in range(1500):
        maker.resolve(f"p{epoch}-{'0' * 32}", "crm")
    assert len(maker._made[1]) <= 1024


def test_without_the_zero_check_forgeries_would_pass(monkeypatch):
    """The planted bug: a redundancy check that always agrees accepts made-up blocks, so the tests above can fail."""
    monkeypatch.setattr(pseudonyms.hmac, "compare_digest", lambda *_: True)
    maker = Pseudonymiser(a_keyring())
    assert any(maker.resolve(f"p3-{number:032x}", "crm") is not None for number in range(20))


@pytest.mark.parametrize("case", VECTORS["moves"], ids=lambda case: case["note"])
def test_published_moves(case):
    maker = with_root(bytes.fromhex(VECTORS["root"]))
    (found,) = maker.resolve_all([case["old"]], case["recipient"], case["counting"])
    assert found == maker.resolve(case["old"], case["recipient"], case["counting"])
    assert (None if found is None else maker.pseudonym(found, case["recipient"], case["epoch"])) == case["new"]


@settings(derandomize=True, deadline=None)
@given(st.lists(st.one_of(st.tuples(IDS, st.sampled_from(["crm", "ads"]), st.integers(1, 4)), st.text(max_size=40))))
def test_many_texts_mean_what_each_of_them_means(said):
    maker = Pseudonymiser(a_keyring())
    texts = [each if isinstance(each, str) else maker.pseudonym(*each) for each in said]
    expected = [maker.resolve(text, "crm", {2, 3}) for text in texts]
    assert maker.resolve_all(texts, "crm", {2, 3}) == expected


def test_many_texts_refuse_an_id_beyond_63_bits():
    keyring = a_keyring()
    cipher = Cipher(algorithms.AES256(keyring.pseudonym_key("crm", 1)), modes.CBC(bytes(16)))
    block = cipher.encryptor().update(bytes(8) + b"\xff" * 8)
    assert Pseudonymiser(keyring).resolve_all([f"p1-{block.hex()}"], "crm", {1}) == [None]
