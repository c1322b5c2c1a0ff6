"""Every provider against a real server: one contract, then what each is known to get wrong."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from vault_builders import a_passphrase

from consent_gateway.clock import system_clock
from consent_gateway.errors import KeyringError, KeyServiceError
from consent_gateway.vault.keyring import Keyring
from consent_gateway.vault.kms import providers, transit
from consent_gateway.vault.kms.port import NOT_OPENED, Bound, Kms
from consent_gateway.vault.kms.providers import Service, connect
from fake_kms import FakeKms
from kms_servers import PIN, ROOT_TOKEN, TOKEN_LABEL, Bao, a_bao, a_softhsm, an_aws, private_file

REFUSED = re.escape(NOT_OPENED)
_open: list[Any] = []


@dataclass(frozen=True)
class Place:
    """One provider: its name, the service, and how to destroy a key behind the gateway's back."""

    name: str
    kms: Kms
    lose: Callable[[str], None]


@pytest.fixture(scope="session")
def bao(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bao]:
    with a_bao(tmp_path_factory.mktemp("bao")) as server:
        yield server


@pytest.fixture(scope="session")
def aws(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with an_aws(tmp_path_factory.mktemp("aws")) as url:
        yield url
        for client in _open:
            client.close()


@pytest.fixture(scope="session")
def softhsm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, Path]]:
    with a_softhsm(tmp_path_factory.mktemp("softhsm")) as found:
        yield found


def over_bao(bao: Bao, **changes: Any) -> Service:
    return replace(Service("transit", url=bao.url, secret_file=bao.token_file, timeout=10), **changes)


def over_aws(url: str, **changes: Any) -> Service:
    return replace(Service("aws", url=url, region="eu-central-1", timeout=10), **changes)


def over_hsm(softhsm: tuple[Path, Path], **changes: Any) -> Service:
    module, pin = softhsm
    return replace(Service("pkcs11", library=module, token=TOKEN_LABEL, secret_file=pin), **changes)


def bare(service: Service) -> Any:
    """The provider itself, without patience: a test does not wait. What keeps connections open is closed at the end."""
    kms = connect(service).kms
    if service.provider == "aws":
        _open.append(kms.client)
        return replace(kms, client=Strict(kms.client))
    return kms


@pytest.fixture(params=["transit", "aws", "pkcs11", "fake"])
def place(request: pytest.FixtureRequest) -> Place:
    if request.param == "transit":
        bao = request.getfixturevalue("bao")
        kms = bare(over_bao(bao))
        return Place("transit", kms, kms.schedule_destroy)
    if request.param == "aws":
        kms = bare(over_aws(request.getfixturevalue("aws")))
        return Place("aws", kms, lambda key: kms.client.disable_key(KeyId=key))
    if request.param == "pkcs11":
        kms = bare(over_hsm(request.getfixturevalue("softhsm")))
        return Place("pkcs11", kms, kms.schedule_destroy)
    fake = FakeKms()
    return Place("fake", fake, fake.keys.pop)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "keyring.json"


class Strict:
    """moto as strict as AWS: it would go on with a key that is disabled or about to be deleted (AWS: key states)."""

    def __init__(self, client: Any) -> None:
        self._client = client

    def __getattr__(self, name: str) -> Any:
        call = getattr(self._client, name)
        states = {"Disabled": "DisabledException", "PendingDeletion": "KMSInvalidStateException"}

        def strict(**asked: Any) -> Any:
            if name in {"encrypt", "decrypt"}:
                state = self._client.describe_key(KeyId=asked["KeyId"])["KeyMetadata"]["KeyState"]
                if state != "Enabled":
                    raise Answering.error(states[state], name)
            return call(**asked)

        return strict


_labels = iter(range(10**6))


def a_key(kms: Kms) -> str:
    return kms.create_key(f"test-{next(_labels)}")


# -- the contract --------------------------------------------------------------------------------------------------


