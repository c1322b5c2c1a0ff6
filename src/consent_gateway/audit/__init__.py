"""The tamper-evident log: RFC 6962 tree, C2SP tiles, checkpoints and receipts; it knows bytes, not concepts.

::

    canonical    one JSON text for one value (RFC 8785)
    commitments  salted hashes that stay in the log while what they hide can be forgotten
    entries      the envelope of one log entry and the closed list of its kinds
    merkle       leaf, node, root, compact range (RFC 6962)
    tiles        the same tree cut into tiles and entry bundles (C2SP tlog-tiles)
    proofs       build and check inclusion and consistency proofs (RFC 9162)
    notes        signed notes and verifier keys (C2SP signed-note)
    checkpoints  the signed head of the log and its cosignatures
    receipts     proof, index and checkpoint in one file (C2SP tlog-proof)
    jws          detached Ed25519 signatures and their keys (RFC 7515, 7797, 8037)
    consent_receipts  the documents that people keep, and their check without a server
    log          the sequencer's arithmetic over a store port
    verifier     checks from the outside; `singlefile` prints it as one runnable file
    vectors      published test vectors against the checks above

Nothing here asks for the time, the network or a database, and nothing here sees personal data.
"""
