"""The record of processing activities, read from one version of the registers."""

from __future__ import annotations

from consent_gateway.db import records as rows
from consent_gateway.domain.records import activities
from consent_gateway.domain.records.activities import ActivityRecord
from consent_gateway.policies.regions import establishment, recipient_place
from consent_gateway.services.work.gateway import Work

_FAR = frozenset({"cn", "other"})


def activity_record(work: Work) -> ActivityRecord:
    """Return the record as the registers stand (GDPR Art 30(1), PIPL Art 55-56, Civ. 1798.100(a)); changes nothing."""
    controller = rows.find_controller(work.session)
    home = controller.country if controller is not None else work.gateway.rules.controller_country
    registers = work.registers
    known = activities.Known(
        controller=controller,
        purposes=registers.purposes,
        slots=frozenset(registers.slots),
        sources=sorted(registers.sources.values(), key=lambda source: source.id),
        recipients=registers.recipients,
        processing=rows.processing(work.session),
        parties=rows.parties(work.session),
        disclosed=rows.disclosed(work.session),
        is_third=lambda country: is_third(home, country),
    )
    return activities.record(known, work.now)


def is_third(home: str | None, country: str) -> bool:
    """Tell whether data that goes to `country` leaves for a third country, seen from a controller at `home`.

    Seen from the EU or the UK: anywhere without an adequacy decision (GDPR Art 44-45). Seen from China: anywhere else
    (PIPL Art 38). Elsewhere no law that is shipped asks. An unknown home is taken for the EU, the strictest of them.
    """
    place = recipient_place(country or None)
    at = establishment(home) if home else "eu"
    if at == "cn":
        return place not in ("cn", "none")
    return at in ("eu", "uk") and place in _FAR
