"""The names that case files use: each list is one thing under several names.

A name that only some officers use is read only where it restricts, so that a word that we took wrongly can close
and never open.
"""

from __future__ import annotations

from consent_gateway.domain.consents import ConsentProperty
from consent_gateway.policies.vocabulary import words

# Fields that tell the story of a case; another field carries what matters for the decision.
NARRATIVE = frozenset(
    words(
        "note why comment citizenship nationality affects_price topic subject_matter product campaign consent_id "
        "notice_version signal_source browser_id device_id existing_customer age_source actual_knowledge "
        "verification_method parental_consent_method opt_out_method"
    )
)

MECHANISMS = {
    "adequacy_decision": "adequacy",
    "eu_scc": "scc",
    "standard_contractual_clauses": "scc",
    "binding_corporate_rules": "bcr",
    "idta": "uk_idta",
    "security_assessment": "cn_security_assessment",
    "certification": "cn_certification",
    "standard_contract": "cn_standard_contract",
}
DESTINATIONS = {
    "custom_audience": "social_custom_audience",
    "ad_platform": "ad_network",
    "cross_context_ads": "ad_network",
    "email_service": "service",
    "email_service_provider": "service",
}

# Channels under other names; a machine that calls is the channel `call` with the fact `automated`.
CHANNELS = {
    "live_call": "call",
    "phone": "call",
    "phone_call": "call",
    "telephone": "call",
    "voice": "call",
    "voice_call": "call",
    "automated_call": "call",
    "prerecorded_call": "call",
    "robocall": "call",
    "mms": "sms",
    "text": "sms",
    "postal": "post",
    "postal_mail": "post",
    "direct_mail": "post",
    "app_push": "push",
    "push_notification": "push",
}
MACHINES = frozenset({"automated_call", "prerecorded_call", "robocall"})

RECIPIENTS = {
    "service_provider": "processor",
    "contractor": "processor",
    "controller": "third_party",
    "partner": "third_party",
    "authority": "public_authority",
    "foreign_authority": "public_authority",
}

KINDS = {
    "general": ConsentProperty(0),
    "separate": ConsentProperty.SEPARATE,
    "explicit": ConsentProperty.EXPLICIT,
    "parental": ConsentProperty.GUARDIAN,
    "written": ConsentProperty.WRITTEN,
    "two_step_opt_in": ConsentProperty.TWO_STEP,
    "double_opt_in": ConsentProperty.TWO_STEP,
    "guardian": ConsentProperty.GUARDIAN,
}
PARENTS = frozenset({"parent", "guardian", "legal_guardian", "holder_of_parental_responsibility"})
CLEAR_ACTS = frozenset({"affirmative", "opt_in", "double_opt_in", "unticked_box", "signature"})

REGISTERS = words(
    "do_not_call dnc_listed dnc_registered dnc_registry tps_registered tps_listed ctps_registered ctps_listed"
)
OBJECTIONS = words(
    "objection objected_at opted_out opted_out_at email_opt_out marketing_opt_out unsubscribed unsubscribed_at"
)
WITHDRAWALS = words("withdrawn_at consent_withdrawn_at revoked_at")
CHANGES = words("notice_outdated notice_version_outdated purpose_changed method_changed data_kind_changed")
REVOKED = words("revoked_other_topic revoked_elsewhere")
CONTRACTS = words("processor_contract contract joint_arrangement")
ELSEWHERE = words(
    "current_location location present_in travelling_in ip_country ip_location phone_country sign_in_country "
    "recent_sign_in_country"
)
INFRASTRUCTURE = words("ciio critical_infrastructure_operator")
ALIASES = (*REGISTERS, *OBJECTIONS, *CHANGES, *REVOKED, *CONTRACTS, *ELSEWHERE, *INFRASTRUCTURE, *WITHDRAWALS)

FIELDS = frozenset(ALIASES) | frozenset(
    words(
        "residency residency_candidates market_targeted controller_location processing_location purpose "
        "channel recipient_type recipient_id recipient_location transfer_mechanism cross_border "
        "exported_non_sensitive_individuals_this_year exported_sensitive_individuals_this_year "
        "destination_kind legal_basis sender_type automated_decision significant_effect affects_price "
        "unreasonable_difference non_personalised_option refusal_mechanism message "
        "information_society_service child_directed requested_purpose soft_opt_in_conditions consent_scope "
        "age suppressed consent_valid_until consent_state consent_kind consent_given_by consent_method "
        "consent_evidence notice_given restriction sale_share_opt_out limit_sensitive_use gpc "
        "gpc_subject_known gpc_previously_seen personalisation_refused sensitive subscriber_type frequency "
        "sends_same_subject_24h local_time local_time_candidates deletion_completed "
        "deletion_pending_technical last_opt_out_at refused_at now minutes_since_revocation "
        "confirmation_already_sent financial_incentive collected_at policy_available consent_given_at "
        "recipient_registered foreign_authority_request revocation_text"
    )
)
