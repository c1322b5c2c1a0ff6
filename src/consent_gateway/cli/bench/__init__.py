"""`consent-gateway bench`: what this machine does, each figure next to its raw limit measured in the same run.

A bare time says little about a gateway: it depends on the machine. So every figure comes with what the same machine
does when it does only the unavoidable part (answer a constant over HTTP, write the same bytes durably, scan the same
rows), and with the share of that limit which the gateway reaches.

- `plan` how much is measured; `stats` what is made of the runs; `machine` on what;
- `places` the stores, `crowd` and `bulk` the people in them, `raw` the driver without the gateway;
- `job`, `http` and `load` the load generator, a process of its own; `loading` starts it; `echo` the bare HTTP server;
- `law`, `pseudonyms` (in process), `decisions`, `vault`, `imports`, `audiences`, `log`, `trail` the measurements;
  `bare` what no intake can do without; `run` their order; `report` tables.

Figures are not tests: nothing here fails because a machine is slow. What fails is an answer that is not a success.
"""

from __future__ import annotations

from consent_gateway.cli.bench.command import bench

__all__ = ["bench"]
