"""The auditor's command line: files in, one line or one JSON object out, exit status 0 only when everything holds.

Stand-alone like `verifier`; `singlefile` puts it at the end of the one-file verifier. What is read is bounded, whatever
a file pretends to be; what is printed is printable, whatever an adversary has named their keys.
"""

from __future__ import annotations

import json
import os
import sys
from argparse import ArgumentParser, ArgumentTypeError, Namespace, RawDescriptionHelpFormatter
from collections.abc import Callable, Sequence
from pathlib import Path

from consent_gateway.audit.bundles import verify_bundle
from consent_gateway.audit.consent_receipts import verify_document
from consent_gateway.audit.manifests import verify_membership
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

_HOLDS, _FAILS = range(2)
_MAX_FILE = 64 << 20
_MAX_MAP = 1 << 30  # 14 million chains
_MAX_HISTORY = 512 << 20  # some 300,000 entries
_ABOUT = """Verify an audit log and what it handed out, without trusting whoever runs it.

VKEY is the log's public key, from a source that is not the log; `-` stands for the logs of the policy file."""
_STATUS = "exit status: 0 holds, 1 does not, 2 usage"

Check = Callable[[Namespace], Finding]


def main(argv: Sequence[str], prog: str | None = None) -> int:
    """Run one check on files, print its finding, return the exit status (0 holds, 1 does not hold, 2 usage).

    `prog` is how the command is called, for its usage; without it the name of the script.
    """
    try:
        arguments = _parser(prog).parse_args(argv)
    except SystemExit as ended:  # `--help`, or a usage error that argparse has explained
        return int(ended.code or 0)
    try:
        finding = arguments.check(arguments)
    except (OSError, ValueError) as error:
        finding = Finding(ok=False, code="input", message=_told(error))
    sys.stdout.write(_as_json(arguments.command, finding) if arguments.json else f"{_printable(str(finding))}\n")
    return _HOLDS if finding.ok else _FAILS


def _told(error: OSError | ValueError) -> str:
    """Return what went wrong, by the name of the file if there is one."""
    return f"{error.filename}: {error.strerror}" if isinstance(error, OSError) else str(error)


def _as_json(command: str, finding: Finding) -> str:
    """Return the finding as one line of JSON: check, ok, code, message, index, then its details."""
    members = {"ok": finding.ok, "code": finding.code, "message": finding.message, "index": finding.index}
    return json.dumps({"check": command, **members, **finding.details}) + "\n"


def _printable(text: str) -> str:
    """Return the text with everything escaped that a terminal might obey, or cannot show."""
    return "".join(char if char.isprintable() else ascii(char)[1:-1] for char in text)


def _parser(prog: str | None) -> ArgumentParser:
    """Return the grammar of the command line."""
    parser = ArgumentParser(prog, description=_ABOUT, epilog=_STATUS, formatter_class=RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True, metavar="CHECK")

    def command(name: str, check: Check, what: str, *names: str) -> ArgumentParser:
        added = commands.add_parser(name, help=what, description=what, epilog=_STATUS)
        added.set_defaults(check=check)
        for argument in names:
            added.add_argument(argument.lower(), metavar=argument)
        added.add_argument("--json", action="store_true", help="print the finding as a JSON object")
        return added

    def trusting(added: ArgumentParser) -> ArgumentParser:
        added.add_argument("--witness", action="append", default=[], metavar="VKEY", help="must have cosigned")
        added.add_argument("--policy", metavar="FILE", help="a tlog-policy file, its quorum must be reached")
        return added

    receipt = trusting(command("receipt", _receipt, "is this entry in the log?", "VKEY", "PROOF", "ENTRY"))
    receipt.add_argument("witnesses", metavar="WITNESS_VKEY", nargs="*", help="the same as --witness")
    _tree_options(trusting(command("tree", _tree, "re-hash a whole log in the tlog-tiles layout", "VKEY", "DIR")))
    trusting(
        command("prefix", _prefix, "does the new checkpoint extend the old?", "VKEY", "OLD_NOTE", "NEW_NOTE", "PROOF")
    )
    trusting(command("checkpoint", _checkpoint, "who signed this checkpoint, and when?", "VKEY", "NOTE"))
    bundle = trusting(command("bundle", _bundle, "is this all that the log says about one person?", "VKEY", "BUNDLE"))
    ended = "the person's erasure and its receipt: how much came after the bundle? Once for each subject they were"
    bundle.add_argument("--erasure", nargs=2, action="append", default=[], metavar=("ENTRY", "PROOF"), help=ended)
    command("payload", _payload, "is this what the entry committed to?", "ENTRY", "NAME", "SALT_HEX", "PAYLOAD")
    consent = command("consent", _consent, "is this consent receipt as it was issued?", "DOCUMENT", "JWKS")
    consent.add_argument("entry", metavar="ENTRY", nargs="?", help="the bytes of its entry in the log")
    epochs = command("epochs", _epochs, "follow the log through its epochs: what is its key now?", "VKEY")
    epochs.add_argument("statements", metavar="STATEMENT", nargs="+", help="the statement of each epoch, in order")
    published = command("map", _map, "is this the map of chains that the entry published?", "ENTRY", "LEAVES")
    published.add_argument("older", metavar="OLD_LEAVES", nargs="*", help="files of maps that you kept")
    trusting(command("membership", _membership, "was this person in the audience, or not?", "VKEY", "PROOF"))
    return parser


