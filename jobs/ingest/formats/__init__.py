"""Readers of source files, one module for each family of formats."""
