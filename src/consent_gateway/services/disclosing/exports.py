"""How many people's data left China this calendar year: declared, because much of it leaves on other ways than ours.

The thresholds of 促进和规范数据跨境流动规定 (2024-03-22) count people since 1 January over everything the controller
exports. The gateway sees its own answers alone, so the operator declares the number, and declares it again as it
grows; a year for which nothing was declared is unknown, and unknown denies where the number decides.
"""

from __future__ import annotations

from consent_gateway.audit.entries import EntryKind
from consent_gateway.db import registers as register_rows
from consent_gateway.domain.registers import Exports
from consent_gateway.services.work.gateway import Work


def declare_exports(work: Work, declared: Exports) -> None:
    """Declare how many people's data left China in a calendar year so far; the last declaration counts."""
    work.changed_registers()
    register_rows.put_exports(work.session, declared, work.now)
    work.changed_registers()
    work.record(
        EntryKind.ADMIN_ACTION,
        {
            "action": "exports_declared",
            "year": declared.year,
            "people": declared.people,
            "sensitive_people": declared.sensitive_people,
        },
    )
