"""The page of a second step: what is confirmed, and one button. No script, nothing about the person.

The form has no field, so that its body is empty; only the button's POST changes anything. The policy allows the style
sheet and a form to ourselves, and nothing else.
"""

from __future__ import annotations

from html import escape

from consent_gateway.errors import GatewayError
from consent_gateway.web.page import POLICY, page, prose, table

FORM_POLICY = POLICY.replace("form-action 'none'", "form-action 'self'")
_WORDS = {
    "en": ("Please confirm", "Purpose", "Channel", "For", "Valid until", "Confirm", "Confirmed. Thank you.", "us"),
    "zh": ("请确认", "目的", "渠道", "接收方", "有效期至", "确认", "已确认,谢谢。", "本公司"),
}


def render_request(rows: dict[str, str | None], notice: tuple[str, str] | None, language: str) -> str:
    """Return the page of a request; `rows` has purpose, channel, recipient and end, `notice` a title and a text."""
    title, purpose, channel, recipient, until, button, _, ours = _words(language)
    for_whom = rows["recipient"] or ours
    named = {purpose: rows["purpose"], channel: rows["channel"], recipient: for_whom, until: rows["until"]}
    lines = [(escape(name), escape(value)) for name, value in named.items() if value]
    text = "" if notice is None else f"<h2>{escape(notice[0])}</h2>{prose(notice[1])}"
    form = f'<form method="post"><button type="submit">{escape(button)}</button></form>'
    return page(title, f"<h1>{escape(title)}</h1>{table(('', ''), lines)}{text}{form}", language)


def render_done(language: str) -> str:
    """Return the page after the button."""
    done = _words(language)[6]
    return page(done, f"<h1>{escape(done)}</h1>", language)


def render_refusal(error: GatewayError) -> str:
    """Return the page of a request that cannot be confirmed."""
    return page(error.title, f"<h1>{escape(error.title)}</h1>{prose(error.hint)}")


def _words(language: str) -> tuple[str, ...]:
    return _WORDS["zh" if language.lower().startswith("zh") else "en"]
