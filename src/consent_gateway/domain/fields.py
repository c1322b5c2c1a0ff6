"""The fields of a person that the vault holds: a closed list of our own, and the sensitive ones that operators declare.

Our own lie in the groups `contact` and `profile`. A field that an operator declares is sensitive in law: it has a
category, and lies in the group `sensitive` and nowhere else. It is no trait: it has no column, no index, no place in
a segment or an audience. What a field may be used for is said twice, by the field and by the purpose that reveals it.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from consent_gateway.domain.ids import PurposeId


class RevealField(StrEnum):
    """One of our own fields. The first five are identifiers, then the profile; a person may have several values."""

    EMAIL = "email"
    PHONE = "phone"
    DEVICE_ID = "device_id"
    OPENID = "openid"
    MEMBER_NO = "member_no"
    GIVEN_NAME = "given_name"
    FAMILY_NAME = "family_name"
    BIRTH_DATE = "birth_date"
    LANGUAGE = "language"
    POSTAL_ADDRESS = "postal_address"


IDENTIFIER_FIELDS = frozenset(
    {RevealField.EMAIL, RevealField.PHONE, RevealField.DEVICE_ID, RevealField.OPENID, RevealField.MEMBER_NO}
)
CONTACT_FIELDS = IDENTIFIER_FIELDS | {RevealField.POSTAL_ADDRESS}
PROFILE_FIELDS = frozenset(RevealField) - CONTACT_FIELDS
# What tells a child from an adult, or follows a person from app to app: a purpose must say that it needs such.
SENSITIVE_FIELDS = frozenset({RevealField.BIRTH_DATE, RevealField.DEVICE_ID})


class Category(StrEnum):
    """Why the law calls a field sensitive; a closed list, each member with its articles in `CITED`."""

    RACIAL_OR_ETHNIC_ORIGIN = "racial_or_ethnic_origin"
    POLITICAL_OPINION = "political_opinion"
    RELIGION = "religion"
    PHILOSOPHICAL = "philosophical"
    UNION_MEMBERSHIP = "union_membership"
    GENETIC = "genetic"
    BIOMETRIC = "biometric"
    HEALTH = "health"
    SEX_LIFE = "sex_life"
    SEXUAL_ORIENTATION = "sexual_orientation"
    PRECISE_GEOLOCATION = "precise_geolocation"
    WHEREABOUTS = "whereabouts"
    GOVERNMENT_ID = "government_id"
    ACCOUNT_CREDENTIALS = "account_credentials"
    FINANCIAL_ACCOUNT = "financial_account"
    CITIZENSHIP = "citizenship"
    IMMIGRATION = "immigration"
    MESSAGE_CONTENTS = "message_contents"
    NEURAL = "neural"
    SPECIFIC_IDENTITY = "specific_identity"
    MINOR_UNDER_14 = "minor_under_14"


GDPR_9, CCPA_AE, PIPL_28 = "GDPR Art 9(1)", "Civ. Code 1798.140(ae)", "PIPL Art 28"
# As the tables of `policies.regions` have them; a test compares.
CITED: dict[Category, tuple[str, ...]] = {
    Category.RACIAL_OR_ETHNIC_ORIGIN: (GDPR_9, CCPA_AE),
    Category.POLITICAL_OPINION: (GDPR_9,),
    Category.RELIGION: (GDPR_9, CCPA_AE, PIPL_28),
    Category.PHILOSOPHICAL: (GDPR_9, CCPA_AE),
    Category.UNION_MEMBERSHIP: (GDPR_9, CCPA_AE),
    Category.GENETIC: (GDPR_9, CCPA_AE, PIPL_28),
    Category.BIOMETRIC: (GDPR_9, CCPA_AE, PIPL_28),
    Category.HEALTH: (GDPR_9, CCPA_AE, PIPL_28),
    Category.SEX_LIFE: (GDPR_9, CCPA_AE, PIPL_28),
    Category.SEXUAL_ORIENTATION: (GDPR_9, CCPA_AE, PIPL_28),
    Category.PRECISE_GEOLOCATION: (CCPA_AE, PIPL_28),
    Category.WHEREABOUTS: (PIPL_28,),
    Category.GOVERNMENT_ID: (CCPA_AE, PIPL_28),
    Category.ACCOUNT_CREDENTIALS: (CCPA_AE, PIPL_28),
    Category.FINANCIAL_ACCOUNT: (CCPA_AE, PIPL_28),
    Category.CITIZENSHIP: (CCPA_AE,),
    Category.IMMIGRATION: (CCPA_AE,),
    Category.MESSAGE_CONTENTS: (CCPA_AE,),
    Category.NEURAL: (CCPA_AE,),
    Category.SPECIFIC_IDENTITY: (PIPL_28,),
    Category.MINOR_UNDER_14: (PIPL_28,),
}


@dataclass(frozen=True, slots=True)
class FieldDefinition:
    """What is registered about a field.

    `category` of a sensitive field that an operator declared, None of one of our own. `purposes`: what it is held for.
    `retention`: an ISO 8601 duration after which it is not kept, counted from when a purpose needed it last; empty: as
    long as its purposes say.
    """

    id: str
    category: Category | None
    purposes: tuple[PurposeId, ...]
    retention: str = ""
    description: str = ""
