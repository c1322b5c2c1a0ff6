"""The record of processing activities: made of the registers, silent about no gap, and data in every form."""

from __future__ import annotations

import csv
import io
import re
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from builders import a_recipient
from consent_gateway.domain.ids import NoticeId, PurposeId, RecipientId, SourceId
from consent_gateway.domain.purposes import (
    Basis,
    Channel,
    Mark,
    Party,
    Purpose,
    PurposeKind,
    PurposeTree,
    RecipientKind,
    Source,
)
from consent_gateway.domain.records import Address, Controller, DataCategory, Processing, rendering
from consent_gateway.domain.records.activities import ActivityRecord, Known, record
from consent_gateway.domain.records.rendering import Language, as_csv, as_json, as_markdown, plain_cell, safe_cell

NEWS, ROOT = PurposeId("news"), PurposeId("marketing")
PURPOSE = Purpose(
    NEWS, PurposeKind.DIRECT_MARKETING, "News", "新闻", "https://w3id.org/dpv#Marketing", Basis.CONSENT, ROOT
)
ADDRESS = Address("Street 1", "Ada", "privacy@acme.example", "1", "https://acme.example")
CONTROLLER = Controller("Acme", "DE", ADDRESS, "https://acme.example/privacy", officer="Ada", measures="ISMS 4.2")
PROCESSING = Processing(
    data_categories=(DataCategory("EmailAddress"),),
    subject_categories=("Customer",),
    retention="P2Y",
    withdrawal_method="link",
    storage_locations=("DE",),
    recipients=(RecipientId("house"),),
)
SOURCE = Source(SourceId("shop"), "Shop", "web", Party.FIRST, NoticeId("privacy"), (ROOT,))
HOUSE = a_recipient("house")


def known(**changes: Any) -> Known:
    """Registers without a gap."""
    values: dict[str, Any] = {
        "controller": CONTROLLER,
        "purposes": PurposeTree({NEWS: PURPOSE, ROOT: replace(PURPOSE, id=ROOT, parent=None, title="Marketing")}),
        "slots": frozenset({(NEWS, Channel.EMAIL)}),
        "sources": [SOURCE],
        "recipients": {HOUSE.id: HOUSE},
        "processing": {ROOT: PROCESSING},
        "parties": {HOUSE.id: ADDRESS},
        "disclosed": frozenset({(NEWS, HOUSE.id)}),
        "is_third": lambda country: country == "US",
    }
    return Known(**(values | changes))


HEALTH = DataCategory("HealthRecord", special=True)


def sensitive_news() -> PurposeTree:
    root = replace(PURPOSE, id=ROOT, parent=None)
    return PurposeTree({ROOT: root, NEWS: replace(PURPOSE, sensitive=("health",), marks=frozenset({Mark.AUTOMATED}))})


def gaps(**changes: Any) -> set[tuple[str, str]]:
    return {(f.code, f.where) for f in record(known(**changes), 0).findings}


def with_recipient(**changes: Any) -> dict[str, Any]:
    return {"recipients": {HOUSE.id: a_recipient("house", **changes)}}


def test_whole_registers_have_no_gap() -> None:
    found = record(known(), 0)
    assert found.findings == ()
    assert [a.purpose.id for a in found.activities] == [ROOT, NEWS]
    news = found.activities[1]
    assert (news.processing, news.sources, news.channels) == (PROCESSING, (SOURCE,), (Channel.EMAIL,))
    assert [d.recipient for d in news.disclosures] == [HOUSE]
    assert "https://w3id.org/dpv/legal/eu/gdpr#A6-1-a" in news.bases


@pytest.mark.parametrize(
    ("planted", "finding"),
    [
        ({"controller": None}, ("controller_missing", "controller")),
        ({"controller": replace(CONTROLLER, address=Address())}, ("controller_without_contact", "controller")),
        ({"controller": replace(CONTROLLER, measures="")}, ("measures_missing", "controller")),
        ({"processing": {}}, ("purpose_without_processing", "news")),
        ({"processing": {ROOT: replace(PROCESSING, retention="")}}, ("purpose_without_retention", "news")),
        ({"processing": {ROOT: replace(PROCESSING, data_categories=())}}, ("purpose_without_data_categories", "news")),
        ({"processing": {ROOT: replace(PROCESSING, subject_categories=())}}, ("purpose_without_subject_categories", "news")),
        ({"processing": {ROOT: replace(PROCESSING, storage_locations=())}}, ("purpose_without_storage_locations", "news")),
        ({"processing": {ROOT: replace(PROCESSING, recipients=())}}, ("recipient_undeclared", "news: house")),
        ({"processing": {ROOT: replace(PROCESSING, data_categories=(HEALTH,))}}, ("sensitive_data_undeclared", "news")),
        ({"purposes": sensitive_news()}, ("sensitive_data_unlisted", "news")),
        ({"sources": [replace(SOURCE, notice=None)]}, ("source_without_notice", "shop")),
        ({"sources": [replace(SOURCE, purposes=())]}, ("source_without_purposes", "shop")),
        (with_recipient(country="US"), ("third_country_without_mechanism", "house")),
        (with_recipient(contract=False), ("processor_without_contract", "house")),
        (with_recipient(kind=RecipientKind.AD_PLATFORM) | {"parties": {}}, ("third_party_without_contact", "house")),
    ],
)  # fmt: skip
def test_each_gap_is_found(planted: dict[str, Any], finding: tuple[str, str]) -> None:
    assert finding in gaps(**planted)
    assert gaps() == set()


