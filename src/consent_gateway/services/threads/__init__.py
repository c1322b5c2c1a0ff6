"""Threads: what one process does beside its requests, for the log, the keys and what has expired."""
