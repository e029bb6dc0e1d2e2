"""Rotation of the keys of pseudonyms."""
