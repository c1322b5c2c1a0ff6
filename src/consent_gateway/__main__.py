"""`python -m consent_gateway` is the command line."""

from __future__ import annotations

from consent_gateway.cli.main import main

main()
