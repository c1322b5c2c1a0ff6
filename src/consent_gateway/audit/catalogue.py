"""What every kind of entry may say: its fields, their types, and whether it is about a person.

The kinds are a closed list (`entries.EntryKind`), and so is what each can hold: who has read this table has read every
sentence that the log can say, and knows that none of them has room for a name or an address. One line is one kind:

    kind   nobody | somebody | perhaps   field:type …     a question mark: it may be absent

*nobody* has no commitments; *somebody* is about one person and has `chain` and `subject`; *perhaps* is one or the
other, where the person may be a stranger. `dek.rotated` is in two chains and has `other` and `other_chain` too.

`problems` says what is wrong with an entry; tests hold every entry that they record against it, auditors any log
(`verifier.strict`).

Stand-alone: standard library, `chains` and `entries` of this package.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from consent_gateway.audit.chains import CHAIN, OTHER, OTHER_CHAIN, SUBJECT
from consent_gateway.audit.entries import Entry, EntryKind

_TABLE = """
consents
  consent.recorded       somebody given_at:instant kind:code properties:codes purpose:code source:code channel?:code
                                  notice?:code notice_version?:count recipient?:code valid_until?:instant
  signal.received        perhaps  signal:code source:code given_at:instant choices?:codes denied?:count effect?:code
                                  given?:count undecoded?:codes violations?:codes
  signal.mapped          nobody   framework:code purposes:count vendors:count
  notice.published       nobody   notice:code version:count language:code text_sha256:hex material?:flag
                                  purposes?:codes refolded?:count
  notice.shown           nobody   source:code accepted:count created:count duplicates:count joined:count received:count
                                  rejected:count suppressed:count updated:count
  receipt.issued         somebody purpose:code form:code
decisions
  decision.made          perhaps  purpose:code channel:code recipient:code packs:names policy:hex outcome:code
                                  reason:code
  decisions.batch        nobody   purpose:code channel:code recipient:code packs:names policy:hex subjects:count
                                  permitted:count
  decision.replayed      nobody   decision:hex state:code against:code
audiences
  audience.resolved      nobody   audience:hex purpose:code channel:code recipient:code segment:json size:count
                                  waterfall:json manifest?:names|count manifest_root:hex
                                  packs:names policy:hex expires_at:instant
  members.read           nobody   audience:hex recipient:code size:count
reveals
  reveal.made            perhaps  purpose:code channel:code recipient:code fields:codes view:code reason:code
                                  ticket:text outcome:code decision:hex window?:hex
  quota.set              nobody   principal:code quota:code per_hour?:count|null per_day?:count|null suspended?:flag
  canary.planted         nobody   source:code
  canary.read            nobody   purpose:code recipient:code canaries:count
exports
  identifiers.disclosed  nobody   audience:hex purpose:code channel:code recipient:code platform:code fields:codes
                                  people:count reason:code ticket:text nature:code packs:names policy:hex window?:hex
  ledger.read            somebody what:code
  bundle.disclosed       somebody for:code
  pseudonym.read         perhaps  kind:code recipient:code found:flag
  pseudonyms.converted   nobody   recipient:code sector:code epoch:count from:counts names:count refused:count
rights
  right.exercised        perhaps  right?:code effect?:code active?:flag at?:instant channel?:code choice?:code
                                  kind?:code kinds?:codes purpose?:code recipient?:code source?:code
  subject.erased         somebody reason:code tombstones:count openings:count chains:json
  erasure.deferred       somebody reason:code holds:json
  erasure.replayed       nobody   erasure:hex rows:count
  tombstones.replayed    nobody   erasures:count subjects:count lifts?:count
  tombstone.lifted       nobody   source:code act:code acted_at:instant evidence:hex kinds:codes tombstones:count
                                  erased_for:codes approval?:hex
  hold.placed            somebody hold:count reason:code until:instant|null
  hold.ended             somebody hold:count reason:code
  retention.run          nobody   by_field?:counts *:count
  fields.deleted         somebody fields:codes reason:code
