"""Pseudonyms of a consent gateway, for those who are given them: Python 3.11+ and nothing else.

    python pseudonyms.py check   FILE [--count N ...]          are these pseudonyms, and of which epochs?
    python pseudonyms.py epochs  --url URL --key-file KEY      which epochs count, and until when?
    python pseudonyms.py convert FILE --url URL --key-file KEY every pseudonym with its successor, as NDJSON
    python pseudonyms.py test    VECTORS                       this file against the published vectors

FILE has one pseudonym a line, plain or as NDJSON ({"pseudonym": "p1-..."}); `-` reads standard input.
Exit status: 0 fine, 1 something in FILE is not, 2 the call or the gateway failed.

A pseudonym is `p`, the epoch in decimal, `-`, and 32 lower-case hexadecimal digits. What can be told from the text is
its epoch, and nothing else: the digits are encrypted under a key that the gateway keeps. Whether a pseudonym is one of
yours, made up, somebody else's, or that of a person who is gone, only the gateway knows; `convert` answers null for all
of these alike. Compare pseudonyms as whole texts, byte for byte. Never compare those of two epochs: the same person has
another one in each. Move your whole table at once, before the former epoch ends.
"""

from __future__ import annotations

import argparse
import itertools
import json
import re
import sys
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

BATCH = 50_000  # pseudonyms in one call; the gateway takes 100,000
_TEXT = re.compile(r"p(0|[1-9][0-9]{0,9})-([0-9a-f]{32})", re.ASCII)
_MAX_EPOCH = (1 << 32) - 1
_LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})
_SHOWN = 20
_TIMEOUT_SECONDS = 60
_FINE, _WRONG, _FAILED = range(3)


class Pseudonym(NamedTuple):
    """What a text says: its epoch, and the 16 bytes that only the gateway can read."""

    epoch: int
    block: bytes


class GatewayFailure(Exception):  # noqa: N818 - a partner reads it as a sentence
    """The gateway could not be asked, or said no."""


def parse(text: str) -> Pseudonym | None:
    """Return what a pseudonym says, None for any other text; there is one spelling, and it is not trimmed."""
    found = _TEXT.fullmatch(text)
    if found is None or int(found[1]) > _MAX_EPOCH:
        return None
    return Pseudonym(int(found[1]), bytes.fromhex(found[2]))


class Check(NamedTuple):
    """What a file holds: pseudonyms by epoch, the lines that are none, and the lines that say one again."""

    epochs: Counter[int]
    malformed: list[int]
    repeated: list[int]


def check(rows: Iterable[str]) -> Check:
    """Read pseudonyms and count them; line numbers begin with 1, what stands in a line is never shown."""
    found, seen = Check(Counter(), [], []), set[bytes]()
    for line, text in enumerate(rows, 1):
        said = parse(text)
        if said is None:
            found.malformed.append(line)
            continue
        found.epochs[said.epoch] += 1
        key = said.epoch.to_bytes(4, "big") + said.block
        if key in seen:
            found.repeated.append(line)
        seen.add(key)
    return found


def read_rows(lines: Iterable[str]) -> Iterator[str]:
    """Yield the pseudonym of each line that is not blank: plain, or the member `pseudonym` of a JSON object."""
    for line in lines:
        text = line.rstrip("\r\n")
        if text.strip():
            yield _member(text) if text.startswith("{") else text


def _member(text: str) -> str:
    try:
        said = json.loads(text)["pseudonym"]
    except (ValueError, KeyError, RecursionError):
        return ""
    return said if isinstance(said, str) else ""


# -- the gateway ---------------------------------------------------------------------------------------------------


def ask(url: str, key: str, path: str, body: object = None) -> Any:
    """Return the gateway's answer to one call; GatewayFailure says what went wrong, without the key."""
    parts = urlsplit(url)
    if parts.scheme != "https" and not (parts.scheme == "http" and parts.hostname in _LOOPBACK):
        raise GatewayFailure("the key is sent over https only, or to this machine")
    data = None if body is None else json.dumps(body).encode()
    headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
    request = urllib.request.Request(url.rstrip("/") + path, data, headers)  # noqa: S310 - the scheme was checked
    try:
        with _opener().open(request, timeout=_TIMEOUT_SECONDS) as reply:
            return json.load(reply)
    except urllib.error.HTTPError as error:
        raise GatewayFailure(f"the gateway said {error.code}: {_detail(error)}") from None
    except (OSError, ValueError) as error:
        raise GatewayFailure(f"the gateway does not answer ({type(error).__name__})") from None


def _opener() -> urllib.request.OpenerDirector:
    """Return what calls the gateway itself: no proxy sees the key, and no redirect carries it elsewhere."""
    return urllib.request.build_opener(urllib.request.ProxyHandler({}), _NoRedirect())


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_: Any) -> None:
        """Follow nothing."""


