"""Keep what a replay needs, in the transaction of the answers that need it: points of facts, and sets of packs.

Each is written the first time an answer names it; `Gateway.kept` remembers which are there, so that the way of a
decision writes nothing that is known.
"""

from __future__ import annotations

import json
from collections.abc import Mapping

from consent_gateway.db import policies, replays
from consent_gateway.db.engine import Session
from consent_gateway.policies import points
from consent_gateway.policies.rules import PackSet

_TABLE = points.current()
_ID, _JSON = points.identify(_TABLE).hex(), json.dumps(_TABLE)


def keep_points(session: Session, found: Mapping[str, int], at: int) -> None:
    """Keep points of this software's vocabulary: digest to bits."""
    replays.put_facts(session, _ID, _JSON, {digest: f"{bits:x}" for digest, bits in found.items()}, at)


def keep_set(session: Session, digest: str, members: str, packs: PackSet, at: int) -> None:
    """Keep what a set of packs is made of, and its texts if nobody recorded them yet."""
    replays.put_set(session, digest, members, at)
    versions = {pack.id: pack.version for pack in packs.packs}
    for name, sha256 in sorted(json.loads(members)["texts"].items()):
        text = packs.texts.get(name, "")
        if policies.digest(text) == sha256:
            policies.add_text(session, name, versions.get(name, 0), text, at)
