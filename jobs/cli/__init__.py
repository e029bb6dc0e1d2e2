"""The `recsys` command: one module per group of commands."""
