"""Changing the law with four eyes: propose, watch in shadow, activate, roll back.

A text is proposed by one person and activated by another; the log names both, and the text by its digest. A version is
a name for one text: other words need a higher version. Rolling back is to propose a text that was in force before, as
it is, and to have another person activate it.

The software's own texts are recorded when a store is made and when it is migrated. A newer one takes effect with the
migration unless people put their own text in its place; then it waits as a candidate for one of them to activate.

Everyone here begins with `Work.changed_registers`: changes come one at a time, and every replica decides by the new law
from its next transaction on. Opt-outs and rights requests never ask the law, so that nothing here can hold them up.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from consent_gateway.audit.entries import EntryKind
from consent_gateway.db import policies as rows
from consent_gateway.domain.policies import CATALOGUE, SOFTWARE, Activation, PolicyState
from consent_gateway.errors import (
    ConflictError,
    FieldProblem,
    ForbiddenError,
    InputError,
    NotFoundError,
    PolicyError,
)
from consent_gateway.policies.choices import Choices
from consent_gateway.policies.packs import load_builtin, parse_pack
from consent_gateway.policies.rules import Pack, PackSet, ReasonText
from consent_gateway.services.deciding.law import Chosen, checked, day_of
from consent_gateway.services.work.gateway import Gateway, Work

_MINUTE = 60


@dataclass(frozen=True, slots=True)
class Text:
    """One text as it stands: its row, its state, the activation that counts for it, and the pack or its problem."""

    row: Mapping[str, Any]
    state: PolicyState
    activation: Activation | None
    pack: Pack | None
    problem: str = ""


def record_shipped(work: Work) -> list[str]:
    """Record the software's texts and put the newer ones in force; return the names that changed the law.

    Where people activated a text of their own, a newer one of the software becomes a candidate.
    """
    work.changed_registers()
    shipped, changed = load_builtin(), []
    versions = {pack.id: pack.version for pack in shipped.packs}
    for name, text in sorted(shipped.texts.items()):
        version = versions.get(name, 0)
        sha256 = rows.add_text(work.session, name, version, text, work.now)
        held = work.registers.policies.latest(name)
        if held is not None and (held.sha256 == sha256 or version < held.version):
            continue
        if held is not None and held.by_people:
            if version > held.version:
                rows.update_text(work.session, sha256, proposed_by=SOFTWARE, proposed_at=work.now)
            continue
        _put_in_force(work, name, version, sha256, SOFTWARE, SOFTWARE, work.now)
        changed.append(name)
    return changed


def record_first(gateway: Gateway) -> None:
    """Record the software's texts in a store that has none yet; afterwards only a migration brings newer ones."""
    with gateway.look() as work:
        recorded = bool(work.registers.policies.activations)
    if not recorded:
        with gateway.work() as work:
            record_shipped(work)


def propose(work: Work, text: str, label: str = "pack") -> Text:
    """Propose a text as it is; `label` names it in errors.

    InputError says at which line what is wrong, and nothing is stored. ConflictError for a version that is taken by
    other words, or lower than one that people know.
    """
    _require_person(work)
    # Read before anybody waits for us, opt-outs least of all (P1): below, and where it is found, it is only remembered.
    pack = _valid(label, text, work.law.packs)
    parse(f"{pack.id}@{pack.version}", text, work.law.packs)
    work.changed_registers()
    pack = _valid(label, text, work.law.packs)
    sha256 = rows.digest(text)
    known = {row["sha256"]: row for row in rows.text_rows(work.session, pack.id)}
    _require_version(pack, sha256, known)
    current = work.registers.policies.latest(pack.id)
    if current is not None and current.sha256 == sha256:
        raise ConflictError("this text is in force, or is going to be")
    open_proposal = known.get(sha256, {}).get("proposed_by")
    if open_proposal not in (None, work.actor.id):
        raise ConflictError("this text was proposed already, by somebody else")
    if open_proposal is None:
        rows.add_text(work.session, pack.id, pack.version, text, work.now)
        rows.update_text(work.session, sha256, proposed_by=work.actor.id, proposed_at=work.now)
        work.record(EntryKind.POLICY_PROPOSED, _named(pack.id, pack.version, sha256))
    return find(work, pack.id, pack.version)


