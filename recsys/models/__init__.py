"""Recommendation models: one file a model, one frozen config each."""