def _detail(error: urllib.error.HTTPError) -> str:
    try:
        said = json.load(error)
    except (OSError, ValueError):
        return error.reason
    return str(said.get("detail", error.reason)) if isinstance(said, dict) else error.reason


def convert(rows: Iterable[str], url: str, key: str, size: int = BATCH) -> Iterator[tuple[str, str | None]]:
    """Yield each pseudonym with the one of the current epoch, in order; None for whatever means nobody.

    A text that is no pseudonym is not sent: it is None as well. Two calls never stand in two epochs: GatewayFailure if
    a roll came between them, and then the whole file is to be moved again.
    """
    source, epochs = iter(rows), set[int]()
    while batch := list(itertools.islice(source, size)):
        sent = [text for text in batch if parse(text) is not None]
        answer = ask(url, key, "/v1/pseudonyms/convert", {"pseudonyms": sent}) if sent else {"pseudonyms": []}
        epochs |= {answer["epoch"]} if sent else set()
        if len(epochs) > 1 or len(answer["pseudonyms"]) != len(sent):
            raise GatewayFailure("the epoch changed on the way: move the file again")
        made = iter(answer["pseudonyms"])
        yield from ((text, next(made) if parse(text) is not None else None) for text in batch)


# -- the published vectors -----------------------------------------------------------------------------------------


def differences(document: Any) -> list[str]:
    """Return where this file reads a published vector otherwise than it says."""
    cases = [(f"syntax[{n}]", case["text"], case["epoch"]) for n, case in enumerate(document["syntax"])]
    cases += [(f"pseudonyms[{n}]", case["text"], case["epoch"]) for n, case in enumerate(document["pseudonyms"])]
    read = ((place, expected, parse(text)) for place, text, expected in cases)
    return [place for place, expected, said in read if (None if said is None else said.epoch) != expected]


# -- the command line ----------------------------------------------------------------------------------------------


def main(argv: Sequence[str]) -> int:
    """Run one command and return the exit status."""
    options = _parser().parse_args(argv)
    try:
        status: int = options.run(options)
    except (GatewayFailure, OSError, ValueError, KeyError, TypeError) as error:
        said = error if isinstance(error, (GatewayFailure, OSError)) else f"not readable ({type(error).__name__})"
        sys.stderr.write(f"pseudonyms: {said}\n")
        return _FAILED
    return status


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description="Check and move the pseudonyms of a consent gateway.")
    commands = parser.add_subparsers(required=True)
    for name, run in (("check", _run_check), ("epochs", _run_epochs), ("convert", _run_convert), ("test", _run_test)):
        command = commands.add_parser(name)
        command.set_defaults(run=run)
        if name != "epochs":
            command.add_argument("file")
        if name in ("epochs", "convert"):
            command.add_argument("--url", required=True)
            command.add_argument("--key-file", required=True)
        if name == "check":
            command.add_argument("--count", type=int, action="append", default=[], help="an epoch that counts")
    return parser


def _lines(file: str) -> Iterator[str]:
    if file == "-":
        yield from sys.stdin
        return
    with Path(file).open(encoding="utf-8") as lines:
        yield from lines


def _key(options: argparse.Namespace) -> str:
    return Path(options.key_file).read_text(encoding="utf-8").strip()


def _run_check(options: argparse.Namespace) -> int:
    found = check(read_rows(_lines(options.file)))
    ended = {e: n for e, n in sorted(found.epochs.items()) if options.count and e not in options.count}
    said = {
        "epochs": {str(e): n for e, n in sorted(found.epochs.items())},
        "not_counting": sum(ended.values()),
        "malformed": len(found.malformed),
        "malformed_lines": found.malformed[:_SHOWN],
        "repeated": len(found.repeated),
    }
    sys.stdout.write(json.dumps(said) + "\n")
    return _WRONG if found.malformed or ended else _FINE


def _run_epochs(options: argparse.Namespace) -> int:
    sys.stdout.write(json.dumps(ask(options.url, _key(options), "/v1/pseudonyms/epochs")) + "\n")
    return _FINE


def _run_convert(options: argparse.Namespace) -> int:
    refused = 0
    for old, new in convert(read_rows(_lines(options.file)), options.url, _key(options)):
        refused += new is None
        sys.stdout.write(json.dumps({"old": old, "new": new}) + "\n")
    sys.stderr.write(f"pseudonyms: {refused} mean nobody\n" if refused else "")
    return _WRONG if refused else _FINE


def _run_test(options: argparse.Namespace) -> int:
    found = differences(json.loads(Path(options.file).read_text(encoding="utf-8")))
    sys.stdout.write(
        "".join(f"{place} is read otherwise\n" for place in found) or "every vector is read as published\n"
    )
    return _WRONG if found else _FINE


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
