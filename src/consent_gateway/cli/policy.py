"""The commands of the officers, each in the module of what it is about; those of the packs alone load no store."""

from __future__ import annotations

from consent_gateway.cli.lazy import LazyGroup, Place

_PLACES = {
    "list": Place(
        "policy_reading",
        "list_packs",
        "List the packs in force today with version, rules, review date and the choices that are not the shipped ones.",
    ),
    "show": Place(
        "policy_reading",
        "show_pack",
        "Print a pack as a lawyer reads it: settings, and every rule with its article and text.",
    ),
    "test": Place("policy_cases", "test_cases", "Run case files (JSON, YAML or folders of them) and print every case."),
    "explain": Place(
        "policy_cases",
        "explain_facts",
        "Answer the facts of one case (an object of fields, or a case with `given`) with all reasons and duties.",
    ),
    "lint": Place(
        "policy_checks",
        "lint_packs",
        "Look for dead, contradicted, shadowed and implied rules, missing texts and due reviews; exact over all facts.",
    ),
    "prove": Place(
        "policy_checks",
        "prove_claims",
        "Prove claims over all facts, or show facts at which they fail; without any, the claims that ship.",
    ),
    "export": Place(
        "policy_checks",
        "export_pack",
        "Print a pack for another engine: `--cedar PACK` its policies, `--cedar-schema` what they are valid under.",
    ),
    "record": Place(
        "record",
        "record",
        "Print the record of processing activities (GDPR Art 30), made out of the registers, with its gaps.",
    ),
    "propose": Place(
        "policy_change",
        "propose",
        "Propose a pack; it is checked in full and decides nothing until somebody else activates it.",
    ),
    "propose-again": Place(
        "policy_change", "propose_again", "Propose ID@VERSION of the store as it is: the first half of a roll back."
    ),
    "shadow": Place(
        "policy_change", "shadow", "Begin or stop to watch the candidate ID@VERSION beside the law in force."
    ),
    "shadow-report": Place(
        "policy_change",
        "shadow_report",
        "Say what the candidate ID@VERSION would have answered to the questions that were really asked.",
    ),
    "activate": Place(
        "policy_change",
        "activate",
        "Put the candidate ID@VERSION in force; only somebody else than who proposed it may.",
    ),
    "texts": Place("policy_change", "texts", "List every text of the store with its state."),
    "diff": Place(
        "policy_compare", "diff", "Compare two laws over today's people, by class; status 1 if anything changes."
    ),
    "simulate": Place(
        "policy_compare",
        "simulate",
        "Answer the cases of a file under several LAWS side by side; status 1 if they do not all agree.",
    ),
    "replay": Place(
        "policy_compare",
        "replay",
        "Compute the decision of a log entry again, with the packs of that time; status 1 unless it is the same.",
    ),
}

policy = LazyGroup(
    "policy", _PLACES, help="The law as decision tables: list, show, test, explain, lint, prove, export."
)
