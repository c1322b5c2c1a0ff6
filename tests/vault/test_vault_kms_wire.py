"""What each provider sends and makes of the answers, word for word: no server, so that every path is cheap to see.

Whether servers understand it is for `test_vault_kms_providers`, which asks real ones.
"""

from __future__ import annotations

import base64
import json
import ssl
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import httpx
import pytest

from consent_gateway.errors import KeyringError, KeyServiceError
from consent_gateway.vault.kms import providers, transit
from consent_gateway.vault.kms.port import NOT_OPENED, Bound, Destruction
from consent_gateway.vault.kms.providers import Service, connect
from consent_gateway.vault.kms.retry import Patient
from consent_gateway.vault.kms.transit import Transit
from kms_servers import private_file

KEY, OTHER = "consent-gateway-a", "consent-gateway-b"
NO_ANSWER, NOT_ONE = "Transit does not answer", "Transit's answer is not one"
CANNOT = "Transit cannot serve now, or refuses the token"


def b64(content: bytes) -> str:
    return base64.b64encode(content).decode()


def said(call: Callable[[], object], error: type[Exception]) -> str:
    """The message of the error that a call ends in."""
    with pytest.raises(error) as failure:
        call()
    return str(failure.value)


# -- Transit -------------------------------------------------------------------------------------------------------


class Wire:
    """A server that remembers what it was asked, and answers what a test says, else as Transit would."""

    def __init__(self, tmp_path: Path) -> None:
        self.asked: list[tuple[str, str, Any, str]] = []
        self.answers: dict[str, tuple[int, Any]] = {}
        self.headers: dict[str, str] = {}
        self.kms = Transit(self.client, private_file(tmp_path / "token", "the-token"))

    def client(self) -> httpx.Client:
        return httpx.Client(base_url="http://127.0.0.1:1", transport=httpx.MockTransport(self.answer))

    def answer(self, request: httpx.Request) -> httpx.Response:
        body = json.loads(request.content) if request.content else None
        self.asked.append((request.method, request.url.path, body, request.headers["x-vault-token"]))
        status, held = self.answers.get(f"{request.method} {request.url.path}", (200, None))
        if held is None and body and "batch_input" in body:
            held = {"data": {"batch_results": [self.result(item) for item in body["batch_input"]]}}
        if status == 204:
            return httpx.Response(204)
        return httpx.Response(status, json=held or {}, headers=self.headers)

    @staticmethod
    def result(item: dict[str, str]) -> dict[str, str]:
        if "plaintext" in item:
            return {"ciphertext": f"vault:v1:{item['plaintext']}"}
        return {"plaintext": item["ciphertext"].removeprefix("vault:v1:")}


@pytest.fixture
def wire(tmp_path: Path) -> Wire:
    return Wire(tmp_path)


def test_transit_makes_a_key_of_its_one_type(wire: Wire) -> None:
    assert wire.kms.create_key("x-1") == "consent-gateway-x-1"
    assert wire.asked == [("POST", "/v1/transit/keys/consent-gateway-x-1", {"type": "aes256-gcm96"}, "the-token")]
    assert (wire.kms.kind, wire.kms.has_own_keys) == ("transit", True)


