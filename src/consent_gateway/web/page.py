"""The shell of every page: one small style sheet, no scripts, and the policy that allows exactly that style sheet.

Invariants: text reaches HTML through `html.escape` alone; a page asks no host for anything; the content security
policy names the hash of the style sheet (CSP level 3), so that injected styles and scripts stay inert.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Sequence
from html import escape

STYLE = """
:root{color-scheme:light dark;--ink:#1b1f24;--soft:#57606a;--line:#d0d7de;--back:#fff;--card:#f6f8fa;--mark:#0a5bb5}
@media(prefers-color-scheme:dark){:root{--ink:#e6edf3;--soft:#9aa4ae;--line:#343b44;--back:#0d1117;--card:#161b22;
--mark:#6cb6ff}}
*{box-sizing:border-box}body{margin:0 auto;max-width:64rem;padding:1.5rem;background:var(--back);color:var(--ink);
font:16px/1.5 system-ui,sans-serif}h1,h2,h3{line-height:1.25}h2{margin-top:2.5rem;border-bottom:1px solid var(--line)}
a{color:var(--mark)}code,pre{font:13px/1.5 ui-monospace,monospace}pre{overflow:auto;padding:.75rem;
background:var(--card);border:1px solid var(--line);border-radius:6px;white-space:pre-wrap;overflow-wrap:anywhere}
table{border-collapse:collapse;width:100%;margin:.5rem 0}th,td{text-align:left;vertical-align:top;padding:.3rem .6rem;
border-bottom:1px solid var(--line);overflow-wrap:anywhere}th{color:var(--soft);font-weight:600}
details{border:1px solid var(--line);border-radius:6px;margin:.6rem 0;padding:.5rem .9rem}summary{cursor:pointer}
details[open]>summary{margin-bottom:.6rem}.verb{display:inline-block;min-width:4.2rem;font-weight:700;color:var(--mark)}
.soft{color:var(--soft)}nav{columns:22rem 2}nav section{break-inside:avoid}nav h3{margin:.8rem 0 .1rem}
nav ul{margin:0;padding-left:1.2rem}button{font:inherit;font-weight:600;min-height:2.75rem;padding:.5rem 1.5rem;
margin:1rem 0;color:var(--back);background:var(--mark);border:0;border-radius:6px;cursor:pointer}
:focus-visible{outline:2px solid var(--mark);outline-offset:2px}
"""
_HASH = base64.b64encode(hashlib.sha256(STYLE.encode()).digest()).decode()
POLICY = f"default-src 'none'; style-src 'sha256-{_HASH}'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
_CODE = re.compile(r"`([^`]+)`")


def page(title: str, body: str, language: str = "en") -> str:
    """Return a whole HTML document; `title` is text, `body` is HTML that was built from escaped text."""
    return (
        f'<!doctype html>\n<html lang="{escape(language)}"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f"<title>{escape(title)}</title><style>{STYLE}</style></head>\n<body>{body}</body></html>\n"
    )


def prose(text: str) -> str:
    """Return `text` as paragraphs; words between backquotes become code, nothing else is markup."""
    paragraphs = (escape(part.strip()) for part in text.split("\n\n") if part.strip())
    return "".join(f"<p>{_CODE.sub(_code, part)}</p>" for part in paragraphs)


def _code(match: re.Match[str]) -> str:
    return f"<code>{match.group(1)}</code>"


def table(head: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    """Return a table; `head` is text, the cells of `rows` are HTML; without rows there is no table."""
    if not rows:
        return ""
    top = "".join(f"<th>{escape(cell)}</th>" for cell in head)
    lines = "".join("<tr>" + "".join(f"<td>{cell}</td>" for cell in row) + "</tr>" for row in rows)
    return f"<table><thead><tr>{top}</tr></thead><tbody>{lines}</tbody></table>"
