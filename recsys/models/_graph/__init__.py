"""Code shared by the graph models."""