def _tree_options(tree: ArgumentParser) -> None:
    """Add what the check of a whole log can do beyond."""
    tree.add_argument(
        "kept", metavar="OLD", nargs="*", help="checkpoints or whole directories that you kept: it must extend them"
    )
    tree.add_argument("--checkpoint", metavar="NOTE", help="compare with this one, not with DIR/checkpoint")
    tree.add_argument("--epoch", action="append", default=[], metavar="STATEMENT", help="of each epoch, in order")
    tree.add_argument("--strict", action="store_true", help="also the form of every entry, and doubled uids")
    tree.add_argument("--map", action="append", default=[], metavar="LEAVES", help="a file of a map; --strict as well")
    tree.add_argument(
        "--jobs", type=_count, default=1, metavar="N", help="processes that share the hashing (default 1)"
    )


def _count(text: str) -> int:
    """Return a number of processes; a usage error unless there is at least one."""
    count = int(text)
    if count < 1:
        raise ArgumentTypeError("at least 1")
    return count


def _receipt(given: Namespace) -> Finding:
    """Check a receipt file against an entry file."""
    witnesses = [*given.witness, *given.witnesses]
    proof, entry = _content(given.proof), _content(given.entry)
    return verify_receipt(given.vkey, proof, entry, witnesses=witnesses, policy=_policy(given))


def _tree(given: Namespace) -> Finding:
    """Check a directory, with the checkpoints that the auditor kept if there are any."""
    return verify_directory(
        given.vkey,
        Path(given.dir),
        progress=_progress if sys.stderr.isatty() else None,
        checkpoint=None if given.checkpoint is None else _content(given.checkpoint),
        earlier=[_content(name) for name in given.kept if not Path(name).is_dir()],
        exports=[Path(name) for name in given.kept if Path(name).is_dir()],
        statements=[_content(name) for name in given.epoch],
        witnesses=given.witness,
        policy=_policy(given),
        strict=given.strict,
        maps=[_content(name, _MAX_MAP) for name in given.map],
        jobs=given.jobs,
    )


def _prefix(given: Namespace) -> Finding:
    """Check two checkpoint files and a proof file."""
    files = (_content(name) for name in (given.old_note, given.new_note, given.proof))
    return verify_prefix(given.vkey, *files, witnesses=given.witness, policy=_policy(given))


def _checkpoint(given: Namespace) -> Finding:
    """Check the signatures of a checkpoint file."""
    return verify_checkpoint(given.vkey, _content(given.note), witnesses=given.witness, policy=_policy(given))


def _bundle(given: Namespace) -> Finding:
    """Check the bundle of a person, and how far it reaches to their erasure."""
    erasures = [(_content(entry), _content(proof)) for entry, proof in given.erasure]
    bundle = _content(given.bundle, _MAX_HISTORY)
    return verify_bundle(given.vkey, bundle, witnesses=given.witness, policy=_policy(given), erasures=erasures)


def _payload(given: Namespace) -> Finding:
    """Check a disclosed payload file against an entry file."""
    salt = bytes.fromhex(given.salt_hex)
    return verify_payload(_content(given.entry), given.name, salt, _content(given.payload))


def _consent(given: Namespace) -> Finding:
    """Check the document of a consent receipt against a key file and, if it is there, its entry file."""
    logged = None if given.entry is None else _content(given.entry)
    return verify_document(_content(given.document), _content(given.jwks), logged)


def _membership(given: Namespace) -> Finding:
    """Check a proof of membership, or of its absence."""
    return verify_membership(given.vkey, _content(given.proof), witnesses=given.witness, policy=_policy(given))


def _epochs(given: Namespace) -> Finding:
    """Follow the statement files of a log."""
    return verify_epochs(given.vkey, [_content(name) for name in given.statements])


def _map(given: Namespace) -> Finding:
    """Check the file of a map against an entry file, and against older files."""
    older = [_content(name, _MAX_MAP) for name in given.older]
    return verify_published_map(_content(given.entry), _content(given.leaves, _MAX_MAP), older)


def _policy(given: Namespace) -> bytes | None:
    """Return the content of the policy file, if there is one."""
    return None if given.policy is None else _content(given.policy)


def _content(name: str, limit: int = _MAX_FILE) -> bytes:
    """Return the content of a file that the auditor named, which may be a pipe; ValueError beyond `limit`."""
    with Path(name).open("rb") as file:
        data = file.read(limit + 1)
    if len(data) > limit:
        raise ValueError(f"{os.fspath(name)} is larger than {limit} bytes")
    return data


def _progress(done: int, size: int) -> None:
    """Show on a terminal how far the walk is; leave the line empty at the end."""
    line = f"{done} of {size} entries ({100 * done // size} %)"
    sys.stderr.write(f"\r{line}" if done < size else f"\r{' ' * len(line)}\r")
    sys.stderr.flush()
