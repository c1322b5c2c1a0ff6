"""Sensitive values: declared first, taken in only where the law permits to hold them, sealed apart, given by decision."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import select

from builders import (
    ALL_PROPERTIES,
    NOW_S,
    a_consent,
    a_person,
    an_officer,
    answer_for,
    by,
    choose,
    dump,
    id_of,
    incoming,
    ref,
    take,
    with_source,
)
from consent_gateway.db import resealing, tables
from consent_gateway.domain.consents import ConsentKind, ConsentProperty
from consent_gateway.domain.fields import CITED, Category, FieldDefinition
from consent_gateway.domain.ids import NoticeId, PurposeId, SourceId, TraitId
from consent_gateway.domain.purposes import OWN, Basis, Channel, Mark, Party, Purpose, PurposeKind, Source
from consent_gateway.domain.registers import Principal
from consent_gateway.domain.reveals import Grounds, RevealReason, View
from consent_gateway.domain.segments import TraitOrigin, TraitType, parse_text
from consent_gateway.domain.subjects import Choice
from consent_gateway.errors import ConflictError, InputError
from consent_gateway.policies.regions import sensitivity
from consent_gateway.services.deciding.questions import Use
from consent_gateway.services.disclosing import sensitive
from consent_gateway.services.disclosing.reveals import Revealed, reveal
from consent_gateway.services.disclosing.sensitive import held_in, record_sensitive
from consent_gateway.services.erasing.erasure import erase
from consent_gateway.services.keys import dek_rotation
from consent_gateway.services.ledger import notices
from consent_gateway.services.persons.merges import merge
from consent_gateway.services.registry import registers
from consent_gateway.services.registry.fields import put_field
from consent_gateway.services.rows.intake import Intake
from consent_gateway.services.work.gateway import Gateway
from consent_gateway.services.work.items import ContactItem, SensitiveItem, SubjectRef
from consent_gateway.services.work.vault import SENSITIVE, open_group
from consent_gateway.vault.failures import VaultError
from residue import found_in_bytes

DIETS = PurposeId("personalised_marketing")
USE = Use(DIETS, Channel.EMAIL, OWN)
ALLERGIES = FieldDefinition("allergies", Category.HEALTH, (DIETS,))
PLACE = FieldDefinition("last_place", Category.PRECISE_GEOLOCATION, (DIETS,))
PEOPLE = {1: "DE", 2: "CN", 3: "US-CA", 4: "DE"}  # all agreed with everything, but for 4, who was never asked
NUTS = "Tree nuts and penicillin"


def purpose(**changes: Any) -> Purpose:
    marked = frozenset({Mark.SENSITIVE_FIELDS, Mark.NON_PERSONALISED_OPTION})
    title = (DIETS, PurposeKind.PERSONALISED_MARKETING, "Diets", "饮食", "", Basis.CONSENT, PurposeId("marketing"))
    return replace(Purpose(*title, marks=marked, reveals=("allergies", "last_place", "email")), **changes)


@pytest.fixture
def crm(gateway: Gateway) -> Gateway:
    with gateway.work() as work:
        notices.put_notice(work, NoticeId("diets"), 1, "en", "Diets", "We hold what you must not eat.")
        put_field(work, ALLERGIES)
        put_field(work, PLACE)
        registers.put_purpose(work, purpose(), [Channel.EMAIL])
        registers.put_source(work, Source(SourceId("app"), "App", "app", Party.FIRST, NoticeId("diets"), (DIETS,)))
    with_source(gateway)
    take(gateway, [a_person(n, country=country) for n, country in PEOPLE.items()])
    take(gateway, [agreed(n) for n in (1, 2, 3)])
    return gateway


def agreed(number: int, **changes: Any) -> Any:
    return a_consent(ref(number), **({"purpose": DIETS, "at": NOW_S - 3600} | changes))


def tell(gateway: Gateway, *rows: tuple[SubjectRef, dict[str, str | None]], source: str = "app") -> Intake:
    with gateway.work() as work:
        return record_sensitive(work, source, incoming([SensitiveItem(*row) for row in rows]), "0" * 64)


def tell_one(gateway: Gateway, number: int = 1, value: str | None = NUTS, **more: Any) -> list[str]:
    """The codes with which a row is refused: none, if it is taken in."""
    found = tell(gateway, (ref(number), {"allergies": value}), **more)
    assert found.received == found.accepted + found.duplicates + found.rejected == 1
    return [reason.code for rejection in found.rejections for reason in rejection.reasons]


def held(gateway: Gateway, number: int) -> dict[str, str]:
    subject_id = id_of(gateway, ref(number))
    with gateway.look() as work:
        dek = gateway.vault.keys(work.session, [subject_id])[subject_id]
        groups = [g for g in resealing.groups_of(work.session, subject_id) if g.name == SENSITIVE]
        return {name: value for g in groups for name, (value, _) in held_in(open_group(dek, g)).items()}


def entries(gateway: Gateway, kind: str) -> list[dict[str, Any]]:
    with gateway.look() as work:
        raw = work.session.execute(select(tables.audit_pending.c.entry).order_by(tables.audit_pending.c.id)).scalars()
        found = [json.loads(bytes(e)) for e in raw]
    return [e["fields"] for e in found if e["kind"] == kind]


@pytest.fixture
def nurse(crm: Gateway) -> Principal:
    return an_officer(crm, "nurse", "reveal", "reveal_plain")


def ask(gateway: Gateway, who: Principal, number: int = 1, *fields: str, **changes: Any) -> Revealed:
    why = Grounds(RevealReason.DELIVERY, "SHIP-1", fields or ("allergies",), changes.pop("view", View.PLAIN))
    with gateway.look() as work:
        name = gateway.vault.pseudonym(id_of(gateway, ref(number)), OWN, work.registers)
    with gateway.work(who) as work:
        (found,) = reveal(work, replace(USE, **changes), why, [name]).answers
    return found


# -- declaring -----------------------------------------------------------------------------------------------------


def test_every_category_is_sensitive_by_exactly_the_laws_that_it_cites() -> None:
    laws = ("GDPR Art 9(1)", "Civ. Code 1798.140(ae)", "PIPL Art 28")
    assert set(CITED) == set(Category)
    for category, cites in CITED.items():
        assert cites == tuple(law for law, said in zip(laws, sensitivity([category.value]), strict=True) if said)
        assert cites


@pytest.mark.parametrize(
    ("field", "code"),
    [
        (replace(ALLERGIES, category=None), "mismatch"),
        (FieldDefinition("given_name", Category.HEALTH, (DIETS,)), "mismatch"),
        (FieldDefinition("email", None, (DIETS,)), "identifier_field"),
        (replace(ALLERGIES, purposes=()), "no_purpose"),
        (replace(ALLERGIES, purposes=(PurposeId("nothing"),)), "unknown_purpose"),
        (replace(ALLERGIES, id="Blood Type"), "invalid_name"),
    ],
)
def test_a_declaration_that_says_too_little_is_refused(gateway: Gateway, field: FieldDefinition, code: str) -> None:
    with pytest.raises(InputError) as caught, gateway.work() as work:
        put_field(work, field)
    assert [p.code for p in caught.value.fields] == [code]


def test_a_field_keeps_its_category_and_is_no_trait(crm: Gateway) -> None:
    with crm.work() as work:
        put_field(work, replace(ALLERGIES, retention="P90D"))
        assert work.registers.fields["allergies"].retention == "P90D"
    with pytest.raises(ConflictError), crm.work() as work:
        put_field(work, replace(ALLERGIES, category=Category.RELIGION))
    with pytest.raises(ConflictError), crm.work() as work:
        registers.put_trait(work, TraitId("allergies"), TraitType.TEXT, TraitOrigin.DECLARED, None, "")
    with crm.work() as work:
        registers.put_trait(work, TraitId("orders"), TraitType.INTEGER, TraitOrigin.DECLARED, None, "")
    with pytest.raises(ConflictError), crm.work() as work:
        put_field(work, replace(ALLERGIES, id="orders"))


def test_no_segment_knows_a_field(crm: Gateway) -> None:
    with pytest.raises(InputError), crm.work() as work:
        registers.save_segment(work, "s", parse_text('allergies = "nuts"'), "")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("changes", "code"),
    [({"marks": frozenset()}, "mark_missing"), ({"reveals": ("shoe_size",)}, "unknown_field")],
)
def test_a_purpose_that_reveals_a_field_needs_the_mark_and_the_field(
    crm: Gateway, changes: dict[str, Any], code: str
) -> None:
    with pytest.raises(InputError) as caught, crm.work() as work:
        registers.put_purpose(work, purpose(**changes), [])
    assert [(p.path, p.code) for p in caught.value.fields] == [("$.reveals", code)]


# -- taking in -----------------------------------------------------------------------------------------------------


def test_values_are_sealed_apart_and_lie_nowhere_else(crm: Gateway) -> None:
    assert tell_one(crm) == []
    assert held(crm, 1) == {"allergies": NUTS}
    everything = repr(dump(crm.store)).encode()
    assert found_in_bytes(everything, {"value": NUTS.encode()}) == set()
    (entry,) = entries(crm, "sensitive.recorded")
    assert entry.items() >= {"source": "app", "fields": ["allergies"], "taken_back": []}.items()
    assert "policy" in entry


def test_who_was_not_asked_has_no_ground(crm: Gateway) -> None:
    assert tell_one(crm, 4) == ["no_ground"]
    assert held(crm, 4) == {}
    take(crm, [agreed(4)])
    assert tell_one(crm, 4) == []


@pytest.mark.parametrize(
    ("number", "lacking"), [(1, ConsentProperty.EXPLICIT), (2, ConsentProperty.SEPARATE)], ids=["gdpr", "pipl"]
)
def test_the_consent_must_be_of_the_kind_that_the_law_asks_for(
    crm: Gateway, number: int, lacking: ConsentProperty
) -> None:
    """GDPR Art 9(2)(a): explicit; PIPL Art 29: separate."""
    take(crm, [agreed(number, at=NOW_S - 60, properties=ALL_PROPERTIES & ~lacking)])
    assert tell_one(crm, number) == ["no_ground"]
    take(crm, [agreed(number, at=NOW_S)])
    assert tell_one(crm, number) == []


def test_a_limit_on_sensitive_data_is_a_no(crm: Gateway) -> None:
    """Civ. Code 1798.121(b)."""
    assert tell_one(crm, 3) == []
    choose(crm, ref(3), Choice.LIMIT_SENSITIVE)
    assert tell_one(crm, 3, "more") == ["no_ground"]
    assert held(crm, 3) == {"allergies": NUTS}
    assert tell_one(crm, 3, None) == []  # to take a value back needs no ground
    assert held(crm, 3) == {}


def test_what_a_consent_does_not_cover_is_decided_by_its_category(crm: Gateway) -> None:
    """Precise geolocation is no special category of the GDPR: plain consent is enough there."""
    take(crm, [agreed(1, at=NOW_S - 60, properties=ALL_PROPERTIES & ~ConsentProperty.EXPLICIT)])
    found = tell(crm, (ref(1), {"last_place": "52.5,13.4"}), (ref(1), {"last_place": "52.5,13.4", "allergies": NUTS}))
    assert [r.reasons[0].code for r in found.rejections] == ["no_ground"]
    assert held(crm, 1) == {"last_place": "52.5,13.4"}


def test_after_many_messages_there_is_still_a_ground(crm: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    take(crm, [ContactItem(ref(1), "email", NOW_S - n, "spring", f"k{n}") for n in range(9)])
    assert answer_for(crm, ref(1), USE).reason_code == "frequency_cap"
    assert tell_one(crm) == []
    monkeypatch.setattr(sensitive, "_OF_THE_MOMENT", frozenset({None}))  # the planted bug
    assert tell_one(crm, 1, "more") == ["no_ground"]


def test_a_field_that_nobody_declared_is_not_taken(crm: Gateway) -> None:
    found = tell(crm, (ref(1), {"shoe_size": "44"}), (ref(1), {"given_name": "Anna"}))
    assert [r.reasons[0].code for r in found.rejections] == ["undeclared_field"] * 2
    assert tell(crm, (ref(1), {})).rejections[0].reasons[0].code == "no_field"
    assert "shoe" not in repr(found.rejections[0].reasons)


def test_a_source_needs_a_notice_and_a_purpose_of_the_field(crm: Gateway) -> None:
    assert tell_one(crm, source="crm") == ["no_notice", "purpose_not_collected"]
    with crm.work() as work:
        wide = PurposeId("marketing")
        registers.put_source(work, Source(SourceId("app"), "App", "app", Party.FIRST, NoticeId("diets"), (wide,)))
    assert tell_one(crm) == []  # what is collected for the wider purpose is collected for this one


@pytest.mark.parametrize("value", ["", " \t", "x" * 501, "a\x07b", "a\nb", "\ud800"])
def test_a_value_is_a_text_of_one_line(crm: Gateway, value: str) -> None:
    assert tell_one(crm, value=value) == ["invalid_value"]


def test_nobody_unknown_and_nobody_erased_has_values(crm: Gateway) -> None:
    found = tell(crm, (by("email", "nobody@example.org"), {"allergies": NUTS}))
    assert found.rejections[0].reasons[0].code == "unknown_subject"
    with crm.work() as work:
        erase(work, id_of(crm, ref(1)), "request")
    assert tell_one(crm) == ["unknown_subject"]


def test_of_a_refused_row_the_reasons_are_kept_and_nothing_else(crm: Gateway) -> None:
    assert tell_one(crm, 4) == ["no_ground"]
    with crm.look() as work:
        (row,) = work.session.execute(select(tables.quarantine)).all()
    assert (row.kind, bytes(row.sealed)) == ("sensitive", b"")
    assert json.loads(row.reasons)[0]["code"] == "no_ground"


def test_the_same_again_is_known_and_null_takes_back(crm: Gateway) -> None:
    assert tell(crm, (ref(1), {"allergies": NUTS, "last_place": "here"})).updated == 1
    assert tell(crm, (ref(1), {"allergies": f"  {NUTS} "})).duplicates == 1
    assert tell(crm, (ref(1), {"allergies": None})).updated == 1
    assert held(crm, 1) == {"last_place": "here"}
    assert tell(crm, (ref(1), {"allergies": None})).duplicates == 1
    tell(crm, (ref(1), {"last_place": None}))
    with crm.look() as work:
        assert "sensitive" not in set(work.session.execute(select(tables.sealed_groups.c.name)).scalars())
    assert entries(crm, "sensitive.recorded")[-1]["taken_back"] == ["last_place"]


# -- giving out ----------------------------------------------------------------------------------------------------


def test_a_field_leaves_masked_or_plain_by_a_decision_that_knows_what_it_is(crm: Gateway, nurse: Principal) -> None:
    tell_one(crm)
    assert ask(crm, nurse).values == {"allergies": [NUTS]}
    assert ask(crm, nurse, view=View.MASKED).values == {"allergies": ["***"]}
    assert ask(crm, nurse, 1, "email", "allergies").values == {"allergies": [NUTS], "email": ["person1@example.org"]}
    take(crm, [agreed(1, at=NOW_S, properties=ALL_PROPERTIES & ~ConsentProperty.EXPLICIT)])
    found = ask(crm, nurse)
    assert (found.values, found.decision.answer.reason_code) == ({}, "sensitive_needs_explicit")
    assert ask(crm, nurse, 1, "email").values == {"email": ["person1@example.org"]}  # the address alone needs less


def test_a_withdrawal_and_a_limit_close_it_at_once(crm: Gateway, nurse: Principal) -> None:
    tell(crm, *((ref(n), {"allergies": NUTS}) for n in (1, 3)))
    take(crm, [agreed(1, at=NOW_S, kind=ConsentKind.WITHDRAWN, evidence=None)])
    choose(crm, ref(3), Choice.LIMIT_SENSITIVE)
    assert [ask(crm, nurse, n).decision.answer.reason_code for n in (1, 3)] == ["consent_withdrawn", "limit_sensitive"]
    assert [ask(crm, nurse, n).values for n in (1, 3)] == [{}, {}]


def test_a_purpose_gives_out_only_what_is_held_for_it(crm: Gateway, nurse: Principal) -> None:
    other = PurposeId("direct_marketing")
    with crm.work() as work:
        held_by = work.registers.purposes.purposes[other]
        marks = frozenset({Mark.SENSITIVE_FIELDS})
        registers.put_purpose(work, replace(held_by, marks=marks, reveals=("allergies",)), [])
    tell_one(crm)
    take(crm, [a_consent(ref(1))])
    with pytest.raises(InputError) as caught:
        ask(crm, nurse, purpose=other)
    assert [(p.path, p.code) for p in caught.value.fields] == [("$.fields[0]", "other_purpose")]
    with pytest.raises(InputError) as caught:
        ask(crm, nurse, 1, "shoe_size")
    assert caught.value.fields[0].code == "field_not_allowed"


# -- its whole life ------------------------------------------------------------------------------------------------


def test_a_new_data_key_a_merge_and_an_erasure_take_it_along(crm: Gateway, nurse: Principal) -> None:
    tell(crm, (ref(1), {"allergies": NUTS}), (ref(2), {"allergies": "Soy"}))
    with crm.work() as work:
        dek_rotation.rotate(work, id_of(crm, ref(1)), "suspected_leak")
    assert held(crm, 1) == {"allergies": NUTS}
    with crm.work() as work:
        merge(work, [ref(1), ref(2)], "duplicate")
    assert ask(crm, nurse).values == {"allergies": [NUTS, "Soy"]}
    with crm.work() as work:
        erase(work, id_of(crm, ref(1)), "request")
    with crm.look() as work:
        assert "sensitive" not in set(work.session.execute(select(tables.sealed_groups.c.name)).scalars())


def test_a_ciphertext_of_another_group_does_not_open_as_this_one(crm: Gateway) -> None:
    """The AAD binds the group: whoever writes rows cannot have a profile read as sensitive, nor the reverse."""
    tell_one(crm)
    subject_id = id_of(crm, ref(1))
    with crm.look() as work:
        dek = crm.vault.keys(work.session, [subject_id])[subject_id]
        groups = {g.name: g for g in resealing.groups_of(work.session, subject_id)}
    for one, other in (("contact", SENSITIVE), (SENSITIVE, "contact")):
        with pytest.raises(VaultError):
            open_group(dek, replace(groups[one], name=other))


# -- the postal address --------------------------------------------------------------------------------------------

HOME = "Marktstr.  5\r\n10115 Berlin"


def mail(**changes: Any) -> Purpose:
    with_address = {"reveals": ("postal_address", "email"), "id": PurposeId("direct_marketing")}
    return purpose(kind=PurposeKind.DIRECT_MARKETING, **(with_address | changes))


def test_an_address_is_a_contact_field_for_the_post(crm: Gateway, nurse: Principal) -> None:
    with crm.work() as work:
        registers.put_purpose(work, mail(), [Channel.POST])
    take(crm, [a_person(1, postal_address=HOME), a_person(5, postal_address=HOME)])
    take(crm, [a_consent(ref(n), channel="post") for n in (1, 5)])
    use = {"purpose": PurposeId("direct_marketing"), "channel": Channel.POST}
    assert [ask(crm, nurse, n, "postal_address", **use).values for n in (1, 5)] == [
        {"postal_address": ["Marktstr. 5\n10115 Berlin"]}
    ] * 2
    masked = ask(crm, nurse, 1, "postal_address", view=View.MASKED, **use)
    assert masked.values == {"postal_address": ["B***"]}
    with pytest.raises(InputError) as caught:
        ask(crm, nurse, 1, "postal_address", **(use | {"channel": Channel.EMAIL}))
    assert caught.value.fields[0].code == "other_channel"
    take(crm, [a_consent(ref(1), channel="post", kind=ConsentKind.WITHDRAWN, at=NOW_S, evidence=None)])
    assert ask(crm, nurse, 1, "postal_address", **use).values == {}
    assert found_in_bytes(repr(dump(crm.store)).encode(), {"street": b"Marktstr", "town": b"10115 Berlin"}) == set()


def test_a_newer_address_takes_the_place_and_none_leaves_it(crm: Gateway) -> None:
    def address() -> str | None:
        subject_id = id_of(crm, ref(1))
        with crm.look() as work:
            dek = crm.vault.keys(work.session, [subject_id])[subject_id]
            (group,) = [g for g in resealing.groups_of(work.session, subject_id) if g.name == "contact"]
            found: str | None = open_group(dek, group).get("postal_address")
            assert len(open_group(dek, group)["points"]) == 2
            return found

    assert take(crm, [a_person(1, postal_address=HOME)]).updated == 1
    assert take(crm, [a_person(1, postal_address="Marktstr. 5\n10115  Berlin")]).duplicates == 1
    assert take(crm, [a_person(1)]).duplicates == 1
    assert address() == "Marktstr. 5\n10115 Berlin"
    assert take(crm, [a_person(1, postal_address="Hof 1, 1000 Wien")]).updated == 1
    assert address() == "Hof 1, 1000 Wien"


@pytest.mark.parametrize("text", ["x", "y" * 301, "\n".join("line" for _ in range(7)), "Hof\x00 1, Wien"])
def test_an_address_that_is_none_refuses_the_row(crm: Gateway, text: str) -> None:
    found = take(crm, [a_person(1, postal_address=text)])
    assert found.rejections[0].reasons[0].path == "$.postal_address"
