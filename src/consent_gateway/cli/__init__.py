"""The command line: serve, import, verify, look after keys. Long work shows progress; `--json` for programs."""
