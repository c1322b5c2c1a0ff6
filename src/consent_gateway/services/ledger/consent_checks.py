"""What a consent fact must be before it is stored: known registers, a possible instant, and proof of what it claims.

A yes that comes in live (`given`, `renewed`, and `pending`, which becomes one) is believed as far as it is proven:

- it claims the property `evidence` or `written` only with proof: an `evidence` object, or `notice`, `notice_version`
  and `method` together, from which the gateway can show which text was shown, when and how (GDPR and UK GDPR Art 7(1),
  PIPL Art 14, 47 CFR 64.1200(f)(9)). The claim is refused everywhere, because people move and the law of every
  candidate residency applies;
- it claims `guardian` only with the guardian: a known adult who is not the child, or, for one who is unknown here, an
  `evidence` object with a member `guardian` that says how they were identified (GDPR Art 8(2), PIPL Art 31).

What an import claims without proof is stored and not believed (`domain.consents`, rule 7). A no is never refused for
any of this: opt-outs fail open (promise P1).
"""

from __future__ import annotations

import json
from dataclasses import replace

from consent_gateway.db import merges
from consent_gateway.db.subjects import ContactPoint
from consent_gateway.domain.consents import CLAIMS, YES, ConsentKind, ConsentProperty
from consent_gateway.domain.ids import NoticeId, RecipientId, SubjectId
from consent_gateway.domain.purposes import OWN, Channel, RecipientKind
from consent_gateway.domain.subjects import REACHED_BY, age_in_month, month_of
from consent_gateway.errors import FieldProblem
from consent_gateway.services.identity.clusters import profiles_of_people
from consent_gateway.services.identity.people import UNKNOWN, UNKNOWN_POINT, Resolver
from consent_gateway.services.work.gateway import Work
from consent_gateway.services.work.items import ConsentItem

_ADULT = 18
_NOT_SELF = ("guardian_is_child", "nobody is their own guardian")
_PROVEN = YES | {ConsentKind.PENDING}


def register_problem(work: Work, item: ConsentItem) -> FieldProblem | None:
    """Return what the registers do not know about a fact, None if they know everything it names."""
    registers = work.registers
    if item.purpose not in registers.purposes.purposes:
        return FieldProblem("$.purpose", "unknown_purpose", "no such purpose is registered")
    if item.channel is not None and item.channel not in set(Channel):
        return FieldProblem("$.channel", "unknown_channel", "no such channel")
    if item.recipient is not None and item.recipient not in registers.recipients:
        return FieldProblem("$.recipient", "unknown_recipient", "no such recipient is registered")
    return notice_problem(work, item)


def notice_problem(work: Work, item: ConsentItem) -> FieldProblem | None:
    """Return what was never published of the notice that a fact names."""
    if item.notice is None:
        if item.notice_version is not None:
            return FieldProblem("$.notice_version", "notice_missing", "name the notice that this is a version of")
        return None
    notice = NoticeId(item.notice)
    if work.registers.notices.find(notice, item.notice_version) is None:
        return FieldProblem("$.notice", "unknown_notice", "no such notice version was published")
    if item.language and work.registers.notices.find(notice, item.notice_version, item.language) is None:
        return FieldProblem("$.language", "unknown_language", "the notice was not published in this language")
    return None


def grant_problem(work: Work, item: ConsentItem, at: int) -> FieldProblem | None:
    """Return what is wrong with a fact that is no no: its end, its recipient, or a claim without proof."""
    if item.confirm and item.kind is not ConsentKind.PENDING:
        return FieldProblem("$.confirm", "not_pending", "only a pending fact has a second step")
    if item.confirm and item.imported:
        # Its claims were never looked at, and the second step would lend them its own proof.
        return FieldProblem("$.confirm", "imported", "a request that is imported has no second step to come")
    if item.valid_until is not None and item.kind not in _PROVEN:
        return FieldProblem("$.valid_until", "not_a_grant", "only a yes has an end of its own")
    if item.valid_until is not None and item.valid_until <= at:
        return FieldProblem("$.valid_until", "impossible_date", "valid_until must be after at")
    if item.recipient not in (None, OWN) and not is_third_party(work, item.recipient):
        message = "name no recipient: a processor acts for us"
        return FieldProblem("$.recipient", "recipient_is_processor", message)
    return None if item.imported or item.kind not in _PROVEN else _claim_problem(item)