def test_what_was_wrapped_opens_in_its_order_and_under_its_key(place):
    one, two = a_key(place.kms), a_key(place.kms)
    items = [Bound(key, b"c%d" % n, bytes([n]) * 32) for n, key in enumerate((one, two, one, two, one))]
    wraps = place.kms.wrap(items)
    asked = [Bound(item.key, item.context, wrap) for item, wrap in zip(items, wraps, strict=True)]
    assert place.kms.unwrap(asked) == [item.content for item in items]
    assert place.kms.unwrap(asked[::-1]) == [item.content for item in items[::-1]]
    assert not any(item.content in wrap for item, wrap in zip(items, wraps, strict=True))
    place.kms.check()


def test_a_wrap_opens_in_its_context_under_its_key_and_whole_alone(place):
    key, other = a_key(place.kms), a_key(place.kms)
    wrap = place.kms.wrap([Bound(key, b"here", b"s" * 32)])[0]
    flipped = wrap[:-2] + bytes([wrap[-2] ^ 1]) + wrap[-1:]
    for wrong in (
        Bound(key, b"there", wrap),
        Bound(key, b"", wrap),
        Bound(other, b"here", wrap),
        Bound(key, b"here", flipped),
        Bound(key, b"here", wrap[:-4]),
        Bound(key, b"here", b""),
        Bound(key, b"here", b"\xff\x00 made up"),
    ):
        denied = place.name == "aws" and wrong.key == other  # moto says AccessDenied, AWS IncorrectKey
        with pytest.raises(KeyServiceError if denied else KeyringError):
            place.kms.unwrap([Bound(key, b"here", wrap), wrong])
    assert place.kms.unwrap([Bound(key, b"here", wrap)]) == [b"s" * 32]


def test_a_key_that_is_not_there_does_not_open_and_names_from_a_file_lead_nowhere_else(place):
    key = a_key(place.kms)
    wrap = place.kms.wrap([Bound(key, b"here", b"s" * 32)])[0]
    for name in ("consent-gateway-none", "../../sys/health", "", "a b", "x" * 3000, "alias/none"):
        with pytest.raises(KeyringError, match=REFUSED):
            place.kms.unwrap([Bound(name, b"here", wrap)])


def test_making_a_key_twice_makes_one(place):
    label = f"test-{next(_labels)}"
    key = place.kms.create_key(label)
    wrap = place.kms.wrap([Bound(key, b"here", b"s" * 32)])[0]
    assert place.kms.create_key(label) == key
    assert place.kms.unwrap([Bound(key, b"here", wrap)]) == [b"s" * 32]


def test_a_destroyed_key_opens_nothing_and_is_destroyed_once(place):
    key = a_key(place.kms)
    wrap = place.kms.wrap([Bound(key, b"here", b"s" * 32)])[0]
    gone = place.kms.schedule_destroy(key)
    with pytest.raises(KeyringError, match=REFUSED):
        place.kms.unwrap([Bound(key, b"here", wrap)])
    again = place.kms.schedule_destroy(key)
    if place.name == "aws":
        assert gone.by is not None
        assert timedelta(days=6) < gone.by - system_clock() <= timedelta(days=7, minutes=1)
        assert again.by == gone.by
    else:
        assert (gone.by, again.by) == (None, None)


def test_a_keyring_lives_through_its_life_at_the_service(place, path, tmp_path):
    keyring = Keyring.create(path, place.kms)
    assert Keyring.open(path, place.kms).roots == keyring.roots
    rolled = keyring.new_kek_epoch().new_index_generation()
    copy = tmp_path / "copy"
    copy.write_bytes(path.read_bytes())
    copy.chmod(0o600)
    gone = rolled.destroy_kek_epoch(1).destroy_index_generation(1)
    assert Keyring.open(path, place.kms).roots == gone.roots
    assert None not in gone.destructions.values()
    assert (len(gone.destructions) == 2) == (place.name == "aws")
    with pytest.raises(KeyringError, match=REFUSED):
        Keyring.open(copy, place.kms)
    assert gone.reseal(a_passphrase()).roots == gone.roots


