"""Predict categories of items from item vectors and the interaction graph."""
