"""The page of a second step speaks to a customer: who asks, for what, until when; and why a link does not work."""

from __future__ import annotations

import pytest

from consent_gateway.domain.purposes import Channel
from consent_gateway.errors import (
    AlreadyConfirmedError,
    ConfirmationExpiredError,
    GatewayError,
    InputError,
    NotFoundError,
    OvertakenError,
)
from consent_gateway.web import confirmations

ROWS = {
    "purpose": "Offers <b>",
    "channel": "email",
    "recipient": "Example & Co",
    "until": "2026-12-07T02:43:17Z",
}


def test_the_request_says_who_what_how_and_until_when_and_escapes_it() -> None:
    page = confirmations.render_request(ROWS, ("Notice <i>", "We write & you read."), "en")
    for text in ("Offers &lt;b&gt;", "e-mail", "Example &amp; Co", "2026-12-07 02:43 UTC", "Notice &lt;i&gt;"):
        assert text in page
    assert page.count("<button") == 1
    assert "<input" not in page
    assert "<script" not in page


def test_without_a_recipient_it_is_for_us_and_without_a_channel_none_is_named() -> None:
    page = confirmations.render_request(ROWS | {"recipient": None, "channel": None}, None, "zh-CN")
    assert "本公司" in page
    assert "方式" not in page
    assert '<html lang="zh-CN">' in page


@pytest.mark.parametrize("language", ["en", "zh"])
@pytest.mark.parametrize("channel", [c for c in Channel if c is not Channel.NONE])
def test_every_channel_has_words(channel: Channel, language: str) -> None:
    assert confirmations._CHANNELS[language][channel] not in {channel.value, ""}


@pytest.mark.parametrize(
    "error", [NotFoundError(), AlreadyConfirmedError(), OvertakenError(), ConfirmationExpiredError()], ids=str
)
def test_a_link_that_does_not_work_says_so_to_the_person_and_not_to_an_operator(error: GatewayError) -> None:
    page = confirmations.render_refusal(error)
    assert error.hint not in page or error.code == "already_confirmed"
    assert sum("一" <= letter <= "鿿" for letter in page) > 8
    assert "<button" not in page


def test_an_error_without_words_of_its_own_is_shown_with_its_title() -> None:
    page = confirmations.render_refusal(InputError("never shown"))
    assert InputError.title in page
    assert "never shown" not in page
