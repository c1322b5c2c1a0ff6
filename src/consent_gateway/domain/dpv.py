"""The words of the W3C Data Privacy Vocabulary (DPV 2.3) for what the ledger says.

Every kind of event has one consent status of the vocabulary. `pending` and `requested` share one: the vocabulary knows
a request that awaits an answer, not its second step.
"""

from __future__ import annotations

from consent_gateway.domain.consents import ConsentKind, ConsentState

DPV = "https://w3id.org/dpv#"
STATUS_OF_KIND = {
    ConsentKind.GIVEN: DPV + "ConsentGiven",
    ConsentKind.RENEWED: DPV + "RenewedConsentGiven",
    ConsentKind.REFUSED: DPV + "ConsentRefused",
    ConsentKind.WITHDRAWN: DPV + "ConsentWithdrawn",
    ConsentKind.EXPIRED: DPV + "ConsentExpired",
    ConsentKind.INVALIDATED: DPV + "ConsentInvalidated",
    ConsentKind.REQUESTED: DPV + "ConsentRequested",
    ConsentKind.PENDING: DPV + "ConsentRequested",
    ConsentKind.DEFERRED: DPV + "ConsentRequestDeferred",
}
STATUS_OF_STATE = {
    ConsentState.NONE: DPV + "ConsentUnknown",
    ConsentState.GIVEN: DPV + "ConsentGiven",
    ConsentState.REFUSED: DPV + "ConsentRefused",
    ConsentState.WITHDRAWN: DPV + "ConsentWithdrawn",
    ConsentState.EXPIRED: DPV + "ConsentExpired",
    ConsentState.PENDING: DPV + "ConsentRequested",
}


def status_of(state: ConsentState, decided_by: ConsentKind | None) -> str:
    """Return the status of a standing: that of the event that decided where it says more than the state."""
    finer = (state, decided_by) in {
        (ConsentState.GIVEN, ConsentKind.RENEWED),
        (ConsentState.NONE, ConsentKind.INVALIDATED),
    }
    return STATUS_OF_KIND[decided_by] if finer and decided_by is not None else STATUS_OF_STATE[state]