def test_roots_of_two_keyrings_at_one_service_do_not_mix(place, path, tmp_path):
    other = tmp_path / "other"
    assert Keyring.create(path, place.kms).roots != Keyring.create(other, place.kms).roots
    mixed = re.sub(
        rb'"manifest": "[0-9a-f]+"', re.search(rb'"manifest": "[0-9a-f]+"', other.read_bytes())[0], path.read_bytes()
    )
    path.write_bytes(mixed)
    with pytest.raises(KeyringError, match=REFUSED):
        Keyring.open(path, place.kms)


def test_a_service_that_lost_a_key_gets_no_new_root(place, path):
    keyring = Keyring.create(path, place.kms)
    before = path.read_bytes()
    place.lose(keyring._home.document.entries["tombstone"].key)
    with pytest.raises((KeyringError, KeyServiceError)):
        keyring.new_kek_epoch()
    assert path.read_bytes() == before


# -- Transit -------------------------------------------------------------------------------------------------------


def test_transit_takes_more_roots_than_a_request_may_have(bao, monkeypatch):
    kms = bare(over_bao(bao))
    key = a_key(kms)
    items = [Bound(key, b"c%d" % n, n.to_bytes(32, "big")) for n in range(2 * transit.MOST + 1)]
    wraps = kms.wrap(items)
    asked = [Bound(key, item.context, wrap) for item, wrap in zip(items, wraps, strict=True)]
    assert kms.unwrap(asked) == [item.content for item in items]
    monkeypatch.setattr(transit, "MOST", 10**6)
    with pytest.raises((KeyringError, KeyServiceError)):
        kms.wrap([Bound(key, b"c", bytes(32))] * 2000)


def test_transit_would_drop_the_context_in_a_rewrap_and_so_we_do_not_use_it(bao):
    """VAULT's issue 31791: the rewrapped text does not open in its context any more, or opens without."""
    kms = bare(over_bao(bao))
    key = a_key(kms)
    wrap = kms.wrap([Bound(key, b"here", b"s" * 32)])[0]
    assert bao.call("POST", f"transit/keys/{key}/rotate").is_success
    assert kms.unwrap([Bound(key, b"here", wrap)]) == [b"s" * 32], "a rotated key still opens"
    answer = bao.call("POST", f"transit/rewrap/{key}", {"ciphertext": wrap.decode()})
    assert not answer.is_success, "the engine cannot authenticate without the associated data"


def test_a_refused_token_an_exposed_one_and_an_absent_server_are_told_apart(bao, tmp_path):
    wrong = private_file(tmp_path / "wrong", "not-a-token")
    with pytest.raises(KeyServiceError, match="refuses the token"):
        bare(over_bao(bao, secret_file=wrong)).create_key("x")
    with pytest.raises(KeyServiceError):
        bare(over_bao(bao, secret_file=wrong)).check()
    wrong.chmod(0o644)
    with pytest.raises(KeyringError, match="exposed"):
        bare(over_bao(bao, secret_file=wrong)).check()
    with pytest.raises(KeyServiceError, match="does not answer"):
        bare(over_bao(bao, url="http://127.0.0.1:1")).check()


def test_a_renewed_token_is_read_at_the_next_call(bao, tmp_path):
    token = private_file(tmp_path / "token", "expired")
    kms = bare(over_bao(bao, secret_file=token))
    with pytest.raises(KeyServiceError):
        kms.check()
    private_file(token, ROOT_TOKEN)
    kms.check()


def test_a_policy_without_deletion_is_named(bao, tmp_path):
    rules = 'path "transit/keys/*" { capabilities = ["read", "create", "update"] }\npath "transit/keys/*/config" { capabilities = ["deny"] }'
    assert bao.call("POST", "sys/policies/acl/no-deletion", {"policy": rules}).is_success
    made = bao.call("POST", "auth/token/create", {"policies": ["no-deletion"]}).json()["auth"]["client_token"]
    kms = bare(over_bao(bao, secret_file=private_file(tmp_path / "token", made)))
    key = a_key(bare(over_bao(bao)))
    with pytest.raises(KeyServiceError):
        kms.schedule_destroy(key)


