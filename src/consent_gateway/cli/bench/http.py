"""Just enough HTTP/1.1 for a load generator: requests encoded beforehand, answers counted, not understood.

The reader knows `Content-Length` and `chunked` (RFC 9112 parts 6 and 7) as a server of this package writes them. It
takes a chunked body for ended at the bytes of the last chunk, which no NDJSON contains.
"""

from __future__ import annotations

HOST = "127.0.0.1"
_HEAD_END, _LAST_CHUNK = b"\r\n\r\n", b"0\r\n\r\n"
_LENGTH, _CHUNKED = b"\r\ncontent-length:", b"\r\ntransfer-encoding: chunked"


def encode(method: str, path: str, key: str = "", body: bytes = b"", media: str = "application/json") -> bytes:
    """Return the bytes of a keep-alive request; `key` is an API key, `body` may be empty."""
    lines = [f"{method} {path} HTTP/1.1", f"host: {HOST}"]
    if key:
        lines.append(f"authorization: Bearer {key}")
    if body or method == "POST":
        lines += [f"content-type: {media}", f"content-length: {len(body)}"]
    return ("\r\n".join(lines) + "\r\n\r\n").encode() + body


class AnswerReader:
    """Reads one answer after the other from the pieces in which it arrives; no pipelining."""

    __slots__ = ("_chunked", "_head", "_left", "_tail", "body", "keep", "status")

    def __init__(self, *, keep: bool = False) -> None:
        self.keep = keep  # whether `body` holds the body of the last answer as it came
        self.body = b""
        self.status = 0
        self._head = b""
        self._left: int | None = None
        self._chunked = False
        self._tail = b""

    def feed(self, data: bytes) -> int:
        """Take a piece; return the status if it completes the answer, else 0. ValueError for what is not HTTP."""
        if self._left is None:
            data = self._head + data
            end = data.find(_HEAD_END)
            if end < 0:
                self._head = data
                return 0
            self._begin(data[:end])
            data = data[end + len(_HEAD_END) :]
        return self._take(data)

    def _begin(self, head: bytes) -> None:
        if not head.startswith(b"HTTP/1.1 "):
            raise ValueError("not an HTTP/1.1 answer")
        self.status = int(head[9:12])
        self.body = self._tail = self._head = b""
        lowered = head.lower()
        self._chunked = _CHUNKED in lowered
        at = lowered.find(_LENGTH)
        if at < 0 and not self._chunked:
            raise ValueError("an answer without a length")
        self._left = 0 if self._chunked else int(lowered[at + len(_LENGTH) :].split(b"\r\n", 1)[0])

    def _take(self, data: bytes) -> int:
        if self.keep:
            self.body += data
        if self._chunked:
            self._tail = (self._tail + data)[-len(_LAST_CHUNK) :]
            done = self._tail == _LAST_CHUNK
        else:
            self._left = (self._left or 0) - len(data)
            done = self._left <= 0
        if not done:
            return 0
        self._left = None
        return self.status