def test_transit_wraps_and_unwraps_each_key_in_a_batch_of_its_own_and_keeps_the_order(wire: Wire) -> None:
    items = [Bound(KEY, b"c1", b"one"), Bound(OTHER, b"c2", b"two"), Bound(KEY, b"c3", b"three")]
    wraps = wire.kms.wrap(items)
    assert wraps == [b"vault:v1:" + b64(item.content).encode() for item in items]
    assert wire.asked == [
        ("POST", f"/v1/transit/encrypt/{KEY}", {"batch_input": [
            {"plaintext": b64(b"one"), "associated_data": b64(b"c1")},
            {"plaintext": b64(b"three"), "associated_data": b64(b"c3")},
        ]}, "the-token"),
        ("POST", f"/v1/transit/encrypt/{OTHER}", {"batch_input": [
            {"plaintext": b64(b"two"), "associated_data": b64(b"c2")},
        ]}, "the-token"),
    ]  # fmt: skip
    wire.asked.clear()
    opened = wire.kms.unwrap([Bound(item.key, item.context, wrap) for item, wrap in zip(items, wraps, strict=True)])
    assert opened == [b"one", b"two", b"three"]
    assert [path for _, path, *_ in wire.asked] == [f"/v1/transit/decrypt/{KEY}", f"/v1/transit/decrypt/{OTHER}"]
    assert wire.asked[1][2] == {
        "batch_input": [{"ciphertext": f"vault:v1:{b64(b'two')}", "associated_data": b64(b"c2")}]
    }
    assert wire.kms.wrap([]) == wire.kms.unwrap([]) == []


def test_transit_sends_at_most_200_at_once(wire: Wire) -> None:
    items = [Bound(KEY, b"c", n.to_bytes(2, "big")) for n in range(401)]
    wraps = wire.kms.wrap(items)
    assert (
        [len(body["batch_input"]) for _, _, body, _ in wire.asked] == [transit.MOST, transit.MOST, 1] == [200, 200, 1]
    )
    assert wire.kms.unwrap([Bound(KEY, b"c", wrap) for wrap in wraps]) == [item.content for item in items]


def test_transit_allows_a_deletion_and_then_deletes(wire: Wire) -> None:
    wire.answers[f"DELETE /v1/transit/keys/{KEY}"] = (204, None)
    assert wire.kms.schedule_destroy(KEY) == Destruction(None)
    assert [asked[:3] for asked in wire.asked] == [
        ("POST", f"/v1/transit/keys/{KEY}/config", {"deletion_allowed": True}),
        ("DELETE", f"/v1/transit/keys/{KEY}", None),
    ]


def test_transit_calls_a_key_destroyed_only_if_it_is_gone(wire: Wire) -> None:
    wire.answers[f"POST /v1/transit/keys/{KEY}/config"] = (400, None)
    assert said(lambda: wire.kms.schedule_destroy(KEY), KeyServiceError) == (
        "Transit does not delete a key; see docs/keys.md for the policy it needs"
    )
    wire.answers[f"GET /v1/transit/keys/{KEY}"] = (404, None)
    assert wire.kms.schedule_destroy(KEY) == Destruction(None)
    assert wire.asked[-1][:3] == ("GET", f"/v1/transit/keys/{KEY}", None)
    assert wire.kms.schedule_destroy("../escape") == Destruction(None), "there is no key of such a name"
    wire.answers[f"GET /v1/transit/keys/{KEY}"] = (503, None)
    assert said(lambda: wire.kms.schedule_destroy(KEY), KeyServiceError) == CANNOT


def test_transit_is_well_if_it_is_unsealed_or_on_standby_and_takes_the_token(wire: Wire) -> None:
    wire.kms.check()
    assert [asked[:3] for asked in wire.asked] == [
        ("GET", "/v1/sys/health", None),
        ("GET", "/v1/auth/token/lookup-self", None),
    ]
    wire.answers["GET /v1/sys/health"] = (429, None)
    wire.kms.check()
    wire.answers["GET /v1/auth/token/lookup-self"] = (429, None)
    assert said(wire.kms.check, KeyServiceError) == CANNOT
    wire.answers["GET /v1/sys/health"] = (204, None)
    assert said(wire.kms.check, KeyServiceError) == CANNOT


