"""Infer `recsys.toml` from a shop's files or database."""