def a_transit(tmp_path: Path, handler: Callable[[httpx.Request], httpx.Response]) -> transit.Transit:
    def client() -> httpx.Client:
        return httpx.Client(base_url="http://127.0.0.1:1", transport=httpx.MockTransport(handler))

    return transit.Transit(client, private_file(tmp_path / "token", "t"))


@pytest.mark.parametrize(
    ("status", "body", "error"),
    [
        (200, b"[]", KeyServiceError),
        (200, b"{}", KeyServiceError),
        (200, b"not json", KeyServiceError),
        (200, b"\xff\xfe\x00", KeyServiceError),
        (200, b'{"data": {"batch_results": []}}', KeyServiceError),
        (200, b'{"data": {"batch_results": [{}]}}', KeyServiceError),
        (200, b'{"data": {"batch_results": [7]}}', KeyServiceError),
        (200, b'{"data": {"batch_results": [{"error": "no"}]}}', KeyringError),
        (200, b'{"data": {"batch_results": [{"plaintext": "!"}]}}', KeyServiceError),
        (400, b"{}", KeyringError),
        (404, b"{}", KeyringError),
        (403, b"{}", KeyServiceError),
        (429, b"{}", KeyServiceError),
        (500, b"{}", KeyServiceError),
        (503, b"{}", KeyServiceError),
        (302, b"", KeyServiceError),
    ],
)
def test_every_odd_answer_is_an_absence_or_a_refusal(tmp_path, status, body, error):
    kms = a_transit(tmp_path, lambda _: httpx.Response(status, content=body, headers={"retry-after": "2"}))
    with pytest.raises(error) as failure:
        kms.unwrap([Bound("consent-gateway-k", b"here", b"vault:v1:abc")])
    if status in {429, 503}:
        assert failure.value.retry_after == 2
    assert "abc" not in str(failure.value)


def test_a_key_that_is_there_and_not_deleted_is_not_called_destroyed(tmp_path):
    kms = a_transit(tmp_path, lambda request: httpx.Response(200 if request.method == "GET" else 400, json={}))
    with pytest.raises(KeyServiceError, match="policy"):
        kms.schedule_destroy("consent-gateway-k")


# -- AWS KMS -------------------------------------------------------------------------------------------------------


def test_an_alias_of_a_dying_key_is_no_key_for_a_new_epoch(aws):
    kms = bare(over_aws(aws))
    label = f"test-{next(_labels)}"
    kms.schedule_destroy(kms.create_key(label))
    with pytest.raises(KeyServiceError, match="about to be deleted"):
        kms.create_key(label)


def test_days_before_a_deletion_are_the_operators(aws):
    kms = bare(over_aws(aws, days=30))
    by = kms.schedule_destroy(a_key(kms)).by
    assert timedelta(days=29) < by - system_clock() <= timedelta(days=30, minutes=1)


def test_no_aws_is_an_absence(aws):
    kms = bare(over_aws("http://127.0.0.1:1", timeout=1))
    for ask in (
        kms.check,
        lambda: kms.create_key("x"),
        lambda: kms.wrap([Bound("k", b"here", b"s")]),
        lambda: kms.schedule_destroy("k"),
    ):
        with pytest.raises(KeyServiceError, match="does not answer"):
            ask()


class Answering:
    """A boto3 client that answers every call with one error code."""

    def __init__(self, code: str) -> None:
        self.code = code

    def __getattr__(self, name: str) -> Any:
        def fail(**_: Any) -> None:
            raise self.error(self.code, name)

        return fail

    @staticmethod
    def error(code: str, call: str) -> Exception:
        made: Exception = pytest.importorskip("botocore.exceptions").ClientError({"Error": {"Code": code}}, call)
        return made


