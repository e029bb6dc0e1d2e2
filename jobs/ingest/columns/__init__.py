"""How columns of text are read."""