def propose_again(work: Work, pack_id: str, version: int) -> Text:
    """Propose a text that is in the store: the first half of a roll back. NotFoundError if there is none."""
    return propose(work, find(work, pack_id, version).row["text"], f"{pack_id}@{version}")


def set_shadow(work: Work, pack_id: str, version: int, *, on: bool) -> Text:
    """Begin or stop to watch a candidate beside the law in force; counting begins anew."""
    work.changed_registers()
    text = find(work, pack_id, version)
    if text.row["proposed_by"] is None:
        raise ConflictError("only a candidate can be watched in shadow: propose it first")
    sha256 = text.row["sha256"]
    if text.row["shadow"] != on:
        rows.update_text(work.session, sha256, shadow=on, shadow_since=work.now if on else None)
        if on:
            rows.forget_shadow_counts(work.session, sha256)
        work.changed_registers()
        work.record(EntryKind.POLICY_SHADOWED, _named(pack_id, version, sha256) | {"on": on})
    return find(work, pack_id, version)


def activate(work: Work, pack_id: str, version: int, effective_at: int | None = None) -> Text:
    """Put a candidate in force, now or from `effective_at` (seconds, a whole minute) on.

    ForbiddenError unless somebody else proposed it. ConflictError for a lower version that was never in force, and for
    dates that overlap: those of an activation that still lies ahead, or those at which the pack's law is not in force.
    """
    _require_person(work)
    work.changed_registers()
    text = find(work, pack_id, version)
    proposer, sha256 = text.row["proposed_by"], text.row["sha256"]
    if proposer is None:
        raise ConflictError("this text is not a candidate: propose it first")
    if proposer == work.actor.id:
        raise ForbiddenError("four eyes: somebody else than who proposed it activates a policy")
    at = _instant(work, effective_at)
    pack = _valid(f"{pack_id}@{version}", text.row["text"], work.law.packs)
    _require_dates(work, pack, at)
    _put_in_force(work, pack_id, version, sha256, proposer, work.actor.id, at)
    return find(work, pack_id, version)


def validate(work: Work, text: str, label: str = "pack") -> Pack:
    """Return the pack of a text under today's catalogue and choices; InputError says at which line it is wrong."""
    return _valid(label, text, work.law.packs)


def find(work: Work, pack_id: str, version: int) -> Text:
    """Return a text by name and version, the one recorded last if the software used a version twice."""
    found = [t for t in listing(work, pack_id) if t.row["version"] == version]
    if not found:
        raise NotFoundError("there is no such pack in the store")
    live = (PolicyState.ACTIVE, PolicyState.SCHEDULED)
    return next((t for t in found if t.state in live), found[0])


def listing(work: Work, pack_id: str | None = None) -> list[Text]:
    """Return every text of the store (of a name) with its state; those in force first, then the newest."""
    texts = [_text(work, row) for row in rows.text_rows(work.session, pack_id)]
    order = {state: n for n, state in enumerate(reversed(PolicyState))}
    order[PolicyState.ACTIVE] = -1
    return sorted(texts, key=lambda t: (t.row["name"], order[t.state], -t.row["version"]))


# -- the parts ---------------------------------------------------------------------------------------------------


def _text(work: Work, row: Mapping[str, Any]) -> Text:
    policies, sha256 = work.registers.policies, row["sha256"]
    current = policies.in_force(work.now).get(row["name"])
    past = [a for a in policies.activations if a.sha256 == sha256]
    activation = past[-1] if past else None
    if current is not None and current.sha256 == sha256:
        state, activation = PolicyState.ACTIVE, current
    elif activation is not None and activation.scheduled and activation.effective_at > work.now:
        state = PolicyState.SCHEDULED
    elif row["proposed_by"] is not None:
        state = PolicyState.SHADOW if row["shadow"] else PolicyState.CANDIDATE
    else:
        state = PolicyState.RETIRED
    pack, problem = _readable(row, work.law.packs)
    return Text(row, state, activation, pack, problem)


