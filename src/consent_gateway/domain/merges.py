"""One person who came in as several subjects: how what each of them said and did is read together.

Nothing moves when people are merged: every fact stays with the subject it came to, and what is derived is derived from
the whole *cluster*. Each rule here is a function of the set of members, so that merges may come in any order, and
undoing one gives what was before it:

1. the ledgers are folded as one, by event time (`domain.consents.fold`): every no of every member is in it. Clocks of
   two sources differ, so a yes of one member does not count over a no of another that may be the later one;
2. a choice is on if it is on for any member: the later "off" of one switches nothing off for the other;
3. every claimed region counts, and the latest birth month (LAW part 2.3); behaviour and contacts are summed;
4. a trait about which members disagree is unknown, for only a human can say which is right.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence

from consent_gateway.domain.consents import ConsentState
from consent_gateway.domain.ids import SubjectId
from consent_gateway.domain.subjects import join_regions, split_regions

RULES = "1"  # the version of the rules above, kept with each merge
_NO = frozenset({ConsentState.WITHDRAWN, ConsentState.REFUSED})
MAX_MEMBERS = 16  # subjects of one person: more is an identifier that many share, not one person

Pair = tuple[SubjectId, SubjectId]
Clusters = dict[SubjectId, list[SubjectId]]
"""Each person by their head: every member in the order of their ids, the head first."""
Profile = tuple[str, int | None]
Summary = tuple[int, int, int]
Traits = Mapping[str, int | str | None]


def components(ids: Iterable[SubjectId], pairs: Iterable[Pair]) -> Clusters:
    """Return the clusters that `pairs` connect `ids` (and whoever is in a pair) to."""
    cluster: dict[SubjectId, set[SubjectId]] = {i: {i} for i in ids}
    for pair in pairs:
        joined = set().union(*(cluster.get(i, {i}) for i in pair))
        cluster.update(dict.fromkeys(joined, joined))
    found = {min(members): sorted(members) for members in cluster.values()}
    return dict(sorted(found.items()))


def united_profile(profiles: Iterable[Profile]) -> Profile:
    """Return `(regions, birth_month)` of a person: every claimed region, and the latest month."""
    held = list(profiles)
    claimed = [r for regions, _ in held for r in split_regions(regions) if r]
    return join_regions(claimed), max((born for _, born in held if born is not None), default=None)


def agreed(values: Iterable[Traits]) -> dict[str, int | str | None]:
    """Return the traits that all members who have them agree about; the others are unknown."""
    said: dict[str, set[int | str | None]] = {}
    for held in values:
        for name, value in held.items():
            said.setdefault(name, set()).add(value)
    return {name: next(iter(found)) if len(found) == 1 else None for name, found in said.items()}


def summed(summaries: Collection[Summary]) -> Summary:
    """Return `(count, first, last)` of what several members did."""
    return sum(s[0] for s in summaries), min(s[1] for s in summaries), max(s[2] for s in summaries)


def why(before: Sequence[str], after: Sequence[str]) -> str:
    """Return in one word why a standing is what it is after people were merged or separated.

    `before` and `after` are states (`ConsentState`) of the people there were and there are, for one purpose on one
    channel towards one recipient.
    """
    if len(after) > 1:
        return "unchanged" if {*before} == {*after} else "separated"
    (now,) = after
    if all(state == now for state in before):
        return "unchanged"
    if now in _NO:
        return "the_no_holds"
    if now == ConsentState.GIVEN and not _NO.isdisjoint(before):
        return "the_later_yes_holds"
    return "one_of_them_answered" if ConsentState.NONE in before and now in before else "read_together"
