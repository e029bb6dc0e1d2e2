"""Interactions as arrays, and splits in time."""