@pytest.mark.parametrize(
    ("status", "held", "error", "message"),
    [
        (200, ["no object"], KeyServiceError, CANNOT),
        (200, {"data": {}}, KeyServiceError, NOT_ONE),
        (200, {"data": {"batch_results": [{"plaintext": "aa"}] * 2}}, KeyServiceError, NOT_ONE),
        (200, {"data": {"batch_results": [{"ciphertext": "aa"}]}}, KeyServiceError, NOT_ONE),
        (200, {"data": {"batch_results": ["x"]}}, KeyServiceError, NOT_ONE),
        (200, {"data": {"batch_results": [{"plaintext": "a=a"}]}}, KeyServiceError, NOT_ONE),
        (200, {"data": {"batch_results": [{"error": "no", "plaintext": "YQ=="}]}}, KeyringError, NOT_OPENED),
        (400, {}, KeyringError, NOT_OPENED),
        (404, {}, KeyringError, NOT_OPENED),
        (403, {}, KeyServiceError, CANNOT),
        (429, {}, KeyServiceError, CANNOT),
        (201, {}, KeyServiceError, CANNOT),
    ],
)
def test_transit_says_of_each_odd_answer_what_it_is(
    wire: Wire, status: int, held: Any, error: type[Exception], message: str
) -> None:
    wire.answers[f"POST /v1/transit/decrypt/{KEY}"] = (status, held)
    assert said(lambda: wire.kms.unwrap([Bound(KEY, b"c", b"vault:v1:x")]), error) == message


@pytest.mark.parametrize(
    ("asked", "seconds"), [("7", 7), ("", None), ("soon", None), ("²", None), ("-1", None), ("0", 0)]
)
def test_transit_passes_on_how_long_to_wait_if_that_is_a_number(wire: Wire, asked: str, seconds: int | None) -> None:
    wire.headers = {"retry-after": asked.encode("latin-1")}  # type: ignore[dict-item]
    wire.answers[f"POST /v1/transit/decrypt/{KEY}"] = (503, None)
    with pytest.raises(KeyServiceError) as failure:
        wire.kms.unwrap([Bound(KEY, b"c", b"x")])
    assert failure.value.retry_after == seconds


def test_transit_with_a_token_that_no_header_can_carry_is_not_served(wire: Wire, tmp_path: Path) -> None:
    """An absence, which a renewed token cures; and an unreadable wrap is one that does not open."""
    private_file(tmp_path / "token", "t\u00f6ken")
    with pytest.raises(KeyServiceError):
        wire.kms.create_key("x")
    private_file(tmp_path / "token", "renewed")
    assert wire.kms.unwrap([Bound(KEY, b"c", b"vault:v1:YQ==")]) == [b"a"]
    wire.kms.create_key("x")
    assert wire.asked[-1][3] == "renewed"
    wire.asked.clear()
    with pytest.raises(KeyServiceError):
        wire.kms.unwrap([Bound(KEY, b"c", b"\xff")])
    assert wire.asked[0][2]["batch_input"][0]["ciphertext"] == "\ufffd"


