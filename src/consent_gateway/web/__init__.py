"""Server-rendered pages: no scripts, no external requests, a strict content security policy."""
