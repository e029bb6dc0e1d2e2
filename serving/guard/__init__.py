"""Detect bots online and flag them."""
