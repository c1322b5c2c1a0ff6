"""Deciding: from rows to facts, from the law of an instant to an answer; knows no transaction."""
