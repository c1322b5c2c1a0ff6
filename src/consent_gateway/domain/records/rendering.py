"""The record of processing activities as JSON, CSV and Markdown, in English and Chinese.

A cell of the CSV is data, whatever opens the file: one that a spreadsheet would run as a formula gets an apostrophe in
front, and so does one that begins with an apostrophe, so that `plain_cell` gives every value back. The form is that of
RFC 4180, every cell quoted.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable
from dataclasses import asdict
from enum import StrEnum
from typing import Any

from consent_gateway.domain.records.activities import Activity, ActivityRecord, Disclosure, Finding
from consent_gateway.domain.records.iso27560 import instant


class Language(StrEnum):
    """The languages of the record."""

    EN = "en"
    ZH = "zh"


_FORMULA = tuple("=+-@\t\r\n＝＋－＠")  # also as full-width signs, which spreadsheets fold
_MARK = "'"
# An underscore inside a word is a letter (CommonMark 6.2), as in the names of purposes.
_SPECIAL = re.compile(r"([\\`*{}\[\]<>#|!~]|(?<![A-Za-z0-9])_|_(?![A-Za-z0-9]))")
_BLANKS = re.compile(r"\s+")

_COLUMNS = {
    "purpose": ("Purpose", "处理目的"),
    "title": ("Title", "名称"),
    "kind": ("Kind", "类别"),
    "basis": ("Basis", "合法性基础"),
    "subjects": ("Categories of persons", "个人类别"),
    "data": ("Categories of data", "个人信息种类"),
    "sensitive": ("Special or sensitive", "敏感个人信息"),
    "marks": ("Automated decisions and the like", "自动化决策等"),
    "sources": ("Sources", "来源"),
    "channels": ("Channels", "渠道"),
    "recipients": ("Recipients", "接收方"),
    "transfers": ("Third countries and safeguards", "跨境提供及依据"),
    "retention": ("Retention", "保存期限"),
    "storage": ("Stored in", "存储地点"),
    "withdrawal": ("How to withdraw", "撤回方式"),
}
_FINDINGS = {
    "controller_missing": ("no controller is registered", "未登记个人信息处理者"),
    "controller_without_contact": ("the controller has no address or contact", "处理者缺少地址或联系人"),
    "measures_missing": ("nobody says where the security measures are described", "未说明安全措施"),
    "purpose_without_processing": ("nothing is registered about the processing", "未登记处理情况"),
    "purpose_without_data_categories": ("no categories of data", "缺少个人信息种类"),
    "purpose_without_subject_categories": ("no categories of persons", "缺少个人类别"),
    "purpose_without_retention": ("no retention period", "缺少保存期限"),
    "purpose_without_recipients": ("no recipients", "缺少接收方"),
    "purpose_without_storage_locations": ("no place of storage", "缺少存储地点"),
    "sensitive_data_undeclared": ("sensitive data that decisions do not know of", "敏感个人信息未在目的中声明"),
    "sensitive_data_unlisted": (
        "declared sensitive, and no category of data says so",
        "已声明敏感但未列明种类",
    ),
    "recipient_undeclared": ("an audience went to a recipient that is not declared", "受众提供给了未登记的接收方"),
    "source_without_notice": ("data is collected without a notice", "收集来源缺少告知"),
    "source_without_purposes": ("a source without purposes", "来源未登记目的"),
    "third_country_without_mechanism": ("a third country without a transfer mechanism", "跨境提供缺少依据"),
    "processor_without_contract": ("a processor without a contract", "受托人缺少合同"),
    "third_party_without_contact": ("a third party that nobody can reach", "第三方缺少联系方式"),
}
_WORDS = {
    "title": ("Record of processing activities", "个人信息处理活动记录"),
    "controller": ("Controller", "个人信息处理者"),
    "representative": ("Representative", "代表"),
    "officer": ("Data protection officer", "个人信息保护负责人"),
    "authority": ("Authority", "监管机构"),
    "measures": ("Security measures", "安全措施"),
    "at": ("Made at", "生成时间"),
    "findings": ("Gaps", "缺口"),
    "none": ("none", "无"),
}


def finding_text(finding: Finding, language: Language) -> str:
    """Return what is missing, in words."""
    return f"{finding.where}: {_in(_FINDINGS[finding.code], language)}"


def as_json(record: ActivityRecord, language: Language) -> dict[str, Any]:
    """Return the record as plain JSON values."""
    return {
        "at": instant(record.at),
        "controller": None if record.controller is None else asdict(record.controller),
        "activities": [_activity_json(a, language) for a in record.activities],
        "findings": [
            {"code": f.code, "where": f.where, "text": _in(_FINDINGS[f.code], language)} for f in record.findings
        ],
    }


def as_csv(record: ActivityRecord, language: Language) -> str:
    """Return the activities as CSV (RFC 4180), one a line under a header; no cell is a formula."""
    out = io.StringIO(newline="")
    writer = csv.writer(out, quoting=csv.QUOTE_ALL, lineterminator="\r\n")
    writer.writerow([safe_cell(_in(names, language)) for names in _COLUMNS.values()])
    for activity in record.activities:
        writer.writerow([safe_cell(cell) for cell in _cells(activity, language).values()])
    return out.getvalue()


def as_markdown(record: ActivityRecord, language: Language) -> str:
    """Return the record as Markdown: who answers, a section for each activity, and the gaps."""
    lines = [f"# {_word('title', language)}", ""]
    lines += [f"- {_word(name, language)}: {_escaped(value)}" for name, value in _head(record) if value]
    for activity in record.activities:
        cells = _cells(activity, language)
        lines += ["", f"## {_escaped(cells['title'])} ({_escaped(cells['purpose'])})", "", "| | |", "| --- | --- |"]
        told = ((_in(names, language), cells[n]) for n, names in _COLUMNS.items() if n not in ("purpose", "title"))
        lines += [f"| {name} | {_escaped(value) or '–'} |" for name, value in told]
    lines += ["", f"## {_word('findings', language)}", ""]
    lines += [f"- {_escaped(finding_text(f, language))}" for f in record.findings] or [_word("none", language)]
    return "\n".join(lines) + "\n"


def table(record: ActivityRecord, language: Language) -> tuple[list[str], list[list[str]]]:
    """Return the header and the rows of the activities, as text for a screen."""
    header = [_in(names, language) for names in _COLUMNS.values()]
    return header, [list(_cells(activity, language).values()) for activity in record.activities]


def safe_cell(value: str) -> str:
    """Return a cell that no spreadsheet runs as a formula."""
    return _MARK + value if value.startswith((*_FORMULA, _MARK)) else value


def plain_cell(cell: str) -> str:
    """Return the value behind a cell of `safe_cell`."""
    return cell.removeprefix(_MARK)


# -- the parts -----------------------------------------------------------------------------------------------------


def _in(names: tuple[str, str], language: Language) -> str:
    return names[0] if language is Language.EN else names[1]


def _word(name: str, language: Language) -> str:
    return _in(_WORDS[name], language)


def _escaped(value: str) -> str:
    """Return text that is text in Markdown, on one line."""
    return _SPECIAL.sub(r"\\\1", _BLANKS.sub(" ", value).strip())


def _head(record: ActivityRecord) -> Iterable[tuple[str, str]]:
    found = record.controller
    if found is not None:
        address = found.address
        reached = (found.name, address.address, found.country, address.contact, address.email, address.phone)
        yield "controller", ", ".join(part for part in reached if part)
        for name in ("representative", "officer", "authority", "measures"):
            yield name, getattr(found, name)
    yield "at", instant(record.at)


def _cells(activity: Activity, language: Language) -> dict[str, str]:
    purpose, processing = activity.purpose, activity.processing
    data = processing.data_categories if processing else ()
    return {
        "purpose": purpose.id,
        "title": _in((purpose.title, purpose.title_zh), language),
        "kind": purpose.kind.value,
        "basis": " ".join([purpose.basis.value, *activity.bases]),
        "subjects": ", ".join(processing.subject_categories) if processing else "",
        "data": ", ".join(c.type for c in data),
        "sensitive": ", ".join([*purpose.sensitive, *(c.type for c in data if c.special or c.sensitive)]),
        "marks": ", ".join(sorted(purpose.marks)),
        "sources": ", ".join(f"{s.name} ({s.party.value}, {s.channel})" for s in activity.sources),
        "channels": ", ".join(activity.channels),
        "recipients": ", ".join(f"{d.recipient.name} ({d.recipient.kind.value})" for d in activity.disclosures),
        "transfers": ", ".join(_transfer(d) for d in activity.disclosures if d.third_country),
        "retention": processing.retention_period if processing else "",
        "storage": ", ".join(processing.storage_locations) if processing else "",
        "withdrawal": processing.withdrawal_method if processing else "",
    }


def _transfer(disclosure: Disclosure) -> str:
    recipient = disclosure.recipient
    return f"{recipient.name}: {recipient.country} ({recipient.transfer_mechanism})"


def _activity_json(activity: Activity, language: Language) -> dict[str, Any]:
    purpose = activity.purpose
    return {
        "purpose": purpose.id,
        "title": _in((purpose.title, purpose.title_zh), language),
        "kind": purpose.kind.value,
        "dpv_iri": purpose.dpv_iri,
        "basis": purpose.basis.value,
        "lawful_basis": list(activity.bases),
        "marks": sorted(purpose.marks),
        "sensitive": list(purpose.sensitive),
        "channels": [c.value for c in activity.channels],
        "processing": None if activity.processing is None else asdict(activity.processing),
        "sources": [asdict(s) for s in activity.sources],
        "recipients": [_disclosure_json(d) for d in activity.disclosures],
    }


def _disclosure_json(disclosure: Disclosure) -> dict[str, Any]:
    recipient = disclosure.recipient
    return {
        "id": recipient.id,
        "name": recipient.name,
        "kind": recipient.kind.value,
        "country": recipient.country,
        "contract": recipient.contract,
        "third_country": disclosure.third_country,
        "transfer_mechanism": recipient.transfer_mechanism,
        "party": asdict(disclosure.address),
    }
