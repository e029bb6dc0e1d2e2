"""The steps of a run, one module per step."""
