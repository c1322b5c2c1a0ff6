"""The auditor's command line: files in, one line out, exit status 0 only when everything holds.

Stand-alone like `verifier`; `singlefile` puts it at the end of the one-file verifier.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from inspect import signature
from pathlib import Path

from consent_gateway.audit.consent_receipts import verify_document
from consent_gateway.audit.verifier import (
    Finding,
    verify_directory,
    verify_payload,
    verify_prefix,
    verify_receipt,
)

USAGE = """usage:
  receipt VKEY PROOF ENTRY [WITNESS_VKEY...]  is this entry in the log? PROOF: a .tlog-proof file
  tree    VKEY DIR [OLD_NOTE]                 re-hash a whole log in tlog-tiles layout, compare with an old checkpoint
  prefix  VKEY OLD_NOTE NEW_NOTE PROOF        does the new checkpoint extend the old one? PROOF: base64 lines
  payload ENTRY NAME SALT_HEX PAYLOAD         is this what the entry committed to?
  consent DOCUMENT JWKS [ENTRY]               is this consent receipt as it was issued? JWKS: a file with its keys
VKEY is the log's public key, from a source that is not the log. Exit status: 0 holds, 1 does not, 2 usage.
"""
_HOLDS, _FAILS, _USAGE = range(3)


def main(argv: Sequence[str]) -> int:
    """Run one check on files, print its finding, return the exit status (0 holds, 1 does not hold, 2 usage)."""
    check = _CHECKS.get(argv[0]) if argv else None
    if check is None or not _takes(check, len(argv) - 1):
        sys.stderr.write(USAGE)
        return _USAGE
    try:
        finding = check(*argv[1:])
    except (OSError, ValueError) as error:
        finding = Finding(ok=False, code="input", message=str(error))
    sys.stdout.write(f"{finding}\n")
    return _HOLDS if finding.ok else _FAILS


def _takes(check: Callable[..., Finding], count: int) -> bool:
    """Tell whether the check can be called with so many arguments."""
    try:
        signature(check).bind(*range(count))
    except TypeError:
        return False
    return True


def _receipt(vkey: str, proof: str, entry: str, *witnesses: str) -> Finding:
    """Check a receipt file against an entry file."""
    return verify_receipt(vkey, Path(proof).read_bytes(), Path(entry).read_bytes(), witnesses=witnesses)


def _tree(vkey: str, directory: str, old_note: str | None = None) -> Finding:
    """Check a directory, with the checkpoint that the auditor kept if there is one."""
    earlier = None if old_note is None else Path(old_note).read_bytes()
    return verify_directory(vkey, Path(directory), earlier=earlier)


def _prefix(vkey: str, old_note: str, new_note: str, proof: str) -> Finding:
    """Check two checkpoint files and a proof file."""
    return verify_prefix(vkey, *(Path(name).read_bytes() for name in (old_note, new_note, proof)))


def _payload(entry: str, name: str, salt_hex: str, payload: str) -> Finding:
    """Check a disclosed payload file against an entry file."""
    return verify_payload(Path(entry).read_bytes(), name, bytes.fromhex(salt_hex), Path(payload).read_bytes())


def _consent(document: str, keys: str, entry: str | None = None) -> Finding:
    """Check the document of a consent receipt against a key file and, if it is there, its entry file."""
    logged = None if entry is None else Path(entry).read_bytes()
    return verify_document(Path(document).read_bytes(), Path(keys).read_bytes(), logged)


_CHECKS: dict[str, Callable[..., Finding]] = {
    "receipt": _receipt,
    "tree": _tree,
    "prefix": _prefix,
    "payload": _payload,
    "consent": _consent,
}
