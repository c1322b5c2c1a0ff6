"""The fields of a person that the vault can give back: a closed list, which purposes name in their register."""

from __future__ import annotations

from enum import StrEnum


class RevealField(StrEnum):
    """One field of the vault. The first five are identifiers, the others the profile; a person may have several."""

    EMAIL = "email"
    PHONE = "phone"
    DEVICE_ID = "device_id"
    OPENID = "openid"
    MEMBER_NO = "member_no"
    GIVEN_NAME = "given_name"
    FAMILY_NAME = "family_name"
    BIRTH_DATE = "birth_date"
    LANGUAGE = "language"


IDENTIFIER_FIELDS = frozenset(
    {RevealField.EMAIL, RevealField.PHONE, RevealField.DEVICE_ID, RevealField.OPENID, RevealField.MEMBER_NO}
)
# What tells a child from an adult, or follows a person from app to app: a purpose must say that it needs such.
SENSITIVE_FIELDS = frozenset({RevealField.BIRTH_DATE, RevealField.DEVICE_ID})
