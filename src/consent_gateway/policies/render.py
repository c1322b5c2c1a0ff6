"""Packs and answers as text that a lawyer reads: Markdown, in English or Chinese.

The rendering is complete: every rule with its article, mark, condition and duties, in the order of the file, so
that what is reviewed is what is enforced.
"""

from __future__ import annotations

from collections.abc import Iterator

from consent_gateway.domain.decisions import Answer, Effect, Reason
from consent_gateway.policies.rules import Condition, Pack, PackSet, Rule
from consent_gateway.policies.vocabulary import BY_NAME

EN, ZH = "en", "zh"

_WORDS = {
    EN: {
        "permit": "permits",
        "deny": "denies",
        "oblige": "obliges",
        "when": "when",
        "unless": "unless",
        "always": "always",
        "not": "is not",
        "is": "is",
        "duties": "duties",
        "duties_if_permitted": "duties, with a permit only",
        "version": "version",
        "in force": "in force from",
        "until": "until",
        "review": "to be reviewed by",
        "binds": "binds where",
        "or": "or",
        "and": "and",
        "permitted": "PERMIT",
        "denied": "DENY",
        "reasons": "Reasons",
        "packs": "Packs",
        "changes": "This would permit",
        "facts": "Facts",
        "settings": "Settings",
        "one of": "one of",
        "shipped": "shipped",
        "only if": "only if",
        "not chosen": "Rules of choices that were not made",
    },
    ZH: {
        "permit": "允许",
        "deny": "拒绝",
        "oblige": "附加义务",
        "when": "条件",
        "unless": "除非",
        "always": "始终",
        "not": "不是",
        "is": "是",
        "duties": "义务",
        "duties_if_permitted": "义务(仅在允许时)",
        "version": "版本",
        "in force": "生效日期",
        "until": "截止",
        "review": "复核期限",
        "binds": "适用于",
        "or": "或",
        "and": "且",
        "permitted": "允许",
        "denied": "拒绝",
        "reasons": "理由",
        "packs": "策略包",
        "changes": "以下变更可使其获准",
        "facts": "事实摘要",
        "settings": "可选设置",
        "one of": "可选值",
        "shipped": "出厂值",
        "only if": "仅当",
        "not chosen": "未采用选项的规则",
    },
}


def pack_as_text(packs: PackSet, pack: Pack, language: str = EN) -> str:
    """Return a pack as Markdown; `language` is "en" or "zh" (KeyError otherwise)."""
    return "\n".join(_pack_lines(packs, pack, language)) + "\n"


def answer_as_text(answer: Answer, language: str = EN) -> str:
    """Return an answer as Markdown: outcome, every reason with its article, duties, counterfactual, packs."""
    return "\n".join(_answer_lines(answer, language)) + "\n"


def _pack_lines(packs: PackSet, pack: Pack, language: str) -> Iterator[str]:
    words = _WORDS[language]
    yield f"# {pack.title_zh if language == ZH else pack.title} ({pack.name})"
    until = f" {words['until']} {pack.effective_until}" if pack.effective_until else ""
    yield f"{words['in force']} {pack.effective_from}{until}; {words['review']} {pack.review_by} ({pack.reviewer})"
    territory = f" {words['or']} ".join(_condition(c, language) for c in pack.territory)
    yield f"{words['binds']}: {territory}"
    yield from _setting_lines(pack, language)
    for rule in pack.rules:
        yield ""
        yield from _rule_lines(packs, rule, language)
    if pack.unchosen:
        yield ""
        yield f"# {words['not chosen']}"
    for rule in pack.unchosen:
        yield ""
        yield from _rule_lines(packs, rule, language)


def _setting_lines(pack: Pack, language: str) -> Iterator[str]:
    words = _WORDS[language]
    for place, setting in enumerate(pack.settings):
        if not place:
            yield ""
            yield f"{words['settings']}:"
        text = setting.zh if language == ZH else setting.en
        offered = f"{words['one of']} {', '.join(setting.choices)}; {words['shipped']} {setting.shipped}"
        yield f"- {setting.id} = {setting.value} ({offered}): {text} [{setting.cites}; {setting.mark}]"


def _rule_lines(packs: PackSet, rule: Rule, language: str) -> Iterator[str]:
    words, text = _WORDS[language], packs.reasons[rule.reason]
    yield f"## {rule.id}: {words[rule.effect]} ({rule.reason})"
    yield f"{text.zh if language == ZH else text.en} [{rule.law}: {rule.cites}; {rule.mark}]"
    yield from _standing_lines(rule, language)
    yield f"- {words['when']}: {_condition(rule.when, language)}"
    for lifted in rule.unless:
        yield f"- {words['unless']}: {_condition(lifted, language)}"
    if rule.obligations:
        told = words["duties_if_permitted" if rule.when_permitted else "duties"]
        yield f"- {told}: {', '.join(rule.obligations)}"


def _standing_lines(rule: Rule, language: str) -> Iterator[str]:
    """Say under which choice, and within which dates of its own, a rule exists."""
    words = _WORDS[language]
    for name, value in rule.settings:
        yield f"- {words['only if']} {name} = {value}"
    if rule.effective_from:
        yield f"- {words['in force']} {rule.effective_from}"
    if rule.effective_until:
        yield f"- {words['until']} {rule.effective_until}"


def _condition(condition: Condition, language: str) -> str:
    words = _WORDS[language]
    parts = [_membership(name, values, language) for name, values in condition.allowed.items()]
    return f" {words['and']} ".join(parts) or words["always"]


def _membership(name: str, values: frozenset[str], language: str) -> str:
    """Write the shorter of the two: the values that are meant, or those that are not."""
    words, fact = _WORDS[language], BY_NAME[name]
    label = fact.zh if language == ZH else fact.en
    meant = [value for value in fact.values if value in values]
    others = [value for value in fact.values if value not in values]
    if 0 < len(others) < len(meant):
        return f"{label} {words['not']} {_either(others, language)}"
    return f"{label} {words['is']} {_either(meant, language)}"


def _either(values: list[str], language: str) -> str:
    return f" {_WORDS[language]['or']} ".join(values)


def _answer_lines(answer: Answer, language: str) -> Iterator[str]:
    words = _WORDS[language]
    yield f"**{words['permitted' if answer.permitted else 'denied']}** ({answer.reason_code})"
    yield ""
    yield f"{words['reasons']}:"
    for reason in answer.reasons:
        if reason.effect is not Effect.OBLIGE:
            yield _reason_line(reason, language)
    if answer.obligations:
        yield f"{words['duties']}: {', '.join(answer.obligations)}"
    if answer.changes:
        yield f"{words['changes']}:"
    for change in answer.changes:
        yield f"- {change.text_zh if language == ZH else change.text_en}"
    yield f"{words['packs']}: {', '.join(answer.packs)}; {words['facts']}: {answer.facts_digest[:16]}"


def _reason_line(reason: Reason, language: str) -> str:
    text = reason.text_zh if language == ZH else reason.text_en
    return f"- [{reason.effect}] {text} ({reason.law}: {reason.citation}; {reason.rule_id})"
