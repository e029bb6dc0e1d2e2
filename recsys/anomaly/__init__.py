"""Detection of bots and attackers, online and nightly, by the same functions."""
