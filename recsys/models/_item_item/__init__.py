"""Code shared by the models of item-item weights."""
