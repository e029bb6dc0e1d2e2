"""Erasing persons from everything that the engine keeps, exporting their data, and receipts of erasures."""
