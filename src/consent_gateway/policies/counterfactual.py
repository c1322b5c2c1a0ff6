"""What would have to change: the smallest set of real moves that turns a denial into a permit.

A move is a change that somebody can make: the operator mends the message, signs a contract or waits; the person
consents or takes something back. Age and residency are nobody's moves, and a purpose is not renamed to pass.
Moves are listed with the operator's own first: of two equally small changes the one that asks less of the person
is shown. A new consent is one move, although it settles several facts.

The search is exact up to `MAX_CHANGES` moves. A combination that leaves a fired denial untouched (no fact of the
rule changes) cannot permit, so only combinations that touch every one of them are evaluated.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations

from consent_gateway.domain.decisions import Answer, Change
from consent_gateway.policies.compile import program
from consent_gateway.policies.rules import PackSet, Rule
from consent_gateway.policies.vocabulary import BY_NAME, Facts, words

MAX_CHANGES = 3


@dataclass(frozen=True, slots=True)
class Move:
    """Set `fact` to `need`; `also` are facts that the same act settles. The texts say who does what."""

    fact: str
    need: str
    en: str
    zh: str
    also: tuple[tuple[str, str], ...] = ()

    def settles(self) -> dict[str, str]:
        """Return all facts that the move sets."""
        return {self.fact: self.need, **dict(self.also)}


_FRESH = tuple(
    (name, "yes") for name in words("affirmative evidence notice scope_purpose scope_channel scope_recipient")
)

MOVES: tuple[Move, ...] = (
    Move("msg_unsubscribe", "yes", "Add a way to unsubscribe to the message.", "在消息中加入退订方式。"),
    Move("msg_sender", "yes", "Show the true sender in the message.", "在消息中标明真实发送者。"),
    Move("msg_postal", "yes", "Add the postal address to the message.", "在消息中加入邮政地址。"),
    Move("msg_ad_label", "yes", "Mark the subject as advertising (广告 or AD).", "在主题中标注“广告”或“AD”。"),
    Move("opt_out_in_message", "yes", "Offer the opt-out in each message.", "在每条消息中提供退订。"),
    Move("contract", "yes", "Conclude a contract with the processor.", "与受托处理者订立合同。"),
    Move("recipient_known", "yes", "Register the recipient.", "登记接收方。"),
    Move(
        "notice",
        "yes",
        "Give the person the notice in force; a consent given under an older one is asked for anew.",
        "向本人告知现行版本;依旧版告知取得的同意须重新取得。",
    ),
    Move("evidence", "yes", "Bring the evidence of the consent.", "补充同意的证据。"),
    Move("non_personalised_option", "yes", "Offer an option that is not personalised.", "提供不针对个人特征的选项。"),
    Move("refusal_mechanism", "yes", "Offer a convenient way to refuse.", "提供便捷的拒绝方式。"),
    Move("unreasonable_price", "no", "Remove the unreasonable difference.", "取消不合理的差别待遇。"),
    Move("transfer_mechanism", "scc", "Conclude standard contractual clauses.", "订立标准合同条款。"),
    Move(
        "transfer_mechanism",
        "cn_standard_contract",
        "File the Chinese standard contract.",
        "订立并备案个人信息出境标准合同。",
    ),
    Move("transfer_mechanism", "cn_security_assessment", "Pass the security assessment.", "通过数据出境安全评估。"),
    Move("basis", "legitimate_interest", "Document a legitimate interest.", "评估并记录合法利益。"),
    Move(
        "hours_8_20",
        "inside",
        "Send between 08:00 and 20:00 in every zone where the person may be.",
        "在所有可能时区的8至20时之间发送。",
        (("hours_8_21", "inside"),),
    ),
    Move("capped", "no", "Wait until the cap has room.", "等待频次上限释放。"),
    Move(
        "contacts_24h", "under_3", "Wait until 24 hours hold fewer than three contacts.", "等待24小时内联系少于三次。"
    ),
    Move("opt_out_age", "over_12m", "Wait until 12 months after the opt-out.", "等待退出满12个月。"),
    Move("refusal_age", "over_12m", "Wait until 12 months after the refusal.", "等待拒绝满12个月。"),
    Move("scope_purpose", "yes", "The person consents to this purpose too.", "本人对该目的另行同意。"),
    Move("scope_channel", "yes", "The person consents to this channel too.", "本人对该渠道另行同意。"),
    Move("scope_recipient", "yes", "The person consents to this recipient too.", "本人对该接收方另行同意。"),
    Move("consent", "given", "The person gives consent.", "本人作出同意。", _FRESH),
    Move("affirmative", "yes", "The person consents by a clear act.", "本人以明确行为作出同意。"),
    Move("separate", "yes", "The person consents separately.", "本人作出单独同意。"),
    Move("explicit", "yes", "The person consents explicitly.", "本人作出明示同意。"),
    Move("written", "yes", "The person consents in writing.", "本人作出书面同意。"),
    Move("two_step", "yes", "The person confirms the opt-in in a second step.", "本人完成第二步确认。"),
    Move("guardian", "yes", "A parent or guardian consents.", "父母或监护人作出同意。"),
    Move("loyalty", "affirmed", "The person is asked and affirms the programme.", "经询问本人确认参加会员计划。"),
    Move("gpc", "no", "The person switches the signal off and affirms again.", "本人关闭信号并再次确认。"),
    Move("sale_share_opt_out", "no", "The person opts in again, in two steps.", "本人经两步确认重新加入。"),
    Move("limit_sensitive", "no", "The person lifts the limit.", "本人取消限制。"),
    Move("personalisation_refused", "no", "The person switches personalisation on.", "本人开启个性化。"),
    Move("objection", "no", "The person takes the objection back.", "本人撤回反对。"),
    Move("restriction", "no", "The restriction is lifted.", "限制处理被解除。"),
    Move("suppressed", "no", "The contact point leaves the suppression list.", "联系方式移出屏蔽名单。"),
)


def smallest_change(packs: PackSet, facts: Facts, answer: Answer) -> tuple[Change, ...]:
    """Return the smallest change that permits, or () if no `MAX_CHANGES` moves do; `answer` is the denial."""
    moves = [move for move in MOVES if facts[move.fact] != move.need]
    found = next(_permitting(packs, facts, moves, _touched(packs, moves, facts, answer)), ())
    return tuple(_change(move, facts) for move in found)


def _permitting(
    packs: PackSet, facts: Facts, moves: Sequence[Move], touched: Sequence[int]
) -> Iterator[tuple[Move, ...]]:
    """Yield permitting combinations, the smallest first."""
    evaluate = program(packs).evaluate
    for size in range(1, MAX_CHANGES + 1):
        for chosen in combinations(range(len(moves)), size):
            if not _covers(chosen, touched):
                continue
            combination = tuple(moves[n] for n in chosen)
            if _distinct(combination) and evaluate(_after(facts, combination).bits).permitted:
                yield combination


def _covers(chosen: Iterable[int], touched: Sequence[int]) -> bool:
    union = 0
    for n in chosen:
        union |= touched[n]
    return union == touched[-1]


def _touched(packs: PackSet, moves: Sequence[Move], facts: Facts, answer: Answer) -> list[int]:
    """Return, per move, which fired denials it touches as a bit set, and last the set of all of them."""
    rules = {rule.id: rule for pack in packs.packs for rule in pack.rules}
    denials = [rules[reason.rule_id] for reason in answer.denials() if reason.rule_id in rules]
    touches = [sum(1 << n for n, rule in enumerate(denials) if _touches(move, rule, facts)) for move in moves]
    return [*touches, (1 << len(denials)) - 1]


def _touches(move: Move, rule: Rule, facts: Facts) -> bool:
    changed = {name: value for name, value in move.settles().items() if facts[name] != value}
    breaks = any(value not in rule.when.allowed.get(name, {value}) for name, value in changed.items())
    return breaks or any(name in lifted.allowed for lifted in rule.unless for name in changed)


def _distinct(combination: Sequence[Move]) -> bool:
    return len({move.fact for move in combination}) == len(combination)


def _after(facts: Facts, combination: Iterable[Move]) -> Facts:
    changes: dict[str, str] = {}
    for move in combination:
        changes |= move.settles()
    return facts.replace(**changes)


def _change(move: Move, facts: Facts) -> Change:
    have, label = facts[move.fact], BY_NAME[move.fact]
    return Change(
        move.fact,
        have,
        move.need,
        f"{label.en}: {have} → {move.need}. {move.en}",
        f"{label.zh}: {have} → {move.need}。{move.zh}",
    )
