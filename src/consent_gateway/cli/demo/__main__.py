"""`python -m consent_gateway.cli.demo OUT [HOUSEHOLDS]`: what `consent-gateway demo` starts.

A process of its own, because reading the real data imports libraries that no other command should wait for.
"""

from __future__ import annotations

import sys
from pathlib import Path

from rich.console import Console

from consent_gateway.cli.demo import story

WIDE = 120

if __name__ == "__main__":
    households = int(sys.argv[2]) if len(sys.argv) > 2 else None  # noqa: PLR2004 - the optional second argument
    console = Console()
    if not console.is_terminal:  # a file or a pipe has no width of its own
        console.width = max(console.width, WIDE)
    raise SystemExit(story.run(Path(sys.argv[1]), households=households, console=console))
