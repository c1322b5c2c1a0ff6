"""What would have to change: the smallest set of real moves that turns a denial into a permit.

A move is a change that somebody can make: the operator mends the message, signs a contract or waits; the person
consents or takes something back. Age and residency are nobody's moves, and a purpose is not renamed to pass.
Moves are listed with the operator's own first: of two equally small changes the one that asks less of the person
is shown. A new consent is one move, although it settles several facts.

The search is exact up to `MAX_CHANGES` moves and finds the first combination in that order. It works on sets of moves
as bit sets. What stands against a permit are *demands*: every fired denial, and every law that denies by default
because none of its permit rules fires. Each demand knows the moves that may meet it: those that set a fact to a
value which excludes the denial, or touch a fact of an `unless`; or those that remove an obstacle of a permit rule
whose obstacles can all be removed. A combination that misses a demand cannot permit, so only hitting sets of all
demands are evaluated. No move changes where a law binds, so the laws in play are fixed (checked when prepared).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache

from consent_gateway.domain.decisions import Change
from consent_gateway.errors import PolicyError
from consent_gateway.policies.compile import program
from consent_gateway.policies.rules import PackSet
from consent_gateway.policies.sieve import INTERNED, Row, Sieve
from consent_gateway.policies.vocabulary import BY_NAME, FIELD, Facts, bit, field_mask, words

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
    Move("contract", "yes", "Conclude the contract with the recipient.", "与接收方订立合同或约定。"),
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
    Move("revoked_elsewhere", "no", "The person consents to texts and calls again.", "本人重新同意短信与电话。"),
    Move("suppressed", "no", "The contact point leaves the suppression list.", "联系方式移出屏蔽名单。"),
)


def smallest_change(packs: PackSet, facts: Facts) -> tuple[Change, ...]:
    """Return the smallest change that permits, or () if no `MAX_CHANGES` moves do; `facts` are denied."""
    found = ways(program(packs).sieve(facts.bits)).smallest(facts.bits)
    return tuple(_change(place, facts[MOVES[place].fact]) for place in found)


_NEEDED = tuple(bit(move.fact, move.need) for move in MOVES)
_SETS = tuple(sum(bit(name, value) for name, value in move.settles().items()) for move in MOVES)
_CLEARS = tuple(field_mask(move.settles()) for move in MOVES)
_RIVALS = tuple(sum(1 << n for n, other in enumerate(MOVES) if other.fact == move.fact) for move in MOVES)


class Ways:
    """Which moves may meet which demand among the rules of one sieve; made once, then only bit arithmetic."""

    def __init__(self, sieve: Sieve) -> None:
        territory = [mask for table in sieve.tables for mask in table.territory]
        if any(clears & mask for clears in _CLEARS for mask in territory):
            raise PolicyError("a move changes where a law binds; the search for a smallest change would not be exact")
        self._sieve = sieve
        useful = [n for n, clears in enumerate(_CLEARS) if clears & sieve.read]
        self._useful = tuple((1 << n, _NEEDED[n]) for n in useful)
        self._clearing = {value: _clearing(value, useful) for value in _values(sieve.read)}
        self._breaks = tuple(_breaking(row) for row in sieve.rows)
        self._found: dict[int, tuple[int, ...]] = {}

    def smallest(self, bits: int) -> tuple[int, ...]:
        """Return the places in `MOVES` of the smallest change that permits at a denied point, or ()."""
        key = bits & self._sieve.read
        found = self._found.get(key)
        if found is None:
            if len(self._found) >= INTERNED:
                self._found.clear()
            found = self._found[key] = self.search(bits)
        return found

    def search(self, bits: int) -> tuple[int, ...]:
        """Return what `smallest` returns, searched afresh."""
        free = 0
        for move, needed in self._useful:
            if not bits & needed:
                free |= move
        demands = self._demands(bits, free)
        if demands is None:
            return ()
        for size in range(1, MAX_CHANGES + 1):
            found = self._first(bits, free, demands, size)
            if found is not None:
                return found
        return ()

    def _first(self, bits: int, free: int, demands: list[int], size: int) -> tuple[int, ...] | None:
        """Return the first combination of `size` of the moves `free` that meets all demands and permits."""
        if size == 1:
            for demand in demands:
                free &= demand
            return next(((n,) for n in _members(free) if self._permits(bits & ~_CLEARS[n] | _SETS[n])), None)
        for n in _members(free):
            later = free & -(2 << n) & ~_RIVALS[n]
            left = [demand & later for demand in demands if not demand >> n & 1]
            if 0 in left:
                continue
            found = self._first(bits & ~_CLEARS[n] | _SETS[n], later, left, size - 1)
            if found is not None:
                return (n, *found)
        return None

    def _permits(self, bits: int) -> bool:
        return not self._sieve.fired(bits) & self._sieve.denying and self._sieve.answer(bits).permitted

    def _demands(self, bits: int, free: int) -> list[int] | None:
        """Return the moves that may meet each demand, the hardest demand first; None if one can be met by none."""
        sieve = self._sieve
        fired = sieve.fired(bits)
        demands = {self._breaks[n] & free for n in _members(fired & sieve.denying)}
        for table, permitting, binds in sieve.permitting:
            if table.default is not None and fired & binds and not fired & permitting:
                demands.add(self._opening(permitting, bits, free))
        return None if 0 in demands else sorted(demands, key=int.bit_count)

    def _opening(self, permitting: int, bits: int, free: int) -> int:
        """Return the free moves that remove an obstacle of a permit row, of rows whose obstacles can all be removed."""
        opening = 0
        for n in _members(permitting):
            row = self._sieve.rows[n]
            # Where nothing stands against it the row is lifted, and what its `unless` reads stands against it.
            obstacles = row.blocked & bits or _fields(_union(row.lifted)) & bits
            removing = 0
            for value in _values(obstacles):
                found = self._clearing[value] & free
                if not found and row.blocked & value:
                    break
                removing |= found
            else:
                opening |= removing
        return opening


@lru_cache(maxsize=256)
def ways(sieve: Sieve) -> Ways:
    """Return the moves prepared for the rules of a sieve, made once."""
    return Ways(sieve)


def _breaking(row: Row) -> int:
    """Return the moves after which a fired row may no longer fire: they exclude it, or may lift it."""
    lifted = _union(_fields(mask) for mask in row.lifted)
    return sum(1 << n for n in range(len(MOVES)) if _SETS[n] & row.blocked or _CLEARS[n] & lifted)


def _clearing(value: int, moves: Iterable[int]) -> int:
    return sum(1 << n for n in moves if _CLEARS[n] & value)


def _values(bits: int) -> Iterator[int]:
    """Yield the bits of a set, each as a set of its own."""
    while bits:
        lowest = bits & -bits
        yield lowest
        bits ^= lowest


def _fields(mask: int) -> int:
    return sum(field for field in FIELD.values() if field & mask)


def _union(masks: Iterable[int]) -> int:
    union = 0
    for mask in masks:
        union |= mask
    return union


def _members(moves: int) -> Iterator[int]:
    """Yield the members of a bit set, the least first."""
    while moves:
        lowest = moves & -moves
        yield lowest.bit_length() - 1
        moves ^= lowest


@lru_cache(maxsize=1024)
def _change(place: int, have: str) -> Change:
    move = MOVES[place]
    label = BY_NAME[move.fact]
    return Change(
        move.fact,
        have,
        move.need,
        f"{label.en}: {have} → {move.need}. {move.en}",
        f"{label.zh}: {have} → {move.need}。{move.zh}",
    )
