"""Consent strings in process: what decoding one costs, beside decoding the same text from base64 and nothing else.

The samples are made up: their vendors are numbers by a formula, nobody's choices. Each figure is a mean over many calls
with the same string, in microseconds; nothing is remembered between calls, so that it is what a string seen for the
first time costs.
"""

from __future__ import annotations

from base64 import urlsafe_b64decode

from consent_gateway.cli.bench.calls import microseconds
from consent_gateway.cli.bench.plan import Plan
from consent_gateway.cli.bench.stats import Figure, Limit
from consent_gateway.policies.signals.detect import decode

AIM_US = 100.0
_CALLS = 2000
_FIELDS = "TCF v2.3, bit fields"
SAMPLES = {
    "TCF v2.2, bit fields": (
        "CQZCrAAQZCrAAEsABBENAwEoAPLAAELAAAYgGaLdu3bt27du3bt27du3bt27du3bt27du3bt27du3bt27du3bt27du3bt27du3bt"
        "27du3bt27du3bt27du3bt27du3bt27du3bt27du3bt27du3bt27du3bt27du3bt27du3bt27du3AvhAOAcA4BwDgHAOAcA4BwDgH"
        "AOAcA4BwDgHAOAcA4BwDgHAOAcA4BwDgHAOAcA4BwDgHAOAcA4BwDgHAOAcA4BwDgHAOAcA4BwDgHAOAcA4BwDgHAOAcA4BwDgHA"
        "OAcA4AA"
    ),
    "TCF v2.3, bit fields": (
        "CQq7FMAQq7FMAEsABBENAwFgAP_gAEPgAAYgHCJznOc5znOc5znOc5znOc5znOc5znOc5znOc5znOc5znOc5znOc5znOc5znOc5z"
        "nOc5znOc5znOc5znOc5znOc5znOc5znOc5znOc5znOc5znOc5znOc5znOc5znOc5znOc5znOc5znOc5znOc5znOcwNBQA4AcAOAH"
        "ADgBwA4AcAOAHADgBwA4AcAOAHADgBwA4AcAOAHADgBwA4AcAOAHADgBwA4AcAOAHADgBwA4AcAOAHADgBwA4AcAOAHADgBwA4Ac"
        "AOAHADgBwA4AcAOAHADgBwA4AcAOAHAA.IHCP_______________________________________________________________"
        "______________________________________________________________________________________w.eEAAAAAAAAA"
    ),
    "TCF v2.3, ranges and restrictions": (
        "CQq7FMAQq7FMAEsABBFRAwFgALIAAEKAAAqIGlwD4AAgAHADwAP4A8AD3ALQAt4B4AHnASwBL4C0ALXAaQBp4DwAPHAhwCH4EsAS"
        "3ApQCl4FoAWnAwwDD4GkAaWBQMAkAAMAUABRgFAAUMA8ADxgKAAoMBkAGRgPAA8MCMAIxgUABQIAQSADACgAOxwAMAAoACQAQg.I"
        "GoQD4AAgARADwARIA8AEBALQAvIB4AHxASwBNIC0ALhAaQBrIDwAPRAhwCJIEsATBApQCnIFoAWxAwwDFIGkAag"
    ),
    "GPP, national and California": ("DBABrw~CqlAAAAAAAAA.YA~BqUAAAAA.YA"),
}
SAMPLES["GPP, TCF and US Privacy"] = f"DBACNYA~{SAMPLES[_FIELDS]}~1YNN"


def measure(plan: Plan) -> list[Figure]:
    """Measure the decoding of each sample."""
    return [_figure(plan, name, text) for name, text in SAMPLES.items()]


def _figure(plan: Plan, name: str, text: str) -> Figure:
    asked = [text] * _CALLS
    bare = Limit("base64 alone", microseconds(plan, lambda: _bare, asked))
    found = microseconds(plan, lambda: decode, asked)
    return Figure(f"signal decoded: {name}", found, "µs", (bare,), AIM_US, f"{len(text)} characters")


def _bare(text: str) -> list[bytes]:
    """Decode each segment of a string from base64url, padded to a whole quad, without looking at a bit."""
    return [urlsafe_b64decode(part + "A" * (-len(part) % 4)) for part in text.replace("~", ".").split(".")]
