"""What a signal does: the choices it switches on, and what it says about registered purposes and recipients.

A signal only restricts or fills. No value of any field switches a choice off: 2 ("did not opt out"), N and an absent
GPC are no opt-in (11 CCR 7025(c)). A yes of a TC string is one only under every rule of TCF v2.3
(`TcString.violations`), a no is taken from any string that can be read.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from consent_gateway.domain.ids import PurposeId, RecipientId
from consent_gateway.domain.purposes import Channel
from consent_gateway.domain.subjects import Choice
from consent_gateway.policies.signals.detect import Signal
from consent_gateway.policies.signals.gpc import GpcSignal
from consent_gateway.policies.signals.gpp import GppString, Section
from consent_gateway.policies.signals.sections import NAMES
from consent_gateway.policies.signals.tc_strings import CaString, TcString
from consent_gateway.policies.signals.us import Undecoded, UspString, UsSection


@dataclass(frozen=True, slots=True)
class PurposeRule:
    """Which TCF purposes must all be consented to for a registered purpose (on a channel, or on all of them)."""

    tcf_purposes: tuple[int, ...]
    purpose: PurposeId
    channel: Channel | None = None


@dataclass(frozen=True, slots=True)
class TcfMapping:
    """The operator's reading of TCF numbers; a vendor without a recipient is the operator itself."""

    purposes: tuple[PurposeRule, ...] = ()
    vendors: Mapping[int, RecipientId | None] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Statement:
    """A yes or a no for one registered purpose, channel and recipient (None: us and our processors)."""

    purpose: PurposeId
    channel: Channel | None
    recipient: RecipientId | None
    given: bool


@dataclass(frozen=True, slots=True)
class Effects:
    """Everything one signal does; `updated` is the day of a TC string in seconds, None without one."""

    choices: tuple[Choice, ...] = ()
    statements: tuple[Statement, ...] = ()
    undecoded: tuple[str, ...] = ()
    violations: tuple[str, ...] = ()
    updated: int | None = None

    @property
    def denials(self) -> tuple[Statement, ...]:
        """Return the statements that are a no."""
        return tuple(s for s in self.statements if not s.given)


def effects_of(signal: Signal, mapping: TcfMapping) -> Effects:
    """Return what a signal does under the operator's mapping."""
    sections: tuple[Section | GpcSignal, ...] = signal.sections if isinstance(signal, GppString) else (signal,)
    tc = next((s for s in sections if isinstance(s, TcString)), None)
    # A section that is decoded and has no meaning here is as silent as one that is not.
    silent = [NAMES.get(s.id, str(s.id)) for s in sections if isinstance(s, Undecoded)]
    silent += ["tcfcav1" for s in sections if isinstance(s, CaString)]
    return Effects(
        choices=tuple(dict.fromkeys(choice for s in sections for choice in _choices(s))),
        statements=() if tc is None else tuple(_statements(tc, mapping)),
        undecoded=tuple(silent),
        violations=() if tc is None else tc.violations,
        updated=None if tc is None else tc.prompt.updated // 10,
    )


def _choices(section: Section | GpcSignal) -> Iterator[Choice]:
    match section:
        case GpcSignal(on=True):
            yield Choice.GPC
        case UspString() if section.sale_share_opted_out:
            yield Choice.SALE_SHARE_OPT_OUT
        case UsSection():
            if section.sale_share_opted_out:
                yield Choice.SALE_SHARE_OPT_OUT
            # "Opted out" in three states, "no consent" elsewhere: both bar the use, neither value permits any.
            if section.sensitive_limited:
                yield Choice.LIMIT_SENSITIVE
            if section.gpc:
                yield Choice.GPC


def _statements(tc: TcString, mapping: TcfMapping) -> Iterator[Statement]:
    for rule in mapping.purposes:
        for vendor, recipient in mapping.vendors.items():
            # A vendor that was not shown was not spoken about.
            if tc.disclosed is None or vendor in tc.disclosed:
                given = all(tc.says_yes(vendor, purpose) for purpose in rule.tcf_purposes)
                yield from _said(tc, rule, recipient, given=given)
        if tc.publisher is not None:
            given = set(rule.tcf_purposes) <= set(tc.publisher.consents)
            yield from _said(tc, rule, None, given=given)


def _said(tc: TcString, rule: PurposeRule, recipient: RecipientId | None, *, given: bool) -> Iterator[Statement]:
    if given and tc.violations:
        return
    yield Statement(rule.purpose, rule.channel, recipient, given)
