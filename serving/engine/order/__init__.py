"""The order that the pages of an answer are taken from."""
