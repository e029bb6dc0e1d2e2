"""Recommendation models, one file each, with one frozen config each."""
