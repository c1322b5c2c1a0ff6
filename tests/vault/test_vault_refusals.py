"""Every refusal of the keyring, its file, its shares and the tombstone file: who reads it must know what to do."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from vault_builders import a_keyring, a_passphrase

from consent_gateway.errors import InputError, KeyringError, KeyServiceError, TombstoneError
from consent_gateway.vault import keyring_file
from consent_gateway.vault.custody import Custody
from consent_gateway.vault.keyring import Keyring
from consent_gateway.vault.keyring_file import locked, read_private, write_private
from consent_gateway.vault.kms.port import NOT_OPENED, Bound
from consent_gateway.vault.protectors import InsecureKeyringWarning, UnsafeUnsealedKeyring, read_secret
from consent_gateway.vault.recovery import NOT_RECOVERED, RecoveryKey, public_of, unseal
from consent_gateway.vault.roots import LASTING, Roots, split
from consent_gateway.vault.shares import Share, combine
from consent_gateway.vault.shares import split as split_in_shares
from consent_gateway.vault.tombstone_file import TombstoneFile
from consent_gateway.vault.tombstones import START, decode, header, line_key, seal
from fake_kms import FakeClock, FakeKms

PRIVATE = bytes(range(1, 33))
SECRET = bytes(range(7, 39))


def said(call: Callable[[], object], error: type[Exception] = KeyringError) -> str:
    """The message of the error that a call ends in."""
    with pytest.raises(error) as failure:
        call()
    return str(failure.value)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "keyring"


def private(path: Path, content: bytes = b"x", mode: int = 0o600) -> Path:
    path.write_bytes(content)
    path.chmod(mode)
    return path


# -- files ---------------------------------------------------------------------------------------------------------


def test_a_keyring_file_that_may_not_be_read_says_why(path: Path, tmp_path: Path, monkeypatch) -> None:
    assert said(lambda: read_private(path)) == "There is no keyring at the configured path"
    (tmp_path / "link").symlink_to(private(path))
    unreadable = "The keyring file cannot be read, or is a symbolic link"
    assert said(lambda: read_private(tmp_path / "link")) == unreadable
    assert said(lambda: read_private(path / "below")) == unreadable
    for mode in (0o700, 0o640, 0o601, 0o610):
        path.chmod(mode)
        assert said(lambda: read_private(path)) == "The keyring's mode must be 0600: group and others may not touch it"
    path.chmod(0o600)
    monkeypatch.setattr(os, "geteuid", lambda: path.stat().st_uid + 1)
    assert said(lambda: read_private(path)) == "The keyring belongs to another user"


def test_a_directory_or_a_pipe_is_refused_at_once(path: Path, tmp_path: Path) -> None:
    """A pipe without a writer would hold up a reader that waits for one."""
    os.mkfifo(path, 0o600)
    for wrong in (path, tmp_path):
        assert said(lambda w=wrong: read_private(w)) == "The keyring is not a regular file"
        assert said(lambda w=wrong: read_secret(w)) == "The mounted secret is not a regular file"
        assert said(lambda w=wrong: TombstoneFile(a_keyring(), w).read(), TombstoneError) == (
            "the tombstone file must be a regular file of the gateway's user with mode 0600"
        )


def test_a_keyring_of_exactly_the_largest_size_is_read_whole(path: Path, monkeypatch) -> None:
    monkeypatch.setattr(keyring_file, "MAX_BYTES", 10)
    content, stamp = read_private(private(path, b"0123456789"))
    status = path.stat()
    assert content == b"0123456789"
    assert (stamp.device, stamp.inode, stamp.size, stamp.modified_ns) == (
        status.st_dev, status.st_ino, 10, status.st_mtime_ns,
    )  # fmt: skip
    assert keyring_file.stamp_of(path) == stamp
    assert said(lambda: read_private(private(path, b"0123456789a"))) == "The keyring file is too large to be one"


def test_short_reads_are_put_together(path: Path, monkeypatch) -> None:
    genuine = os.read
    monkeypatch.setattr(os, "read", lambda descriptor, limit: genuine(descriptor, min(limit, 3)))
    assert read_private(private(path, b"0123456789"))[0] == b"0123456789"
    assert read_secret(private(path, b"s" * 32, 0o400), 32) == b"s" * 32
    with path.open("rb") as file:
        assert keyring_file.read_up_to(file.fileno(), 8) == b"s" * 8, "and no more is read than was asked for"


def test_writing_says_what_stood_in_the_way(path: Path, tmp_path: Path) -> None:
    stamp = write_private(path, b"first", replace=False)
    assert stamp == keyring_file.stamp_of(path)
    assert said(lambda: write_private(path, b"second", replace=False)) == (
        "There is a keyring at this path already; it is never overwritten"
    )
    assert path.read_bytes() == b"first"
    assert write_private(path, b"second", replace=True) == keyring_file.stamp_of(path)
    assert path.read_bytes() == b"second"
    assert said(lambda: write_private(tmp_path / "no" / "x", b"", replace=False)) == (
        "The keyring file cannot be written"
    )
    assert [entry.name for entry in tmp_path.iterdir()] == ["keyring"]

    def enter() -> None:
        with locked(path):
            pass

    assert said(enter) == "The keyring's directory cannot be opened"


def test_a_file_is_private_whatever_the_umask_says(path: Path) -> None:
    former = os.umask(0o777)
    try:
        write_private(path, b"x", replace=False)
    finally:
        os.umask(former)
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_file_is_private_from_its_first_instant_on(path: Path, monkeypatch) -> None:
    """Whatever the umask lets through: between making a file and taking rights away somebody else could open it."""
    seen: list[int] = []
    genuine = os.fchmod
    monkeypatch.setattr(
        os, "fchmod", lambda file, mode: (seen.append(os.fstat(file).st_mode & 0o777), genuine(file, mode))[1]
    )
    former = os.umask(0)
    try:
        write_private(path, b"x", replace=False)
    finally:
        os.umask(former)
    assert seen == [0o600]


def test_nothing_is_written_through_a_name_that_somebody_planted(path: Path, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(keyring_file.secrets, "token_hex", lambda size: "ab" * size)
    other = private(tmp_path / "other", b"untouched")
    planted = tmp_path / f".keyring.{'ab' * 8}"
    for plant in (lambda: planted.symlink_to(other), lambda: planted.hardlink_to(other)):
        plant()
        said(lambda: write_private(path, b"secret", replace=False))
        assert other.read_bytes() == b"untouched"
        assert not path.exists()
        planted.unlink(missing_ok=True)


EXPOSED = "The mounted secret is exposed: others may touch it, or its owner is wrong"
NO_LINE = "The mounted secret is not one line of text"


def test_a_mounted_secret_says_what_is_wrong_with_it(path: Path, monkeypatch) -> None:
    assert said(lambda: read_secret(path)) == "The mounted secret cannot be read"
    for mode in (0o604, 0o602, 0o601, 0o620):
        assert said(lambda m=mode: read_secret(private(path, b"x", m))) == EXPOSED
    for mode in (0o400, 0o440, 0o700):
        assert read_secret(private(path, b"x", mode)) == b"x"
        path.unlink()
    for size in (31, 33, 0):
        assert said(lambda s=size: read_secret(private(path, b"s" * s), 32)) == (
            "The mounted secret is not exactly 32 bytes long"
        )
    for line in (b"", b" \n", b"one\ntwo", b"x" * 4097):
        assert said(lambda t=line: read_secret(private(path, t))) == NO_LINE
    assert read_secret(private(path, b" a line \n")) == b"a line"
    assert read_secret(private(path, b"x" * 4096)) == b"x" * 4096
    monkeypatch.setattr(os, "geteuid", lambda: path.stat().st_uid + 1)
    if path.stat().st_uid != 0:
        assert said(lambda: read_secret(path)) == EXPOSED


# -- keys and roots ------------------------------------------------------------------------------------------------

NO_NUMBER = "The keyring holds no key of such a number"
PAST_ONLY = "Only a past key that exists can be destroyed, never the current one"


@pytest.mark.parametrize(
    ("ask", "message"),
    [
        (lambda k: k.kek(3, 0), "The keyring holds no such key epoch"),
        (lambda k: k.kek(1, 16), "The keyring holds no such key epoch"),
        (lambda k: k.kek(1, -1), "The keyring holds no such key epoch"),
        (lambda k: k.index_key("email", 3), "The keyring holds no such index generation"),
        (lambda k: k.pseudonym_key("crm", -1), NO_NUMBER),
        (lambda k: k.pseudonym_key("crm", 2**32), NO_NUMBER),
        (lambda k: k.destroy_kek_epoch(2), PAST_ONLY),
        (lambda k: k.destroy_kek_epoch(3), PAST_ONLY),
        (lambda k: k.destroy_index_generation(2), PAST_ONLY),
        (lambda k: k.destroy_index_generation(0), PAST_ONLY),
    ],
)
def test_a_key_that_cannot_be_given_says_why(ask: Callable[[Keyring], Any], message: str) -> None:
    assert said(lambda: ask(a_keyring(epochs=2, generations=2))) == message


def test_names_of_roots_are_those_and_no_others() -> None:
    for name, parts in {
        "kek/1": ("kek", 1),
        "index/4294967295": ("index", 2**32 - 1),
        "tombstone": ("tombstone", 0),
    }.items():
        assert split(name) == parts
    for name in ("kek/0", "kek/01", "kek/4294967296", "kek/", "kek", "other/1", "kek/1 ", "kek/١", "", "Tombstone"):
        assert said(lambda n=name: split(n), ValueError) == "not the name of a root"
    named = a_keyring(epochs=2).roots.by_name()
    assert list(named) == sorted(named)
    assert Roots.from_names(named) == a_keyring(epochs=2).roots
    for missing in ("index/1", *LASTING):
        held = {name: root for name, root in named.items() if name != missing}
        assert said(lambda h=held: Roots.from_names(h), ValueError) == "roots are missing"
    held = {name: root for name, root in named.items() if not name.startswith("kek")}
    assert said(lambda: Roots.from_names(held), ValueError) == "roots are missing"
    for size in (31, 33, 0):
        odd = {**named, "pseudonym": bytes(size)}
        assert said(lambda o=odd: Roots.from_names(o), ValueError) == "a root has another size"


def test_fresh_roots_are_the_first_of_their_numbers() -> None:
    roots = Roots.fresh()
    assert (list(roots.kek), list(roots.index)) == ([1], [1])
    assert {len(root) for root in roots.by_name().values()} == {32}
    assert roots.lasting() == (roots.pseudonym, roots.audit_commitment, roots.tombstone, roots.log_signing_seed)


def test_a_passphrase_of_eleven_bytes_is_too_short() -> None:
    assert said(lambda: a_passphrase("x" * 11)) == "The passphrase has fewer than 12 bytes"
    assert a_passphrase("x" * 12).kind == "argon2id"
    assert a_passphrase("é" * 6).passphrase == "é".encode() * 6


def test_the_costs_that_a_file_may_ask_for_end_where_they_are_said_to() -> None:
    """A planted file must not exhaust the machine; what an operator may have set still opens."""
    for costs in ("64:64:1", "512:1:64"):
        item = Bound(f"argon2id:{costs}:{'00' * 16}", b"context", b"root")
        wraps = [Bound(item.key, b"context", wrap) for wrap in a_passphrase().wrap([item])]
        assert a_passphrase().unwrap(wraps) == [b"root"]
    for costs in ("64:65:1", "520:1:65", "1048577:1:1"):
        item = Bound(f"argon2id:{costs}:{'00' * 16}", b"context", b"root")
        assert said(lambda held=item: a_passphrase().wrap([held])) == NOT_OPENED


def test_an_unsealed_keyring_warns_where_it_is_used(path: Path) -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        Keyring.create(path, UnsafeUnsealedKeyring())
    assert {(w.category, str(w.message)) for w in caught} == {
        (InsecureKeyringWarning, "the keyring rests without a seal")
    }


def test_a_keyring_at_a_service_says_what_it_waits_for(path: Path) -> None:
    kms = FakeKms()
    keyring = Keyring.create(path, kms).new_kek_epoch()
    kms.lies = True
    assert said(keyring.new_kek_epoch, KeyServiceError) == (
        "The key service does not give back what it was given; nothing was changed"
    )
    kms.lies = False
    kms.away_for = {"destroy"}
    owing = keyring.destroy_kek_epoch(1)
    assert said(lambda: owing.reseal(a_passphrase())) == (
        "The key service that is left still owes the destruction of keys"
    )


def test_a_file_of_a_later_release_is_told_from_a_damaged_one(path: Path) -> None:
    later = b'{"format": "consent-gateway-keyring", "version": 3}'
    unknown = "The keyring's format version is not known to this release"
    for version in (b"3", b"0", b"-1"):
        private(path, later.replace(b"3", version))
        assert said(lambda: Keyring.open(path, a_passphrase())) == unknown
    for content in (b"", b"[]", b"{}", b"3", later.replace(b"3", b'"3"'), later.replace(b"3", b"true"), b"[" * 100_000):
        private(path, content)
        assert said(lambda: Keyring.open(path, a_passphrase())) == NOT_OPENED
        assert said(lambda: Keyring.recover(path, PRIVATE)) == NOT_OPENED


# -- custody -------------------------------------------------------------------------------------------------------


def test_custody_says_when_to_come_back(path: Path) -> None:
    clock = FakeClock()
    kms = FakeKms(clock)
    custody = Custody(Keyring.create(path, kms), 100, clock)
    custody.require_sound()
    assert custody.failing is False
    kms.away = True
    clock.now += 49.9
    assert custody.tend() is False
    waits = []
    for step in (0.1, 1, 2, 4, 8):
        clock.now += step
        with pytest.raises(KeyServiceError):
            custody.tend()
        with pytest.raises(KeyServiceError) as failure:
            custody.require_sound()
        assert str(failure.value) == "The key service did not renew the keys; what needs a new key has to wait"
        waits.append(failure.value.retry_after)
    assert waits == [2, 4, 8, 16, 30]
    clock.now = 1100
    with pytest.raises(KeyServiceError) as failure:
        custody.require_held()
    assert str(failure.value) == "The keys' time is over and the key service has not renewed it"
    assert failure.value.retry_after == 30
    kms.away = False
    clock.now += 30
    assert custody.tend()
    custody.require_sound()
    assert custody.keyring.epochs == (1,)
    kms.away = True
    clock.now += 50
    with pytest.raises(KeyServiceError):
        custody.tend()
    with pytest.raises(KeyServiceError) as failure:
        custody.require_sound()
    assert failure.value.retry_after == 2, "patience begins anew"


def test_following_tells_whether_the_keyring_is_another_one(path: Path) -> None:
    custody = Custody(Keyring.create(path, a_passphrase()))
    assert custody.follow() is False
    Keyring.open(path, a_passphrase()).new_kek_epoch()
    assert custody.follow() is True
    assert custody.follow() is False
    assert custody.keyring.epochs == (1, 2)


# -- shares and recovery -------------------------------------------------------------------------------------------

UNREADABLE = "A share is not readable: it has characters that shares do not have"
MISCOPIED = "A share is damaged, incomplete or miscopied: its checksum does not fit"


def test_shares_say_what_is_wrong_with_them() -> None:
    one, two, three = split_in_shares(SECRET, 2, 3)
    other = split_in_shares(bytes(32), 2, 3)[1]
    text = one.text()
    assert said(lambda: Share.parse(text[:-1] + "!"), InputError) == UNREADABLE
    assert said(lambda: Share.parse(text[:-4]), InputError) == UNREADABLE
    flipped = text[:-6] + ("A" if text[-6] != "A" else "B") + text[-5:]
    for wrong in (flipped, text.removeprefix("cgs1-"), "cgs1-" + "A" * 72, "cgs1"):
        assert said(lambda w=wrong: Share.parse(w), InputError) == MISCOPIED
    assert said(lambda: combine([]), InputError) == "There is no share"
    assert said(lambda: combine([one, other]), InputError) == "The shares are of different sets"
    assert said(lambda: combine([one, one]), InputError) == "1 different shares are too few: 2 are needed"
    forged = Share(two.set_id, 2, 3, 2, bytes(32))
    assert said(lambda: combine([one, two, forged]), InputError) == ("Two shares with one number contradict each other")
    assert said(lambda: combine([one, forged]), InputError) == (
        "The shares do not make the key of their set: one of them is forged or wrongly copied"
    )
    assert combine([three, two]) == SECRET
    for threshold, count in ((1, 3), (4, 3), (2, 256)):
        assert said(lambda t=threshold, c=count: split_in_shares(SECRET, t, c), InputError) == (
            "The threshold must be 2 or more, and at most the number of shares, which is at most 255"
        )
    assert combine(split_in_shares(SECRET, 2, 255)[253:]) == SECRET
    assert combine(split_in_shares(SECRET, 2, 2)) == SECRET


def test_a_known_share_is_read_as_it_was_printed() -> None:
    """Version, set, threshold, count, index, values, and four bytes of SHA-256, by the standard library."""
    share = Share(bytes(range(5)), 2, 3, 2, bytes([5]) * 32)
    assert share.text() == KNOWN_SHARE
    assert Share.parse(KNOWN_SHARE) == share


KNOWN_SHARE = "cgs1-AEAA-CAQD-AQBA-GAQF-AUCQ-KBIF-AUCQ-KBIF-AUCQ-KBIF-AUCQ-KBIF-AUCQ-KBIF-AUCQ-KBIF-AVDK-I6YI"


def test_recovery_says_what_is_wrong(path: Path) -> None:
    key = RecoveryKey(public_of(PRIVATE), 2, 3)
    sealed = key.seal(b"", b"here")
    assert len(sealed) == 48
    assert unseal(PRIVATE, sealed, b"here") == b""
    assert said(lambda: unseal(PRIVATE, sealed[:47], b"here")) == NOT_RECOVERED
    assert said(lambda: unseal(PRIVATE, sealed, b"there")) == NOT_RECOVERED
    assert said(lambda: unseal(PRIVATE, bytes(48), b"here")) == NOT_RECOVERED
    for values in ((bytes(31), 2, 3), (bytes(32), 1, 3), (bytes(32), 4, 3), (bytes(32), 2, 256)):
        assert said(lambda v=values: RecoveryKey(*v), ValueError) == "not a recovery key"
    RecoveryKey(bytes(32), 2, 2)
    RecoveryKey(bytes(32), 255, 255)
    keyring = Keyring.create(path, a_passphrase())
    assert said(lambda: Keyring.recover(path, PRIVATE)) == (
        "The keyring has no recovery key: shares were never made for it"
    )
    keyring.use_recovery(key)
    assert said(lambda: Keyring.recover(path, SECRET)) == NOT_RECOVERED
    golden = Path(__file__).resolve().parents[1] / "vectors" / "keyring_v1.json"
    private(path, golden.read_bytes())
    assert said(lambda: Keyring.recover(path, PRIVATE)) == (
        "The keyring has no recovery key: it was written by an earlier release"
    )


# -- the tombstone file --------------------------------------------------------------------------------------------

RING = a_keyring()


def signed(*texts: str) -> bytes:
    content, mac = b"", START
    for text in texts:
        line, mac = seal(line_key(RING), mac, text)
        content += line
    return content


def test_a_tombstone_file_says_what_is_wrong_with_it(path: Path, tmp_path: Path) -> None:
    def reading(content: bytes) -> str:
        private(path, content)
        return said(lambda: TombstoneFile(RING, path).read(), TombstoneError)

    assert said(lambda: TombstoneFile(RING, path).read(), TombstoneError) == (
        "there is no tombstone file at the configured path"
    )
    first = signed(header())
    assert reading(first + b"x " + b"0" * 64 + b"\n") == (
        "line 2 of the tombstone file was altered, or is of another keyring"
    )
    assert reading(signed(header().replace("1", "2"))) == (
        "the tombstone file is not of a version that this release reads"
    )
    assert reading(signed(header(), "{}")) == "a tombstone line is not one"
    assert said(lambda: TombstoneFile(RING, tmp_path / "no" / "x").create(), TombstoneError) == (
        "the directory of the tombstone file cannot be written"
    )
    private(path, first)
    private(tmp_path / "copy", first + signed("x"))
    assert said(lambda: TombstoneFile(RING, path, [tmp_path / "copy"]).read(), TombstoneError) == (
        "a copy of the tombstone file holds other lines than the file, or more of them"
    )
    spelt = '{"at": 1,"last_id":0,"points":[],"reason":"x","subject":null,"suppressed":[],"uid":""}'
    assert said(lambda: decode(spelt), TombstoneError) == "a tombstone line is spelt otherwise"
    assert decode(spelt.replace(": 1", ":1")).at == 1
