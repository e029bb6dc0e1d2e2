"""Recommendation engine for e-commerce: the library, without scheduling and HTTP."""

__version__ = "0.1.0"
