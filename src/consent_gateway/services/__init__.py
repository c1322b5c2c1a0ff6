"""Use cases: verbs over a session. Each runs in one transaction, commits in one place, and records itself.

Nothing here knows a status code, a form or a flag; nothing here spells SQL. A use case takes a `Work` (session,
instant, actor, registers) and plain values, and returns plain values.
"""
