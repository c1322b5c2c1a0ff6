"""The consent gateway: every marketing component goes through it.

Rings, from the outside in; imports run inwards only (checked by import-linter):

    cli                                  commands
    app | setup, background, assembly    the composition root, in the order of what is in front of the gateway
    api | web                            parse, call one use case, return
    services                             use cases: one transaction each
    db                                   the only SQL
    policies | vault | audit             the law; keys; the log
    domain                               concepts and their arithmetic
    errors | clock                       the error tree; the only caller of "now"
"""

from __future__ import annotations

__version__ = "0.1.0"
