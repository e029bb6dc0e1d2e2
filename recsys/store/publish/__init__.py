"""Publish a run's lists to Redis as a version."""
