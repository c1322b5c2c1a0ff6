"""Questions: from a use and the registers to what the law is asked, and to the parts of a row that it reads.

A question is the same for a person, a batch and an audience: whoever asks puts it once and reads rows by it. The
message is the caller's word, everything else the registers' and the operator's.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

from consent_gateway.db.audience_rows import Reading
from consent_gateway.domain.circumstances import (
    COLLECTION,
    MEDIA,
    PointFact,
    Recency,
)
from consent_gateway.domain.ids import PurposeId, RecipientId
from consent_gateway.domain.purposes import (
    Basis,
    Channel,
    Destination,
    Mark,
    Purpose,
    PurposeKind,
    Recipient,
    RecipientKind,
)
from consent_gateway.domain.registers import Registers
from consent_gateway.domain.subjects import (
    CHOICE_FLAGS,
    LOYALTY_FLAGS,
    REACHED_BY,
    SUPPRESSED_BY,
    Flag,
)
from consent_gateway.errors import FieldProblem, InputError
from consent_gateway.policies.facts import Question
from consent_gateway.services.deciding.law import Law
from consent_gateway.services.deciding.rules import Rules

_CHINA_SECONDS = 8 * 3600  # one legal time for the whole country
_OURS = frozenset({RecipientKind.SELF, RecipientKind.PROCESSOR})
_TELEPHONE = frozenset({Channel.SMS, Channel.CALL})
_CONFIRMING = {"email": Recency.CONFIRMING_EMAIL, "phone": Recency.CONFIRMING_PHONE}
# Marketing by these means is part of an information society service, for which children need a parent (GDPR Art 8).
_ELECTRONIC = frozenset({Channel.EMAIL, Channel.SMS, Channel.PUSH, Channel.IN_APP, Channel.ONLINE_ADS})
# Uses that rest on nothing a person says beforehand; every other use needs a slot that remembers what was said.
_UNSAID = frozenset(
    {
        PurposeKind.SERVICE_MESSAGE,
        PurposeKind.SERVICE_DELIVERY,
        PurposeKind.STORAGE,
        PurposeKind.ERASURE_SUPPRESSION_CHECK,
        PurposeKind.REQUEST_RECORD_KEEPING,
        PurposeKind.OPT_OUT_CONFIRMATION,
    }
)


@dataclass(frozen=True, slots=True)
class Message:
    """What the message will contain; the law denies what lacks its due parts."""

    unsubscribe: bool = True
    sender_identity: bool = True
    postal_address: bool = True
    ad_label: bool = True


@dataclass(frozen=True, slots=True)
class Use:
    """What is asked about: purpose, channel, recipient and message; constant over a batch or an audience.

    `basis` is one that the purpose declares, its first one by default. `sensitive` are the categories of the traits
    that chose the people, beyond those that the purpose involves.
    """

    purpose: PurposeId
    channel: Channel
    recipient: RecipientId
    message: Message = Message()
    basis: Basis | None = None
    sensitive: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class Asked:
    """A use against one version of the registers: the law's question, and what it reads of a row.

    Compared by identity: `Decider.ask` gives the same one for the same use, and answers are remembered by it.
    """

    use: Use
    question: Question
    reading: Reading
    closed: bool  # no slot holds what was said about this purpose on this channel, so that nothing may be assumed
    reach: Flag
    law: Law
    sensitive: tuple[str, ...] = ()  # categories of sensitive data that the use involves


def put_question(use: Use, registers: Registers, rules: Rules, law: Law, year: int) -> Asked:
    """Return the law's question for a use in a calendar year of China, and the parts of a row that it reads.

    InputError for a purpose or recipient that is not registered, and for a basis that the purpose does not declare.
    """
    purpose, recipient = _registered(use, registers)
    slot = _slot(purpose, use.channel, registers)
    reach, suppression = _contact_flags(use.channel)
    reading = Reading(
        slot=slot,
        flags=int(choices_read(purpose.kind, use.channel) | reach | suppression),
        side=registers.side(recipient.id),
        channel=use.channel.value,
        cap_limit=rules.cap.limit,
        cap_window=rules.cap.window_seconds,
        medium=MEDIA.get(use.channel, ""),
        facts=int(facts_read(use.basis or purpose.basis, use.channel)),
        recency=_recency_read(purpose.kind, use.channel),
    )
    question = _question(use, purpose, recipient, rules, registers, year)
    sensitive = tuple(sorted({*purpose.sensitive, *use.sensitive}))
    return Asked(use, question, reading, slot is None and purpose.kind not in _UNSAID, reach, law, sensitive)


def choices_read(kind: PurposeKind, channel: Channel) -> Flag:
    """Return the choices that the law can ask about; what is not read splits no class (a test proves it is not)."""
    flags = CHOICE_FLAGS
    if kind is not PurposeKind.LOYALTY_PROGRAMME_SHARING:
        flags &= ~LOYALTY_FLAGS
    return flags if channel in _TELEPHONE else flags & ~Flag.DO_NOT_CALL


def facts_read(basis: Basis, channel: Channel) -> PointFact:
    """Return what is read of the contact points: whose they are, and for soft opt-in how they were obtained."""
    if channel not in MEDIA:
        return PointFact(0)
    return PointFact.CORPORATE | COLLECTION if basis is Basis.SOFT_OPT_IN else PointFact.CORPORATE


def _recency_read(kind: PurposeKind, channel: Channel) -> Recency:
    if kind is PurposeKind.CONSENT_REQUEST:
        return Recency.ASKING
    if kind is PurposeKind.OPT_OUT_CONFIRMATION:
        return _CONFIRMING.get(MEDIA.get(channel, ""), Recency.NOTHING)
    return Recency.NOTHING


def year_in_china(now: int) -> int:
    """Return the calendar year in China, in which exports are counted."""
    return datetime.fromtimestamp(now + _CHINA_SECONDS, UTC).year


def _registered(use: Use, registers: Registers) -> tuple[Purpose, Recipient]:
    purpose, recipient = registers.purposes.purposes.get(use.purpose), registers.recipients.get(use.recipient)
    if purpose is None:
        raise InputError(fields=(FieldProblem("$.purpose", "unknown_purpose", "no such purpose is registered"),))
    if recipient is None:
        raise InputError(fields=(FieldProblem("$.recipient", "unknown_recipient", "no such recipient is registered"),))
    if use.basis not in (None, purpose.basis, *purpose.bases):
        message = "the purpose does not declare this basis"
        raise InputError(fields=(FieldProblem("$.basis", "basis_not_declared", message),))
    return purpose, recipient


def _slot(purpose: Purpose, channel: Channel, registers: Registers) -> int | None:
    """Return where rows hold what was said; a request for consent reads what was said about what it asks for."""
    own = registers.slots.get((purpose.id, channel))
    if purpose.requested is None:
        return own
    return registers.slots.get((purpose.requested, channel), own)


def _question(
    use: Use, purpose: Purpose, recipient: Recipient, rules: Rules, registers: Registers, year: int
) -> Question:
    """Put a use to the law: the message is the caller's word, everything else the registers' and the operator's."""
    marks, exports = purpose.marks, registers.exports.get(year)
    requested = None if purpose.requested is None else registers.purposes.purposes.get(purpose.requested)
    return Question(
        purpose_kind=purpose.kind,
        channel=use.channel,
        recipient_kind=recipient.kind,
        recipient_known=True,
        recipient_country=recipient.country or None,
        contract=recipient.contract,
        transfer_mechanism=recipient.transfer_mechanism,
        exported_people=None if exports is None else exports.people,
        exported_sensitive=None if exports is None else exports.sensitive_people,
        destination_kind=_destination(recipient, use.channel),
        basis=use.basis or purpose.basis,
        sender_type=rules.sender_type,
        automated=Mark.AUTOMATED in marks,
        significant=Mark.SIGNIFICANT in marks,
        unreasonable_price=Mark.UNREASONABLE_PRICE in marks,
        non_personalised_option=Mark.NON_PERSONALISED_OPTION in marks,
        refusal_mechanism=Mark.REFUSAL_MECHANISM in marks,
        child_directed=Mark.CHILD_DIRECTED in marks,
        similar_products=Mark.SIMILAR_PRODUCTS in marks,
        charitable_purpose_only=Mark.CHARITABLE in marks,
        unsubscribe=use.message.unsubscribe,
        opt_out_in_message=use.message.unsubscribe,
        sender_identity=use.message.sender_identity,
        postal_address=use.message.postal_address,
        ad_label=use.message.ad_label,
        controller_country=rules.controller_country,
        information_society_service=use.channel in _ELECTRONIC,
        same_legal_entity=recipient.kind in _OURS,
        requested_purpose=None if requested is None else requested.kind,
    )


def _destination(recipient: Recipient, channel: Channel) -> str:
    """Return where data ends up: as declared, and online advertising by others is advertising across contexts."""
    if recipient.destination is not None:
        return recipient.destination.value
    elsewhere = channel is Channel.ONLINE_ADS and recipient.kind is not RecipientKind.SELF
    return Destination.AD_NETWORK.value if elsewhere else "none"


def _contact_flags(channel: Channel) -> tuple[Flag, Flag]:
    """Return the bits that say that a channel's contact point exists, and that it is suppressed."""
    reached = REACHED_BY.get(channel)
    if reached is None:
        return Flag(0), Flag(0)
    kind, present = reached
    return present, SUPPRESSED_BY.get(kind, Flag(0))