@pytest.mark.parametrize(
    ("code", "error"),
    [
        ("ThrottlingException", KeyServiceError),
        ("LimitExceededException", KeyServiceError),
        ("DependencyTimeoutException", KeyServiceError),
        ("KMSInternalException", KeyServiceError),
        ("AccessDeniedException", KeyServiceError),
        ("DisabledException", KeyServiceError),
        ("InvalidCiphertextException", KeyringError),
        ("IncorrectKeyException", KeyringError),
        ("NotFoundException", KeyringError),
        ("KMSInvalidStateException", KeyringError),
    ],
)
def test_each_code_of_aws_is_an_absence_or_a_refusal(code, error):
    module = pytest.importorskip("consent_gateway.vault.kms.aws", reason="boto3 is not installed")
    kms = module.AwsKms(Answering(code))
    with pytest.raises(error):
        kms.unwrap([Bound("k", b"here", b"wrap")])
    if code == "NotFoundException":
        kms.check()
        assert kms.schedule_destroy("k").by is None
    else:
        with pytest.raises(KeyServiceError):
            kms.check()
        with pytest.raises(KeyServiceError):
            kms.schedule_destroy("k")


def test_a_key_that_is_there_and_not_scheduled_is_not_called_destroyed():
    class Refusing(Answering):
        def describe_key(self, **_: Any) -> Any:
            return {"KeyMetadata": {"KeyState": "Enabled"}}

    module = pytest.importorskip("consent_gateway.vault.kms.aws", reason="boto3 is not installed")
    with pytest.raises(KeyServiceError, match="rights"):
        module.AwsKms(Refusing("KMSInvalidStateException")).schedule_destroy("k")


# -- PKCS #11 ------------------------------------------------------------------------------------------------------


def test_a_wrong_pin_token_or_module_is_an_absence(softhsm, tmp_path):
    for changes in (
        {"secret_file": private_file(tmp_path / "pin", "9999")},
        {"token": "no-such-token"},
        {"library": tmp_path / "none.so"},
    ):
        with pytest.raises(KeyServiceError, match="does not serve"):
            bare(over_hsm(softhsm, **changes)).check()
    bare(over_hsm(softhsm)).check()


def test_keys_cannot_leave_the_token_and_two_of_one_label_are_refused(softhsm):
    pkcs11 = pytest.importorskip("pkcs11")
    kms = bare(over_hsm(softhsm))
    name = a_key(kms)
    token = pkcs11.lib(str(softhsm[0])).get_token(token_label=TOKEN_LABEL)
    with token.open(rw=True, user_pin=PIN) as session:
        key = session.get_key(label=name)
        assert (key[pkcs11.Attribute.SENSITIVE], key[pkcs11.Attribute.EXTRACTABLE]) == (True, False)
        with pytest.raises(pkcs11.exceptions.AttributeSensitive):
            _ = key[pkcs11.Attribute.VALUE]
        session.generate_key(pkcs11.KeyType.AES, 256, label=name, store=True)
    with pytest.raises(KeyServiceError, match="two keys"):
        kms.wrap([Bound(name, b"here", bytes(32))])


# -- what an operator describes ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("service", "message"),
    [
        (Service("transit"), "an address"),
        (Service("transit", url="https://bao.example"), "a token file"),
        (Service("transit", url="http://bao.example", secret_file=Path("t")), "https"),
        (Service("transit", url="ftp://127.0.0.1", secret_file=Path("t")), "https"),
        (Service("transit", url="http://[", secret_file=Path("t")), "https"),
        (Service("transit", url="https://bao.example", secret_file=Path("t"), ca_file=Path("none")), "authority"),
        (Service("aws", url="http://kms.example"), "https"),
        (Service("pkcs11"), "a module"),
        (Service("pkcs11", library=Path("m")), "a token"),
        (Service("pkcs11", library=Path("m"), token="t"), "a PIN file"),
    ],
)
def test_a_description_that_lacks_something_is_refused_before_anything_is_asked(service, message):
    with pytest.raises(KeyringError, match=message):
        connect(service)


def test_a_missing_extra_is_named(monkeypatch):
    def absent(name: str) -> Any:
        raise ModuleNotFoundError(name)

    monkeypatch.setattr(providers, "import_module", absent)
    with pytest.raises(KeyringError, match=re.escape("consent-gateway[aws]")):
        connect(Service("aws"))


def test_no_repr_shows_a_token(bao):
    assert ROOT_TOKEN not in repr(bare(over_bao(bao)))
