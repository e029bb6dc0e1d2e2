"""Compare models on one evaluation window, with intervals and tests."""
