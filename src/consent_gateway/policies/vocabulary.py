"""The closed fact space: every fact a decision may depend on, and the few values each may take.

A vector of facts is packed one-hot into one integer: each fact owns a field of bits, one bit per value, and
exactly one bit of each field is set. A condition "fact in {a, b} and other in {c}" then holds exactly when none
of the *excluded* bits is set: one AND over the whole vector, whatever the number of facts.

Invariants: every `Facts` made here is well formed (one bit per field); an unknown name or value raises
`UnknownFactError`, and the engine denies with that as its own reason (promise P1). Values are appended, never
renamed; `VOCABULARY` names the version of the table and enters every digest.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from consent_gateway.domain.purposes import Basis, Channel, PurposeKind, RecipientKind
from consent_gateway.errors import PolicyError


class UnknownFactError(PolicyError):
    """A fact, or a value of a fact, is outside of its domain; nothing may be decided from it."""

    code = "facts_unknown"
    title = "A fact is outside of its domain"


@dataclass(frozen=True, slots=True)
class Fact:
    """One fact: its name, its values, whether the question or the person's situation gives it, and its labels."""

    name: str
    values: tuple[str, ...]
    of_question: bool
    en: str
    zh: str


YES_NO = "no yes"


def words(text: str) -> tuple[str, ...]:
    """Split a table written as one text into its words; tables of bare names read better so."""
    return tuple(text.split())


_QUESTION = (
    ("purpose", " ".join(PurposeKind), "purpose", "目的"),
    ("channel", " ".join(Channel), "channel", "渠道"),
    ("recipient", " ".join(RecipientKind), "recipient", "接收方"),
    ("recipient_known", YES_NO, "recipient is registered", "接收方已登记"),
    ("recipient_place", "none eea uk adequate cn other", "where the recipient is", "接收方所在地"),
    ("contract", YES_NO, "contract with the recipient", "与接收方的合同"),
    (
        "transfer_mechanism",
        "none adequacy scc bcr derogation uk_idta cn_standard_contract cn_certification cn_security_assessment",
        "transfer mechanism",
        "跨境传输机制",
    ),
    ("exported_people", "unknown under_100k 100k_to_1m over_1m", "people exported this year", "本年出境人数"),
    ("exported_sensitive", "unknown under_10k over_10k", "sensitive records exported", "本年敏感信息出境人数"),
    ("destination", "none service social_custom_audience ad_network", "destination", "投放目的地"),
    ("basis", " ".join(Basis), "declared legal basis", "声明的法律依据"),
    ("sender", "commercial charity", "sender", "发送方类型"),
    ("automated", YES_NO, "automated decision", "自动化决策"),
    ("significant", YES_NO, "significant effect on the person", "对个人权益有重大影响"),
    ("unreasonable_price", YES_NO, "unreasonable price difference", "价格等不合理差别待遇"),
    ("non_personalised_option", YES_NO, "option that is not personalised", "不针对个人特征的选项"),
    ("refusal_mechanism", YES_NO, "convenient way to refuse", "便捷的拒绝方式"),
    ("msg_unsubscribe", YES_NO, "way to refuse in the message", "消息内退订方式"),
    ("msg_sender", YES_NO, "true sender in the message", "消息内真实发送者身份"),
    ("msg_postal", YES_NO, "postal address in the message", "消息内邮政地址"),
    ("msg_ad_label", YES_NO, "advertising label in the message", "广告标识"),
    ("iss", YES_NO, "information society service", "信息社会服务"),
    ("child_directed", YES_NO, "directed to children", "面向儿童"),
    ("controller", "other eu uk cn", "establishment of the controller", "处理者设立地"),
    ("requested", "unknown share other", "what consent is asked for", "请求同意的用途"),
    ("same_entity", YES_NO, "sender is the collecting entity", "发送方与收集方为同一主体"),
    ("similar_products", YES_NO, "own similar products", "自身类似产品"),
    ("charitable_purpose", YES_NO, "charitable purpose only", "仅为慈善目的"),
    ("opt_out_in_message", YES_NO, "opt-out in each message", "每条消息含退订"),
)

