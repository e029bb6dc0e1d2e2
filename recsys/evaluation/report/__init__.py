"""Render the HTML evaluation report."""
