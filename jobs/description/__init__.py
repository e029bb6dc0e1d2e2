"""A description of the data in the lake, for people to check before they train on it."""
