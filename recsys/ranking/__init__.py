"""Exact top-N selection from scores and factors."""
