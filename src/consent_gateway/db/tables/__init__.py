"""Every table of the store, for SQLite and PostgreSQL alike; one module per kind, re-exported here.

Instants are integers: seconds since the epoch, UTC (the audit log: milliseconds). Personal data is only in
`sealed_groups`, `quarantine.sealed`, `signals.sealed` and `consent_events.evidence`, as ciphertext of the vault;
everything that is searched is a keyed hash (`identifiers.token`). Every table that belongs to one person carries
`subject_id`, so that the store can be distributed by it. `subjects.id` is never used again after an erasure.

Each column is classified beside its table, and together in `CLASSIFICATION`: a test fails on a column without a class.
"""

from __future__ import annotations

from consent_gateway.db.tables import approvals as approval_tables
from consent_gateway.db.tables import deferrals as deferral_tables
from consent_gateway.db.tables import erasures as erasure_tables
from consent_gateway.db.tables import holds as hold_tables
from consent_gateway.db.tables import (
    intake,
    keys,
    links,
    log,
    log_state,
    people,
    policies,
    records,
    registers,
    retention,
    reveals,
)
from consent_gateway.db.tables import signals as signal_tables
from consent_gateway.db.tables.approvals import approvals
from consent_gateway.db.tables.base import (
    CAPPED_CHANNELS,
    CONSENT_SLOTS,
    LAST_NOES,
    NEWEST_CONTACTS,
    NUMBER_SLOTS,
    TEXT_SLOTS,
    metadata,
)
from consent_gateway.db.tables.deferrals import deferrals
from consent_gateway.db.tables.erasures import erasures
from consent_gateway.db.tables.holds import legal_holds, pending_erasures
from consent_gateway.db.tables.intake import (
    idempotency_keys,
    imports,
    quarantine,
    quarantine_identifiers,
    waiting_opt_outs,
)
from consent_gateway.db.tables.keys import (
    index_destructions,
    key_destructions,
    key_holders,
    key_jobs,
    retired_audit_keys,
)
from consent_gateway.db.tables.links import merges, subject_links
from consent_gateway.db.tables.log import (
    audience_manifests,
    audience_members,
    audiences,
    audit_chains,
    audit_entries,
    audit_head,
    audit_index,
    audit_index_blocks,
    audit_map_attempts,
    audit_map_leaves,
    audit_map_nodes,
    audit_maps,
    audit_openings,
    audit_pending,
    audit_tiles,
)
from consent_gateway.db.tables.log_state import log_copies, log_epochs, log_witnessed, log_witnesses
from consent_gateway.db.tables.people import (
    audience_rows,
    choice_events,
    circumstances,
    consent_confirmations,
    consent_events,
    contacts,
    events,
    identifiers,
    index_generations,
    notice_views,
    sealed_groups,
    subject_keys,
    subject_traits,
    subjects,
    suppressions,
    tombstones,
)
from consent_gateway.db.tables.policies import (
    decision_facts,
    policy_activations,
    policy_sets,
    policy_shadow_counts,
    policy_texts,
    vocabularies,
)
from consent_gateway.db.tables.records import controller, purpose_processing, recipient_parties
from consent_gateway.db.tables.registers import (
    exports,
    notices,
    principals,
    pseudonym_epochs,
    purposes,
    recipients,
    registry_state,
    segments,
    slots,
    sources,
    traits,
    vault_fields,
)
from consent_gateway.db.tables.retention import retention_runs, subject_sources
from consent_gateway.db.tables.reveals import canaries, quota_units, quotas, reveal_windows
from consent_gateway.db.tables.signals import signal_mappings, signals

__all__ = [
    "CAPPED_CHANNELS",
    "CLASSIFICATION",
    "CONSENT_SLOTS",
    "LAST_NOES",
    "NEWEST_CONTACTS",
    "NUMBER_SLOTS",
    "TEXT_SLOTS",
    "approvals",
    "audience_manifests",
    "audience_members",
    "audience_rows",
    "audiences",
    "audit_chains",
    "audit_entries",
    "audit_head",
    "audit_index",
    "audit_index_blocks",
    "audit_map_attempts",
    "audit_map_leaves",
    "audit_map_nodes",
    "audit_maps",
    "audit_openings",
    "audit_pending",
    "audit_tiles",
    "canaries",
    "choice_events",
    "circumstances",
    "consent_confirmations",
    "consent_events",
    "contacts",
    "controller",
    "decision_facts",
    "deferrals",
    "erasures",
    "events",
    "exports",
    "idempotency_keys",
    "identifiers",
    "imports",
    "index_destructions",
    "index_generations",
    "key_destructions",
    "key_holders",
    "key_jobs",
    "legal_holds",
    "log_copies",
    "log_epochs",
    "log_witnessed",
    "log_witnesses",
    "merges",
    "metadata",
    "notice_views",
    "notices",
    "pending_erasures",
    "policy_activations",
    "policy_sets",
    "policy_shadow_counts",
    "policy_texts",
    "principals",
    "pseudonym_epochs",
    "purpose_processing",
    "purposes",
    "quarantine",
    "quarantine_identifiers",
    "quota_units",
    "quotas",
    "recipient_parties",
    "recipients",
    "registry_state",
    "retention_runs",
    "retired_audit_keys",
    "reveal_windows",
    "sealed_groups",
    "segments",
    "signal_mappings",
    "signals",
    "slots",
    "sources",
    "subject_keys",
    "subject_links",
    "subject_sources",
    "subject_traits",
    "subjects",
    "suppressions",
    "tombstones",
    "traits",
    "vault_fields",
    "vocabularies",
    "waiting_opt_outs",
]

CLASSIFICATION: dict[str, str] = {
    f"{table}.{column}": kind
    for module in (
        registers,
        records,
        people,
        intake,
        log,
        log_state,
        links,
        policies,
        reveals,
        signal_tables,
        approval_tables,
        erasure_tables,
        keys,
        hold_tables,
        retention,
        deferral_tables,
    )
    for table, classes in module.CLASSES.items()
    for kind, columns in classes.items()
    for column in columns.split()
}
