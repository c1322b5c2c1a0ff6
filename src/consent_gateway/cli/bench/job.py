"""What the load generator is told, and what it tells: plain JSON between two processes."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Literal


@dataclass(frozen=True, slots=True)
class Job:
    """A load to put on a server of this machine.

    - `closed`: each of `connections` sends its next request as soon as it has the answer, through `seconds` after a
      `warmup`; with `count`, that many requests in all instead.
    - `open`: requests become due at `rate` a second at random (Poisson) instants that do not wait for answers; the
      latency of each counts from when it was due.
    - `receipts`: `count` times a decision, then its receipt until it is there.

    `requests` are complete HTTP requests, sent in turn, again from the first after the last.
    """

    mode: Literal["closed", "open", "receipts"]
    port: int
    requests: tuple[bytes, ...]
    connections: int = 1
    seconds: float = 0.0
    warmup: float = 0.0
    rate: float = 0.0
    count: int = 0
    key: str = ""

    def to_json(self) -> str:
        """Return the job as one line of JSON."""
        return json.dumps(asdict(self) | {"requests": [base64.b64encode(r).decode() for r in self.requests]})

    @classmethod
    def from_json(cls, text: str) -> Job:
        """Return the job that `to_json` wrote."""
        raw = json.loads(text)
        return cls(**raw | {"requests": tuple(base64.b64decode(r) for r in raw["requests"])})


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a job: latencies in microseconds of the answers inside the window of `seconds`.

    `total` counts all answers, also those outside the window; `failures` counts answers by status that are not a
    success; `late_us` is by how much the generator itself was late with each request (open loop).
    """

    seconds: float
    total: int
    latencies_us: list[int]
    failures: Mapping[str, int] = field(default_factory=dict)
    late_us: list[int] = field(default_factory=list)

    @property
    def rate(self) -> float:
        """Answers a second inside the window."""
        return len(self.latencies_us) / self.seconds

    def to_json(self) -> str:
        """Return the outcome as one line of JSON."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Outcome:
        """Return the outcome that `to_json` wrote."""
        return cls(**json.loads(text))
