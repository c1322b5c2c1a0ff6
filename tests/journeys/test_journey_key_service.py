"""A whole gateway whose keyring rests at a real Transit: its start, its outage, and the service that comes back empty."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from consent_gateway.errors import KeyringError, KeyServiceError
from edge import Edge, run_cli, running
from kms_servers import Bao, a_bao

ASK = {"subject": {"member_no": "M-1"}, "purpose": "direct_marketing", "channel": "email", "recipient": "self"}


@pytest.fixture
def bao(tmp_path: Path) -> Iterator[Bao]:
    directory = tmp_path / "bao"
    directory.mkdir()
    with a_bao(directory) as server:
        yield server


@pytest.fixture
def edge(tmp_path: Path, bao: Bao) -> Iterator[Edge]:
    service: dict[str, Any] = {"kms_provider": "transit", "kms_url": bao.url, "kms_secret_file": bao.token_file}
    with running(tmp_path / "store", **service) as made:
        source = {"id": "crm", "name": "CRM", "channel": "web", "party": "first"}
        assert made.admin.post("/v1/sources", json=source).is_success
        assert register(made, "M-1").is_success
        yield made


def register(edge: Edge, number: str) -> Any:
    items = [{"member_no": number, "email": f"{number.lower()}@example.org", "country": "DE"}]
    return edge.admin.post("/v1/subjects", json={"source": "crm", "items": items})


def test_an_outage_and_a_service_that_comes_back_empty(edge, bao, tmp_path):
    custody = edge.gateway.vault.custody
    assert custody._ttl == 900
    assert edge.admin.post("/v1/decisions", json=ASK).json()["reason_code"] == "no_prior_consent"
    env = {
        "CONSENT_GATEWAY_KMS_PROVIDER": "transit",
        "CONSENT_GATEWAY_KMS_URL": bao.url,
        "CONSENT_GATEWAY_KMS_SECRET_FILE": str(bao.token_file),
    }
    sound = run_cli("doctor", "--store", edge.settings.store_directory, **env)
    assert sound.returncode == 0
    assert "key service: transit" in sound.stdout

    bao.kill()
    assert register(edge, "M-2").is_success, "within half of their life keys need nobody"
    custody._next = 0.0  # half of it is over
    with pytest.raises(KeyServiceError):
        custody.tend()
    assert edge.admin.post("/v1/decisions", json=ASK).json()["reason_code"] == "no_prior_consent"
    refused = register(edge, "M-3")
    assert (refused.status_code, refused.json()["code"]) == (503, "key_service_unavailable")
    away = run_cli("doctor", "--store", edge.settings.store_directory, **env)
    assert away.returncode == 1
    assert "key_service_unavailable" in away.stdout

    again = tmp_path / "again"
    again.mkdir()
    with a_bao(again) as empty:
        bao_again = {
            **env,
            "CONSENT_GATEWAY_KMS_URL": empty.url,
            "CONSENT_GATEWAY_KMS_SECRET_FILE": str(empty.token_file),
        }
        found = run_cli("doctor", "--store", edge.settings.store_directory, **bao_again)
        assert found.returncode == 1
        assert "keyring_unavailable" in found.stdout
    with pytest.raises((KeyServiceError, KeyringError)):
        custody.keyring.new_kek_epoch()