def test_transit_that_cannot_be_reached_is_absent(tmp_path: Path) -> None:
    def away(_: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("refused")

    client = lambda: httpx.Client(base_url="http://127.0.0.1:1", transport=httpx.MockTransport(away))  # noqa: E731
    kms = Transit(client, private_file(tmp_path / "token", "t"), "other", "prefix")
    assert said(lambda: kms.create_key("x"), KeyServiceError) == NO_ANSWER


@pytest.mark.parametrize("key", ["", "a/b", "a b", "..%2f", "x" * 201, "ключ", "a\n"])
def test_transit_asks_nothing_about_a_name_that_is_no_keys(wire: Wire, key: str) -> None:
    assert said(lambda: wire.kms.unwrap([Bound(key, b"c", b"x")]), KeyringError) == NOT_OPENED
    assert wire.asked == []


def test_transit_takes_another_mount_and_prefix(wire: Wire, tmp_path: Path) -> None:
    kms = Transit(wire.client, tmp_path / "token", "other", "prefix")
    assert kms.create_key("x") == "prefix-x"
    assert wire.asked[-1][1] == "/v1/other/keys/prefix-x"


# -- AWS KMS -------------------------------------------------------------------------------------------------------

aws = pytest.importorskip("consent_gateway.vault.kms.aws", reason="boto3 is not installed")
GONE_AT = datetime(2026, 11, 25, 13, 0, tzinfo=timezone(timedelta(hours=1)))


class Client:
    """A boto3 client that remembers what it was asked; `keys` by id or alias, `fails` by call."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, dict[str, Any]]] = []
        self.keys: dict[str, dict[str, Any]] = {}
        self.fails: dict[str, Exception] = {}

    def __getattr__(self, name: str) -> Callable[..., Any]:
        def call(**asked: Any) -> Any:
            self.asked.append((name, asked))
            if name in self.fails:
                raise self.fails[name]
            return getattr(self, f"_{name}")(**asked)

        return call

    def _describe_key(self, KeyId: str) -> Any:  # noqa: N803
        if KeyId not in self.keys:
            raise failure("NotFoundException")
        return {"KeyMetadata": self.keys[KeyId]}

    def _create_key(self, **_: Any) -> Any:
        return {"KeyMetadata": {"KeyId": "new", "KeyState": "Enabled"}}

    def _create_alias(self, **_: Any) -> Any:
        return {}

    def _encrypt(self, **asked: Any) -> Any:
        return {"CiphertextBlob": b"wrap of " + asked["Plaintext"]}

    def _decrypt(self, **asked: Any) -> Any:
        return {"Plaintext": asked["CiphertextBlob"].removeprefix(b"wrap of ")}

    def _schedule_key_deletion(self, **_: Any) -> Any:
        return {"DeletionDate": GONE_AT}


def failure(code: str | None) -> Exception:
    held = {} if code is None else {"Error": {"Code": code}}
    made: Exception = aws.ClientError(held, "any")
    return made


def test_aws_makes_a_key_under_an_alias_and_finds_it_again() -> None:
    client = Client()
    kms = aws.AwsKms(client)
    assert kms.create_key("x") == "new"
    alias = "alias/consent-gateway/x"
    assert client.asked == [
        ("describe_key", {"KeyId": alias}),
        ("create_key", {"Description": f"consent gateway: {alias}"}),
        ("create_alias", {"AliasName": alias, "TargetKeyId": "new"}),
    ]
    client.keys[alias] = {"KeyId": 7, "KeyState": "Enabled"}
    assert kms.create_key("x") == "7"
    client.keys[alias]["KeyState"] = "Disabled"
    assert said(lambda: kms.create_key("x"), KeyServiceError) == (
        "AWS KMS: the key of this alias is disabled or about to be deleted"
    )
    assert (kms.kind, kms.has_own_keys, kms.days) == ("aws", True, 7)


def test_aws_binds_the_context_in_its_encryption_context() -> None:
    client = Client()
    kms = aws.AwsKms(client)
    items = [Bound("k1", b"\xff\xfe", b"one"), Bound("k2", b"c", b"two")]
    wraps = kms.wrap(items)
    assert wraps == [b"wrap of one", b"wrap of two"]
    assert kms.unwrap([Bound("k1", b"\xff\xfe", wraps[0]), Bound("k2", b"c", wraps[1])]) == [b"one", b"two"]
    assert client.asked[0] == (
        "encrypt", {"KeyId": "k1", "Plaintext": b"one", "EncryptionContext": {"consent-gateway": "__4="}}
    )  # fmt: skip
    assert client.asked[3] == (
        "decrypt", {"KeyId": "k2", "CiphertextBlob": b"wrap of two", "EncryptionContext": {"consent-gateway": "Yw=="}}
    )  # fmt: skip


def test_aws_schedules_a_deletion_once_and_says_its_date_in_utc() -> None:
    client = Client()
    kms = aws.AwsKms(client, days=9)
    client.keys["k"] = {"KeyId": "k", "KeyState": "Enabled"}
    by = kms.schedule_destroy("k").by
    assert by == GONE_AT
    assert by.tzinfo is UTC
    assert client.asked == [
        ("describe_key", {"KeyId": "k"}),
        ("schedule_key_deletion", {"KeyId": "k", "PendingWindowInDays": 9}),
    ]
    client.keys["k"] = {"KeyState": "PendingDeletion", "DeletionDate": GONE_AT + timedelta(days=1)}
    again = kms.schedule_destroy("k").by
    assert again == GONE_AT + timedelta(days=1)
    assert again.tzinfo is UTC
    assert len(client.asked) == 3, "an earlier schedule stands"
    assert kms.schedule_destroy("none") == Destruction(None)


REFUSED_CODES = (
    "IncorrectKeyException", "InvalidArnException", "InvalidCiphertextException", "InvalidKeyUsageException",
    "KMSInvalidStateException", "NotFoundException", "ValidationException",
)  # fmt: skip


def test_aws_says_of_each_failure_what_it_is() -> None:
    client = Client()
    kms = aws.AwsKms(client)
    item = [Bound("k", b"c", b"x")]
    for code in REFUSED_CODES:
        client.fails["decrypt"] = failure(code)
        assert said(lambda: kms.unwrap(item), KeyringError) == NOT_OPENED
    client.fails["decrypt"] = aws.ParamValidationError(report="x")
    assert said(lambda: kms.unwrap(item), KeyringError) == NOT_OPENED
    for code in ("ThrottlingException", "AccessDeniedException", None):
        client.fails["decrypt"] = failure(code)
        assert said(lambda: kms.unwrap(item), KeyServiceError) == "AWS KMS cannot serve now"
    client.fails["decrypt"] = aws.BotoCoreError()
    assert said(lambda: kms.unwrap(item), KeyServiceError) == "AWS KMS does not answer"


def test_aws_is_asked_about_a_key_that_need_not_be_there() -> None:
    client = Client()
    kms = aws.AwsKms(client, "other")
    kms.check()
    assert client.asked == [("describe_key", {"KeyId": "alias/other/none"})]
    client.fails["describe_key"] = failure("AccessDeniedException")
    rights = "AWS KMS refuses to describe a key; see docs/keys.md for the rights it needs"
    assert said(kms.check, KeyServiceError) == rights
    client.fails["describe_key"] = aws.BotoCoreError()
    assert said(kms.check, KeyServiceError) == "AWS KMS does not answer"
    client.fails.clear()
    client.keys["k"] = {"KeyState": "Enabled"}
    client.fails["schedule_key_deletion"] = failure("KMSInvalidStateException")
    assert said(lambda: kms.schedule_destroy("k"), KeyServiceError) == (
        "AWS KMS does not delete a key; see docs/keys.md for the rights it needs"
    )


def test_aws_is_asked_once_and_not_for_longer_than_said(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[tuple[Any, dict[str, Any]]] = []
    monkeypatch.setattr(aws.boto3, "client", lambda name, **asked: made.append((name, asked)))
    aws.client("eu-central-1", "https://kms.example", 1.5)
    ((name, asked),) = made
    assert (name, asked["region_name"], asked["endpoint_url"]) == ("kms", "eu-central-1", "https://kms.example")
    config = asked["config"]
    assert (config.connect_timeout, config.read_timeout, config.retries) == (1.5, 1.5, {"total_max_attempts": 1})


# -- PKCS #11 ------------------------------------------------------------------------------------------------------

hsm = pytest.importorskip("consent_gateway.vault.kms.pkcs11", reason="python-pkcs11 is not installed")


class Token:
    """A module with one token: keys by label, and what it was asked."""

    def __init__(self) -> None:
        self.keys: list[TokenKey] = []
        self.asked: list[Any] = []
        self.broken = False

    def get_token(self, **asked: Any) -> Token:
        self.asked.append(asked)
        return self

    @contextmanager
    def open(self, **asked: Any) -> Any:
        self.asked.append(asked)
        yield self

    def generate_key(self, kind: Any, bits: int, **asked: Any) -> None:
        self.asked.append((kind, bits, asked))
        self.keys.append(TokenKey(self, asked["label"]))

    def get_objects(self, wanted: dict[Any, Any]) -> Any:
        assert wanted.keys() == {hsm.Attribute.CLASS, hsm.Attribute.LABEL}
        assert wanted[hsm.Attribute.CLASS] == hsm.ObjectClass.SECRET_KEY
        return (key for key in self.keys if key.label == wanted[hsm.Attribute.LABEL])

    def generate_random(self, bits: int) -> bytes:
        self.asked.append(("random", bits))
        if self.broken:
            raise hsm.PKCS11Error
        return bytes(bits // 8)


class TokenKey:
    """A key that seals by remembering: text, nonce and associated data go into the wrap, and a tag of 16 bytes."""

    def __init__(self, token: Token, label: str) -> None:
        self.token, self.label = token, label

    def encrypt(self, content: bytes, *, mechanism: Any, mechanism_param: Any) -> bytes:
        assert mechanism == hsm.Mechanism.AES_GCM
        return content + self.tag(mechanism_param)

    def decrypt(self, body: bytes, *, mechanism: Any, mechanism_param: Any) -> bytes:
        assert mechanism == hsm.Mechanism.AES_GCM
        if body[-16:] != self.tag(mechanism_param):
            raise hsm.PKCS11Error
        return body[:-16]

    def tag(self, given: Any) -> bytes:
        assert given.tag_bits == 128
        return (self.label.encode() + bytes(given.nonce) + bytes(given.aad)).ljust(64, b"\0")[-64::4]

    def destroy(self) -> None:
        self.token.keys.remove(self)


class Params:
    """`GCMParams` that can be read."""

    def __init__(self, nonce: bytes, aad: bytes, tag_bits: int) -> None:
        self.nonce, self.aad, self.tag_bits = nonce, aad, tag_bits


@pytest.fixture
def token(monkeypatch: pytest.MonkeyPatch) -> Token:
    made = Token()
    monkeypatch.setattr(hsm.pkcs11, "lib", lambda path: (made.asked.append(path), made)[1])
    monkeypatch.setattr(hsm, "GCMParams", Params)
    return made


@pytest.fixture
def module(token: Token, tmp_path: Path) -> Any:
    return hsm.Pkcs11Kms(Path("/lib/module.so"), "label", private_file(tmp_path / "pin", "1234"))


def test_a_token_makes_a_key_once_that_cannot_leave_it(token: Token, module: Any) -> None:
    assert module.create_key("x") == module.create_key("x") == "consent-gateway-x"
    login = ["/lib/module.so", {"token_label": "label"}, {"rw": True, "user_pin": "1234"}]
    template = {hsm.Attribute.SENSITIVE: True, hsm.Attribute.EXTRACTABLE: False}
    made = (hsm.KeyType.AES, 256, {"label": "consent-gateway-x", "store": True, "template": template})
    assert token.asked == [*login, made, *login]
    assert (module.kind, module.has_own_keys) == ("pkcs11", True)


def test_a_token_wraps_with_a_nonce_of_its_own_each_time(token: Token, module: Any) -> None:
    key = module.create_key("x")
    item = Bound(key, b"here", b"s" * 32)
    one, two = module.wrap([item, item])
    assert one[:12] != two[:12]
    assert len(one) == len(two) == 12 + 32 + 16
    assert module.unwrap([Bound(key, b"here", one), Bound(key, b"here", two)]) == [b"s" * 32] * 2
    assert len(module.wrap([Bound(key, b"here", b"")])[0]) == 28
    assert module.unwrap([Bound(key, b"here", module.wrap([Bound(key, b"here", b"")])[0])]) == [b""]


def test_a_token_tells_a_wrong_wrap_from_its_own_absence(token: Token, module: Any) -> None:
    key = module.create_key("x")
    (wrap,) = module.wrap([Bound(key, b"here", b"s" * 32)])
    for wrong in (Bound(key, b"there", wrap), Bound(key, b"here", wrap[:27]), Bound("none", b"here", wrap)):
        assert said(lambda w=wrong: module.unwrap([w]), KeyringError) == NOT_OPENED
    assert token.asked.count(("random", 64)) == 1, "asked for something else after the one that it tried"
    token.broken = True
    absent = "The PKCS #11 module or its token does not serve"
    assert said(lambda: module.unwrap([Bound(key, b"there", wrap)]), KeyServiceError) == absent
    assert said(module.check, KeyServiceError) == absent
    token.broken = False
    module.check()


def test_a_token_destroys_a_key_once_and_refuses_two_of_one_label(token: Token, module: Any) -> None:
    key = module.create_key("x")
    token.keys.append(TokenKey(token, key))
    assert said(lambda: module.wrap([Bound(key, b"c", b"x")]), KeyServiceError) == (
        "The PKCS #11 token has two keys of one label"
    )
    token.keys.pop()
    assert module.schedule_destroy(key) == module.schedule_destroy(key) == Destruction(None)
    assert token.keys == []


# -- what an operator describes ------------------------------------------------------------------------------------

TLS = "The key service's address must begin with https://, except on this machine"


def test_a_described_transit_is_reached_as_described(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    token = private_file(tmp_path / "token", "t")
    made: list[dict[str, Any]] = []
    monkeypatch.setattr(providers.httpx, "Client", lambda **asked: made.append(asked))
    for url in ("https://bao.example", "http://127.0.0.1:8200", "http://localhost", "http://[::1]:1"):
        patient = connect(Service("transit", "prefix", 1.5, url, mount="other", secret_file=token))
        assert isinstance(patient, Patient)
        kms = patient.kms
        assert isinstance(kms, Transit)
        assert (kms.prefix, kms.mount, kms.token_file) == ("prefix", "other", token)
        kms.connect()
        asked = made.pop()
        assert (asked["base_url"], asked["timeout"], asked["trust_env"]) == (url, 1.5, False)
        assert asked["verify"].verify_mode == ssl.CERT_REQUIRED
    assert Service("aws") == Service("aws", "consent-gateway", 2.0, None, None, "transit", None, None, 7, None, None)


def test_a_described_transit_trusts_the_authority_that_is_named_and_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Any] = []
    monkeypatch.setattr(providers.ssl, "create_default_context", lambda **given: asked.append(given))
    service = Service("transit", url="https://bao.example", secret_file=tmp_path / "t", ca_file=tmp_path / "ca.pem")
    connect(service)
    assert asked == [{"cafile": tmp_path / "ca.pem"}]


def test_described_modules_get_what_is_described(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[Any] = []
    monkeypatch.setattr(aws, "client", lambda *asked: made.append(asked))
    kms = connect(Service("aws", "prefix", 1.5, "https://kms.example", region="eu-central-1", days=30))
    assert isinstance(kms, Patient)
    assert (kms.kms.kind, kms.kms.prefix, kms.kms.days) == ("aws", "prefix", 30)
    connect(Service("aws"))
    assert made == [("eu-central-1", "https://kms.example", 1.5), (None, None, 2.0)]
    service = Service("pkcs11", "prefix", library=Path("/lib/m.so"), token="label", secret_file=Path("/pin"))
    token = connect(service)
    assert isinstance(token, Patient)
    assert token.kms == hsm.Pkcs11Kms(Path("/lib/m.so"), "label", Path("/pin"), "prefix")


@pytest.mark.parametrize(
    ("service", "message"),
    [
        (Service("transit"), "The key service lacks an address; see docs/keys.md"),
        (Service("transit", url="https://x"), "The key service lacks a token file; see docs/keys.md"),
        (Service("pkcs11"), "The key service lacks a module; see docs/keys.md"),
        (Service("pkcs11", library=Path("m")), "The key service lacks a token; see docs/keys.md"),
        (Service("pkcs11", library=Path("m"), token="t"), "The key service lacks a PIN file; see docs/keys.md"),
        (Service("transit", url="http://bao.example", secret_file=Path("t")), TLS),
        (Service("transit", url="ftp://localhost", secret_file=Path("t")), TLS),
        (Service("transit", url="http://[", secret_file=Path("t")), TLS),
        (Service("aws", url="http://kms.example"), TLS),
        (
            Service("transit", url="https://x", secret_file=Path("t"), ca_file=Path("none")),
            "The key service's certificate authority cannot be read",
        ),
    ],
)
def test_a_description_says_what_it_lacks(service: Service, message: str) -> None:
    assert said(lambda: connect(service), KeyringError) == message


@pytest.mark.parametrize("extra", ["aws", "pkcs11"])
def test_an_extra_that_is_not_installed_is_named(monkeypatch: pytest.MonkeyPatch, extra: str) -> None:
    asked: list[str] = []

    def absent(name: str) -> Any:
        asked.append(name)
        raise ModuleNotFoundError(name)

    monkeypatch.setattr(providers, "import_module", absent)
    service = Service(extra, library=Path("m"), token="t", secret_file=Path("p"))  # type: ignore[arg-type]
    assert said(lambda: connect(service), KeyringError) == (
        f"This key service needs the extra `consent-gateway[{extra}]`"
    )
    assert asked == [f"consent_gateway.vault.kms.{extra}"]


# -- hostile answers ---------------------------------------------------------------------------------------------------


class Endless(httpx.SyncByteStream):
    """A body that does not end; `seconds` pass with each part."""

    def __init__(self, clock: list[float], seconds: float) -> None:
        self.clock, self.seconds, self.sent = clock, seconds, 0

    def __iter__(self) -> Iterator[bytes]:
        while True:
            self.sent += 1
            self.clock[0] += self.seconds
            yield b" " * (1 << 16 if not self.seconds else 1)


@pytest.mark.parametrize(("seconds", "parts"), [(0.0, 17), (1.9, 6)], ids=["large", "slow"])
def test_a_body_without_an_end_is_no_answer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seconds: float, parts: int
) -> None:
    """A service that was taken over must neither fill the memory nor hold the thread that tends the keys."""
    clock = [0.0]
    body = Endless(clock, seconds)
    monkeypatch.setattr(transit.time, "monotonic", lambda: clock[0])

    def client() -> httpx.Client:
        answer = httpx.MockTransport(lambda _: httpx.Response(200, stream=body))
        return httpx.Client(base_url="http://127.0.0.1:1", transport=answer)

    kms = Transit(client, private_file(tmp_path / "token", "the-token"))
    assert said(lambda: kms.unwrap([Bound(KEY, b"", b"vault:v1:x")]), KeyServiceError) == NO_ANSWER
    assert body.sent == parts


def test_an_answer_that_is_nested_without_end_is_none(tmp_path: Path) -> None:
    def client() -> httpx.Client:
        answer = httpx.MockTransport(lambda _: httpx.Response(200, content=b"[" * 200_000))
        return httpx.Client(base_url="http://127.0.0.1:1", transport=answer)

    kms = Transit(client, private_file(tmp_path / "token", "the-token"))
    assert said(kms.check, KeyServiceError) == NO_ANSWER


@pytest.mark.parametrize("name", ["..", ".", ".hidden", "../sys", "-x"])
def test_a_name_out_of_a_planted_file_leaves_the_path_alone(tmp_path: Path, name: str) -> None:
    wire = Wire(tmp_path)
    assert said(lambda: wire.kms.unwrap([Bound(name, b"", b"vault:v1:x")]), KeyringError) == NOT_OPENED
    assert wire.asked == []
