"""Recommendation engine for e-commerce: the library half, which knows no schedule and no HTTP."""

__version__ = "0.1.0"