def test_what_fills_a_gap_is_taken() -> None:
    assert gaps(**with_recipient(country="US", transfer_mechanism="scc")) == set()
    criteria = replace(PROCESSING, retention="", retention_criteria="as long as you are a member")
    assert gaps(processing={ROOT: criteria}) == set()


def test_sensitive_data_that_both_say_is_no_gap_and_is_told() -> None:
    own = {ROOT: PROCESSING, NEWS: replace(PROCESSING, data_categories=(HEALTH,))}
    found = record(known(purposes=sensitive_news(), processing=own), 0)
    assert found.findings == ()
    told = as_json(found, Language.EN)["activities"][1]
    assert (told["sensitive"], told["marks"]) == (["health"], ["automated"])
    row = dict(zip(*read_csv(as_csv(found, Language.EN))[::2], strict=True))
    assert row["Special or sensitive"] == "health, HealthRecord"
    assert row["Automated decisions and the like"] == "automated"


def test_every_gap_has_words_in_both_languages() -> None:
    found = {
        f.code for planted in ({"controller": None}, {"processing": {}}) for f in record(known(**planted), 0).findings
    }
    assert found <= set(rendering._FINDINGS)
    for english, chinese in (*rendering._FINDINGS.values(), *rendering._COLUMNS.values(), *rendering._WORDS.values()):
        assert english
        assert re.search("[一-鿿]", chinese)


# -- the forms -----------------------------------------------------------------------------------------------------


def read_csv(text: str) -> list[list[str]]:
    return list(csv.reader(io.StringIO(text, newline=""), strict=True))


@pytest.mark.parametrize(
    ("language", "head", "title"), [(Language.EN, "Purpose", "News"), (Language.ZH, "处理目的", "新闻")]
)
def test_the_forms_tell_the_same_in_both_languages(language: Language, head: str, title: str) -> None:
    found = record(known(**with_recipient(country="US", transfer_mechanism="scc")), 1_800_000_000)
    rows = read_csv(as_csv(found, language))
    assert (rows[0][0], rows[2][:2]) == (head, ["news", title])
    assert "House: US (scc)" in rows[2]
    text = as_markdown(found, language)
    assert f"## {title} (news)" in text
    assert "| P2Y |" in text
    told = as_json(found, language)
    assert told["activities"][1]["title"] == title
    assert told["activities"][1]["recipients"][0]["third_country"] is True
    assert told["at"] == "2027-01-15T08:00:00Z"


def test_gaps_are_told_in_every_form_that_has_room() -> None:
    language = Language.EN
    found = record(known(sources=[replace(SOURCE, notice=None)]), 0)
    assert "shop: data is collected without a notice" in as_markdown(found, language)
    assert as_json(found, Language.ZH)["findings"] == [
        {"code": "source_without_notice", "where": "shop", "text": "收集来源缺少告知"},
    ]  # fmt: skip
    assert "none" in as_markdown(record(known(), 0), language)


TEXTS = st.text(st.characters(codec="utf-8", exclude_characters="\x00"), max_size=30)
NASTY = st.builds(
    str.__add__, st.sampled_from(["=", "+", "-", "@", "\t", "\r", "\n", "'", "''=", "＝", '"', ""]), TEXTS
)


@given(NASTY)
def test_no_cell_is_a_formula_and_every_value_comes_back(value: str) -> None:
    cell = safe_cell(value)
    assert not cell.startswith(("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠"))
    assert plain_cell(cell) == value


def hostile(text: str) -> ActivityRecord:
    """A record in which every text of an operator is `text`."""
    words = {"title": text, "title_zh": text}
    purposes = PurposeTree({NEWS: replace(PURPOSE, **words)})
    processing = replace(PROCESSING, withdrawal_method=text, retention_criteria=text, retention="")
    source, house = replace(SOURCE, name=text, purposes=(NEWS,)), a_recipient("house", name=text)
    return record(
        known(purposes=purposes, processing={NEWS: processing}, sources=[source], recipients={house.id: house}), 0
    )


@given(NASTY)
def test_exported_tables_hold_no_formula_whatever_operators_wrote(text: str) -> None:
    rows = read_csv(as_csv(hostile(text), Language.EN))
    assert len(rows) == 2
    assert not any(cell.startswith(("=", "+", "-", "@", "\t", "\r", "\n")) for row in rows for cell in row)
    assert plain_cell(rows[1][1]) == text
    assert plain_cell(rows[1][-1]) == text


@given(NASTY)
def test_markdown_keeps_its_shape_whatever_operators_wrote(text: str) -> None:
    lines = as_markdown(hostile(text + "|<b>`x`\n# y"), Language.EN).splitlines()
    assert sum(line.startswith("# ") for line in lines) == 1
    assert sum(line.startswith("## ") for line in lines) == 2
    for line in lines:
        assert "<b>" not in line
        if line.startswith("|"):
            assert len(re.findall(r"(?<!\\)\|", line)) == 3, line


def test_a_planted_formula_would_be_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rendering, "safe_cell", lambda value: value)
    rows = read_csv(as_csv(hostile("=1+1"), Language.EN))
    assert any(cell.startswith("=") for row in rows for cell in row)
