"""Is every chain of the log somebody's, and is what was erased gone? A check for whoever may look into store and keys.

The public log alone shows that no entry is left out of all chains (`audit.maps`). With the store and its keys more can
be said: each chain is that of a living person, under a key that they have or had, or was named by their erasure. A
chain that is neither would be a place to hide entries in (*phantom*), and so would one that goes on after its erasure,
for nobody can open it any more (*unequal*: its length is not the one that the erasure names); a living one that was
named by an erasure is of somebody who came back with a backup (*revived*); an opening of nobody should have gone with
them (*orphan*).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from consent_gateway.audit.chains import chain_key, chain_secret
from consent_gateway.audit.entries import EntryKind, parse_entry
from consent_gateway.db import key_jobs, log_people, log_store
from consent_gateway.domain.ids import SubjectId
from consent_gateway.services.work.gateway import Gateway, Work
from consent_gateway.services.work.vault import GATEWAY_ITSELF

_PAGE = 1000


@dataclass(frozen=True, slots=True)
class ChainReport:
    """What the chains are: those of the living, those of the erased, and what should not be there."""

    living: int
    erased: int
    phantoms: tuple[bytes, ...]
    revived: tuple[bytes, ...]
    unequal: tuple[bytes, ...]
    orphans: int

    @property
    def clean(self) -> bool:
        """Whether nothing is there that should not be."""
        return not (self.phantoms or self.revived or self.unequal or self.orphans)


def check(gateway: Gateway) -> ChainReport:
    """Return what the chains of the log are; drain the sequencer before, so that every erasure is in the log."""
    with gateway.look() as work:
        held = dict(log_people.all_chains(work.session))
        named = dict(_named_by_erasures(work))
        living = {key for subject_id in _people(work) for key in _chains_of(work, subject_id)}
        return ChainReport(
            len(held.keys() & living),
            len(held.keys() & named.keys()),
            tuple(sorted(held.keys() - living - named.keys())),
            tuple(sorted(living & named.keys())),
            tuple(sorted(key for key, count in named.items() if key not in living and held.get(key, 0) != count)),
            log_people.orphaned_openings(work.session),
        )


def _people(work: Work) -> Iterator[SubjectId]:
    after = GATEWAY_ITSELF
    while found := key_jobs.wraps_after(work.session, after, _PAGE):
        yield from (subject_id for subject_id, _ in found)
        after = found[-1][0]


def _chains_of(work: Work, subject_id: SubjectId) -> list[bytes]:
    return [chain_key(chain_secret(key)) for key in work.gateway.vault.audit_keys(work.session, subject_id)]


def _named_by_erasures(work: Work) -> Iterator[tuple[bytes, int]]:
    for raw in log_store.entries_of_kind(work.session, EntryKind.SUBJECT_ERASED):
        chains = parse_entry(raw).fields.get("chains")
        if isinstance(chains, list):  # erasures from before there were chains name none
            yield from ((bytes.fromhex(chain["chain"]), chain["count"]) for chain in chains)
