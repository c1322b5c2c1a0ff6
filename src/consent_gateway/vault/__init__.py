"""Personal data at rest: keys, sealed groups, blind indexes, pseudonyms, normal forms, erasure.

The ring is pure: it knows bytes and contexts, neither rows nor concepts. From the bottom up: `failures` (what can
go wrong), `derivation` (HKDF and unambiguous framing), `roots`, `kms` and `protectors` (what seals roots), `recovery`
and `shares` (opening them without that), `keyring_file`, `keyring_document`, `keyring_sealing` (how they rest on disk),
`keyring` (the roots and every key derived from them), `custody` (who holds it, for how long), `keys` (data keys and
their wrapping), `envelope` (sealed groups), `xaes` and `shared_key` (what belongs to nobody yet), `normal_forms` and
`normalisers` (one spelling per identifier), `blind_index`, `pseudonyms`, `masking`, `shredding`.
"""
