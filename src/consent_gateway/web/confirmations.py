"""The page of a second step: who asks, what is confirmed, and one button. No script, nothing about the person.

Whoever reads it is a customer and not an operator: it names the controller, says the channel and the end in words, and
a link that does not work says so in both languages, because nothing is known of who opened it. The form has no field,
so that its body is empty; only the button's POST changes anything. The policy allows the style sheet and a form to
ourselves, and nothing else.
"""

from __future__ import annotations

from html import escape

from consent_gateway.errors import GatewayError
from consent_gateway.web.page import POLICY, page, prose

FORM_POLICY = POLICY.replace("form-action 'none'", "form-action 'self'")
_WORDS = {
    "en": ("Please confirm", "Purpose", "By", "For", "The link works until", "Confirm", "Confirmed. Thank you.", "us"),
    "zh": ("请确认", "目的", "方式", "接收方", "链接有效期至", "确认", "已确认,谢谢。", "本公司"),
}
_CHANNELS = {
    "en": {
        "email": "e-mail",
        "sms": "text message",
        "call": "telephone",
        "post": "letter",
        "push": "push message",
        "in_app": "message in the app",
        "online_ads": "online advertising",
    },
    "zh": {
        "email": "电子邮件",
        "sms": "短信",
        "call": "电话",
        "post": "信件",
        "push": "推送通知",
        "in_app": "应用内消息",
        "online_ads": "在线广告",
    },
}
_REFUSALS = {  # by the code of the error: what the person needs to know, in both languages
    "not_found": (
        ("This link does not work", "Perhaps it was cut off on the way. Nothing was changed."),
        ("链接无效", "链接可能不完整。未作任何更改。"),
    ),
    "already_confirmed": (
        ("Confirmed before", "Nothing more is needed."),
        ("此前已确认", "无需其他操作。"),
    ),
    "confirmation_overtaken": (
        ("You said no since", "The no holds. Nothing was changed."),
        ("您此后已拒绝", "拒绝仍然有效。未作任何更改。"),
    ),
    "confirmation_expired": (
        ("This link is too old", "Nothing was changed. You can ask for a new one where you signed up."),
        ("链接已过期", "未作任何更改。您可以在注册处重新申请。"),
    ),
}


def render_request(rows: dict[str, str | None], notice: tuple[str, str] | None, language: str) -> str:
    """Return the page of a request; `rows` has purpose, channel, recipient and end, `notice` a title and a text.

    Without a channel nothing is said about one; without a recipient it is for us. The end is an instant in UTC.
    """
    title, purpose, channel, recipient, until, button, _, ours = _WORDS[_known(language)]
    named = {
        purpose: rows["purpose"],
        channel: _CHANNELS[_known(language)].get(rows["channel"] or "", rows["channel"]),
        recipient: rows["recipient"] or ours,
        until: _in_words(rows["until"] or ""),
    }
    lines = "".join(
        f'<tr><th scope="row">{escape(name)}</th><td>{escape(value)}</td></tr>'
        for name, value in named.items()
        if value
    )
    text = "" if notice is None else f"<h2>{escape(notice[0])}</h2>{prose(notice[1])}"
    form = f'<form method="post"><button type="submit">{escape(button)}</button></form>'
    return page(title, f"<h1>{escape(title)}</h1><table><tbody>{lines}</tbody></table>{text}{form}", language)


def render_done(language: str) -> str:
    """Return the page after the button."""
    done = _WORDS[_known(language)][6]
    return page(done, f"<h1>{escape(done)}</h1>", language)


def render_refusal(error: GatewayError) -> str:
    """Return the page of a request that cannot be confirmed."""
    told = _REFUSALS.get(error.code, ((error.title, error.hint),))
    (title, _), body = told[0], "".join(f"<h1>{escape(title)}</h1>{prose(text)}" for title, text in told)
    return page(title, body)


def _in_words(instant: str) -> str:
    """Return an RFC 3339 instant in UTC to the minute, as a person reads it."""
    return f"{instant[:10]} {instant[11:16]} UTC" if instant else ""


def _known(language: str) -> str:
    return "zh" if language.lower().startswith("zh") else "en"
