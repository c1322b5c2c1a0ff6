"""Typed identifiers, and the one grammar of the names that operators choose.

`SubjectId` is an internal 63-bit integer that never leaves the gateway; recipients see pseudonyms. Everything
that an operator registers (purpose, source, recipient, notice, trait, segment) is named by a slug.
"""

from __future__ import annotations

import re
from typing import NewType

SubjectId = NewType("SubjectId", int)
PurposeId = NewType("PurposeId", str)
SourceId = NewType("SourceId", str)
RecipientId = NewType("RecipientId", str)
NoticeId = NewType("NoticeId", str)
TraitId = NewType("TraitId", str)
SegmentId = NewType("SegmentId", str)

SLUG = re.compile(r"[a-z][a-z0-9_]{0,62}\Z")


def is_slug(text: str) -> bool:
    """Tell whether `text` may name a registered thing: a lower-case letter, then up to 62 of `[a-z0-9_]`."""
    return SLUG.match(text) is not None
