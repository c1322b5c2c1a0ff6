"""The custodian: one thread that tends the keys, reports failures and survives them."""

from __future__ import annotations

import threading

import pytest

from consent_gateway.errors import KeyServiceError
from consent_gateway.services.threads import custodian as module
from consent_gateway.services.threads.custodian import Custodian
from consent_gateway.vault.custody import Custody
from consent_gateway.vault.keyring import Keyring


class Sick(Custody):
    """A custody that fails each time, and says when it was asked twice."""

    def __init__(self) -> None:
        super().__init__(Keyring.in_memory())
        self.twice = threading.Event()
        self.asked = 0

    def tend(self) -> bool:
        self.asked += 1
        if self.asked > 1:
            self.twice.set()
        raise KeyServiceError


def test_a_failure_is_reported_and_the_next_look_comes(monkeypatch):
    monkeypatch.setattr(module, "PAUSE_SECONDS", 0.001)
    custody, errors = Sick(), []
    custodian = Custodian(custody, errors.append)
    custodian.start()
    assert custody.twice.wait(10)
    custodian.stop()
    custodian._thread.join(10)
    assert not custodian._thread.is_alive()
    assert {type(error) for error in errors} == {KeyServiceError}


def test_a_sound_keyring_is_no_event():
    Custodian(Custody(Keyring.in_memory()), lambda _: pytest.fail("nothing was wrong")).look()
