"""Check digits: wrong ones are typing errors, an identity card is no key, everything else is the operator's business."""

from __future__ import annotations

import pytest

from consent_gateway.vault.checksums import doubtful
from consent_gateway.vault.normal_forms import Normalised

CARD = "11010519491231002X"  # the example of GB 11643


def code(kind: str, value: str) -> str | None:
    """Return the code of the doubt, or None."""
    found = doubtful(Normalised(kind, value, 1))
    return found and found.code


@pytest.mark.parametrize(
    ("kind", "value", "want"),
    [
        ("device_id", "490154203237518", None),
        ("device_id", "490154203237519", "device_id_checksum"),
        ("device_id", "4901542032375189", None),
        ("device_id", "49015420323751a", None),
        ("external_id", "LEI:213800KUD8LAJWSQ9D15", None),
        ("external_id", "LEI:213800KUD8LXJWSQ9D15", "external_id_checksum"),
        ("external_id", "LEI:", "external_id_checksum"),
        ("external_id", "USCC:91110000600037341L", None),
        ("external_id", "USCC:91110000600037342L", "external_id_checksum"),
        ("external_id", "CRM:42", None),
        ("external_id", "LEI", "external_id_checksum"),
        ("member_no", "LEI:213800KUD8LXJWSQ9D15", None),
        ("member_no", CARD, "identity_card_number"),
        ("external_id", CARD, "identity_card_number"),
        ("openid", CARD.lower(), "identity_card_number"),
        ("device_id", CARD, "identity_card_number"),
        ("member_no", "110105194912310021", None),
        ("member_no", "123456789012345678", None),
        ("email", "jane@example.com", None),
        ("phone", "+4915112345678", None),
    ],
)
def test_doubts(kind, value, want):
    assert code(kind, value) == want


def test_a_doubt_never_repeats_the_value():
    for kind, value in (("device_id", "490154203237519"), ("member_no", CARD), ("external_id", "LEI:213800X")):
        found = doubtful(Normalised(kind, value, 1))
        assert found is not None
        assert value not in found.message
