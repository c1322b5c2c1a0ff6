"""Persons: who comes in, what they did, that two are one, and the history of one."""