def _readable(row: Mapping[str, Any], packs: PackSet) -> tuple[Pack | None, str]:
    if row["name"] == CATALOGUE:
        return None, ""
    if not checked({row["sha256"]: row["text"]}, row["sha256"]):
        return None, "the text was altered in the store"
    try:
        return parse(f"{row['name']}@{row['version']}", row["text"], packs), ""
    except PolicyError as error:
        return None, error.detail


def parse(label: str, text: str, packs: PackSet) -> Pack:
    """Return the pack of a text under the catalogue and the choices of `packs`; raises `PolicyError`."""
    return _parse(label, text, tuple(packs.reasons.values()), packs.chosen)


@lru_cache(maxsize=64)
def _parse(label: str, text: str, reasons: tuple[ReasonText, ...], chosen: Chosen) -> Pack:
    return parse_pack(label, text, {r.code: r for r in reasons}, Choices("the operator's choices", chosen))


def _valid(label: str, text: str, packs: PackSet) -> Pack:
    try:
        pack = parse(label, text, packs)
    except PolicyError as error:
        raise InputError(fields=(FieldProblem("$.text", "policy_invalid", error.detail),)) from None
    if pack.id == CATALOGUE:
        raise InputError(fields=(FieldProblem("$.text", "policy_invalid", "the catalogue is not a pack"),))
    return pack


def _require_person(work: Work) -> None:
    """Refuse the gateway itself: four eyes are those of two keys."""
    if not work.actor.key:
        raise ForbiddenError("a policy is changed by people: use an API key with the scope policy")


def _require_version(pack: Pack, sha256: str, known: Mapping[str, Mapping[str, Any]]) -> None:
    if sha256 in known:
        return
    versions = {row["version"] for row in known.values()}
    if pack.version in versions:
        raise ConflictError("this version names another text already: raise the version")
    if pack.version < max(versions, default=0):
        raise ConflictError("the version is lower than one that was recorded: versions only grow")


def _instant(work: Work, effective_at: int | None) -> int:
    if effective_at is None:
        return work.now
    if effective_at <= work.now or effective_at % _MINUTE:
        problem = FieldProblem("$.effective_at", "invalid_instant", "a whole minute that lies ahead")
        raise InputError(fields=(problem,))
    return effective_at


def _require_dates(work: Work, pack: Pack, at: int) -> None:
    policies, day = work.registers.policies, day_of(at)
    held = policies.latest(pack.id)
    if held is not None and held.scheduled and held.effective_at >= at:
        raise ConflictError("another activation of this pack lies ahead: choose an instant after it")
    once = any(a.name == pack.id and a.version == pack.version for a in policies.activations)
    if held is not None and pack.version < held.version and not once:
        raise ConflictError("a lower version can come back only if it was in force before")
    if day < pack.effective_from or (pack.effective_until is not None and day > pack.effective_until):
        raise ConflictError("the pack's own dates say that it is not in force then")
    if day > pack.review_by:
        raise ConflictError("the pack is past its review date then, and would permit no marketing")


def _put_in_force(
    work: Work, name: str, version: int, sha256: str, proposer: str, approver: str, effective_at: int
) -> None:
    policies = work.registers.policies
    number = max((a.number for a in policies.activations), default=0) + 1
    replaced = policies.in_force(work.now).get(name)
    activation = Activation(number, name, version, sha256, effective_at, proposer, approver, work.now)
    rows.add_activation(work.session, activation)
    rows.update_text(work.session, sha256, proposed_by=None, proposed_at=None, shadow=False, shadow_since=None)
    work.changed_registers()
    fields: dict[str, object] = {
        "proposed_by": proposer,
        "approved_by": approver,
        "effective_at": effective_at,
        "replaces": "" if replaced is None else replaced.sha256,
        "roll_back": any(a.sha256 == sha256 for a in policies.activations),
    }
    work.record(EntryKind.POLICY_ACTIVATED, _named(name, version, sha256) | fields)


def _named(name: str, version: int, sha256: str) -> dict[str, object]:
    return {"pack": name, "version": version, "sha256": sha256}