_SITUATION = (
    ("at_eu", YES_NO, "may be in the EEA", "可能位于欧洲经济区"),
    ("at_uk", YES_NO, "may be in the United Kingdom", "可能位于英国"),
    ("at_ca", YES_NO, "may be in California", "可能位于加州"),
    ("at_us", YES_NO, "may be in the USA", "可能位于美国"),
    ("us_other", YES_NO, "may be in another US state", "可能位于美国其他州"),
    ("us_signal_state", YES_NO, "state that makes signals binding", "信号具有约束力的州"),
    ("us_hours_state", YES_NO, "state with shorter calling hours", "呼叫时段更短的州"),
    ("us_cap_state", YES_NO, "state with a cap of its own", "设有频次上限的州"),
    ("at_cn", YES_NO, "may be in China", "可能位于中国境内"),
    ("at_unknown", YES_NO, "residency unknown or not covered", "居住地未知或未覆盖"),
    ("age", "unknown under_13 13 14 15 16_17 adult", "age", "年龄"),
    ("eu_child", "unknown no yes dk_13_14 si_15", "below the state's age of digital consent", "低于所在国数字同意年龄"),
    ("consent", "none given refused withdrawn expired pending", "consent", "同意状态"),
    ("affirmative", YES_NO, "consent by a clear act", "以明确行为作出的同意"),
    ("separate", YES_NO, "separate consent", "单独同意"),
    ("explicit", YES_NO, "explicit consent", "明示同意"),
    ("written", YES_NO, "written consent", "书面同意"),
    ("guardian", YES_NO, "consent of the parent or guardian", "父母或监护人同意"),
    ("two_step", YES_NO, "two-step opt-in", "两步确认"),
    ("evidence", YES_NO, "evidence of the consent", "同意的证据"),
    ("scope_purpose", YES_NO, "consent names this purpose", "同意包含该目的"),
    ("scope_channel", YES_NO, "consent names this channel", "同意包含该渠道"),
    ("scope_recipient", YES_NO, "consent names this recipient", "同意包含该接收方"),
    ("notice", "no yes outdated", "notice", "告知"),
    ("objection", YES_NO, "objection to direct marketing", "反对直接营销"),
    ("restriction", YES_NO, "restriction of processing", "限制处理"),
    ("sale_share_opt_out", YES_NO, "opt-out of sale and sharing", "拒绝出售或共享"),
    ("limit_sensitive", YES_NO, "limit on sensitive data", "限制敏感信息使用"),
    ("gpc", "no yes seen_before", "opt-out preference signal", "退出偏好信号"),
    ("personalisation_refused", YES_NO, "refusal of personalisation", "拒绝个性化"),
    ("special_category", YES_NO, "special category (GDPR Art 9)", "特殊类别数据"),
    ("sensitive_us", YES_NO, "sensitive personal information (US)", "敏感个人信息(美国)"),
    ("sensitive_cn", YES_NO, "sensitive personal information (PIPL)", "敏感个人信息"),
    ("subscriber", "individual corporate", "subscriber", "订户类型"),
    ("do_not_call", YES_NO, "on a do-not-call register", "已登记谢绝来电"),
    ("suppressed", "no marketing all", "suppression", "屏蔽名单"),
    ("capped", YES_NO, "frequency cap reached", "达到频次上限"),
    ("contacts_24h", "under_3 3_or_more", "contacts within 24 hours", "24小时内联系次数"),
    ("hours_8_20", "inside outside mixed unknown", "local time 08:00-20:00", "当地时间8至20时"),
    ("hours_8_21", "inside outside mixed unknown", "local time 08:00-21:00", "当地时间8至21时"),
    ("deletion", "none completed pending_technical", "deletion", "删除状态"),
    ("opt_out_age", "none under_12m over_12m", "time since the opt-out", "距选择退出的时间"),
    ("refusal_age", "none under_6m 6m_to_12m over_12m", "time since the refusal", "距拒绝的时间"),
    ("confirmation", "none due late sent", "confirmation of a revocation", "撤回确认"),
    ("loyalty", "none participant asked affirmed", "loyalty programme", "会员计划"),
    ("collected_in_sale", YES_NO, "address obtained in a sale", "在销售中取得地址"),
    ("opt_out_offered", YES_NO, "opt-out offered at collection", "收集时提供退订"),
    ("expressed_interest", YES_NO, "expressed interest or support", "表示过兴趣或支持"),
    ("collected", "unknown before_2026_02_05 since_2026_02_05", "collected", "收集时间"),
    ("revoked_elsewhere", YES_NO, "revocation for another topic", "就其他主题撤销同意"),
)

