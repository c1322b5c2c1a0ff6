"""Records: what has to be said about processing, to the person (consent receipts) and to the authority.

::

    parties     who answers for the processing, who gets the data, and what is processed for a purpose
    terms       the words of the W3C Data Privacy Vocabulary, and our own IRIs where it has none
    consent     the record of one person's consent as the ledger has it
    iso27560    the same as a receipt of ISO/IEC TS 27560, mapped to JSON-LD
    kantara     the same as a Kantara consent receipt 1.1
    activities  the record of processing activities (GDPR Art 30), with what is missing in it
    rendering   that record as JSON, CSV and Markdown

Everything here is a pure mapping: the same registers and the same ledger give the same record.
"""

from consent_gateway.domain.records.parties import Address, Controller, DataCategory, Party, Processing

__all__ = ["Address", "Controller", "DataCategory", "Party", "Processing"]
