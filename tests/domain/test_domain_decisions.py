from __future__ import annotations

import dataclasses

import pytest

from consent_gateway.domain.decisions import Answer, Effect, Outcome, Reason, Stage, blocking, stage_of


def reason(code: str, stage: Stage | None, effect: Effect = Effect.DENY) -> Reason:
    return Reason(code, f"pack.{code}", "law", "Art 1", "text", "文", stage, effect)


def denial(*reasons: Reason) -> Answer:
    return Answer(Outcome.DENY, reasons[0].code, reasons, (), ("gdpr@1",), "00")


def test_stage_is_the_first_of_the_waterfall_not_of_the_leading_reason() -> None:
    answer = denial(
        reason("suppressed", Stage.SUPPRESSION),
        reason("no_prior_consent", Stage.CONSENT),
        reason("hours", Stage.QUIET_HOURS),
    )
    assert answer.leading.code == "suppressed"
    assert stage_of(answer) is Stage.CONSENT
    assert blocking(answer) == answer.reasons[1]


def test_stages_stand_in_waterfall_order() -> None:
    assert [str(s) for s in Stage] == ["consent", "law", "suppression", "cap", "quiet_hours"]


def test_permits_have_no_stage_and_permit_reasons_never_block() -> None:
    permit = reason("consent_valid", None, Effect.PERMIT)
    answer = Answer(Outcome.PERMIT, "consent_valid", (permit,), (), (), "00")
    assert answer.permitted
    assert stage_of(answer) is None
    assert blocking(answer) is None
    assert list(denial(reason("cap", Stage.CAP), permit).denials()) == [reason("cap", Stage.CAP)]


def test_answers_are_values() -> None:
    answer = denial(reason("cap", Stage.CAP))
    assert answer == denial(reason("cap", Stage.CAP))
    assert hash(answer) == hash(denial(reason("cap", Stage.CAP)))
    with pytest.raises(dataclasses.FrozenInstanceError):
        answer.outcome = Outcome.PERMIT  # type: ignore[misc]
