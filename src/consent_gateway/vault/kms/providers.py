"""Which key service is meant: a description in, a `Kms` out.

Providers whose libraries are extras of the package are imported when they are chosen and not before, by name: the
gateway starts without boto3 and python-pkcs11, and says which extra is missing when one is asked for.
"""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

import httpx

from consent_gateway.errors import KeyringError
from consent_gateway.vault.kms.port import Kms
from consent_gateway.vault.kms.retry import Patient
from consent_gateway.vault.kms.transit import Transit

Provider = Literal["transit", "aws", "pkcs11"]
_LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})


@dataclass(frozen=True, slots=True)
class Service:
    """A key service as an operator describes it; what a provider does not need stays None.

    `secret_file` holds Transit's token or the token's PIN; `library` and `token` are PKCS #11's; `days` is how long AWS
    KMS waits before it destroys a key.
    """

    provider: Provider
    prefix: str = "consent-gateway"
    timeout: float = 2.0
    url: str | None = None
    ca_file: Path | None = None
    mount: str = "transit"
    secret_file: Path | None = None
    region: str | None = None
    days: int = 7
    library: Path | None = None
    token: str | None = None


def connect(service: Service) -> Kms:
    """Return the described service, with patience; nothing is asked of it yet.

    Raises `KeyringError` for a description that lacks something, for an address without TLS that is not on this
    machine, and for a provider whose extra is not installed.
    """
    makers = {"transit": _transit, "aws": _aws, "pkcs11": _pkcs11}
    return Patient(makers[service.provider](service))


def _transit(service: Service) -> Kms:
    url, token_file = _given(service.url, "an address"), _given(service.secret_file, "a token file")
    _require_tls(url)
    try:
        context = ssl.create_default_context(cafile=service.ca_file)
    except OSError:  # ssl.SSLError is one: not a certificate
        raise KeyringError("The key service's certificate authority cannot be read") from None

    def client() -> httpx.Client:
        return httpx.Client(base_url=url, timeout=service.timeout, verify=context, trust_env=False)

    return Transit(client, token_file, service.mount, service.prefix)


def _aws(service: Service) -> Kms:
    if service.url is not None:
        _require_tls(service.url)
    aws = _extra("aws")
    made: Kms = aws.AwsKms(aws.client(service.region, service.url, service.timeout), service.prefix, service.days)
    return made


def _pkcs11(service: Service) -> Kms:
    library, token = _given(service.library, "a module"), _given(service.token, "a token")
    pin_file = _given(service.secret_file, "a PIN file")
    made: Kms = _extra("pkcs11").Pkcs11Kms(library, token, pin_file, service.prefix)
    return made


def _given(value: Any, what: str) -> Any:
    if value is None:
        raise KeyringError(f"The key service lacks {what}; see docs/keys.md")
    return value


def _require_tls(url: str) -> None:
    try:
        parts = urlsplit(url)
        safe = parts.scheme == "https" or (parts.scheme == "http" and parts.hostname in _LOOPBACK)
    except ValueError:
        safe = False
    if not safe:
        raise KeyringError("The key service's address must begin with https://, except on this machine")


def _extra(name: str) -> Any:
    try:
        return import_module(f"consent_gateway.vault.kms.{name}")
    except ModuleNotFoundError:
        raise KeyringError(f"This key service needs the extra `consent-gateway[{name}]`") from None