keys
  key.issued             nobody   principal:code recipient:code scopes:codes
  key.revoked            nobody   principal:code
  kek.created            nobody   epoch:count job:count
  kek.destroying         nobody   epoch:count approval:hex proposed_by:code approved_by:code standing:flag
  kek.destroyed          nobody   epoch:count approval:hex service_owes?:count service_until?:instant
  key_job.started        nobody   job:count kind:code from:count|null to:count|null total:count
  key_job.finished       nobody   job:count kind:code from:count|null to:count|null done:count failed:count
  dek.rotated            somebody reason:code
  index.moved            nobody   step:code from:count to?:count approval?:hex
  pairwise_epoch.created nobody   recipient:code sector:code epoch:count overlap_seconds:count
  recovery.set           nobody   set:hex threshold:count count:count approval:hex proposed_by:code approved_by:code
  recovery.drilled       nobody   outcome:code reason?:code set?:hex shares:json lacks?:json
  keyring.recovered      nobody   set:hex shares:json keyring:hex
  keyring.resealed       nobody   step:code from:code to:code keyring:hex
  own_key.renewed        nobody   epoch:count approval:hex *:count
policies
  policy.proposed        nobody   pack:code version:count sha256:hex
  policy.shadowed        nobody   pack:code version:count sha256:hex on:flag
  policy.activated       nobody   pack:code version:count sha256:hex effective_at:instant proposed_by:code
                                  approved_by:code replaces:names roll_back:flag
administration
  log.created            nobody   origin:text keyring:hex
  admin.action           nobody   action:code category?:code field?:code lines?:count number?:count origin?:code
                                  people?:count
                                  purposes?:codes retention?:code salvaged?:count sensitive?:code
                                  sensitive_people?:count stored?:count trait?:code year?:count
  approval.proposed      nobody   action:code approval:hex subject:json expires_at:instant valid_until:instant|null
  approval.given         nobody   action:code approval:hex subject:json proposed_by:code valid_until:instant|null
  approval.ended         nobody   action:code approval:hex subject:json proposed_by:code approved_by:code|null how:code
  source.registered      nobody   source:code party:code
  purpose.registered     nobody   purpose:code kind:code channels:codes basis:code bases?:codes marks?:codes
                                  requested?:code reveals?:codes sensitive?:codes
  recipient.registered   nobody   recipient:code kind:code country:code destination?:code
  segment.saved          nobody   segment:code expression:json
  controller.registered  nobody   country:code
  processing.registered  nobody   purpose:code data:codes retention:code
  subject.imported       nobody   source:code accepted:count created:count duplicates:count joined:count received:count
                                  rejected:count suppressed:count updated:count
  events.imported        nobody   source:code accepted:count created:count duplicates:count joined:count received:count
                                  rejected:count suppressed:count updated:count
  contacts.recorded      nobody   source:code accepted:count created:count duplicates:count joined:count received:count
                                  rejected:count suppressed:count updated:count
  sensitive.recorded     somebody source:code fields:codes taken_back:codes packs:names policy:hex
  intake.deferred        nobody   kind:code rows:count letter:hex
  intake.settled         nobody   deferral:hex *:scalar
  subjects.merged        somebody merge:count reason:text rules:code subjects:count people:count
  subjects.unmerged      somebody merge:count reason:text rules:code subjects:count people:count
  reconcile.run          nobody   compared:count differing:count missing:count stray:count links:count
                                  suppressed?:count unread?:count
access
  access.denied          nobody   principal:code scope:code why:code count:count minute:instant
log
  log.epoch_opened       nobody   previous:text reason:code approval:hex proposed_by:code approved_by:code
                                  statement:hex *:scalar|text|json|null
  log.searched           perhaps  by:code found:flag
  map.published          nobody   root:hex entries:count chains:count size:count
