"""The nightly half: commands, the run and its steps."""
