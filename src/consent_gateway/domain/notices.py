"""Notices: what people were told, in versions and languages, and which version replaced which in a material way.

A version is published once and never changes. A *material* version changes what people agreed to (the purpose, the way
or the kind of data: PIPL Art 14(2), GDPR Art 4(11)); consent given under an earlier version is outdated from its
publication on, for the purposes it names and every narrower one, or for all where it names none. A text is shown in the
reader's language, else in a wider form of it, else in the language that was published first.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from consent_gateway.domain.ids import NoticeId, PurposeId
from consent_gateway.domain.purposes import PurposeTree


@dataclass(frozen=True, slots=True)
class NoticeVersion:
    """One version of a notice; `languages` in the order of their publication, `published_at` of the first."""

    notice: NoticeId
    version: int
    languages: tuple[str, ...]
    published_at: int
    material: bool = False
    purposes: frozenset[PurposeId] = frozenset()

    def concerns(self, purpose: PurposeId, tree: PurposeTree) -> bool:
        """Tell whether the version changes what was agreed to for `purpose`."""
        return not self.purposes or not self.purposes.isdisjoint(tree.ancestors(purpose))


@dataclass(frozen=True, slots=True)
class NoticeBook:
    """Every version of every notice, without the words; `material` are those that outdate, by notice."""

    versions: Mapping[NoticeId, Sequence[NoticeVersion]] = field(default_factory=dict)
    material: Mapping[NoticeId | None, Sequence[NoticeVersion]] = field(default_factory=dict)

    @classmethod
    def of(cls, versions: Mapping[NoticeId, Sequence[NoticeVersion]]) -> NoticeBook:
        """Return the book of `versions` (by notice)."""
        material = {name: tuple(v for v in of if v.material) for name, of in versions.items()}
        return cls(versions, {name: found for name, found in material.items() if found})

    def find(self, notice: NoticeId, version: int | None, language: str | None = None) -> NoticeVersion | None:
        """Return the version (the newest where none is named) that was published in `language` (any: None)."""
        fitting = [
            v
            for v in self.versions.get(notice, ())
            if version in (None, v.version) and (language is None or language in v.languages)
        ]
        return max(fitting, key=lambda v: v.version, default=None)

    def outdates(
        self, notice: NoticeId | None, version: int | None, given_at: int, purpose: PurposeId, tree: PurposeTree
    ) -> bool:
        """Tell whether a yes under `version` of a notice is outdated for `purpose`.

        Where the yes names no version, a material version that was published after it (`given_at`, seconds) counts.
        """
        return any(
            (later.published_at > given_at if version is None else later.version > version)
            and later.concerns(purpose, tree)
            for later in self.material.get(notice, ())
        )


NO_NOTICES = NoticeBook()


def language_for(wanted: str | None, published: Sequence[str]) -> str:
    """Return the best of the `published` languages (BCP 47, at least one) for a reader of `wanted`.

    RFC 4647 section 3.4 (lookup): `wanted` itself, then without its last subtags; else the first that was published.
    """
    known = {language.lower(): language for language in reversed(published)}
    tags = (wanted or "").lower().split("-")
    for length in range(len(tags), 0, -1):
        found = known.get("-".join(tags[:length]))
        if found is not None:
            return found
    return published[0]
