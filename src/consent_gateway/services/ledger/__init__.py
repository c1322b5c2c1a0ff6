"""The ledger: what people said and how it is proved: consents, choices, opt-outs, signals, notices, receipts."""
