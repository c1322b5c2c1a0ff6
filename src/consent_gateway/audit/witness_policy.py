"""Which logs and witnesses somebody trusts, and how many witnesses are enough: a policy file (C2SP tlog-policy).

::

    log <vkey> [<url>]
    witness <name> <vkey> [<url>]
    group <name> <k>|any|all <name>...
    quorum <name>|none

Lines of items between blanks and tabs, `#` begins a comment line. Names mean nothing outside the file; a group names
only what stands above it, and each witness or group is a member of one group at most, so that it can count in one way
only. One quorum line says which witness or group must have cosigned a checkpoint.

A public key stands in one line only: two names for one key would be one witness that counts twice. A witness that
uses a log's key is refused as well, though the specification would let it pass: it is the log, vouching for itself.

Reading is strict, every refusal a `ValueError` that names the line. Stand-alone: `checkpoints` and `notes` alone.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from consent_gateway.audit.checkpoints import pinned_key, witness_key
from consent_gateway.audit.notes import VerifierKey, parse_decimal

MAX_POLICY_BYTES = 1_000_000
NO_QUORUM = "none"
_ALLOWED = frozenset({0x09, 0x0A, *range(0x20, 0x7F), *range(0x80, 0x100)})
_BLANKS = re.compile("[ \t]+")
_ALL = "all"


@dataclass(frozen=True, slots=True)
class Party:
    """A log or witness of the policy: its key and where it can be reached, empty if the file does not say."""

    key: VerifierKey
    url: str = ""


@dataclass(frozen=True, slots=True)
class Group:
    """At least `threshold` of the members must have witnessed."""

    threshold: int
    members: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class WitnessPolicy:
    """A policy; groups are in the order of the file, so that each names only what stands before it."""

    logs: tuple[Party, ...] = ()
    witnesses: Mapping[str, Party] = field(default_factory=dict)
    groups: Mapping[str, Group] = field(default_factory=dict)
    quorum: str = NO_QUORUM

    @property
    def witness_keys(self) -> tuple[VerifierKey, ...]:
        """The keys of all witnesses."""
        return tuple(party.key for party in self.witnesses.values())

    def lacking(self, cosigned: Collection[VerifierKey]) -> str:
        """Say what is missing until the quorum is reached by cosignatures of these keys; empty if nothing is."""
        if self.quorum == NO_QUORUM:
            return ""
        reached = {name for name, party in self.witnesses.items() if party.key in cosigned}
        short: dict[str, str] = {}
        for name, group in self.groups.items():
            held = len(reached.intersection(group.members))
            if held >= group.threshold:
                reached.add(name)
            else:
                short[name] = f"group {name} has {held} of {group.threshold}"
        if self.quorum in reached:
            return ""
        needed = list(self._below(self.quorum))
        absent = [self.witnesses[n].key.name for n in needed if n in self.witnesses and n not in reached]
        return "; ".join((f"not cosigned by {', '.join(absent)}", *(short[n] for n in needed if n in short)))

    def _below(self, name: str) -> Iterator[str]:
        """Yield the name and all that it depends on; each stands in one group only, so this ends."""
        waiting = [name]
        while waiting:
            yield (name := waiting.pop())
            waiting += reversed(self.groups[name].members if name in self.groups else ())


def require_all(witnesses: Sequence[VerifierKey]) -> WitnessPolicy:
    """Return the policy that each of these witnesses must have cosigned; ValueError if one stands there twice."""
    if not witnesses:
        return WitnessPolicy()
    if len({key.public_key for key in witnesses}) != len(witnesses):
        raise ValueError("one witness is asked for twice")
    named = {key.vkey: Party(key) for key in witnesses}
    return WitnessPolicy((), named, {_ALL: Group(len(named), tuple(named))}, _ALL)


def parse_policy(data: bytes) -> WitnessPolicy:
    """Return the policy in a file; raises ValueError with the number of the line that is wrong."""
    if len(data) > MAX_POLICY_BYTES:
        raise ValueError("the policy is too long")
    if not _ALLOWED.issuperset(data):
        raise ValueError("the policy holds a control character")
    reader = _Reader()
    # names are opaque octets (C2SP tlog-policy, "Character set"): whatever is no UTF-8 is kept as it is
    for number, line in enumerate(data.decode("utf-8", "surrogateescape").split("\n"), 1):
        items = _BLANKS.split(line.strip(" \t"))
        if not items[0] or items[0].startswith("#"):
            continue
        try:
            reader.read(items)
        except ValueError as error:
            raise ValueError(f"line {number} of the policy: {error}") from None
    return reader.policy()


class _Reader:
    """Collects the lines of one file."""

    def __init__(self) -> None:
        self._logs: list[Party] = []
        self._witnesses: dict[str, Party] = {}
        self._groups: dict[str, Group] = {}
        self._members: set[str] = set()
        self._keys: set[bytes] = set()
        self._quorum: str | None = None

    def read(self, items: Sequence[str]) -> None:
        """Take one line; raises ValueError for one that has no place in a policy."""
        match items:
            case ["log", vkey, *url]:
                self._logs.append(self._party(pinned_key(vkey), url))
            case ["witness", name, vkey, *url]:
                self._check_new(name)
                self._witnesses[name] = self._party(witness_key(vkey), url)
            case ["group", name, threshold, *members]:
                self._check_new(name)
                self._groups[name] = self._group(threshold, members)
            case ["quorum", name]:
                self._set_quorum(name)
            case _:
                raise ValueError("not a log, witness, group or quorum line")

    def policy(self) -> WitnessPolicy:
        """Return the policy; raises ValueError when its quorum line is missing."""
        if self._quorum is None:
            raise ValueError("the policy has no quorum line")
        return WitnessPolicy(tuple(self._logs), self._witnesses, self._groups, self._quorum)

    def _party(self, key: VerifierKey, url: Sequence[str]) -> Party:
        if len(url) > 1:
            raise ValueError("there is more than a key and a URL")
        if key.public_key in self._keys:
            raise ValueError("the key stands there before")
        self._keys.add(key.public_key)
        return Party(key, *url)

    def _check_new(self, name: str) -> None:
        if name == NO_QUORUM or name in self._witnesses or name in self._groups:
            raise ValueError("the name is taken")

    def _check_known(self, name: str) -> None:
        if name not in self._witnesses and name not in self._groups:
            raise ValueError("a name is not defined above")

    def _group(self, threshold: str, members: Sequence[str]) -> Group:
        for name in members:
            self._check_known(name)
            if name in self._members:
                raise ValueError("a name is a member already")
            self._members.add(name)
        counts = {_ALL: len(members), "any": 1}
        count = counts[threshold] if threshold in counts else parse_decimal(threshold)
        if not 1 <= count <= len(members):
            raise ValueError("the threshold is not between 1 and the number of members")
        return Group(count, tuple(members))

    def _set_quorum(self, name: str) -> None:
        if self._quorum is not None:
            raise ValueError("there is a second quorum line")
        if name != NO_QUORUM:
            self._check_known(name)
        self._quorum = name
