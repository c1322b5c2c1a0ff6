"""Checks from the outside: what an auditor runs who trusts neither the server nor its operator.

The only thing that is trusted is the log's key, pinned by the auditor as a vkey, and the witnesses' keys and the
quorum, if any. Everything else is recomputed: the checkpoint's signature, the hash of every entry, every tile, the
root. Results are values: a `Finding` says whether it holds and, if not, what is wrong and at which entry first.
Nothing that an adversary can put into a file raises, hangs or fills the memory.

::

    findings    the result of a check, and the way it gets out of the depth of one
    epochs      a log that goes on under another name and key
    trust       what the auditor pins, and checkpoints opened with nothing else
    files       a directory that an adversary wrote, read without following it anywhere
    proofs      one receipt, two checkpoints, one opening
    walk        a whole log, hashed again
    directory   and compared with what was signed
    published   the map of chains as a file
    strict      the form of every entry, their uids and their times

What each check finds:

- `verify_checkpoint` a head that the log did not sign, or that too few witnesses have cosigned
- `verify_receipt`    an entry, index, path or checkpoint that was changed; another log's key; a missing witness
- `verify_directory`  any entry or tile changed, lost, reordered or truncated; a history rewritten by whoever holds
  the signing key, as soon as the auditor has kept an earlier checkpoint (or a witness has cosigned one)
- `verify_prefix`     that two checkpoints belong to one growing log
- `verify_epochs`     a key that no statement by the key before names; what was lost is told
- `verify_payload`    that a disclosed salt and payload are what an entry committed to

Stand-alone: standard library, `cryptography` and the stand-alone modules of `audit`; `singlefile` prints all of it as
one Python file.
"""

from __future__ import annotations

from consent_gateway.audit.verifier.directory import verify_directory
from consent_gateway.audit.verifier.epochs import verify_epochs
from consent_gateway.audit.verifier.findings import Finding
from consent_gateway.audit.verifier.proofs import (
    verify_checkpoint,
    verify_payload,
    verify_prefix,
    verify_receipt,
)
from consent_gateway.audit.verifier.published import verify_published_map
from consent_gateway.audit.verifier.walk import Progress

__all__ = [
    "Finding",
    "Progress",
    "verify_checkpoint",
    "verify_directory",
    "verify_epochs",
    "verify_payload",
    "verify_prefix",
    "verify_published_map",
    "verify_receipt",
]