FACTS: tuple[Fact, ...] = tuple(
    Fact(name, words(values), of_question, en, zh)
    for of_question, table in ((True, _QUESTION), (False, _SITUATION))
    for name, values, en, zh in table
)
BY_NAME: dict[str, Fact] = {fact.name: fact for fact in FACTS}
VOCABULARY = hashlib.sha256(repr([(f.name, f.values) for f in FACTS]).encode()).digest()[:16]


def _layout() -> tuple[dict[str, int], dict[str, dict[str, int]]]:
    offset, offsets, bits = 0, {}, {}
    for fact in FACTS:
        offsets[fact.name] = offset
        bits[fact.name] = {value: 1 << (offset + place) for place, value in enumerate(fact.values)}
        offset += len(fact.values) + 1  # one spare bit above each field, see `well_formed`
    return offsets, bits


_OFFSET, BITS = _layout()
FIELD: dict[str, int] = {name: sum(values.values()) for name, values in BITS.items()}
ALL = sum(FIELD.values())
_SPARE = sum(1 << (_OFFSET[fact.name] + len(fact.values)) for fact in FACTS)
_WIDTH = (ALL.bit_length() + 8) // 8


def bit(name: str, value: str) -> int:
    """Return the bit of one value; raises `UnknownFactError` that names the fact, never the value."""
    values = BITS.get(name)
    if values is None:
        raise UnknownFactError(f"there is no fact named {name!r}")
    found = values.get(value)
    if found is None:
        raise UnknownFactError(f"the fact {name!r} has a value outside of its domain")
    return found


def field_mask(names: Iterable[str]) -> int:
    """Return the union of the fields of `names`."""
    return sum(FIELD[name] for name in set(names))


def well_formed(bits: int) -> bool:
    """Tell whether exactly one bit of each field is set, and no other bit."""
    # Adding all ones to a field carries into its spare bit exactly if the field is not empty: one addition tests
    # all fields. No field is empty and there are as many bits as fields, so each has exactly one.
    return not bits & ~ALL and (bits + ALL) & _SPARE == _SPARE and bits.bit_count() == len(FACTS)


@dataclass(frozen=True, slots=True)
class Facts:
    """One point of the fact space: immutable, hashable, O(1) access by `facts["age"]`; compare by `bits`."""

    bits: int

    @classmethod
    def of(cls, values: Mapping[str, str]) -> Facts:
        """Build from one value per fact; raises `UnknownFactError` for an unknown or a missing one."""
        bits = 0
        for name, value in values.items():
            bits |= bit(name, value)
        missing = next((fact.name for fact in FACTS if fact.name not in values), None)
        if missing is not None:
            raise UnknownFactError(f"the fact {missing!r} is missing")
        return cls(bits)

    @classmethod
    def from_hex(cls, text: str) -> Facts:
        """Read back what `hex` wrote under the same vocabulary; raises `UnknownFactError` if it is not a point."""
        try:
            bits = int(text, 16)
        except ValueError:
            raise UnknownFactError("the stored facts are not hexadecimal") from None
        if not well_formed(bits):
            raise UnknownFactError("the stored facts are not a point of this vocabulary")
        return cls(bits)

    def __getitem__(self, name: str) -> str:
        """Return the value of one fact; KeyError for an unknown name."""
        place = ((self.bits & FIELD[name]) >> _OFFSET[name]).bit_length() - 1
        return BY_NAME[name].values[place]

    def __iter__(self) -> Iterator[str]:
        """Yield the names of all facts in the order of the vocabulary."""
        return iter(BY_NAME)

    def items(self) -> Iterator[tuple[str, str]]:
        """Yield name and value of every fact."""
        return ((name, self[name]) for name in BY_NAME)

    def replace(self, **changes: str) -> Facts:
        """Return the point with some facts changed; raises `UnknownFactError`."""
        bits = self.bits
        for name, value in changes.items():
            bits = bits & ~FIELD.get(name, 0) | bit(name, value)
        return Facts(bits)

    def hex(self) -> str:
        """Return the point as hexadecimal text, for the record of a decision."""
        return f"{self.bits:x}"

    def digest(self) -> str:
        """Return SHA-256 over the vocabulary's id and the packed facts, as 64 hex digits."""
        return digest_of(self.bits)


def digest_of(bits: int) -> str:
    """Return the digest of a packed point; see `Facts.digest`."""
    return hashlib.sha256(VOCABULARY + bits.to_bytes(_WIDTH, "big")).hexdigest()
