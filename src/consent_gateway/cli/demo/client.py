"""The demo's HTTP client: JSON in, JSON out, and a problem (RFC 9457) becomes an exception that says what to do."""

from __future__ import annotations

from typing import Any

import httpx

Json = Any


class ProblemError(Exception):
    """An answer that was not expected; `status` and `code` as the gateway gave them."""

    def __init__(self, method: str, path: str, answer: httpx.Response) -> None:
        body = _json(answer)
        self.status = answer.status_code
        self.code = str(body.get("code", ""))
        self.body = body
        detail = body.get("detail") or answer.text[:200]
        where = "; ".join(f"{e.get('path')}: {e.get('message')}" for e in body.get("errors") or [])
        super().__init__(f"{method} {path} answered {self.status} {self.code}: {detail} {where}".strip())


class Api:
    """The public API of a running gateway, under one API key; `http` is the client for whoever sends files."""

    def __init__(self, url: str, key: str) -> None:
        self.url = url
        self.http = httpx.Client(base_url=url, headers={"Authorization": f"Bearer {key}"}, timeout=60, trust_env=False)

    def close(self) -> None:
        """Close the connections."""
        self.http.close()

    def get(self, path: str) -> Json:
        """Return the JSON at `path`; raises ProblemError unless the answer is a success."""
        return self._send("GET", path).json()

    def text(self, path: str) -> str:
        """Return the text at `path`; raises ProblemError unless the answer is a success."""
        return self._send("GET", path).text

    def content(self, path: str) -> bytes:
        """Return the bytes at `path`; raises ProblemError unless the answer is a success."""
        return self._send("GET", path).content

    def post(self, path: str, body: Json) -> Json:
        """Send `body` as JSON and return the JSON of the answer; raises ProblemError unless it is a success."""
        return self._send("POST", path, json=body).json()

    def post_for_bytes(self, path: str, body: Json) -> bytes:
        """Send `body` as JSON and return the answer byte for byte; raises ProblemError unless it is a success."""
        return self._send("POST", path, json=body).content

    def visit(self, method: str, path: str) -> httpx.Response:
        """Return what somebody without a key gets who follows a link in a browser; any status is an answer."""
        request = self.http.build_request(method, path, headers={"Accept": "text/html"})
        request.headers.pop("Authorization", None)
        return self.http.send(request)

    def upload(self, path: str, body: bytes, content_type: str, idempotency_key: str) -> Json:
        """Send bytes of another type under an idempotency key; raises ProblemError unless the answer is a success."""
        headers = {"Content-Type": content_type, "Idempotency-Key": idempotency_key}
        return self._send("POST", path, content=body, headers=headers).json()

    def problem(self, method: str, path: str, body: Json = None) -> ProblemError | None:
        """Send a request that must be refused; return the problem, or None if it succeeded."""
        try:
            self._send(method, path, json=body)
        except ProblemError as problem:
            return problem
        return None

    def _send(self, method: str, path: str, **more: Any) -> httpx.Response:
        answer = self.http.request(method, path, **more)
        if not answer.is_success:
            raise ProblemError(method, path, answer)
        return answer


def _json(answer: httpx.Response) -> dict[str, Any]:
    try:
        body = answer.json()
    except ValueError:
        return {}
    return body if isinstance(body, dict) else {}
