"""Rows that come in: cleaned, joined to somebody, refused or set aside."""
