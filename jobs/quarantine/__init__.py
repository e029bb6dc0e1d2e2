"""Rows in quarantine that are read again."""