def _claim_problem(item: ConsentItem) -> FieldProblem | None:
    if item.properties & CLAIMS and not is_proven(item):
        message = "the properties evidence and written need evidence, or notice, notice_version and method"
        return FieldProblem("$.evidence", "missing_evidence", message)
    if ConsentProperty.GUARDIAN in item.properties and item.guardian is None and not _shows_guardian(item):
        message = "the property guardian needs a guardian, or evidence with a member guardian"
        return FieldProblem("$.guardian", "missing_guardian", message)
    return None


def is_proven(item: ConsentItem) -> bool:
    """Tell whether the gateway can show how the fact came about."""
    return bool(item.evidence) or all((item.notice, item.notice_version, item.method))


def _shows_guardian(item: ConsentItem) -> bool:
    try:
        found = json.loads(item.evidence or b"null")
    except ValueError:
        return False
    return isinstance(found, dict) and bool(found.get("guardian"))


def guardian_of(work: Work, resolver: Resolver, item: ConsentItem, child: SubjectId) -> SubjectId | FieldProblem | None:
    """Return the guardian that a fact names, who must be a known adult and not the child; None if it names nobody."""
    if item.guardian is None:
        return None
    found = resolver.resolve(item.guardian)
    if found == UNKNOWN:
        return FieldProblem("$.guardian", "unknown_subject", "no guardian with this identifier is known")
    if isinstance(found, FieldProblem):
        return replace(found, path=found.path.replace("$.subject", "$.guardian"))
    return FieldProblem("$.guardian", *_NOT_SELF) if resolver.same_person(found, child) else _adult(work, found)


def _adult(work: Work, guardian: SubjectId) -> SubjectId | FieldProblem:
    people = profiles_of_people(work, merges.clusters(work.session, [guardian]))
    age = next((age_in_month(born, month_of(work.now)) for _, born in people.values()), None)
    if age is None:
        return FieldProblem("$.guardian", "guardian_age_unknown", "the guardian must be known to be an adult")
    if age < _ADULT:
        return FieldProblem("$.guardian", "guardian_is_minor", "the guardian must be an adult")
    return guardian


def is_third_party(work: Work, recipient: str | None) -> bool:
    """Tell whether a recipient is somebody else than us and those who act for us."""
    found = work.registers.recipients.get(RecipientId(recipient)) if recipient else None
    return found is not None and found.kind not in (RecipientKind.SELF, RecipientKind.PROCESSOR)


def can_write(channel: str | None, kind: str) -> bool:
    """Tell whether a channel (any: None) writes to identifiers of a kind."""
    if channel is None:
        return kind in {reached.value for reached, _ in REACHED_BY.values()}
    reached_by = REACHED_BY.get(Channel(channel))
    return reached_by is not None and reached_by[0].value == kind


def point_of(resolver: Resolver, item: ConsentItem, subject_id: SubjectId) -> ContactPoint | FieldProblem | None:
    """Return the contact point that a fact names (None: none), the person's own and one the channel writes to."""
    if item.contact_point is None:
        return None
    point = resolver.point(item.contact_point)
    if isinstance(point, FieldProblem):
        return UNKNOWN_POINT if point is UNKNOWN else point
    if not resolver.same_person(point.subject_id, subject_id):
        return FieldProblem("$.contact_point", "unknown_contact_point", "the person has no such contact point")
    if not can_write(item.channel, point.kind):
        return FieldProblem("$.contact_point", "wrong_contact_point", "the channel cannot write to it")
    return point
