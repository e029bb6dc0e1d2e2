"""Metrics, comparison of models with intervals, and the report."""
