"""A copy of the checkpoint as a resource on another server: GET to read it, PUT to replace it (RFC 9110).

PUT is conditional: `If-None-Match: *` for the first, `If-Match` with the entity tag that was read for the next. A
server without entity tags cannot say that somebody else wrote meanwhile; then the copy is as good as its last writer,
which is why nobody writes who has not read before.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from consent_gateway.audit.kept.outbound import Outbound, bearer
from consent_gateway.audit.kept.port import Kept, KeptError, Trouble, digest_of

_OK, _ABSENT, _CONFLICTS = 200, (404, 410), (409, 412)
_WRITTEN = (200, 201, 202, 204)


@dataclass(frozen=True, slots=True)
class HttpCopy:
    """A `Copy` at `url`; the token of `bearer_file` goes with each request."""

    name: str
    url: str = field(repr=False)
    outbound: Outbound
    bearer_file: Path | None = None

    @property
    def place(self) -> str:
        """A digest of the address."""
        return digest_of("http", self.url)

    def read(self) -> Kept | None:
        """Return what the server holds, None if it says that there is nothing."""
        answer = self.outbound.call("GET", self.url, headers=bearer(self.bearer_file))
        if answer.status in _ABSENT:
            return None
        if answer.status != _OK:
            raise KeptError(Trouble.REFUSED)
        return Kept(answer.body, answer.headers.get("etag", ""))

    def write(self, note: bytes, seen: Kept | None) -> None:
        """Replace what the server holds; KeptError(CONFLICT) if it says that this has changed."""
        headers = bearer(self.bearer_file) | _condition(seen) | {"content-type": "text/plain; charset=utf-8"}
        answer = self.outbound.call("PUT", self.url, headers=headers, body=note)
        if answer.status in _CONFLICTS:
            raise KeptError(Trouble.CONFLICT)
        if answer.status not in _WRITTEN:
            raise KeptError(Trouble.REFUSED)


def _condition(seen: Kept | None) -> dict[str, str]:
    if seen is None:
        return {"if-none-match": "*"}
    return {"if-match": seen.version} if seen.version and not seen.version.startswith("W/") else {}