"""

_CODE = re.compile(r"[A-Za-z0-9_.:/+\-]{0,128}", re.ASCII)
_NAMES = re.compile(r"[A-Za-z0-9_.:/+\-@ ]{0,4096}", re.ASCII)
_HEX_PAIRS = re.compile(r"(?:[0-9a-f]{2})*")
_TEXT = 256


def _is_whole_number(value: object) -> bool:
    return type(value) is int and value >= 0


def _is_code(value: object) -> bool:
    return isinstance(value, str) and _CODE.fullmatch(value) is not None


def _is_list_of(holds: Callable[[object], bool]) -> Callable[[object], bool]:
    return lambda value: isinstance(value, list) and all(holds(item) for item in value)


TYPES: Mapping[str, tuple[str, Callable[[object], bool]]] = {
    "code": ("a word of a closed list, or the id of something registered: letters, digits, `_.:/+-`", _is_code),
    "codes": ("a list of codes", _is_list_of(_is_code)),
    "names": ("codes in one text, with blanks and `@`", lambda v: isinstance(v, str) and bool(_NAMES.fullmatch(v))),
    "hex": (
        "a digest, an id or a uid in lower-case hex",
        lambda v: isinstance(v, str) and bool(_HEX_PAIRS.fullmatch(v)),
    ),
    "text": ("up to 256 characters that an operator wrote", lambda v: isinstance(v, str) and len(v) <= _TEXT),
    "count": ("a whole number, 0 or more", _is_whole_number),
    "instant": ("epoch seconds", _is_whole_number),
    "flag": ("true or false", lambda v: isinstance(v, bool)),
    "counts": (
        "counts by code",
        lambda v: isinstance(v, dict) and all(_is_code(k) and _is_whole_number(n) for k, n in v.items()),
    ),
    "scalar": ("a code, a number or a flag", lambda v: isinstance(v, bool) or _is_whole_number(v) or _is_code(v)),
    "json": ("a structure of its own, described in docs/audit-log.md", lambda v: isinstance(v, (dict, list))),
    "null": ("nothing", lambda v: v is None),
}


@dataclass(frozen=True, slots=True)
class FieldRule:
    """One field: the types that it may have (`TYPES`), and whether it is always there."""

    types: tuple[str, ...]
    required: bool

    def allows(self, value: object) -> bool:
        """Tell whether the field may hold this value."""
        for name in self.types:  # noqa: SIM110 - an auditor asks this of every field of a log
            if TYPES[name][1](value):
                return True
        return False


@dataclass(frozen=True, slots=True)
class KindRule:
    """One kind: its chapter, whom it is about (nobody, somebody, perhaps), its fields; `more` for any further field."""

    chapter: str
    about: str
    fields: Mapping[str, FieldRule]
    more: FieldRule | None


def _parsed(table: str) -> dict[EntryKind, KindRule]:
    found: dict[EntryKind, KindRule] = {}
    chapter = ""
    for line in re.sub(r"\n {20,}", " ", table).strip().split("\n"):
        if not line.startswith(" "):
            chapter = line
            continue
        kind, about, *fields = line.split()
        rules = dict(_field(field) for field in fields)
        found[EntryKind(kind)] = KindRule(chapter, about, rules, rules.pop("*", None))
    return found


def _field(text: str) -> tuple[str, FieldRule]:
    name, _, types = text.partition(":")
    return name.removesuffix("?"), FieldRule(tuple(types.split("|")), not name.endswith("?"))


CATALOGUE: Mapping[EntryKind, KindRule] = _parsed(_TABLE)


def problems(entry: Entry) -> list[str]:
    """Return what the catalogue does not allow about an entry, by field; none for an entry that fits."""
    rule = CATALOGUE[entry.kind]
    found = [f"{name} is missing" for name, field in rule.fields.items() if field.required and name not in entry.fields]
    for name, value in entry.fields.items():
        field = rule.fields.get(name, rule.more)
        if field is None:
            found.append(f"{name} is no field of {entry.kind}")
        elif not field.allows(value):
            found.append(f"{name} is no {' or '.join(field.types)}")
    if frozenset(entry.commitments) not in _ALLOWED_COMMITMENTS[entry.kind]:
        found.append("it is not about whom its kind is about")
    return found


def _commitments(kind: EntryKind, rule: KindRule) -> tuple[frozenset[str], ...]:
    nobody = frozenset[str]()
    about = frozenset({SUBJECT, CHAIN}) | ({OTHER, OTHER_CHAIN} if kind is EntryKind.DEK_ROTATED else nobody)
    return {"nobody": (nobody,), "somebody": (about,), "perhaps": (nobody, about)}[rule.about]


_ALLOWED_COMMITMENTS = {kind: _commitments(kind, rule) for kind, rule in CATALOGUE.items()}
