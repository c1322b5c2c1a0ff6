"""Erasing: one person's data, what no purpose needs any more, and that what is erased stays so."""
