"""Where checkpoints are kept outside of the store, and how the log talks to witnesses: the adapters.

::

    port         what a kept copy can do, and how it fails
    outbound     one HTTP call to an operator's address: no redirects, limits of time and size
    file_copies  a file on another disk or mount
    http_copies  a resource on another server (GET, conditional PUT)
    nats_copies  a key in a JetStream bucket; needs the extra `nats`
    places       from the operator's settings to copies

These are the only modules of `audit` that touch the world. They hold bytes that somebody else checks: what is read from
a copy is no more believed than what is read from the store.
"""
