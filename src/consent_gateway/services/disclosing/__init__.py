"""Disclosing: everything that leaves about people, behind a decision: answers, audiences, reveals, matches."""
