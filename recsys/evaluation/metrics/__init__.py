"""Metrics of top-N lists and of classifiers."""
