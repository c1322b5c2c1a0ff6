"""Where every fact of a decision comes from in service: the table behind `docs/facts.md`.

The vocabulary is closed (`policies.vocabulary`), so that the table can be complete: a test compares it with the
vocabulary, and another one reads `services.deciding.questions` and `services.deciding.situations` and finds every field
of a question and of a situation either given there or listed in `UNFED` with its reason.
"""

from __future__ import annotations

from consent_gateway.policies.vocabulary import FACTS, words

_PURPOSE = "purpose register (`POST /v1/purposes`)"
_MARK = _PURPOSE + ": `marks`"
_RECIPIENT = "recipient register (`POST /v1/recipients`)"
_MESSAGE = "caller: `message` of the question"
_REGIONS = "`country` of every `POST /v1/subjects` about the person, united; what no pack covers is unknown"
_CHOICE = "`POST /v1/choices`: "
_SENSITIVE = "`sensitive` of the purpose, and of the traits that chose the audience; LAW 1.6"
_POINT = "`collection` and `subscriber` of `POST /v1/subjects`, for every contact point of the channel; "
_NEWEST_NO = "ledger and choices: newest withdrawal or objection on the medium"
_CONSENT = "ledger (`POST /v1/consents`), folded for purpose, channel, contact point and recipient"

_BY_SOURCE: tuple[tuple[str, str], ...] = (
    ("purpose", _PURPOSE + ": `kind`"),
    ("channel", "caller"),
    ("recipient contract transfer_mechanism", _RECIPIENT),
    ("recipient_known", _RECIPIENT + "; a recipient that is not there is refused before anything is asked"),
    ("recipient_place", _RECIPIENT + ": `country`; our own only where it is declared"),
    ("exported_people exported_sensitive", "operator: `POST /v1/exports`, per calendar year in China; else unknown"),
    ("destination", _RECIPIENT + ": `destination`; online advertising by others is `ad_network` unless declared"),
    ("basis", _PURPOSE + ": `basis`, or one of `bases` that the question names"),
    ("sender", "setting `CONSENT_GATEWAY_SENDER_TYPE`"),
    ("automated significant unreasonable_price non_personalised_option refusal_mechanism child_directed", _MARK),
    ("similar_products", _MARK),
    ("charitable_purpose", _MARK + " (`charitable`)"),
    ("msg_unsubscribe msg_sender msg_postal msg_ad_label", _MESSAGE),
    ("opt_out_in_message", _MESSAGE + " (`unsubscribe`)"),
    ("iss", "the channel: e-mail, texts, push, in-app and online advertising are part of a service of that kind"),
    ("controller", "setting `CONSENT_GATEWAY_CONTROLLER_COUNTRY`"),
    ("requested", _PURPOSE + ": `requested`"),
    ("same_entity", "the recipient is ourselves or a processor; only sources of our own (`party`) tell of our sales"),
    ("at_eu at_uk at_ca at_us us_other us_signal_state us_hours_state us_cap_state at_cn at_unknown", _REGIONS),
    ("age eu_child", "`birth_date` of `POST /v1/subjects`; of several the latest"),
    ("consent", _CONSENT),
    ("affirmative separate explicit written guardian two_step evidence", _CONSENT + ": `properties` of the grant"),
    ("scope_recipient", _CONSENT + ": `recipient`"),
    ("scope_purpose scope_channel", "always yes, see below"),
    ("notice", "ledger and notice register: outdated where a later material version replaced it; see below"),
    ("objection sale_share_opt_out limit_sensitive personalisation_refused", _CHOICE + "of that name"),
    ("restriction", _CHOICE + "of that name, or a legal hold in force"),
    ("gpc", _CHOICE + "`gpc`, or the header `Sec-GPC: 1`; once seen and off again is `seen_before`"),
    ("special_category sensitive_us sensitive_cn", _SENSITIVE),
    ("subscriber", _POINT + "corporate only if some source says so and none says individual"),
    ("collected_in_sale opt_out_offered expressed_interest", _POINT + "read where the basis is soft opt-in"),
    ("collected", _POINT + "`on`: the earliest day that is told; read where the basis is soft opt-in"),
    ("do_not_call", _CHOICE + "`do_not_call`; read for texts and calls"),
    ("suppressed", "suppression list (marketing); " + _CHOICE + "`no_contact` (all)"),
    ("capped contacts_24h", "`POST /v1/contacts`, any subject matter, and the caps of the settings"),
    ("hours_8_20 hours_8_21", "the instant, in every zone of every region the person may be in"),
    ("deletion", _CHOICE + "`deletion_pending`; who was deleted is nobody, see below"),
    ("opt_out_age", _CHOICE + "newest sale/share opt-out, limit or signal; read by requests for consent"),
    ("refusal_age", "ledger: newest refusal or withdrawal of anything; read by requests for consent"),
    (
        "confirmation",
        _NEWEST_NO + "; `POST /v1/contacts` with the `purpose` of a confirmation; read by confirmations",
    ),
    ("loyalty", _CHOICE + "`loyalty_participant`, `loyalty_asked`, `loyalty_affirmed`; read by loyalty purposes"),
    ("revoked_elsewhere", "nobody yet, see below"),
)
SOURCES: dict[str, str] = {name: source for names, source in _BY_SOURCE for name in words(names)}

UNFED: dict[str, str] = {
    "scope_purpose": "The ledger is read per purpose: a yes to another purpose is no consent here, and says so.",
    "scope_channel": "The ledger is read per channel: a yes for another channel is no consent here, and says so.",
    "notice_given": "Which notice a grant was given under is in the ledger; that there was one is not asked for.",
    "revoked_elsewhere": (
        "The rule is waived until 2027-01-31 (FCC DA 26-12), the review date of its pack, past which the pack permits "
        "no marketing. A withdrawal of a wider purpose closes every narrower one today."
    ),
}
_ABSENT = (
    "`deletion: completed` is never put to the law: of a person who was erased no row is left, and every question "
    "about them is answered `unknown_subject`. Tombstones refuse their return at intake."
)
_INTRO = """\
A decision is a function of the facts below and of nothing else. Each has one source in service. The caller gives what
only the caller can know (channel, recipient, parts of the message) and may choose among declared bases; the kind of
the use, its sensitivity and its recipient are declared in registers. What a person, a source or a regulator says is
appended and folded into the audience row, so that one question, a batch and an audience read the same.

Facts that restrict count as soon as anybody says them. Facts that permit (a sale, an offered opt-out, a company's
mailbox, an affirmation) count only if they are recorded for every contact point that could be written to, only if no
source says the opposite, and never outweigh a no."""


def facts_markdown(note: str) -> str:
    """Return the facts as Markdown: name, values, meaning and source, then what is not fed and why."""
    rows = [f"| `{f.name}` | {f.en} | {', '.join(f'`{v}`' for v in f.values)} | {SOURCES[f.name]} |" for f in FACTS]
    table = "\n".join(["| Fact | Meaning | Values | Source |", "| --- | --- | --- | --- |", *rows])
    gaps = "\n".join(f"- `{name}`: {reason}" for name, reason in UNFED.items())
    return f"# Facts and their sources\n\n{note}\n\n{_INTRO}\n\n{table}\n\n## Not fed\n\n{gaps}\n- {_ABSENT}\n"
