"""Training loop shared by the neural models."""
