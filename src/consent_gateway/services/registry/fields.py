"""Registering what the vault holds: sensitive fields of the operator, and how long which field is kept for what.

A sensitive field is declared before any value of it can come in: its category of law, and the purposes that it is
collected for (GDPR Art 5(1)(b), 9; Civ. 1798.140(ae); PIPL Art 28: a specific purpose and sufficient necessity). One
of our own fields (a name, the birth date, the language, the postal address) can be registered too: then it is kept no
longer than these purposes need it, apart from its person.
"""

from __future__ import annotations

from consent_gateway.audit.entries import EntryKind
from consent_gateway.db import registers as register_rows
from consent_gateway.domain.fields import PROFILE_FIELDS, FieldDefinition, RevealField
from consent_gateway.domain.ids import TraitId
from consent_gateway.errors import ConflictError, FieldProblem, InputError
from consent_gateway.services.registry.registers import require_slug
from consent_gateway.services.work.gateway import Work

OWN_FIELDS = PROFILE_FIELDS | {RevealField.POSTAL_ADDRESS}


def put_field(work: Work, field: FieldDefinition) -> None:
    """Register a field; again with other purposes or another period, these count from the next run and question on.

    InputError: one of our own with a category, another one without, no purpose, or one that is not registered.
    ConflictError: a name that a trait has, or another category than before, by which values came in.
    """
    require_slug(field.id, "$.id")
    work.changed_registers()
    _check(work, field)
    held = work.registers.fields.get(field.id)
    if held is not None and held.category is not field.category:
        raise ConflictError("a field keeps its category: by it its values were taken in")
    if TraitId(field.id) in work.registers.traits:
        raise ConflictError("a trait has this name: a field is no trait")
    register_rows.put_field(work.session, field)
    work.changed_registers()
    said = {"field": field.id, "purposes": sorted(field.purposes), "category": field.category and field.category.value}
    if field.retention:
        said["retention"] = field.retention
    work.record(EntryKind.ADMIN_ACTION, {"action": "field_declared"} | {k: v for k, v in said.items() if v})


def _check(work: Work, field: FieldDefinition) -> None:
    own = field.id in OWN_FIELDS
    if field.id in set(RevealField) and not own:
        message = "an identifier is what the person is known by: it is kept as long as they are"
        raise InputError(fields=(FieldProblem("$.id", "identifier_field", message),))
    if own is (field.category is not None):
        message = "a field of your own needs a category of the law, and one of the gateway's has none"
        raise InputError(fields=(FieldProblem("$.category", "mismatch", message),))
    if not field.purposes:
        message = "say what the field is held for"
        raise InputError(fields=(FieldProblem("$.purposes", "no_purpose", message),))
    if any(p not in work.registers.purposes.purposes for p in field.purposes):
        raise InputError(fields=(FieldProblem("$.purposes", "unknown_purpose", "a purpose is not registered"),))
