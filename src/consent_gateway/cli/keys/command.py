"""The group `keys`: each command is in the part that its place names."""

from __future__ import annotations

from consent_gateway.cli.lazy import LazyGroup, Place

_ROTATE = {
    "index": Place(
        "keys.indexes",
        "rotate_index",
        "Move the blind index to a new generation, or go on with a move that was stopped.",
    ),
    "dek": Place(
        "keys.data_keys",
        "dek",
        "Seal all of a person, or of everyone, under a new data key; the old one is kept nowhere.",
    ),
}
_DESTROY = {
    "epoch": Place(
        "keys.destroying",
        "destroy_epoch",
        "Destroy the past key EPOCH; needs an approval of exactly that (`keys approvals approve`).",
    ),
    "index": Place(
        "keys.destroying",
        "destroy_index",
        "Destroy the key of a past GENERATION of the index; needs an approval of exactly that (`keys approvals`).",
    ),
}
_PLACES = {
    "issue": Place("keys.api_keys", "issue", "Make an API key for a system; it is shown once."),
    "revoke": Place(
        "keys.api_keys", "revoke", "Revoke an API key; it does nothing any more from now on, on every replica."
    ),
    "list": Place("keys.api_keys", "list_keys", "List API keys; the keys themselves are not stored."),
    "status": Place(
        "keys.keyring",
        "status",
        "Show the keyring (epochs, generations, fingerprints; never a key), what lies under it, and the jobs over it.",
    ),
    "roll-epoch": Place(
        "keys.rolling",
        "roll_epoch",
        "Begin the next key epoch and re-wrap every data key, or go on with a roll that was stopped.",
    ),
    "erasure-deadline": Place(
        "keys.rolling",
        "erasure_deadline",
        "Say by when what is erased now is unreadable in every older backup; status 1 without a promise.",
    ),
    "reseal": Place(
        "keys.sealing", "reseal", "Seal the keyring's file anew; the keys in it stay, and so do recovery shares."
    ),
    "shares": Place(
        "keys.shares",
        "shares",
        "Recovery shares: k of n custodians together open the keyring when what seals it is lost.",
    ),
    "drill": Place(
        "keys.shares",
        "drill",
        "Prove that shares open a copy of the keyring, and change nothing; status 1 if the copy lacks keys in use.",
    ),
    "index-status": Place(
        "keys.indexes",
        "index_status",
        "Show which generation of the blind index counts, how far a move is, and what keeps the first key alive.",
    ),
    "quotas": Place(
        "keys.quotas", "quotas", "How many different people a key may reveal or ask about: list, set, suspend, resume."
    ),
    "own-key": Place(
        "keys.own_key",
        "own_key",
        "The gateway's own key, under which refused rows, signals of nobody known and replies with tokens lie.",
    ),
    "approvals": Place("keys.approvals", "approvals", "What needs four eyes: propose, list, approve, refuse."),
    "lint-index": Place(
        "index_lint",
        "lint_index",
        "Measure what a blind index over a column would give away; status 1 if it must not be indexed.",
    ),
    "tombstones": Place(
        "tombstones",
        "tombstones",
        "The tombstone file, which keeps erased people erased after a restore (verify, rebuild).",
    ),
}

keys = LazyGroup(
    "keys", _PLACES, help="API keys (issue, list, revoke), the keyring, and approvals of what is done to keys."
)
keys.add_command(
    LazyGroup("rotate", _ROTATE, help="Move what lies under a key to another one, while everything goes on.")
)
keys.add_command(
    LazyGroup(
        "destroy",
        _DESTROY,
        help="Destroy past keys, after two people decided it: what is under them is unreadable in every copy.",
    )
)
